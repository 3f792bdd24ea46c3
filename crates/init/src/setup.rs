//! From the host's view of the file system to the node's.
//!
//! Two halves. With the host's root still in place, everything of the host that the node is to see is opened as a
//! detached mount, and an overlay over `/` is mounted. Then the root changes and the host's mounts are gone; from
//! there on every path means what it means in the node, so no link in it can lead to the host.
//!
//! One tmpfs serves `/run`, `/tmp`, `/dev`, `/root`, `/home` and the masks: a bind costs a fraction of a file system.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};

use rustix::fs::{CWD, FileType, Mode, mknodat, statfs, symlink};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_move, unmount};
use rustix::process::{chdir, chroot, pivot_root, umask};
use rustix::system::sethostname;

use crate::mounts::{Tree, bind, disks_below_root, fresh, read_only};
use crate::spec::NodeSpec;
use crate::trouble::{Because, Result};

/// `f_type` of an overlay (linux/magic.h).
const OVERLAY_MAGIC: rustix::fs::FsWord = 0x794c_7630;

/// Devices that a node has: name, and whether it cannot do without.
const DEVICES: [(&str, bool); 8] = [
    ("null", true),
    ("zero", true),
    ("full", true),
    ("random", true),
    ("urandom", true),
    ("tty", true),
    ("net/tun", false),
    ("fuse", false),
];

/// Makes the node's root and moves into it. Returns what a person should know about it.
pub(crate) fn enter(spec: &NodeSpec, run_directory: &str) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .because(|| "making mounts private".into())?;
    // While the host's cgroup mounts are in sight.
    for procs in &spec.cgroups {
        fs::write(procs, "0").because(|| format!("joining {procs}"))?;
    }
    // Whoever started us may be protected from the out-of-memory killer; a node is not.
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    umask(Mode::empty());

    let trees = take_along(spec)?;
    let devices = known_devices();
    // On the run directory, because it is there: it stays reachable by descriptor.
    mount_root(&spec.layer, run_directory, &mut notes)?;
    change_root(run_directory)?;

    sethostname(spec.hostname.as_bytes()).because(|| format!("setting the host name {}", spec.hostname))?;
    kernel_file_systems()?;
    scratch(spec, &devices)?;
    for tree in trees {
        tree.attach()?;
    }
    for sysctl in &spec.sysctls {
        set_sysctl(sysctl)?;
    }
    protect_proc()?;
    Ok(notes)
}

/// Opens everything of the host that the node is to see. Own binds come last, so that they win.
fn take_along(spec: &NodeSpec) -> Result<Vec<Tree>> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").because(|| "/proc/self/mountinfo".into())?;
    let fresh = ["/proc", "/sys", "/dev", "/run", "/tmp", "/root", "/home", "/etc/hosts", "/etc/hostname"];
    let mut skip: Vec<&str> = fresh.to_vec();
    skip.extend(spec.masks.iter().map(String::as_str));
    let mut trees = Vec::new();
    for point in disks_below_root(&mountinfo, &skip) {
        // One that cannot be opened (unplugged, no longer answering) is missing in the node, nothing else.
        trees.extend(Tree::take(&point, &point, true).ok());
    }
    if !spec.hosts.is_empty() {
        // One file for the whole lab: no node may change it for the others.
        trees.push(Tree::take(&spec.hosts, "/etc/hosts", true)?);
    }
    for bind in &spec.binds {
        trees.push(Tree::take(&bind.source, &bind.target, bind.read_only)?);
    }
    Ok(trees)
}

/// Name and number of the devices that the host has.
fn known_devices() -> Vec<(&'static str, bool, u64)> {
    let number = |name: &str| fs::metadata(format!("/dev/{name}")).ok().map(|device| device.rdev());
    DEVICES.iter().filter_map(|(name, needed)| Some((*name, *needed, number(name)?))).collect()
}

fn mount_root(layer: &str, root: &str, notes: &mut Vec<String>) -> Result<()> {
    chdir(layer).because(|| format!("entering {layer}"))?;
    // Kernels refuse an overlay as the upper directory of another one.
    let on_overlay = statfs(".").is_ok_and(|fs| fs.f_type == OVERLAY_MAGIC);
    let mounted = if on_overlay { Err(Errno::INVAL) } else { overlay(root) };
    match mounted {
        Ok(()) => return Ok(()),
        Err(Errno::INVAL) => {}
        Err(Errno::NODEV) => return Err("this kernel has no overlay file system (module `overlay`)".into()),
        Err(errno) => return Err(errno).because(|| format!("mounting an overlay with its writable layer in {layer}")),
    }
    fresh("tmpfs", root, MountFlags::empty(), c"mode=755")?;
    chdir(root).because(|| format!("entering {root}"))?;
    for directory in ["upper", "work"] {
        make_directory(directory, 0o755)?;
    }
    overlay(root).because(|| "mounting an overlay with its writable layer in memory".into())?;
    notes.push(format!("what the node writes is kept in memory: {layer} cannot hold the layer of an overlay"));
    Ok(())
}

/// Relative names, because `,` and `:` in a path would need quoting. Tried as volatile first: otherwise each
/// unmount syncs the whole disk below, and each first write to a file of the host waits for the disk too.
fn overlay(root: &str) -> rustix::io::Result<()> {
    // Left by the mount before; it is how the kernel says that a crash may have cost what was written last.
    let _ = fs::remove_dir_all("work/work/incompat");
    let with = |options| mount("overlay", root, "overlay", MountFlags::empty(), options);
    match with(c"lowerdir=/,upperdir=upper,workdir=work,volatile") {
        // Unknown before Linux 5.10.
        Err(Errno::INVAL) => with(c"lowerdir=/,upperdir=upper,workdir=work"),
        other => other,
    }
}

