//! What this kernel can do, found by trying: in namespaces that only the thread that tries is in, and that end with it.

use std::collections::BTreeMap;
use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcHeader, TcMessage};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;

use crate::netns::on_own_thread;
use crate::socket::Socket;

/// Something that a kernel may be built without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Namespaces of this kind: `net`, `mnt`, `uts`, `ipc`.
    Namespace(&'static str),
    /// Interfaces of this kind, by the kernel's name for it: `veth`, `bridge`, …
    Link(&'static str),
    /// The queueing discipline that delays and loses packets.
    Netem,
    /// Layers of a file system.
    Overlay,
}

/// The kinds of interfaces that are tried.
const LINKS: [&str; 8] = ["veth", "bridge", "vxlan", "macvlan", "dummy", "vrf", "vlan", "ifb"];

/// Tries everything. Each answer is whether it works, or why it could not be tried. Needs root.
pub fn probe() -> BTreeMap<Feature, io::Result<bool>> {
    let kinds = [
        ("net", UnshareFlags::NEWNET),
        ("mnt", UnshareFlags::NEWNS),
        ("uts", UnshareFlags::NEWUTS),
        ("ipc", UnshareFlags::NEWIPC),
    ];
    let mut found: BTreeMap<Feature, io::Result<bool>> = BTreeMap::new();
    for (name, flag) in kinds {
        found.insert(Feature::Namespace(name), on_own_thread(move || works(unshare(flag), &[Errno::INVAL])));
    }
    let links = on_own_thread(|| {
        unshare(UnshareFlags::NEWNET)?;
        let mut socket = Socket::open()?;
        let tried = LINKS.map(|kind| (Feature::Link(kind), has_link(&mut socket, kind)));
        Ok(tried.into_iter().chain([(Feature::Netem, has_netem(&mut socket))]).collect::<Vec<_>>())
    });
    match links {
        Ok(tried) => found.extend(tried),
        Err(error) => {
            let untried = LINKS.map(Feature::Link).into_iter().chain([Feature::Netem]);
            found.extend(untried.map(|feature| (feature, Err(io::Error::new(error.kind(), error.to_string())))));
        }
    }
    found.insert(Feature::Overlay, on_own_thread(has_overlay));
    found
}

fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: the descriptor table is not among the flags; the thread is this module's own and ends after the try.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// What a try came to: these errors mean that the kernel has no such thing.
fn works(tried: rustix::io::Result<()>, absent: &[Errno]) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(errno) if absent.contains(&errno) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The kernel looks for the kind before it looks at anything else: all but "no such kind" means that it has it.
fn has_link(socket: &mut Socket, kind: &str) -> io::Result<bool> {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Other(kind.to_owned()))]));
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let ack = socket.request(RouteNetlinkMessage::NewLink(link), flags, |_| {})?;
    match ack.errno {
        libc::EPERM => Err(io::Error::from_raw_os_error(ack.errno)),
        errno => Ok(errno != libc::EOPNOTSUPP),
    }
}

fn has_netem(socket: &mut Socket) -> io::Result<bool> {
    // Index 1 is the loopback interface of the new namespace.
    let mut message = TcMessage::from_parts(TcHeader { index: 1, ..TcHeader::default() }, Vec::new());
    message.header.parent = TcHandle::ROOT;
    message.attributes.push(TcAttribute::Kind("netem".to_owned()));
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let ack = socket.request(RouteNetlinkMessage::NewQueueDiscipline(message), flags, |_| {})?;
    match ack.errno {
        libc::EPERM => Err(io::Error::from_raw_os_error(ack.errno)),
        // It is known before its options, which are missing, are looked at.
        errno => Ok(errno != libc::ENOENT),
    }
}

/// Layers over an empty file system in memory, which is over a directory that every host has.
fn has_overlay() -> io::Result<bool> {
    unshare(UnshareFlags::NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let ground = "/tmp";
    mount("tmpfs", ground, "tmpfs", MountFlags::empty(), c"mode=0700")?;
    for name in ["lower", "upper", "work", "whole"] {
        std::fs::create_dir(format!("{ground}/{name}"))?;
    }
    let options = c"lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work";
    works(mount("overlay", "/tmp/whole", "overlay", MountFlags::empty(), options), &[Errno::NODEV])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_links_are_made_of_is_found_and_nothing_stays_of_the_tries() {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(), "this test needs root");
            return;
        }
        let count = || std::fs::read_dir("/sys/class/net").unwrap().count();
        let (links, mounts) = (count(), std::fs::read_to_string("/proc/self/mounts").unwrap());
        let found = probe();
        for needed in [Feature::Link("veth"), Feature::Link("bridge"), Feature::Namespace("net"), Feature::Overlay] {
            assert!(matches!(found[&needed], Ok(true)), "{needed:?}: {:?}", found[&needed]);
        }
        assert_eq!(found.len(), 4 + LINKS.len() + 2);
        assert!(found.values().all(Result::is_ok), "{found:?}");
        // Modules of the kernel may be loaded by the tries; interfaces and mounts are made nowhere else.
        assert_eq!((count(), std::fs::read_to_string("/proc/self/mounts").unwrap()), (links, mounts));
        let none = on_own_thread(|| {
            unshare(UnshareFlags::NEWNET)?;
            has_link(&mut Socket::open()?, "no-such-kind")
        });
        assert!(matches!(none, Ok(false)), "{none:?}");
    }
}
