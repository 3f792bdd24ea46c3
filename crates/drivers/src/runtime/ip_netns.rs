//! Links by which `ip netns` finds nodes: `/run/netns/<container>` leads to where the namespace is pinned.
//!
//! Links only: a later `ip netns` command may mount over the directory. All of it blocks for microseconds.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use netloom_engine::Layout;

use super::fault::plain;
use super::turns::Key;

/// Lets `ip netns exec <container>` find a node. A name that somebody else has is left alone, which is the error.
pub(super) fn link(layout: &Layout, container: &str, (lab, node): &Key) -> Result<(), String> {
    let Some(link) = path(layout, container) else {
        return Err(format!("`ip netns` cannot show it: `{container}` is no file name"));
    };
    let pin = layout.pin(lab, node);
    if fs::read_link(&link).is_ok_and(|target| target == pin) {
        return Ok(());
    }
    let made = fs::create_dir_all(layout.ip_netns()).and_then(|()| symlink(&pin, &link));
    made.map_err(|error| format!("`ip netns` cannot show it: {}: {}", link.display(), plain(&error)))
}

/// Takes the link of a node away, if it is there and its own.
pub(super) fn unlink(layout: &Layout, container: &str, (lab, node): &Key) -> std::io::Result<()> {
    match path(layout, container) {
        Some(link) if fs::read_link(&link).is_ok_and(|target| target == layout.pin(lab, node)) => fs::remove_file(link),
        _ => Ok(()),
    }
}

fn path(layout: &Layout, container: &str) -> Option<PathBuf> {
    let is_name = !container.is_empty() && !container.contains(['/', '\0']) && !container.starts_with('.');
    is_name.then(|| layout.ip_netns().join(container))
}
