//! `netloom export`: the lab as it is wanted now, as a topology file.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use netloom_engine::{Document, Layout};
use netloom_model::{LabName, topology};

use crate::client::{Client, segment};
use crate::failure::{Failure, Result, plain};
use crate::output;

/// Writes the file whole or not at all. Paths below its directory are relative to it; on standard output all are absolute.
pub(crate) async fn run(lab: &LabName, to: Option<&Path>, layout: &Layout) -> Result {
    let client = Client::connect(layout).await?;
    let wanted: Document = client.get(&format!("/labs/{}/desired", segment(lab))).await?;
    let made = wanted.lab().map_err(Failure::failed)?;
    let Some(to) = to else { return output::result(&topology::write(&made, None)) };
    let unwritable = |error: std::io::Error| Failure::failed(format_args!("{}: {}", to.display(), plain(&error)));
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = fs::canonicalize(parent).map_err(unwritable)?;
    let text = topology::write(&made, Some(&directory));
    let name = to.file_name().ok_or_else(|| Failure::input(format_args!("{} is no file name", to.display())))?;
    // Beside the file, so that it takes its place in one step; a link to a file stays a link.
    let target = fs::canonicalize(to).unwrap_or_else(|_| directory.join(name));
    let mut beside = target.clone().into_os_string();
    beside.push(format!(".{}.new", std::process::id()));
    let written = fs::File::create_new(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        if let Ok(there) = fs::metadata(&target) {
            file.set_permissions(there.permissions())?;
        }
        file.sync_all()?;
        fs::rename(&beside, &target)
    });
    written.map_err(|error| {
        let _ = fs::remove_file(&beside);
        unwritable(error)
    })?;
    output::result(&format!("lab {lab}: written to {}\n", to.display()))
}
