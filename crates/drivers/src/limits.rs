//! The limits of this host, read from `/proc` and the control groups and set by sysctl.
//!
//! All of it is done on the thread `limits`.
//!
//! What the kernel does not say (a network namespace that is not the host's has no neighbour thresholds) is left out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use netloom_backlog::Backlog;
use netloom_engine::{DriverError, ErrorClass, Limits};
use netloom_plan::{HostLimits, Level, Limit};
use rustix::process::{Resource, getrlimit};

use crate::desk::Desk;

/// The limits of this host.
#[derive(Debug)]
pub struct KernelLimits {
    desk: Desk<Files>,
}

/// Where the kernel says them.
#[derive(Debug)]
struct Files {
    /// `/` but in tests.
    root: PathBuf,
    /// The control groups that the agent's nodes count against. Found once: neither they nor the agent move.
    groups: Vec<PathBuf>,
}

impl KernelLimits {
    /// Starts the thread, which ends with this value.
    pub fn start() -> io::Result<Self> {
        Self::below(Path::new("/"))
    }

    fn below(root: &Path) -> io::Result<Self> {
        Ok(Self { desk: Desk::start("limits", Files::below(root))? })
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        object: &str,
        work: impl FnOnce(&Files) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DriverError> {
        let failed = |cause: String, class| fault(operation, object, cause, class);
        let done = self.desk.run(work).await.map_err(|unserved| failed(unserved.cause.into(), unserved.class))?;
        done.map_err(|error| {
            let refused = matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
            let text = error.to_string();
            let cause = text.split(" (os error").next().unwrap_or_default().to_lowercase();
            let mut fault = failed(cause, ErrorClass::Permanent);
            if refused {
                fault.hint = Some(format!("this host does not allow it here; set {object} outside of this container"));
            }
            fault
        })
    }
}

fn fault(operation: &str, object: &str, cause: String, class: ErrorClass) -> DriverError {
    DriverError {
        operation: operation.into(),
        object: object.into(),
        backend: "kernel".into(),
        cause,
        hint: None,
        class,
    }
}

#[async_trait]
impl Limits for KernelLimits {
    fn backlogs(&self) -> Vec<Backlog> {
        self.desk.backlogs()
    }

    async fn read(&self) -> Result<HostLimits, DriverError> {
        self.run("read", "the limits of the host", |files| Ok(files.read())).await
    }

    async fn get(&self, sysctl: &str) -> Result<u64, DriverError> {
        let name = sysctl.to_owned();
        self.run("read", sysctl, move |files| files.sysctl(&name)).await
    }

    async fn set(&self, sysctl: &str, value: u64) -> Result<(), DriverError> {
        let name = sysctl.to_owned();
        self.run("set", sysctl, move |files| fs::write(files.path_of(&name)?, format!("{value}\n"))).await
    }
}

impl Files {
    fn below(root: &Path) -> Self {
        let mut files = Self { root: root.to_owned(), groups: Vec::new() };
        files.groups = files.pids_groups().unwrap_or_default();
        files
    }

    fn text(&self, path: &str) -> io::Result<String> {
        fs::read_to_string(self.root.join(path))
    }

    /// Only of the limits that there are: a note in the store names them, and a store is a file.
    fn path_of(&self, sysctl: &str) -> io::Result<PathBuf> {
        let known = |limit: &Limit| {
            limit.sysctl() == Some(sysctl) || limit.companions().iter().any(|(companion, _)| *companion == sysctl)
        };
        if Limit::ALL.iter().any(known) {
            return Ok(self.root.join("proc/sys").join(sysctl.replace('.', "/")));
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no limit that netloom knows"))
    }

    fn sysctl(&self, name: &str) -> io::Result<u64> {
        let text = fs::read_to_string(self.path_of(name)?)?;
        text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("`{}`", text.trim())))
    }

