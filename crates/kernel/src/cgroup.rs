//! Control groups in a tree of their own, over whatever mix of versions 1 and 2 a host has mounted.
//!
//! Version 2 limits by the controllers that its `cgroup.controllers` lists; the others are looked for in version 1.
//! Every group is made in version 2 and in systemd's own hierarchy, so that stopping the agent's service stops no
//! node; elsewhere only where a limit needs it or the agent itself is confined.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use netloom_failpoint::{fallible, point};

use crate::process::Process;

/// Length of the period in which a CPU quota counts, in microseconds (the kernel's default).
const CPU_PERIOD: u64 = 100_000;
/// The least quota that the kernel takes, in microseconds.
const CPU_QUOTA_LEAST: u64 = 1_000;

/// How long what was killed may take to leave its group.
const MEMBERS_END_WITHIN: Duration = Duration::from_secs(2);

/// What a group may use; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Thousandths of a core.
    pub cpu_millis: Option<u32>,
    /// Bytes, page cache included.
    pub memory_bytes: Option<u64>,
}

/// What the processes of a group use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// The time that they had on all cores together, since the group was made; `None` if nothing counts it.
    pub cpu: Option<Duration>,
    /// Whether the group has any.
    pub running: bool,
    /// Their memory in bytes, in most cases with the page cache that is theirs; `None` if the group is not there.
    pub memory_bytes: Option<u64>,
}

/// Why a group was not made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The host has no such controller mounted, in either version.
    #[error("this host has no `{controller}` controller in its cgroups")]
    Unsupported {
        /// `cpu` or `memory`.
        controller: &'static str,
    },
    /// The kernel refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Failed {
        /// What was tried, in the infinitive.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Whether a group has anything in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Members {
    /// Nothing: it can be removed.
    None,
    /// Processes, or groups that something in it made.
    Some,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    version: Version,
    controllers: BTreeSet<String>,
    /// Groups are always made here.
    always: bool,
}

/// The hierarchies that the host had mounted when they were looked for.
#[derive(Debug, Clone)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

