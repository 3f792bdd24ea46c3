//! The steps of a node's life that touch files and the kernel. All of it blocks: it runs on the pool's threads.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use netloom_engine::{Layout, NodeOrder, NodeUsage};
use netloom_failpoint::{fallible, point};
use netloom_kernel::{Cgroups, Netns, Process, unpin};
use netloom_model::{LabName, NodeName};
use netloom_plan::NodeFingerprint;

use super::super::environment::environment;
use super::super::fault::Fault;
use super::super::join::Inside;
use super::super::order::{key_of, node_of};
use super::super::program::{self, Program};
use super::super::turns::Key;
use super::super::{ip_netns, keys_in, names_in};
use super::observe::Seen;
use super::record::{self, Record};
use super::spec::{LOG_FILE, STATUS_FILE};
use super::{compose, plain};

/// What a step comes to.
pub(super) type Result<T> = std::result::Result<T, Fault>;

/// What the steps work with.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    pub(super) layout: Layout,
    pub(super) cgroups: Cgroups,
    pub(super) boot: String,
}

trait Because<T> {
    fn because(self, what: &Path) -> Result<T>;
}

impl<T> Because<T> for io::Result<T> {
    fn because(self, what: &Path) -> Result<T> {
        self.map_err(|error| Fault::io(format!("{}: {}", what.display(), plain(&error)), &error))
    }
}

impl Ground {
    pub(super) fn look(&self, lab: &LabName, node: &NodeName) -> Result<Option<Seen>> {
        // Whatever is in the way of a look may be gone at the next.
        let run = self.layout.node_run(lab, node);
        Seen::look(&self.layout, &self.boot, lab, node).because(&run).map_err(Fault::again)
    }

    /// Makes what a node is made of, or completes what is there. What a failure leaves behind is removed again,
    /// unless it was there before.
    pub(super) fn create(&self, order: &NodeOrder) -> Result<()> {
        let (lab, name) = (order.lab.name(), &order.node);
        let adopted = self.look(lab, name)?;
        let fresh = adopted.is_none();
        let result = self.complete(order, adopted);
        if result.is_err() && fresh {
            for error in self.remove(lab, name, Instant::now()) {
                tracing::warn!(%lab, node = %name, error, "cannot be removed after a node was not made");
            }
        }
        result
    }

    fn complete(&self, order: &NodeOrder, adopted: Option<Seen>) -> Result<()> {
        let node = node_of(order).map_err(Fault::permanent)?;
        let (lab, name) = (order.lab.name(), &order.node);
        let run = self.layout.node_run(lab, name);
        directory(&run, 0o700)?;
        point!("node.create.directory-made");
        let mut record = Record::new(order, self.layout.instance(), &self.boot);
        record.env = environment(node, &node.labels);
        record.user = node.user.clone().unwrap_or_default();
        // The mark first: what is made after it is found by it.
        let running = adopted.filter(|seen| seen.process.is_some());
        let runs = running.is_some();
        match running {
            Some(seen) => record = seen.record,
            None => record.write(&run).because(&run)?,
        }
        point!("node.create.recorded");
        let layer = self.layout.layer(lab, name);
        directory(&layer, 0o700)?;
        if !runs {
            claim_layer(&layer, &order.fingerprint)?;
        }
        // The upper directory's permissions are those of the node's root.
        directory(&layer.join("upper"), 0o755)?;
        directory(&layer.join("work"), 0o755)?;
        point!("node.create.layer-made");
        self.pin(lab, name, &compose::sysctls(node))?;
        point!("node.create.pinned");
        if let Err(note) = ip_netns::link(&self.layout, &record.container, &key_of(order)) {
            record.notes = vec![note];
            record.write(&run).because(&run)?;
        }
        point!("node.create.linked");
        let group = compose::cgroup(&self.layout, lab, name);
        self.cgroups.ensure(&group, compose::limits(node))?;
        point!("node.create.done");
        Ok(())
    }

    /// Makes and pins the network namespace of a node, with its settings; one that is pinned already is kept.
    fn pin(&self, lab: &LabName, node: &NodeName, sysctls: &[String]) -> Result<()> {
        let pin = self.layout.pin(lab, node);
        if Netns::find(&pin).because(&pin)?.is_some() {
            return Ok(());
        }
        // A file without a namespace is what a reboot leaves where /run is on a disk.
        unpin(&pin).because(&pin)?;
        let netns = persevere(|| {
            pin.parent().map_or(Ok(()), |parent| fs::DirBuilder::new().recursive(true).mode(0o755).create(parent))?;
            // Before any link is there: an interface takes its settings from the defaults of that moment. Before it
            // is pinned: the pin says that the namespace is as it should be, also to an agent that finds it.
            Netns::create_pinned_with(&pin, || compose::set_network(sysctls))
        });
        netns.because(&pin)?;
        Ok(())
    }