    fn read(&self) -> HostLimits {
        let mut host = HostLimits::default();
        for limit in Limit::ALL {
            if let Some(max) = limit.sysctl().and_then(|name| self.sysctl(name).ok()) {
                host.levels.insert(limit, Level { max, used: self.used(limit).unwrap_or(0), place: None });
            }
            for (companion, _) in limit.companions() {
                host.companions.extend(self.sysctl(companion).ok().map(|value| ((*companion).to_owned(), value)));
            }
        }
        if let Some(max) = getrlimit(Resource::Nofile).current {
            let used = fs::read_dir(self.root.join("proc/self/fd")).map_or(0, |entries| entries.count() as u64);
            host.levels.insert(Limit::Descriptors, Level { max, used, place: None });
        }
        host.levels.extend(self.group().map(|level| (Limit::GroupPids, level)));
        host
    }

    /// What is in use of a limit, where the kernel says that in one place.
    fn used(&self, limit: Limit) -> Option<u64> {
        match limit {
            Limit::NeighboursV4 => entries(&self.text("proc/net/stat/arp_cache").ok()?),
            Limit::NeighboursV6 => entries(&self.text("proc/net/stat/ndisc_cache").ok()?),
            // "allocated free maximum" (proc(5))
            Limit::OpenFiles => self.text("proc/sys/fs/file-nr").ok()?.split_whitespace().next()?.parse().ok(),
            // "0.20 0.18 0.12 1/80 11206": the fourth field ends in the number of threads that exist.
            Limit::Pids | Limit::Threads => {
                let load = self.text("proc/loadavg").ok()?;
                load.split(' ').nth(3)?.split_once('/')?.1.parse().ok()
            }
            // Those of the host's own instance cannot be taken by others (Documentation/admin-guide/sysctl/kernel.rst).
            Limit::Terminals => {
                let number = |name| self.text(name).ok()?.trim().parse::<u64>().ok();
                Some(number("proc/sys/kernel/pty/nr")? + number("proc/sys/kernel/pty/reserve").unwrap_or(0))
            }
            // The shortest of the lists: each line costs the kernel a walk.
            Limit::Mounts => Some(self.text("proc/self/mounts").ok()?.lines().count() as u64),
            _ => None,
        }
    }

    /// The control group that nodes share with the agent and that has the least left.
    fn group(&self) -> Option<Level> {
        let levels = self.groups.iter().filter_map(|group| {
            let number = |file| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok();
            let place = Some(group.join("pids.max").display().to_string());
            Some(Level { max: number("pids.max")?, used: number("pids.current")?, place })
        });
        levels.min_by_key(|level| level.max.saturating_sub(level.used))
    }

    /// In version 1 nodes stay in the agent's group for process ids and in all above it; in version 2 they leave it, so
    /// only a limit of the whole tree counts.
    fn pids_groups(&self) -> Option<Vec<PathBuf>> {
        let (mounts, groups) = (self.text("proc/self/mountinfo").ok()?, self.text("proc/self/cgroup").ok()?);
        let (top, own) = pids_group(&mounts, &groups)?;
        let place = |group: PathBuf| group.strip_prefix("/").map(|group| self.root.join(group)).unwrap_or(group);
        Some(own.ancestors().map(|part| place(top.join(part))).collect())
    }
}

/// The first number of the second line, in hexadecimal: the entries of the whole table, the same for each processor.
fn entries(stat: &str) -> Option<u64> {
    u64::from_str_radix(stat.lines().nth(1)?.split_whitespace().next()?, 16).ok()
}

