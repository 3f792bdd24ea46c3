//! A host of a test's own: a network namespace that plays the host, and pins in a directory that goes away.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use this")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use netloom_kernel::{Netns, Place, Request, VethEnd, prepare_pin_directory, unpin};

/// Whether the test can run; says loudly that it is skipped, and fails where root is required.
pub(crate) fn root() -> bool {
    if std::fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t0\t0\t0")) {
        return true;
    }
    assert!(std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(), "this test needs root and NETLOOM_REQUIRE_ROOT is set");
    eprintln!("SKIPPED: this test needs root");
    false
}

/// Half a minute from now: long enough for a loaded machine.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// The stage of one test.
pub(crate) struct Stage {
    directory: tempfile::TempDir,
    pins: Vec<PathBuf>,
    pub(crate) host: Netns,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        prepare_pin_directory(directory.path()).unwrap();
        let pin = directory.path().join("host");
        let host = Netns::create_pinned(&pin).unwrap();
        Self { directory, pins: vec![pin], host }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn node(&mut self, name: &str) -> Place {
        let pin = self.path(name);
        let netns = Netns::create_pinned(&pin).unwrap();
        self.pins.push(pin);
        Place::node(netns, name)
    }

    pub(crate) fn host(&self) -> Place {
        Place::host(self.host.clone())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for pin in &self.pins {
            unpin(pin).unwrap();
        }
        unpin_directory(self.directory.path());
    }
}

fn unpin_directory(path: &std::path::Path) {
    // The directory is a mount of itself; unpin takes mounts away, and the removal of the directory follows.
    let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
}

pub(crate) fn end(place: &Place, name: &str, ifindex: u32) -> VethEnd {
    VethEnd {
        place: place.clone(),
        name: name.parse().unwrap(),
        ifindex: Some(ifindex),
        mac: None,
        mtu: None,
        group: 0,
    }
}

pub(crate) fn veth(a: VethEnd, b: VethEnd) -> Request {
    Request::CreateVeth { a, a_state: netloom_kernel::AdminState::Up, a_master: None, b }
}
