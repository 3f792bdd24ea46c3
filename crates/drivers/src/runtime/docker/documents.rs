//! Files that a node is configured with (`startup-config`, `license`), put where its kind looks for them.
//!
//! They are put into the container right before it is started, so that an agent that dies over it leaves a container that
//! was never started, and the next one puts them there again: the configuration before the first start alone, since a
//! device saves over it, the licence before each start of ours, since it is read at each boot.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use netloom_docker::{ByteStream, PutOptions};
use netloom_engine::Layout;
use netloom_model::{Document, Node};
use netloom_plan::NodeState;

use super::super::fault::{Fault, plain};
use super::super::order::Obstacle;
use super::observe::Known;
use super::{Shared, refused};

/// No file is larger, in bytes.
const LARGEST: u64 = 32 << 20;

/// A document, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    field: &'static str,
    path: String,
    document: Document,
    /// Whether it goes over one that the node has saved outside of its container.
    over_saved: bool,
}

/// The documents of a node that its kind has a place for: those that are put there before each start, and the one before
/// the first start.
fn placed(node: &Node, state: &NodeState) -> Vec<Placed> {
    let Some(places) = &node.device.config else { return Vec::new() };
    let is_first = *state == NodeState::Created;
    let startup = node.config.startup.as_ref().filter(|_| is_first && !node.config.suppress_startup);
    let all = [
        ("startup-config", startup, &places.path, node.config.enforce_startup),
        ("license", node.config.license.as_ref(), &places.license, true),
    ];
    let placed = all.into_iter().filter_map(|(field, document, path, over_saved)| {
        Some(Placed { field, path: path.clone()?, document: document?.clone(), over_saved })
    });
    placed.collect()
}

/// What stands in the way of the documents of a node. Blocks.
pub(super) fn unreadable(node: &Node) -> Option<Obstacle> {
    placed(node, &NodeState::Created).iter().find_map(|placed| read(placed).err())
}

fn read(placed: &Placed) -> Result<Vec<u8>, Obstacle> {
    let field = placed.field;
    match &placed.document {
        Document::Text(text) => Ok(text.clone().into_bytes()),
        Document::Url(url) => {
            let hint = "download it and write the path of the file";
            Err((format!("`{field}` is `{url}`, and netloom fetches nothing"), Some(hint.into())))
        }
        Document::Path(path) => {
            let cannot = |error: io::Error| (format!("`{field}` {path} cannot be read: {}", plain(&error)), None);
            let text = file(Path::new(path)).map_err(cannot)?;
            if text.len() as u64 > LARGEST {
                return Err((format!("`{field}` {path} is larger than {} MiB", LARGEST >> 20), None));
            }
            Ok(text)
        }
    }
}

fn file(path: &Path) -> io::Result<Vec<u8>> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut text)?;
    Ok(text)
}

impl Shared {
    /// Puts the documents of a node into its container, which does not run.
    pub(super) async fn put_documents(
        self: &Arc<Self>,
        node: &Node,
        known: &Known,
        deadline: Instant,
    ) -> Result<(), Fault> {
        for placed in placed(node, &known.state) {
            if !placed.over_saved && is_outside(node, &placed.path) && self.has(known, &placed.path, deadline).await? {
                continue;
            }
            let path = placed.path.clone();
            let archive =
                self.files(deadline, move |_: &Layout| Ok::<_, Obstacle>(archive(&placed.path, &read(&placed)?)));
            let archive = archive.await?.map_err(|(why, _)| Fault::permanent(why))?;
            let archive = archive.map_err(|error| Fault::permanent(format!("{path}: {}", plain(&error))))?;
            let put = self.docker.put_archive(
                &known.id,
                "/",
                ByteStream::from(bytes::Bytes::from(archive)),
                PutOptions::default(),
                deadline,
            );
            put.await.map_err(refused)?;
        }
        Ok(())
    }

    async fn has(&self, known: &Known, path: &str, deadline: Instant) -> Result<bool, Fault> {
        match self.docker.head_archive(&known.id, path, deadline).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(refused(error)),
        }
    }
}

/// Whether a path of a node is in a directory that outlives its container.
fn is_outside(node: &Node, path: &str) -> bool {
    let volumes = node.container.volumes.iter().filter(|volume| volume.name.is_some()).map(|volume| &volume.target);
    let targets = node.binds.iter().map(|bind| &bind.target).chain(volumes);
    targets.into_iter().any(|target| Path::new(path).starts_with(target))
}

/// A tar of one file, without the directories above it: those that are there stay as they are.
fn archive(path: &str, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, path.trim_start_matches('/'), content)?;
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(config: &serde_json::Value, more: &serde_json::Value) -> Node {
        let mut node = json!({
            "kind": "crpd", "runtime": "docker", "image": "i", "hostname": "r1", "config": config,
            "device": { "config": { "path": "/config/juniper.conf", "license": "/config/license" } },
        });
        node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(node).unwrap()
    }

    fn fields(node: &Node, state: &NodeState) -> Vec<&'static str> {
        placed(node, state).into_iter().map(|placed| placed.field).collect()
    }

    #[test]
    fn the_configuration_comes_before_the_first_start_and_the_licence_before_each() {
        let both = json!({ "startup": { "text": "a\nb\n" }, "license": { "text": "c\nd\n" } });
        let node_of = |config| node(config, &json!({}));
        assert_eq!(fields(&node_of(&both), &NodeState::Created), ["startup-config", "license"]);
        assert_eq!(fields(&node_of(&both), &NodeState::Exited { code: 0 }), ["license"]);
        let suppressed = json!({ "startup": { "text": "a\nb\n" }, "suppress_startup": true });
        assert_eq!(fields(&node_of(&suppressed), &NodeState::Created), [""; 0]);
        let nowhere = node(&both, &json!({ "device": {} }));
        assert_eq!(fields(&nowhere, &NodeState::Created), [""; 0]);
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_field() {
        let why = |document: serde_json::Value| {
            unreadable(&node(&json!({ "license": document }), &json!({}))).map(|(why, _)| why)
        };
        assert_eq!(why(json!({ "text": "a\n" })), None);
        assert!(why(json!({ "path": "/nowhere/lic" })).unwrap().starts_with("`license` /nowhere/lic cannot be read"));
        assert!(why(json!({ "path": "/" })).unwrap().contains("no file"));
        assert!(why(json!({ "url": "https://host/lic" })).unwrap().contains("fetches nothing"));
    }

    #[test]
    fn a_path_in_a_bind_or_a_named_volume_outlives_the_container() {
        let outside = |more| is_outside(&node(&json!({}), &more), "/config/juniper.conf");
        assert!(outside(json!({ "binds": [{ "source": "/a", "target": "/config", "access": "read-write" }] })));
        assert!(!outside(json!({ "binds": [{ "source": "/a", "target": "/con", "access": "read-write" }] })));
        assert!(!outside(json!({})));
    }
}