    /// Pins the namespace of a running node again, and links to it for `ip netns`, if a hand took that away (`ip netns
    /// del`). Whether it did. A crash on the way leaves what the next look mends.
    pub(super) fn mend(&self, seen: &Seen) -> Result<bool> {
        let (Some(process), record) = (&seen.process, &seen.record) else { return Ok(false) };
        let pin = self.layout.pin(&record.lab, &record.node);
        // It is there, or why it is not is another question.
        if !matches!(Netns::find(&pin), Ok(None)) {
            return Ok(false);
        }
        let netns = Netns::open(format!("/proc/{}/ns/net", process.identity().pid)).because(&pin)?;
        // Its number may be another's by now.
        if !process.is_alive() {
            return Ok(false);
        }
        netns.pin(&pin).because(&pin)?;
        let _ = ip_netns::link(&self.layout, &record.container, &(record.lab.clone(), record.node.clone()));
        point!("node.mend.linked");
        Ok(true)
    }

    /// Everything up to the start: the namespace and the command to start in it. `None`: it runs already, as wanted.
    pub(super) fn prepare(
        &self,
        order: &NodeOrder,
        program: &Program,
        deadline: Instant,
    ) -> Result<Option<(Netns, Command)>> {
        let (lab, name) = (order.lab.name(), &order.node);
        // The next plan makes it.
        let mut seen = self.look(lab, name)?.ok_or_else(|| Fault::transient("it is not there".into()))?;
        let ending = seen.is_ending();
        if let Some(process) = seen.process.take() {
            if !ending {
                return Ok(None);
            }
            if !process.wait_until(deadline).because(&self.layout.node_run(lab, name))? {
                return Err(Fault::transient("what ran in it before does not end".into()));
            }
        }
        let node = node_of(order).map_err(Fault::permanent)?;
        let run = self.layout.node_run(lab, name);
        let before = seen.record.clone();
        seen.record.boot.clone_from(&self.boot);
        seen.record.apply(order);
        seen.record.stopped = false;
        seen.record.env = environment(node, &node.labels);
        seen.record.user = node.user.clone().unwrap_or_default();
        if seen.record != before {
            seen.record.write(&run).because(&run)?;
        }
        point!("node.start.recorded");
        self.pin(lab, name, &compose::sysctls(node))?;

        let mut spec = compose::spec(&self.layout, order).map_err(Fault::permanent)?;
        let group = compose::cgroup(&self.layout, lab, name);
        let procs = self.cgroups.ensure(&group, compose::limits(node))?;
        spec.cgroups = procs.iter().map(|file| text(file)).collect::<Result<_>>()?;
        self.names_file_for_start(lab)?;
        remove_file(&run.join(STATUS_FILE))?;
        point!("node.start.prepared");
        // What the init itself has to say is seen where the output of its command is.
        let log = run.join(LOG_FILE);
        let log = fs::File::options().create(true).append(true).mode(0o640).open(&log).because(&log)?;
        let pin = self.layout.pin(lab, name);
        let netns = Netns::open(&pin).because(&pin)?;
        let mut command = program.command();
        command.args(["node", &text(&run)?]);
        let spec = program::in_memory(c"init.spec", &spec.encode()).because(&run)?;
        command.stdin(spec).stdout(Stdio::piped()).stderr(log);
        Ok(Some((netns, command)))
    }

