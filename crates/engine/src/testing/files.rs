//! The files of a fake node: directories and files, no links, no owners.

use std::collections::BTreeMap;
use std::io::Read;

use tar::{Archive, Builder, EntryType, Header};

use crate::copy::{CopyError, CopyIn, Landing};

/// By absolute path; directories have no content.
#[derive(Debug, Clone)]
pub(super) struct Files(BTreeMap<String, Option<Vec<u8>>>);

impl Default for Files {
    fn default() -> Self {
        Self(["", "/tmp", "/etc"].map(|directory| (directory.to_owned(), None)).into())
    }
}

fn refused<T>(path: &str, why: &str) -> Result<T, CopyError> {
    Err(CopyError::Refused(format!("{path}: {why}")))
}

/// Absolute, without a slash at its end.
fn tidy(path: &str) -> String {
    format!("/{}", path.trim_matches('/')).trim_end_matches('/').to_owned()
}

impl Files {
    /// What is at a path, as an archive.
    pub(super) fn pack(&self, path: &str) -> Result<Vec<u8>, CopyError> {
        let at = tidy(path.strip_suffix("/.").unwrap_or(path));
        let name = if path.ends_with("/.") { "." } else { at.rsplit('/').next().unwrap_or_default() };
        if !self.0.contains_key(&at) {
            return refused(path, "no such file or directory");
        }
        let mut builder = Builder::new(Vec::new());
        let below = format!("{at}/");
        for (path, content) in self.0.iter().filter(|(path, _)| **path == at || path.starts_with(&below)) {
            let mut header = Header::new_gnu();
            header.set_entry_type(if content.is_some() { EntryType::Regular } else { EntryType::Directory });
            header.set_mode(0o644);
            let content = content.as_deref().unwrap_or_default();
            header.set_size(content.len() as u64);
            let name = format!("{name}{}", &path[at.len()..]);
            builder.append_data(&mut header, name, content).expect("memory takes everything");
        }
        Ok(builder.into_inner().expect("memory takes everything"))
    }

    /// Puts the content of an archive where it belongs; all of it or nothing.
    pub(super) fn unpack(&mut self, request: &CopyIn, archive: &[u8]) -> Result<(), CopyError> {
        let base = tidy(&request.path);
        let into = match self.0.get(&base) {
            Some(None) => true,
            None if request.landing == Landing::Into => return refused(&request.path, "no such directory"),
            Some(Some(_)) | None => false,
        };
        let parent = base.rsplit_once('/').map_or("", |(parent, _)| parent);
        if !into && self.0.get(parent) != Some(&None) {
            return refused(&request.path, "no such directory");
        }
        let broken = || CopyError::Refused("the archive ends too early".into());
        if archive.len() < 1024 || archive[archive.len() - 1024..].iter().any(|byte| *byte != 0) {
            return Err(broken());
        }
        let mut arrived = BTreeMap::new();
        for entry in Archive::new(archive).entries().map_err(|_| broken())? {
            let mut entry = entry.map_err(|_| broken())?;
            let name = entry.path().map_err(|_| broken())?.display().to_string();
            let name = if into { name } else { name.split_once('/').map_or("", |(_, rest)| rest).to_owned() };
            let path = tidy(&format!("{base}/{}", name.trim_start_matches('.')));
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(|_| broken())?;
            arrived.insert(path, (entry.header().entry_type() != EntryType::Directory).then_some(content));
        }
        self.0.extend(arrived);
        Ok(())
    }
}