impl Cgroups {
    /// Looks at what is mounted. A host without cgroups has none, which is no error until a limit is asked for.
    pub fn detect() -> io::Result<Self> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
        let confinement = fs::read_to_string("/proc/self/cgroup")?;
        Ok(Self { hierarchies: hierarchies(&mountinfo, &confinement, |path| fs::read_to_string(path)) })
    }

    /// The versions that are mounted, the newer first.
    pub fn versions(&self) -> Vec<u8> {
        let mut versions: Vec<u8> = self
            .hierarchies
            .iter()
            .map(|hierarchy| match hierarchy.version {
                Version::V1 => 1,
                Version::V2 => 2,
            })
            .collect();
        versions.dedup();
        versions
    }

    /// Whether this host can limit so; the error names the controller that is missing.
    pub fn supports(&self, limits: Limits) -> Result<(), CgroupError> {
        for (controller, wanted) in [("cpu", limits.cpu_millis.is_some()), ("memory", limits.memory_bytes.is_some())] {
            if wanted && !self.hierarchies.iter().any(|h| h.controllers.contains(controller)) {
                return Err(CgroupError::Unsupported { controller });
            }
        }
        Ok(())
    }

    /// Makes the group `path` (relative, for example `netloom/ab12/lab/r1`) with these limits; one that is there is
    /// changed. Returns the `cgroup.procs` files that its processes are to join. Processes that are in the group
    /// already are moved to where a new limit needs them.
    pub fn ensure(&self, path: &Path, limits: Limits) -> Result<Vec<PathBuf>, CgroupError> {
        self.supports(limits)?;
        let mut files = Vec::new();
        let mut fresh = Vec::new();
        for hierarchy in &self.hierarchies {
            let needed = needed(hierarchy, limits);
            let group = hierarchy.mount.join(path);
            let there = group.is_dir();
            if !(hierarchy.always || there || !needed.is_empty()) {
                continue;
            }
            let mut made = make(hierarchy, path, &needed);
            // Another agent may remove the empty group that we share at the same moment; not again and again.
            for _ in 0..8 {
                match &made {
                    Err(CgroupError::Failed { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                        made = make(hierarchy, path, &needed);
                    }
                    _ => break,
                }
            }
            if let Err(error) = made {
                // A read-only cgroup file system is fine as long as no limit depends on it.
                if needed.is_empty() {
                    continue;
                }
                return Err(error);
            }
            set(hierarchy, &group, limits)?;
            point!("cgroup.limited");
            let procs = group.join("cgroup.procs");
            if !there {
                fresh.push(procs.clone());
            }
            files.push(procs);
        }
        // What runs in the group already (seen in the hierarchies that it was made in before) joins the new ones.
        if let Some(old) = files.iter().find(|file| !fresh.contains(file)) {
            for new in &fresh {
                move_all(old, new)?;
            }
        }
        Ok(files)
    }

    /// The `cgroup.procs` files of the group as far as it is there.
    pub fn files(&self, path: &Path) -> Vec<PathBuf> {
        let files = self.hierarchies.iter().map(|hierarchy| hierarchy.mount.join(path).join("cgroup.procs"));
        files.filter(|file| file.exists()).collect()
    }

    /// The groups two levels below a group, and those one level below it that have none, relative as `path` is: whether any
    /// process is in them, in any hierarchy, or anything else was made in them. Those that are not `wanted` are left out, and
    /// not looked into.
    pub fn groups_below(&self, path: &Path, wanted: impl Fn(&Path) -> bool) -> io::Result<BTreeMap<PathBuf, Members>> {
        let mut found: BTreeMap<PathBuf, Members> = BTreeMap::new();
        for hierarchy in &self.hierarchies {
            let mut note = |group: PathBuf, members| {
                let known = found.entry(group).or_insert(Members::None);
                *known = (*known).max(members);
            };
            for first in directories(&hierarchy.mount.join(path))? {
                let (group, here) = (path.join(&first), hierarchy.mount.join(path).join(&first));
                let below = directories(&here)?;
                if below.is_empty() {
                    note(group, members(&here)?);
                    continue;
                }
                for second in below.into_iter().filter(|second| wanted(&group.join(second))) {
                    let here = here.join(&second);
                    let nested = !directories(&here)?.is_empty();
                    note(group.join(&second), if nested { Members::Some } else { members(&here)? });
                }
            }
        }
        Ok(found)
    }

    /// What the processes of the group use. Without a controller that counts memory, that is what they do not share
    /// with others.
    pub fn usage(&self, path: &Path) -> Usage {
        let mut usage = Usage::default();
        let mut procs = None;
        for hierarchy in &self.hierarchies {
            let group = hierarchy.mount.join(path);
            let read = |file: &str| fs::read_to_string(group.join(file)).ok();
            let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
            if usage.cpu.is_none() {
                usage.cpu = match hierarchy.version {
                    // In version 2 that is counted also where no controller is enabled.
                    Version::V2 => read("cpu.stat").and_then(|text| micros(&text)).map(Duration::from_micros),
                    // `cpuacct` is mounted with `cpu` nearly everywhere.
                    Version::V1 => number("cpuacct.usage").map(Duration::from_nanos),
                };
            }
            if usage.memory_bytes.is_none() {
                usage.memory_bytes = number(match hierarchy.version {
                    Version::V2 => "memory.current",
                    Version::V1 => "memory.usage_in_bytes",
                });
            }
            procs = procs.or_else(|| read("cgroup.procs"));
        }
        usage.running = procs.as_ref().is_some_and(|procs| !procs.is_empty());
        if usage.memory_bytes.is_none() {
            usage.memory_bytes = procs.map(|procs| procs.lines().filter_map(unshared).sum());
        }
        usage
    }

    /// Removes the group, and the groups above it down to the first part of its path once they are empty. Processes
    /// that are about to end are waited for; those that live on were put there by somebody else, and are moved out of it.
    /// What is not there is fine; it goes on after an error and returns them all.
    pub fn remove(&self, path: &Path, deadline: Instant) -> Vec<CgroupError> {
        let mut errors = Vec::new();
        for hierarchy in &self.hierarchies {
            if let Err(error) = remove_group(&hierarchy.mount, &hierarchy.mount.join(path), deadline) {
                errors.push(error);
                continue;
            }
            point!("cgroup.group-removed");
            for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
                match fs::remove_dir(hierarchy.mount.join(above)) {
                    Ok(()) => point!("cgroup.parent-removed"),
                    // Perhaps by an agent that died just then: those above may be empty, too.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    // Not empty: the rest is not ours to remove.
                    Err(_) => break,
                }
            }
        }
        errors
    }
}

