//! The removal of one trace. Each is looked at once more: what has come to life since is left.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use netloom_engine::{Trace, TraceKind};
use netloom_kernel::{Members, unmount, unpin};

use super::Ground;
use super::look::{inhabited, is_inhabited, mount_points};

impl Ground {
    /// Removes a trace; that it is gone is fine.
    pub(super) fn remove(&self, trace: &Trace, deadline: Instant) -> io::Result<()> {
        let path = Path::new(&trace.at);
        match trace.kind {
            TraceKind::Mount => unmount(path).map_err(|error| match error.kind() {
                io::ErrorKind::ResourceBusy => busy(format!("something uses it; `fuser -vm {}` shows what", trace.at)),
                _ => error,
            }),
            TraceKind::NamespaceLink => self.remove_link(trace, path),
            TraceKind::Namespace => {
                if is_inhabited(path, &inhabited()?) {
                    return Err(busy("a process is in it by now".into()));
                }
                unpin(path)?;
                with_lab(path);
                Ok(())
            }
            TraceKind::Group => self.remove_group(path, deadline),
            TraceKind::Layer => {
                let mark = trace.node.as_ref().map(|node| self.layout.node_run(&trace.lab, node).join("node.json"));
                if mark.is_some_and(|mark| mark.exists()) {
                    return Err(busy("its node is there by now".into()));
                }
                // What is mounted in it is somebody's data.
                if let Some(mount) = mount_points()?.into_iter().rfind(|point| point.starts_with(path)) {
                    let mount = mount.display();
                    return Err(busy(format!("something is mounted in it (`umount {mount}`)")));
                }
                gone(fs::remove_dir_all(path))?;
                with_lab(path);
                Ok(())
            }
            TraceKind::Directory => {
                gone(fs::remove_dir(path))?;
                with_lab(path);
                Ok(())
            }
            TraceKind::Record => {
                gone(fs::remove_file(path))?;
                with_lab(path);
                Ok(())
            }
            TraceKind::Names => {
                gone(fs::remove_file(path.join("hosts")))?;
                gone(fs::remove_dir(path))
            }
        }
    }

    fn remove_link(&self, trace: &Trace, link: &Path) -> io::Result<()> {
        let leads_to = |node| fs::read_link(link).is_ok_and(|target| target == self.layout.pin(&trace.lab, node));
        if trace.node.as_ref().is_some_and(leads_to) { gone(fs::remove_file(link)) } else { Ok(()) }
    }

    fn remove_group(&self, group: &Path, deadline: Instant) -> io::Result<()> {
        let own = Path::new("netloom").join(self.layout.instance());
        if self.cgroups.groups_below(&own, |below| below == group)?.get(group) == Some(&Members::Some) {
            return Err(busy("processes are in it by now".into()));
        }
        let errors = self.cgroups.remove(group, deadline);
        errors.into_iter().next().map_or(Ok(()), |error| Err(io::Error::other(error.to_string())))
    }
}

fn busy(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, why)
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Err(error),
        _ => Ok(()),
    }
}

/// The directory of a lab goes with the last that is in it.
fn with_lab(path: &Path) {
    let _ = path.parent().map(fs::remove_dir);
}