fn change_root(root: &str) -> Result<()> {
    let what = || "changing the root".to_owned();
    chdir(root).because(what)?;
    // The old root ends up over the new one and goes at once (pivot_root(2), "pivot_root(".", ".")").
    match pivot_root(".", ".") {
        Ok(()) => unmount(".", UnmountFlags::DETACH).because(what)?,
        // The first root of a machine that runs from its initramfs cannot be pivoted away.
        Err(Errno::INVAL) => {
            mount_move(".", "/").because(what)?;
            chroot(".").because(what)?;
        }
        Err(errno) => return Err(errno).because(what),
    }
    chdir("/").because(what)
}

fn kernel_file_systems() -> Result<()> {
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    fresh("proc", "/proc", plain, c"")?;
    // Of the node's network namespace, since that is the one we are in.
    fresh("sysfs", "/sys", plain | MountFlags::RDONLY, c"")
}

/// Everything that is new and in memory.
fn scratch(spec: &NodeSpec, devices: &[(&str, bool, u64)]) -> Result<()> {
    fresh("tmpfs", "/tmp", MountFlags::empty(), c"mode=755")?;
    for (directory, mode) in [("dev", 0o755), ("run", 0o755), ("tmp", 0o1777), ("root", 0o700), ("home", 0o755)] {
        make_directory(&format!("/tmp/{directory}"), mode)?;
    }
    // Expected by many a daemon of Debian.
    make_directory("/tmp/run/lock", 0o1777)?;
    make_directory("/tmp/empty", 0o555)?;
    fill_dev(devices)?;
    for directory in ["dev", "run", "root", "home"] {
        let target = format!("/{directory}");
        if !fs::exists(&target).unwrap_or(false) {
            make_directory(&target, 0o755)?;
        }
        bind(&format!("/tmp/{directory}"), &target)?;
    }
    fresh("devpts", "/dev/pts", MountFlags::NOSUID | MountFlags::NOEXEC, c"newinstance,ptmxmode=0666,mode=620,gid=5")?;
    for mask in &spec.masks {
        if fs::metadata(mask).is_ok_and(|found| found.is_dir()) {
            bind("/tmp/empty", mask)?;
            read_only(mask)?;
        }
    }
    let hostname = format!("{}\n", spec.hostname);
    fs::write("/tmp/hostname", hostname).because(|| "writing the host name".into())?;
    if fs::exists("/etc/hostname").unwrap_or(false) {
        bind("/tmp/hostname", "/etc/hostname")?;
    }
    // Last: it covers the place that everything came from.
    bind("/tmp/tmp", "/tmp")
}

fn fill_dev(devices: &[(&str, bool, u64)]) -> Result<()> {
    for directory in ["net", "pts"] {
        make_directory(&format!("/tmp/dev/{directory}"), 0o755)?;
    }
    // A directory of the same tmpfs does as well as a mount of its own.
    make_directory("/tmp/dev/shm", 0o1777)?;
    for (name, needed, number) in devices {
        let path = format!("/tmp/dev/{name}");
        let made = mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), *number);
        if *needed {
            made.because(|| format!("making /dev/{name}"))?;
        }
    }
    for (link, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, format!("/tmp/dev/{link}")).because(|| format!("making /dev/{link}"))?;
    }
    Ok(())
}

/// Read-only but for the node's own network settings; what would reach the whole machine is out of sight.
fn protect_proc() -> Result<()> {
    bind("/proc/sys", "/proc/sys")?;
    bind("/proc/sys/net", "/proc/sys/net")?;
    read_only("/proc/sys")?;
    for file in ["/proc/sysrq-trigger", "/proc/kcore", "/proc/keys", "/proc/timer_list"] {
        if fs::exists(file).unwrap_or(false) {
            bind("/dev/null", file)?;
        }
    }
    Ok(())
}

/// Sets `dotted.name=value`. A `-` in front: it does not matter if it cannot be set (as in sysctl.conf(5)).
fn set_sysctl(text: &str) -> Result<()> {
    let (text, optional) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
    let (name, value) = text.split_once('=').ok_or_else(|| format!("sysctl `{text}` has no value"))?;
    let path = sysctl_path(name)?;
    // A write to some of the network's settings needs RTNL and spins in the kernel until it has it, a read does not.
    if fs::read_to_string(&path).is_ok_and(|current| current.trim_end() == value) {
        return Ok(());
    }
    match fs::write(path, value) {
        Err(error) if !optional => Err(error).because(|| format!("sysctl {name} cannot be set to `{value}`")),
        _ => Ok(()),
    }
}

/// A `/` in a dotted name stands for a dot within a part, as in `net.ipv4.conf.eth0/100.forwarding` (sysctl(8)).
fn sysctl_path(name: &str) -> Result<String> {
    let swapped: String = name
        .chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            c => c,
        })
        .collect();
    if swapped.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(format!("sysctl `{name}` is not a dotted name").into());
    }
    Ok(format!("/proc/sys/{swapped}"))
}

fn make_directory(path: &str, mode: u32) -> Result<()> {
    DirBuilder::new().mode(mode).create(path).because(|| format!("making {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysctl_name_becomes_a_path_and_cannot_leave_its_place() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward").unwrap(), "/proc/sys/net/ipv4/ip_forward");
        assert_eq!(sysctl_path("net.ipv4.conf.eth0/1.rp_filter").unwrap(), "/proc/sys/net/ipv4/conf/eth0.1/rp_filter");
        for bad in ["", "net..x", "net.//.x", "/.x"] {
            assert!(sysctl_path(bad).is_err(), "{bad}");
        }
    }
}