/// The names of the directories in a directory; none if it is not there.
fn directories(path: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name());
        }
    }
    Ok(names)
}

fn members(group: &Path) -> io::Result<Members> {
    match fs::read(group.join("cgroup.procs")) {
        Ok(procs) if procs.is_empty() => Ok(Members::None),
        Ok(_) => Ok(Members::Some),
        // It went meanwhile.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => Ok(Members::None),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(Members::None),
        Err(error) => Err(error),
    }
}

/// `usage_usec` in `cpu.stat`.
fn micros(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()
}

/// What a process has in memory for itself, in bytes; `None` if it has just ended.
fn unshared(pid: &str) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut pages = statm.split(' ').skip(1).map_while(|pages| pages.parse::<u64>().ok());
    let (resident, shared) = (pages.next()?, pages.next()?);
    Some(resident.saturating_sub(shared) * rustix::param::page_size() as u64)
}

/// What is mounted, in an order in which a controller's first owner is the right one: version 2 wins.
fn hierarchies(mountinfo: &str, confinement: &str, read: impl Fn(&Path) -> io::Result<String>) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (Some(mount), Some(kind)) = (before.split(' ').nth(4), after.split(' ').next()) else { continue };
        let mount = PathBuf::from(mount);
        let options = after.split(' ').nth(2).unwrap_or_default();
        let hierarchy = match kind {
            "cgroup2" => {
                let controllers = read(&mount.join("cgroup.controllers")).unwrap_or_default();
                let controllers = controllers.split_whitespace().map(str::to_owned).collect();
                Hierarchy { mount, version: Version::V2, controllers, always: true }
            }
            "cgroup" => {
                let controllers: BTreeSet<String> =
                    options.split(',').filter(|o| ["cpu", "memory"].contains(o)).map(str::to_owned).collect();
                let systemd = options.split(',').any(|option| option == "name=systemd");
                if controllers.is_empty() && !systemd {
                    continue;
                }
                let always = systemd || controllers.iter().any(|controller| is_confined(confinement, controller));
                Hierarchy { mount, version: Version::V1, controllers, always }
            }
            _ => continue,
        };
        if !found.iter().any(|other| other.mount == hierarchy.mount) {
            found.push(hierarchy);
        }
    }
    found.sort_by_key(|hierarchy| hierarchy.version == Version::V1);
    found
}

/// Whether this process is not in the root group of a controller of version 1: `4:memory:/system.slice/x`.
fn is_confined(confinement: &str, controller: &str) -> bool {
    confinement.lines().any(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let names = fields.next().unwrap_or_default();
        names.split(',').any(|name| name == controller) && fields.next() != Some("/")
    })
}

/// The controllers of a hierarchy that the limits need.
fn needed(hierarchy: &Hierarchy, limits: Limits) -> Vec<&'static str> {
    let wanted = [("cpu", limits.cpu_millis.is_some()), ("memory", limits.memory_bytes.is_some())];
    let ours = wanted.into_iter().filter(|(controller, wanted)| *wanted && hierarchy.controllers.contains(*controller));
    ours.map(|(controller, _)| controller).collect()
}

fn make(hierarchy: &Hierarchy, path: &Path, needed: &[&str]) -> Result<(), CgroupError> {
    let mut group = hierarchy.mount.clone();
    for part in path.components() {
        if hierarchy.version == Version::V2 && !needed.is_empty() {
            // A controller works in a group only if it is switched on in each group above.
            let switch: Vec<String> = needed.iter().map(|controller| format!("+{controller}")).collect();
            write(&group.join("cgroup.subtree_control"), &switch.join(" "))?;
        }
        group.push(part);
        match fs::create_dir(&group) {
            Ok(()) => point!("cgroup.directory-made"),
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(CgroupError::Failed { operation: "make", path: group, source }),
        }
    }
    Ok(())
}