    /// A node's `/etc/hosts` is the names file, so there must be one.
    fn names_file_for_start(&self, lab: &LabName) -> Result<()> {
        let file = self.layout.lab_run(lab).join("hosts");
        if file.is_file() {
            return Ok(());
        }
        self.write_names(lab, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
    }

    /// Writes the names file in place: nodes have this very file mounted.
    pub(super) fn write_names(&self, lab: &LabName, content: &str) -> Result<()> {
        let parent = self.layout.lab_run(lab);
        directory(&parent, 0o755)?;
        point!("names.directory-made");
        let path = parent.join("hosts");
        if path.is_dir() {
            // Docker made it, where it started a container before there was a file to mount.
            fs::remove_dir(&path).because(&path)?;
        }
        let write = || {
            use std::io::Write;
            let mut file = fs::File::options().write(true).create(true).truncate(false).open(&path)?;
            fallible!("names.opened")?;
            file.write_all(content.as_bytes())?;
            point!("names.written");
            file.set_len(content.len() as u64)
        };
        write().because(&path)
    }

    /// Removes the names file, what nodes have written that are not there any more, and the directories of a lab, as far
    /// as they are empty.
    pub(super) fn forget_lab(&self, lab: &LabName) -> Result<()> {
        let path = self.layout.lab_run(lab).join("hosts");
        if path.is_dir() {
            fs::remove_dir(&path).because(&path)?;
        } else {
            remove_file(&path)?;
        }
        point!("names.removed");
        let name = lab.as_str();
        let layout = &self.layout;
        let layers = layout.state().join("layers").join(name);
        // A reboot in the middle of a destroy takes the mark of a node and leaves its layer.
        for node in names_in(&layers).because(&layers)? {
            let run = layout.run().join("nodes").join(name).join(&node);
            if !run.try_exists().because(&run)? {
                remove_tree(&layers.join(node))?;
            }
        }
        for directory in [layout.lab_run(lab), layout.run().join("nodes").join(name), layout.pins().join(name), layers]
        {
            // Not empty: a node of it is still there, and will take the directory with it.
            let _ = fs::remove_dir(directory);
        }
        point!("names.forgotten");
        Ok(())
    }

    /// Removes run directories without anything in them: an agent died between the removal of a mark and that of its
    /// directory, or before it had written one. Only as long as nothing is made.
    pub(super) fn sweep(&self) -> io::Result<()> {
        let nodes = self.layout.run().join("nodes");
        for lab in names_in(&nodes)? {
            let lab = nodes.join(lab);
            for node in names_in(&lab)? {
                // Not empty: there is a node.
                let _ = fs::remove_dir(lab.join(node));
            }
            let _ = fs::remove_dir(lab);
        }
        Ok(())
    }

    /// Pins again what somebody unpinned while no agent ran. Before anybody looks at the links: those of such a node would
    /// seem to be gone, and would be made anew.
    pub(super) fn mend_all(&self) -> Result<()> {
        let nodes = self.layout.run().join("nodes");
        for (lab, node) in keys_in(&nodes).because(&nodes)? {
            // A look at every node would take as long as the first list does.
            if matches!(Netns::find(self.layout.pin(&lab, &node)), Ok(None))
                && let Some(seen) = self.look(&lab, &node)?
                && self.mend(&seen)?
            {
                tracing::warn!(%lab, %node, "somebody unpinned its namespace; it is pinned again");
            }
        }
        Ok(())
    }

    /// Changes the limits of a node and writes down the new spec.
    pub(super) fn update(&self, order: &NodeOrder) -> Result<()> {
        let (lab, name) = (order.lab.name(), &order.node);
        let mut seen = self.look(lab, name)?.ok_or_else(|| Fault::transient("it is not there".into()))?;
        let group = compose::cgroup(&self.layout, lab, name);
        let limits = compose::limits(node_of(order).map_err(Fault::permanent)?);
        self.cgroups.ensure(&group, limits)?;
        point!("node.update.limited");
        seen.record.apply(order);
        let run = self.layout.node_run(lab, name);
        seen.record.write(&run).because(&run)?;
        point!("node.update.recorded");
        Ok(())
    }

    /// Writes down that the end of a node was asked for; its init, if that lives.
    pub(super) fn begin_stop(&self, lab: &LabName, node: &NodeName) -> Result<Option<Process>> {
        let Some(mut seen) = self.look(lab, node)? else { return Ok(None) };
        seen.record.stopped = true;
        let run = self.layout.node_run(lab, node);
        seen.record.write(&run).because(&run)?;
        point!("node.stop.recorded");
        Ok(seen.process)
    }

    /// What has to end before a node can be removed. What another agent made is refused.
    pub(super) fn begin_delete(&self, lab: &LabName, node: &NodeName) -> Result<Option<Process>> {
        let run = self.layout.node_run(lab, node);
        if Record::is_foreign(&run, self.layout.instance()).because(&run).map_err(Fault::again)? {
            return Err(Fault::permanent(format!("{} belongs to another agent", run.display())));
        }
        Ok(self.look(lab, node)?.and_then(|seen| seen.process))
    }

    /// What the nodes of a lab use that run, as far as their control groups and /proc say.
    pub(super) fn usage(&self, lab: &LabName) -> Result<Vec<NodeUsage>> {
        let directory = self.layout.run().join("nodes").join(lab.as_str());
        let nodes = names_in(&directory).because(&directory)?;
        let mut all = Vec::with_capacity(nodes.len());
        for node in nodes.iter().filter_map(|node| node.parse::<NodeName>().ok()) {
            let usage = self.cgroups.usage(&compose::cgroup(&self.layout, lab, &node));
            // In the group of a node that runs there is at least its init.
            if usage.running {
                all.push(NodeUsage { node, cpu: usage.cpu, memory_bytes: usage.memory_bytes });
            }
        }
        Ok(all)
    }

    /// What whoever joins a running node has to know of it.
    pub(super) fn inside(&self, (lab, node): &Key) -> Result<Inside> {
        let not = |why: &str| Fault::permanent(why.to_owned());
        let seen = self.look(lab, node)?.ok_or_else(|| not("it is not there"))?;
        Ok(Inside {
            process: seen.process.ok_or_else(|| not("it does not run"))?.identity(),
            cgroups: self.cgroups.files(&compose::cgroup(&self.layout, lab, node)),
            user: seen.record.user,
            directory: String::new(),
            env: seen.record.env,
            capabilities: None,
        })
    }

    /// Removes everything of a node that does not run. Goes on after an error; returns them all.
    pub(super) fn remove(&self, lab: &LabName, node: &NodeName, deadline: Instant) -> Vec<String> {
        let mut errors = Vec::new();
        let mut note = |result: Result<()>| errors.extend(result.err().map(|fault| fault.to_string()));
        let pin = self.layout.pin(lab, node);
        let record = Record::read(&self.layout.node_run(lab, node), self.layout.instance()).ok().flatten();
        if let Some(record) = record {
            let key = (lab.clone(), node.clone());
            note(ip_netns::unlink(&self.layout, &record.container, &key).because(&self.layout.ip_netns()));
        }
        point!("node.delete.unlinked");
        note(unpin(&pin).because(&pin));
        point!("node.delete.unpinned");
        for error in self.cgroups.remove(&compose::cgroup(&self.layout, lab, node), deadline) {
            note(Err(error.into()));
        }
        point!("node.delete.group-removed");
        // The mark last: as long as something is left, the next look finds it.
        let (layer, run) = (self.layout.layer(lab, node), self.layout.node_run(lab, node));
        note(remove_tree(&layer));
        point!("node.delete.layer-removed");
        if errors.is_empty() {
            errors.extend(remove_marked(&run).err().map(|fault| fault.to_string()));
        }
        point!("node.delete.record-removed");
        for directory in [&layer, &run, &pin] {
            // The lab's own, once its last node is gone.
            let _ = directory.parent().map(fs::remove_dir);
        }
        point!("node.delete.done");
        errors
    }
}

/// Removes a run directory, the mark in it last: as long as anything else is left, the next look finds it.
fn remove_marked(run: &Path) -> Result<()> {
    for name in names_in(run).because(run)?.into_iter().filter(|name| name != record::FILE) {
        let path = run.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => remove_tree(&path)?,
            Err(error) if !is_absence(&error) => return Err(error).because(&path),
            _ => {}
        }
    }
    remove_tree(run)
}

