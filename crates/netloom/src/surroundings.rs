//! The files that belong to a topology that is a template: its data, and the templates that it calls.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use netloom_model::topology::{self, Colour, TemplateFile, TemplateValue, Templates};

use crate::failure::{Failure, Result};
use crate::locate::Source;
use crate::output;

/// The directory beside a topology with the templates that it may call.
const CALLED: &str = "clab_templates";

/// Files of one sort that are read.
const MOST_FILES: usize = 1_000;

/// What a template is rendered with.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    data: Option<TemplateValue>,
    files: Vec<TemplateFile>,
}

impl Surroundings {
    /// Reads what belongs to a topology. Without files with data of its own, those that stand beside it and are named
    /// after it.
    pub(crate) fn read(source: &Source) -> Result<Self> {
        let found = match &source.path {
            Some(path) if source.vars.is_empty() => beside(path)?,
            _ => source.vars.clone(),
        };
        let mut data: Option<TemplateValue> = None;
        for path in &found {
            let more = read_data(path)?;
            data = Some(match data {
                Some(before) => before.merged(more),
                None => more,
            });
        }
        Ok(Self { data, files: called(&source.directory, &source.shown)? })
    }

    pub(crate) fn templates(&self) -> Templates<'_> {
        Templates { data: self.data.as_ref(), files: &self.files }
    }

    pub(crate) fn into_files(self) -> Vec<TemplateFile> {
        self.files
    }
}

/// The content of a file that is not too large to be read.
pub(crate) fn content(path: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    // One byte more than is read: the reader says that it is too much.
    let limit = topology::MAX_BYTES as u64 + 1;
    let file = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut text));
    file.map_err(|error| Failure::unreadable(path, &error))?;
    Ok(text)
}

fn read_data(path: &Path) -> Result<TemplateValue> {
    let text = content(path)?;
    topology::read_vars(&text).map_err(|diagnostics| {
        let colour = if output::coloured() { Colour::Always } else { Colour::Never };
        let said = topology::render(&diagnostics, &path.display().to_string(), &text, colour);
        Failure::input(format_args!("the data of the template cannot be read\n{}", said.trim_end()))
    })
}

/// The files of a directory that a test on their names holds for, in alphabetical order.
fn listed(directory: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| Failure::unreadable(directory, &error))? {
        let path = entry.map_err(|error| Failure::unreadable(directory, &error))?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(&wanted) && path.is_file() {
            found.push(path);
        }
    }
    if found.len() > MOST_FILES {
        return Err(Failure::input(format_args!(
            "{}: {} files belong to the template; at most {MOST_FILES} are read",
            directory.display(),
            found.len()
        )));
    }
    found.sort();
    Ok(found)
}

/// `<file name without its last extension>_vars*.{yaml,yml,json}` beside the topology.
fn beside(topology: &Path) -> Result<Vec<PathBuf>> {
    let directory = topology.parent().unwrap_or(Path::new("/"));
    let Some(stem) = topology.file_stem().and_then(|stem| stem.to_str()) else { return Ok(Vec::new()) };
    let begin = format!("{stem}_vars");
    listed(directory, |name| {
        name.starts_with(&begin) && [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end))
    })
}

/// `clab_templates/*.gotmpl` beside the topology.
fn called(directory: &Path, shown: &Path) -> Result<Vec<TemplateFile>> {
    let directory = directory.join(CALLED);
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let shown = shown.parent().unwrap_or(Path::new("")).join(CALLED);
    let mut files = Vec::new();
    for path in listed(&directory, |name| name.ends_with(".gotmpl"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = String::from_utf8(content(&path)?)
            .map_err(|_| Failure::input(format_args!("{}: this is not UTF-8 text", path.display())))?;
        if text.len() > topology::MAX_BYTES {
            let most = topology::MAX_BYTES;
            return Err(Failure::input(format_args!("{}: at most {most} bytes are read", path.display())));
        }
        files.push(TemplateFile { path: shown.join(&name).display().to_string(), name, text });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate;

    #[test]
    fn data_beside_a_topology_is_merged_in_alphabetical_order() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("lab.clab_vars.yml"), "n: 1\nm: { a: 1, b: [1, 2] }\n").unwrap();
        fs::write(at("lab.clab_vars.extra.json"), "{\"n\": 2, \"m\": {\"b\": [3]}}").unwrap();
        fs::write(at("lab.clab_vars.txt"), "n: 3\n").unwrap();
        fs::write(at("other.clab_vars.yml"), "n: 4\n").unwrap();
        let topology = at("lab.clab.gotmpl");
        let found = beside(&topology).unwrap();
        assert_eq!(found, [at("lab.clab_vars.extra.json"), at("lab.clab_vars.yml")]);

        fs::write(&topology, "").unwrap();
        let source = |vars: &[PathBuf]| locate::find_with(&topology, vars).unwrap();
        let read = |vars: &[PathBuf]| Surroundings::read(&source(vars)).unwrap().data;
        let wanted = topology::read_vars(b"n: 1\nm: { a: 1, b: [1, 2] }\n").unwrap();
        assert_eq!(read(&[]), Some(wanted));
        let turned = topology::read_vars(b"n: 2\nm: { a: 1, b: [3] }\n").unwrap();
        assert_eq!(read(&[at("lab.clab_vars.yml"), at("lab.clab_vars.extra.json")]), Some(turned));

        fs::write(at("bad.yml"), "n: [\n").unwrap();
        let failure = Surroundings::read(&source(&[at("bad.yml")])).unwrap_err();
        assert!(failure.text.unwrap().contains("bad.yml:"));
    }

    #[test]
    fn templates_that_are_called_stand_in_a_directory_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        let topology = directory.path().join("lab.clab.yml");
        fs::write(&topology, "").unwrap();
        let mut source = locate::find(&topology).unwrap();
        source.shown = "labs/lab.clab.yml".into();
        let read = || Surroundings::read(&source).unwrap().into_files();
        assert_eq!(read(), []);
        let called = directory.path().join(CALLED);
        fs::create_dir(&called).unwrap();
        fs::write(called.join("b.gotmpl"), "b").unwrap();
        fs::write(called.join("a.gotmpl"), "a").unwrap();
        fs::write(called.join("notes.txt"), "").unwrap();
        let found = read();
        let names: Vec<(&str, &str)> = found.iter().map(|file| (file.name.as_str(), file.path.as_str())).collect();
        assert_eq!(names, [("a.gotmpl", "labs/clab_templates/a.gotmpl"), ("b.gotmpl", "labs/clab_templates/b.gotmpl")]);
    }
}