fn set(hierarchy: &Hierarchy, group: &Path, limits: Limits) -> Result<(), CgroupError> {
    let quota = limits.cpu_millis.map(|millis| (u64::from(millis) * CPU_PERIOD / 1000).max(CPU_QUOTA_LEAST));
    let files: [(&str, &str, String); 2] = match hierarchy.version {
        Version::V2 => [
            ("cpu", "cpu.max", quota.map_or("max".into(), |quota| format!("{quota} {CPU_PERIOD}"))),
            ("memory", "memory.max", limits.memory_bytes.map_or("max".into(), |bytes| bytes.to_string())),
        ],
        Version::V1 => [
            ("cpu", "cpu.cfs_quota_us", quota.map_or("-1".into(), |quota| quota.to_string())),
            ("memory", "memory.limit_in_bytes", limits.memory_bytes.map_or("-1".into(), |bytes| bytes.to_string())),
        ],
    };
    for (controller, file, value) in files {
        let file = group.join(file);
        // In version 2 the file is there only once the controller is switched on; without it there is no limit.
        if hierarchy.controllers.contains(controller) && file.exists() {
            write(&file, &value)?;
        }
    }
    Ok(())
}

/// Moves every process of one group to another hierarchy's, also those that are born meanwhile.
fn move_all(from: &Path, to: &Path) -> Result<(), CgroupError> {
    let mut moved = BTreeSet::new();
    loop {
        let members = fs::read_to_string(from).map_err(|source| failed("read", from, source))?;
        let new: Vec<&str> = members.lines().filter(|pid| !moved.contains(*pid)).collect();
        if new.is_empty() {
            return Ok(());
        }
        for pid in new {
            match fs::write(to, pid) {
                // It has ended.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                Err(source) => return Err(failed("write to", to, source)),
                Ok(()) => {}
            }
            moved.insert(pid.to_owned());
        }
    }
}

fn remove_group(root: &Path, group: &Path, deadline: Instant) -> Result<(), CgroupError> {
    let patience = deadline.min(Instant::now() + MEMBERS_END_WITHIN);
    loop {
        match fs::remove_dir(group) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < patience => {
                wait_for_members(group, patience).map_err(|source| failed("wait for", group, source))?;
            }
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                tracing::warn!(group = %group.display(), "processes of others are moved out of a group that is removed");
                move_all(&group.join("cgroup.procs"), &root.join("cgroup.procs"))?;
                point!("cgroup.others-moved");
                return match fs::remove_dir(group) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", group, error)),
                    _ => Ok(()),
                };
            }
            Err(source) => return Err(failed("remove", group, source)),
        }
    }
}

