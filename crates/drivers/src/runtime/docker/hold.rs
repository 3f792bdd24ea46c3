//! Containers whose command must find its interfaces: they begin with a program of ours that waits for them.
//!
//! Links are made in the namespace of a container that runs, and some commands look only once, when they start. So such a
//! container gets `netloom-init hold` as its entrypoint, on a read-only mount of a file on the host's disk, and what it
//! would have run as arguments. The image is asked once for what that is. All other containers are left as they are.
//!
//! Which interfaces those are may change while the container is there, and its arguments may not. So the program is told in
//! each life what to wait for, by the alias of the loopback interface ([`Held`]): it is in the namespace that the
//! program waits in, and gone with it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use netloom_docker::{ContainerSpec, ImageConfig};
use netloom_engine::{Layout, NodeOrder};
use netloom_failpoint::{fallible, point};
use netloom_model::{InterfaceName, Link, NetworkMode, Node, PullPolicy};
use netloom_plan::LeftOut;

use super::super::fault::{Fault, plain};
use super::super::program::INIT;
use super::life::no_image;
use super::{Shared, refused};

/// Where the program is in a container.
const INSIDE: &str = "/.netloom-init";
/// How long it waits at most.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long what an image says is taken for true: as long as the nodes of one lab take. A tag may move to another image.
const FRESH: Duration = Duration::from_secs(10);
/// Images that are remembered.
const IMAGES: usize = 64;

/// What images said of their commands lately.
#[derive(Debug, Default)]
pub(super) struct Commands(Mutex<Vec<(String, Instant, Arc<ImageConfig>)>>);

impl Commands {
    fn known(&self) -> MutexGuard<'_, Vec<(String, Instant, Arc<ImageConfig>)>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, asked, _)| asked.elapsed() < FRESH);
        known
    }

    fn find(&self, image: &str) -> Option<Arc<ImageConfig>> {
        self.known().iter().find(|(name, ..)| name == image).map(|(.., config)| Arc::clone(config))
    }

    fn keep(&self, image: &str, config: &Arc<ImageConfig>) {
        let mut known = self.known();
        known.truncate(IMAGES - 1);
        known.push((image.to_owned(), Instant::now(), Arc::clone(config)));
    }

    /// Images have changed.
    pub(super) fn forget(&self) {
        self.known().clear();
    }
}

/// The interfaces that a node waits for, by the names that the kernel has for them; none if its command need not find any.
pub(super) fn awaited(order: &NodeOrder, node: &Node) -> Vec<InterfaceName> {
    if !node.device.needs.interfaces_first || node.network_mode == NetworkMode::Host {
        return Vec::new();
    }
    let left_out = LeftOut::of(&order.lab);
    let ends = left_out.made(&order.lab).flat_map(Link::ends);
    ends.filter(|end| end.at.node() == Some(&order.node)).map(|end| end.interface.kernel().clone()).collect()
}

/// Puts the wait before what the container would run.
fn put_before(spec: &mut ContainerSpec, image: &ImageConfig, awaited: &[InterfaceName], program: &str) {
    let own = |words: &Vec<String>| (!words.is_empty()).then(|| words.clone());
    let (entrypoint, cmd) = match (spec.entrypoint.take(), spec.cmd.take()) {
        // As Docker has it: with another entrypoint the image's command means nothing.
        (Some(entrypoint), cmd) => (Some(entrypoint), cmd),
        (None, cmd) => (own(&image.entrypoint), cmd.or_else(|| own(&image.cmd))),
    };
    let mut words = vec![INSIDE.to_owned(), "hold".into(), "--wait".into(), PATIENCE.as_secs().to_string()];
    words.extend(awaited.iter().flat_map(|name| ["--interface".to_owned(), name.to_string()]));
    words.push("--".into());
    words.extend(entrypoint.into_iter().flatten());
    spec.entrypoint = Some(words);
    spec.cmd = cmd;
    spec.host_config.binds.push(format!("{program}:{INSIDE}:ro"));
}

/// Whether a container begins with the program.
pub(super) fn is_held(entrypoint: &[String]) -> bool {
    entrypoint.first().is_some_and(|word| word == INSIDE)
}

