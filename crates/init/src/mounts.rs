//! Mount calls with errors that name what was mounted where, and the host's mounts that an overlay misses.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, StatVfsMountFlags, statvfs};
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, mount, mount_bind, mount_remount, move_mount, open_tree,
};

use crate::trouble::{Because, Result};

/// Mounts a new file system.
pub(crate) fn fresh(kind: &str, target: &str, flags: MountFlags, options: &std::ffi::CStr) -> Result<()> {
    mount(kind, target, kind, flags, options).because(|| format!("mounting {kind} on {target}"))
}

/// Shows `source` at `target` too.
pub(crate) fn bind(source: &str, target: &str) -> Result<()> {
    mount_bind(source, target).because(|| format!("binding {source} to {target}"))
}

/// Makes the mount at `target` read-only.
pub(crate) fn read_only(target: &str) -> Result<()> {
    let what = || format!("making {target} read-only");
    // A remount replaces all flags, so those that it has must be said again.
    let has = statvfs(target).because(what)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (flag, same) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ] {
        if has.contains(flag) {
            flags |= same;
        }
    }
    mount_remount(target, flags, c"").because(what)
}

/// A file or directory of the host, taken along into the node: a mount that is attached nowhere yet.
pub(crate) struct Tree {
    mount: OwnedFd,
    directory: bool,
    read_only: bool,
    target: String,
}

impl Tree {
    /// Takes `source` along. One that may be written to comes with the mounts below it; a read-only one without,
    /// since only its own mount is made read-only.
    pub(crate) fn take(source: &str, target: &str, is_read_only: bool) -> Result<Self> {
        let what = || format!("bind source {source}");
        let directory = fs::metadata(source).because(what)?.is_dir();
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if directory && !is_read_only {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        let mount = open_tree(CWD, source, flags).because(what)?;
        Ok(Self { mount, directory, read_only: is_read_only, target: target.to_owned() })
    }

    /// Attaches it at its target; call it in the node's root, so that links there lead where they lead in the node.
    pub(crate) fn attach(self) -> Result<()> {
        let target = &self.target;
        let what = || format!("bind target {target}");
        if self.directory {
            fs::create_dir_all(target).because(what)?;
        } else if !fs::exists(target).because(what)? {
            if let Some(parent) = Path::new(target).parent() {
                fs::create_dir_all(parent).because(what)?;
            }
            fs::File::create(target).because(what)?;
        }
        move_mount(&self.mount, "", CWD, target.as_str(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).because(what)?;
        if self.read_only { read_only(target) } else { Ok(()) }
    }
}

/// Mount points of the host that have a disk file system: an overlay over `/` shows empty directories there.
/// `skip` names directories below which nothing is wanted.
pub(crate) fn disks_below_root(mountinfo: &str, skip: &[&str]) -> Vec<String> {
    const DISKS: [&str; 10] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "vfat", "exfat"];
    let mut found: Vec<String> = Vec::new();
    for line in mountinfo.lines() {
        // "36 35 98:0 /sub /mnt rw,noatime shared:1 - ext4 /dev/sda rw" (proc(5)); `-` ends the optional fields.
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(kind)) = (before.split(' ').nth(4), after.split(' ').next()) else { continue };
        let point = unescape(point);
        let wanted = point != "/" && DISKS.contains(&kind) && !skip.iter().any(|skip| is_below(&point, skip));
        if wanted && !found.contains(&point) {
            found.push(point);
        }
    }
    found
}

/// Whether `path` is `directory` or in it.
pub(crate) fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Blank, tab, newline and backslash are written `\040` and so on.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let code = text.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let (b'\\', Some(code)) = (bytes[at], code) {
            out.push(code);
            at += 4;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_disks_outside_the_skipped_directories_are_found() {
        let mountinfo = "\
20 1 254:0 / / rw - ext4 /dev/vda rw
21 20 0:5 / /proc rw - proc proc rw
22 20 8:1 / /boot/efi rw shared:3 - vfat /dev/sda1 rw
23 20 8:2 / /home rw - xfs /dev/sda2 rw
24 20 8:3 / /srv/with\\040blank rw - ext4 /dev/sda3 rw
25 20 8:3 / /srv/with\\040blank rw - ext4 /dev/sda3 rw
26 20 0:30 / /run rw - tmpfs tmpfs rw
27 20 8:4 / /homes rw - ext4 /dev/sda4 rw
28 20 7:0 / /snap/core/1 ro - squashfs /dev/loop0 ro
garbage";
        assert_eq!(disks_below_root(mountinfo, &["/home", "/proc"]), ["/boot/efi", "/srv/with blank", "/homes"]);
    }
}
