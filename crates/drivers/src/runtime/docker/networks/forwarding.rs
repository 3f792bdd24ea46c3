//! The host's forwarding of IPv6, which Docker switches on with the first network that has IPv6, and never off again. What it
//! was before our network is noted, and put back when that is removed and no other network with IPv6 is there.
//!
//! That matters to a host: one that forwards takes no routes from its routers (RFC 4861, section 6.2.2).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use netloom_docker::Filters;
use netloom_engine::Layout;

use super::super::super::fault::{Fault, plain};
use super::super::{Shared, refused};

/// The settings of all interfaces together; writing one writes those of each.
const ALL: [&str; 2] = ["all", "default"];

/// Who noted what there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// This call.
    Now,
    /// One before, whose network is there or half made.
    Before,
}

impl Shared {
    pub(super) async fn note_forwarding(self: &Arc<Self>, deadline: Instant) -> Result<Noted, Fault> {
        let noted = self.files(deadline, |layout| note(&path(layout), Path::new("/"))).await?;
        noted.map_err(|error| Fault::transient(format!("the host's forwarding cannot be noted: {}", plain(&error))))
    }

    /// There is no network that it was noted for.
    pub(super) async fn forget_forwarding(self: &Arc<Self>, deadline: Instant) -> Result<(), Fault> {
        // What is noted once too often is put back as it is.
        self.files(deadline, |layout| drop(fs::remove_file(path(layout)))).await
    }

    /// Puts back what was noted, unless a network needs it.
    pub(super) async fn put_back_forwarding(self: &Arc<Self>, deadline: Instant) -> Result<(), Fault> {
        if !self.files(deadline, |layout| path(layout).exists()).await? {
            return Ok(());
        }
        let networks = self.docker.list_networks(&Filters::new(), deadline).await.map_err(refused)?;
        if networks.iter().any(|network| network.enable_ipv6) {
            return Ok(());
        }
        let done = self.files(deadline, |layout| put_back(&path(layout), Path::new("/"))).await?;
        if let Err(error) = done {
            tracing::warn!(%error, "the host goes on forwarding IPv6: it cannot be switched off again");
        }
        Ok(())
    }
}

/// Where a reboot takes it with the settings.
fn path(layout: &Layout) -> PathBuf {
    layout.run().join("forwarding")
}

fn settings(root: &Path) -> PathBuf {
    root.join("proc/sys/net/ipv6/conf")
}

fn note(path: &Path, root: &Path) -> io::Result<Noted> {
    if path.exists() {
        return Ok(Noted::Before);
    }
    let mut found = BTreeMap::new();
    for name in super::super::super::names_in(&settings(root))? {
        if let Ok(value) = fs::read_to_string(settings(root).join(&name).join("forwarding")) {
            found.insert(name, value.trim().to_owned());
        }
    }
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(&found)?)?;
    fs::rename(new, path)?;
    Ok(Noted::Now)
}

fn put_back(path: &Path, root: &Path) -> io::Result<()> {
    let noted: BTreeMap<String, String> = serde_json::from_slice(&fs::read(path)?).unwrap_or_default();
    let set = |name: &str, value: &str| {
        let file = settings(root).join(name).join("forwarding");
        match fs::read_to_string(&file) {
            Ok(now) if now.trim() != value => fs::write(file, value),
            // An interface that is gone.
            _ => Ok(()),
        }
    };
    // First those that write the others.
    for name in ALL {
        noted.get(name).map_or(Ok(()), |value| set(name, value))?;
    }
    for (name, value) in noted.iter().filter(|(name, _)| !ALL.contains(&name.as_str())) {
        set(name, value)?;
    }
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_first_is_put_back_as_far_as_it_is_there() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str| settings(root.path()).join(name).join("forwarding");
        let set = |name: &str, value: &str| {
            fs::create_dir_all(file(name).parent().unwrap()).unwrap();
            fs::write(file(name), value).unwrap();
        };
        for (name, value) in [("all", "0\n"), ("default", "0\n"), ("eth0", "1\n"), ("gone", "0\n")] {
            set(name, value);
        }
        let path = root.path().join("noted");
        assert_eq!(note(&path, root.path()).unwrap(), Noted::Now);
        for name in ["all", "default", "eth0", "new"] {
            set(name, "1\n");
        }
        fs::remove_file(file("gone")).unwrap();
        assert_eq!(note(&path, root.path()).unwrap(), Noted::Before);
        put_back(&path, root.path()).unwrap();
        let now =
            ["all", "default", "eth0", "new"].map(|name| fs::read_to_string(file(name)).unwrap().trim().to_owned());
        assert_eq!(now, ["0", "0", "1", "1"]);
        assert!(!path.exists() && !file("gone").exists());
    }
}