impl Shared {
    /// Makes the container of a node wait for its interfaces before its command.
    pub(super) async fn hold(
        self: &Arc<Self>,
        spec: &mut ContainerSpec,
        awaited: &[InterfaceName],
        policy: PullPolicy,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let written = self.files(deadline, write).await?;
        let path = written.map_err(|error| {
            Fault::transient(format!("the program that waits for its interfaces cannot be written: {}", plain(&error)))
        })?;
        let program = path.to_str().ok_or_else(|| Fault::permanent(format!("{} is not UTF-8", path.display())))?;
        let image = self.image_config(&spec.image, policy, deadline).await?;
        put_before(spec, &image, awaited, program);
        Ok(())
    }

    async fn image_config(
        &self,
        image: &str,
        policy: PullPolicy,
        deadline: Instant,
    ) -> Result<Arc<ImageConfig>, Fault> {
        if let Some(known) = self.commands.find(image) {
            return Ok(known);
        }
        let asked = {
            let _place = self.reads.enter(deadline).await.map_err(|busy| Fault::transient(busy.to_string()))?;
            self.docker.inspect_image(image, deadline).await
        };
        let asked = asked.map_err(|error| {
            if error.is_not_found() {
                self.doubt_images();
                return no_image(image, policy);
            }
            refused(error)
        })?;
        let config = Arc::new(asked.config);
        self.commands.keep(image, &config);
        Ok(config)
    }
}

/// Sees to it that the program is on the disk, as this agent carries it. Containers that run keep the one that they have.
fn write(layout: &Layout) -> io::Result<PathBuf> {
    let path = layout.hold_program();
    // A change of a version that leaves the size alone is seen too: it is half a megabyte.
    if fs::read(&path).is_ok_and(|there| there == INIT) && fs::metadata(&path)?.permissions().mode() & 0o7777 == 0o755 {
        return Ok(path);
    }
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    let new = path.with_extension("new");
    // One that an earlier life left could be in execution.
    let _ = fs::remove_file(&new);
    let mut file = fs::File::options().write(true).create_new(true).mode(0o755).open(&new)?;
    fallible!("hold.program.opened")?;
    file.write_all(INIT)?;
    file.set_permissions(fs::Permissions::from_mode(0o755))?;
    file.sync_data()?;
    point!("hold.program.written");
    fs::rename(&new, &path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Option<Vec<String>> {
        (!words.is_empty()).then(|| words.iter().map(|word| (*word).to_owned()).collect())
    }

    /// What a container runs in all, for words of its node and of its image.
    fn run(entrypoint: &[&str], cmd: &[&str]) -> String {
        let mut spec = ContainerSpec { entrypoint: words(entrypoint), cmd: words(cmd), ..ContainerSpec::default() };
        let image = ImageConfig {
            entrypoint: words(&["/tini"]).unwrap(),
            cmd: words(&["/bgpd"]).unwrap(),
            ..ImageConfig::default()
        };
        put_before(&mut spec, &image, &["eth1".parse().unwrap()], "/var/lib/netloom/netloom-init");
        assert_eq!(spec.host_config.binds, ["/var/lib/netloom/netloom-init:/.netloom-init:ro"]);
        [spec.entrypoint.unwrap(), spec.cmd.unwrap_or_default()].concat().join(" ")
    }

    #[test]
    fn what_the_container_would_have_run_comes_after_the_wait() {
        let wait = "/.netloom-init hold --wait 60 --interface eth1 --";
        assert_eq!(run(&[], &[]), format!("{wait} /tini /bgpd"));
        assert_eq!(run(&[], &["sh"]), format!("{wait} /tini sh"));
        assert_eq!(run(&["/own"], &[]), format!("{wait} /own"));
        assert_eq!(run(&["/own"], &["sh"]), format!("{wait} /own sh"));
    }

    #[test]
    fn the_program_is_written_once_and_again_when_it_is_another_one() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path()).unwrap();
        let path = write(&layout).unwrap();
        assert_eq!(fs::read(&path).unwrap(), INIT);
        let written = || fs::metadata(&path).unwrap();
        assert_eq!(written().permissions().mode() & 0o7777, 0o755);
        let first = std::os::unix::fs::MetadataExt::ino(&written());
        write(&layout).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::ino(&written()), first);
        fs::write(&path, "of another version").unwrap();
        fs::write(path.with_extension("new"), "half").unwrap();
        write(&layout).unwrap();
        assert_eq!(fs::read(&path).unwrap(), INIT);
        assert!(!path.with_extension("new").exists());
    }
}