/// The mount point of the hierarchy that limits process ids, and the agent's group below it that its nodes share.
fn pids_group(mounts: &str, groups: &str) -> Option<(PathBuf, PathBuf)> {
    let mut unified = None;
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (mut before, mut after) = (before.split(' ').skip(3), after.split(' '));
        let (Some(root), Some(point), Some(kind)) = (before.next(), before.next(), after.next()) else { continue };
        if kind == "cgroup2" {
            unified = Some((PathBuf::from(point), PathBuf::new()));
        }
        if kind == "cgroup" && after.nth(1).is_some_and(|options| options.split(',').any(|option| option == "pids")) {
            let own = groups.lines().find_map(|line| line.split_once(":pids:"))?.1;
            // Of a part of the tree that is mounted by itself (a container) only what is below it can be seen.
            let below = own.strip_prefix(root.trim_end_matches('/')).unwrap_or(own);
            return Some((PathBuf::from(point), PathBuf::from(below.trim_start_matches('/'))));
        }
    }
    unified
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A host's files.
    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn read(root: &tempfile::TempDir) -> BTreeMap<Limit, (u64, u64)> {
        let host = Files::below(root.path()).read();
        host.levels.into_iter().map(|(limit, level)| (limit, (level.max, level.used))).collect()
    }

    #[test]
    fn limits_and_what_is_in_use_of_them_are_read() {
        let stat = "entries  allocs destroys\n0000001f 00000010 00000012\n0000001f 0000000a 00000006\n";
        let root = host(&[
            ("proc/sys/net/ipv4/neigh/default/gc_thresh3", "1024\n"),
            ("proc/net/stat/arp_cache", stat),
            ("proc/sys/kernel/threads-max", "192730\n"),
            ("proc/loadavg", "3.84 3.26 2.15 5/140 13971\n"),
            ("proc/sys/fs/file-max", "9223372036854775807\n"),
            ("proc/sys/fs/file-nr", "961\t0\t2466170\n"),
            ("proc/self/mounts", "/dev/sda1 / ext4 rw 0 0\n"),
            ("proc/sys/fs/mount-max", "100000\n"),
            ("proc/sys/kernel/pty/max", "4096\n"),
            ("proc/sys/kernel/pty/nr", "3\n"),
            ("proc/sys/kernel/pty/reserve", "1024\n"),
            ("proc/self/fd/0", ""),
            ("proc/self/fd/1", ""),
        ]);
        let found = read(&root);
        assert_eq!(found[&Limit::NeighboursV4], (1024, 31));
        assert_eq!(found[&Limit::Threads], (192_730, 140));
        assert_eq!(found[&Limit::OpenFiles], (9_223_372_036_854_775_807, 961));
        assert_eq!(found[&Limit::Mounts], (100_000, 1));
        assert_eq!(found[&Limit::Terminals], (4096, 1027));
        assert_eq!(found[&Limit::Descriptors].1, 2);
        // What is not said is not judged.
        assert!(!found.contains_key(&Limit::NeighboursV6) && !found.contains_key(&Limit::GroupPids));
    }

    #[test]
    fn the_tightest_group_above_the_agent_counts() {
        let mounts = "\
30 1 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
31 1 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let root = host(&[
            ("proc/self/mountinfo", mounts),
            ("proc/self/cgroup", "8:pids:/system.slice/netloom.service\n0::/\n"),
            ("sys/fs/cgroup/pids/system.slice/netloom.service/pids.max", "max\n"),
            ("sys/fs/cgroup/pids/system.slice/netloom.service/pids.current", "20\n"),
            ("sys/fs/cgroup/pids/system.slice/pids.max", "512\n"),
            ("sys/fs/cgroup/pids/system.slice/pids.current", "500\n"),
        ]);
        assert_eq!(read(&root)[&Limit::GroupPids], (512, 500));
    }

    #[test]
    fn in_version_2_nodes_leave_the_agents_group() {
        let root = host(&[
            ("proc/self/mountinfo", "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("proc/self/cgroup", "0::/system.slice/netloom.service\n"),
            ("sys/fs/cgroup/system.slice/netloom.service/pids.max", "100\n"),
            ("sys/fs/cgroup/system.slice/netloom.service/pids.current", "99\n"),
        ]);
        assert!(!read(&root).contains_key(&Limit::GroupPids));
    }

    #[tokio::test]
    async fn only_known_limits_are_set_and_refusals_say_what_to_do() {
        let root = host(&[("proc/sys/kernel/pid_max", "32768\n"), ("proc/sys/kernel/sysrq", "1\n")]);
        let limits = KernelLimits::below(root.path()).unwrap();
        limits.set("kernel.pid_max", 65536).await.unwrap();
        assert_eq!(limits.get("kernel.pid_max").await, Ok(65536));
        let error = limits.set("kernel.sysrq", 0).await.unwrap_err();
        assert!(error.to_string().contains("no limit that netloom knows"), "{error}");
        let error = limits.get("fs.mount-max").await.unwrap_err();
        assert!(error.to_string().contains("no such file"), "{error}");
    }
}