/// Sees to it that a node finds in its layer only what nodes made for the same have written. A reboot takes a node that
/// was about to be made anew, and leaves its layer.
fn claim_layer(layer: &Path, fingerprint: &NodeFingerprint) -> Result<()> {
    let (note, wanted) = (layer.join("made-for"), fingerprint.recreate.to_string());
    let found = match fs::read_to_string(&note) {
        // An older version wrote none; an empty one is what a power cut leaves.
        Ok(found) => Some(found).filter(|found| !found.is_empty()),
        Err(error) if is_absence(&error) => None,
        Err(error) => return Err(error).because(&note),
    };
    if found.as_ref().is_some_and(|found| *found != wanted) {
        remove_tree(&layer.join("upper"))?;
        remove_tree(&layer.join("work"))?;
    }
    point!("node.create.layer-emptied");
    if found.as_ref() != Some(&wanted) {
        fs::write(&note, wanted).because(&note)?;
    }
    Ok(())
}

fn text(path: &Path) -> Result<String> {
    compose::text(path).map_err(Fault::permanent)
}

fn directory(path: &Path, mode: u32) -> Result<()> {
    persevere(|| fs::DirBuilder::new().recursive(true).mode(mode).create(path)).because(path)
}

/// The last node of a lab takes the lab's directories with it, perhaps just while another is being made in them.
fn persevere<T>(make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    const TRIES: usize = 8;
    let mut made = make();
    for _ in 1..TRIES {
        match &made {
            Err(error) if error.kind() == io::ErrorKind::NotFound => made = make(),
            _ => break,
        }
    }
    made
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if !is_absence(&error) => Err(error).because(path),
        _ => Ok(()),
    }
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            let mounts = mounts_below(path);
            let way_out = mounts.first().map(|mount| format!(" (`umount {mount}`)")).unwrap_or_default();
            Err(error).because(path).map_err(|fault: Fault| fault.and(&way_out))
        }
        Err(error) if !is_absence(&error) => Err(error).because(path),
        _ => Ok(()),
    }
}

/// What is mounted below a directory, the last first: what has to go before the directory can.
fn mounts_below(directory: &Path) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points =
        mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|at| Path::new(at).starts_with(directory));
    points.rev().map(str::to_owned).collect()
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
