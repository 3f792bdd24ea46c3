//! What is written of a lab after each deploy, for other tools.

use std::io;
use std::path::Path;

use netloom_engine::{Document, LabView};
use netloom_model::Lab;
use netloom_model::topology::Kinds;

use super::bound::is_looked_at;
use super::{LabDirectory, Owner, Readers, beside};
use crate::client::{Client, segment};
use crate::failure::{Result, plain};
use crate::{clab, kinds, output};

/// Writes how a lab is into its directory. A lab that came in on standard input has none. What goes wrong is a warning: the
/// lab itself is as it should be.
pub(crate) async fn report(view: &LabView, client: &Client) {
    let Some(source) = view.source.as_deref().map(Path::new) else { return };
    let directory = beside(source, &view.name);
    let written = match described(view, source, client).await {
        Ok((lab, kinds)) => write(&lab, view, &kinds, &directory).map_err(|error| plain(&error)),
        Err(failure) => Err(failure.text.unwrap_or_default()),
    };
    if let Err(why) = written {
        let directory = directory.display();
        output::say(&format!("warning: {directory}: {why}; the files for other tools are not written"));
    }
}

/// The lab as it is wanted, and the kinds of its topology.
async fn described(view: &LabView, source: &Path, client: &Client) -> Result<(Lab, Kinds)> {
    let wanted: Document = client.get(&format!("/labs/{}/desired", segment(&view.name))).await?;
    let lab = wanted.lab().map_err(crate::failure::Failure::failed)?;
    Ok((lab, kinds::read(source.parent().unwrap_or(Path::new("/")))?))
}

fn write(lab: &Lab, view: &LabView, kinds: &Kinds, directory: &Path) -> io::Result<()> {
    let to = LabDirectory::make(directory, Owner::behind_sudo())?;
    let data = serde_json::to_string_pretty(&clab::topology_data(lab, view, directory))? + "\n";
    let files = [("topology-data.json", data), ("ansible-inventory.yml", clab::inventory(lab, view, kinds))];
    files.into_iter().try_for_each(|(name, content)| {
        // One that a node looks at was laid out for it; who has removed it since gets a new one.
        if is_looked_at(lab, directory, name) && directory.join(name).exists() {
            return to.write_into(name, content.as_bytes());
        }
        to.write(name, content.as_bytes(), Readers::All)
    })
}