fn wait_for_members(group: &Path, deadline: Instant) -> io::Result<()> {
    for pid in fs::read_to_string(group.join("cgroup.procs"))?.lines() {
        if let Some(process) = pid.parse().ok().map(Process::open).transpose()?.flatten() {
            process.wait_until(deadline)?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), CgroupError> {
    fallible!("cgroup.before-write")
        .and_then(|()| fs::write(path, text))
        .map_err(|source| failed("write to", path, source))
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> CgroupError {
    CgroupError::Failed { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 1 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
31 1 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 1 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
33 1 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
34 1 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";

    fn names(found: &[Hierarchy]) -> Vec<(&str, bool)> {
        found.iter().map(|h| (h.mount.file_name().unwrap().to_str().unwrap(), h.always)).collect()
    }

    #[test]
    fn the_time_of_a_group_is_read_among_other_numbers() {
        assert_eq!(micros("usage_usec 1234\nuser_usec 1000\nsystem_usec 234\n"), Some(1234));
        assert_eq!(micros("user_usec 1000\n"), None);
        let own = unshared(&std::process::id().to_string()).expect("it lives");
        assert!(own > 0 && own < 1 << 32, "{own}");
        assert_eq!(unshared("0"), None);
    }

    #[test]
    fn a_hybrid_host_limits_by_version_1_and_marks_by_version_2() {
        let found = hierarchies(HYBRID, "2:memory:/\n1:cpu,cpuacct:/\n0::/\n", |_| Ok("hugetlb\n".into()));
        assert_eq!(names(&found), [("unified", true), ("cpu", false), ("memory", false), ("systemd", true)]);
        let limits = Limits { cpu_millis: Some(500), memory_bytes: None };
        assert_eq!(needed(&found[1], limits), ["cpu"]);
        assert!(needed(&found[0], limits).is_empty());
    }

    #[test]
    fn where_the_agent_is_confined_its_nodes_leave_that_group() {
        let found =
            hierarchies(HYBRID, "2:memory:/system.slice/netloom.service\n1:cpu,cpuacct:/\n", |_| Ok(String::new()));
        assert_eq!(names(&found), [("unified", true), ("cpu", false), ("memory", true), ("systemd", true)]);
    }

    #[test]
    fn a_pure_version_2_host_has_one_hierarchy() {
        let mountinfo = "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        let found = hierarchies(mountinfo, "0::/x", |_| Ok("cpuset cpu io memory pids\n".into()));
        assert_eq!(needed(&found[0], Limits { cpu_millis: Some(1), memory_bytes: Some(1) }), ["cpu", "memory"]);
    }

    #[test]
    fn a_removal_that_died_half_way_is_completed_by_the_next() {
        let mount = tempfile::tempdir().unwrap();
        let hierarchy = Hierarchy {
            mount: mount.path().to_owned(),
            version: Version::V1,
            controllers: BTreeSet::new(),
            always: true,
        };
        let cgroups = Cgroups { hierarchies: vec![hierarchy] };
        let group = Path::new("netloom/ab12/lab/r1");
        // The group and its lab's are gone, those above are not.
        fs::create_dir_all(mount.path().join("netloom/ab12")).unwrap();
        assert!(cgroups.remove(group, Instant::now()).is_empty());
        assert!(!mount.path().join("netloom").exists());
        fs::create_dir_all(mount.path().join("netloom/ab12/other")).unwrap();
        assert!(cgroups.remove(group, Instant::now()).is_empty());
        assert!(mount.path().join("netloom/ab12/other").exists(), "what others have stays");
    }

    #[test]
    fn groups_of_nodes_are_found_in_each_hierarchy_and_processes_in_any_of_them_count() {
        let mounts = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let hierarchy = |mount: &tempfile::TempDir| Hierarchy {
            mount: mount.path().to_owned(),
            version: Version::V1,
            controllers: BTreeSet::new(),
            always: true,
        };
        let cgroups = Cgroups { hierarchies: mounts.iter().map(hierarchy).collect() };
        let own = Path::new("netloom/ab12");
        assert_eq!(cgroups.groups_below(own, |_| true).unwrap(), BTreeMap::new());
        let group = |mount: usize, path: &str, procs: &str| {
            let path = mounts[mount].path().join(own).join(path);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("cgroup.procs"), procs).unwrap();
        };
        for mount in [0, 1] {
            group(mount, "lab-x/node-a", "");
            group(mount, "lab-x/node-b", if mount == 1 { "17\n" } else { "" });
        }
        group(1, "lab-y", "");
        group(1, "lab-z/node-c/inner", "");
        let found = cgroups.groups_below(own, |_| true).unwrap();
        let found: Vec<_> = found.iter().map(|(path, members)| (path.to_str().unwrap(), *members)).collect();
        let expected = [
            ("netloom/ab12/lab-x/node-a", Members::None),
            ("netloom/ab12/lab-x/node-b", Members::Some),
            ("netloom/ab12/lab-y", Members::None),
            ("netloom/ab12/lab-z/node-c", Members::Some),
        ];
        assert_eq!(found, expected);
        let found = cgroups.groups_below(own, |group| !group.ends_with("lab-x/node-b")).unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn a_missing_controller_is_named() {
        let cgroups = Cgroups { hierarchies: Vec::new() };
        assert!(cgroups.ensure(Path::new("x"), Limits::default()).unwrap().is_empty());
        let error = cgroups.ensure(Path::new("x"), Limits { cpu_millis: None, memory_bytes: Some(1) }).unwrap_err();
        assert_eq!(error.to_string(), "this host has no `memory` controller in its cgroups");
    }
}
