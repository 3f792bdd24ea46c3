//! The real fabrics keep the contract of fabrics, on a namespace that plays the host.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use the helpers here")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netloom_drivers::fabric::kernel::KernelFabric;
use netloom_engine::testing::contract::{FabricStage, LAB, fabric_contract};
use netloom_engine::{Fabric, Layout, Place, Reporter};
use netloom_kernel::{AdminState, Netns, Request, Rtnl, VethEnd, prepare_pin_directory, unpin};

fn root() -> bool {
    if std::fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t0\t0\t0")) {
        return true;
    }
    assert!(std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(), "this test needs root and NETLOOM_REQUIRE_ROOT is set");
    eprintln!("SKIPPED: this test needs root");
    false
}

struct Stage {
    layout: Layout,
    host: Netns,
    rtnl: Rtnl,
    // Removed last.
    _root: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path()).unwrap();
        prepare_pin_directory(layout.pins()).unwrap();
        let host = Netns::create_pinned(layout.pins().join("the-host")).unwrap();
        let rtnl = Rtnl::start(host.clone()).unwrap();
        let stage = Self { layout, host, rtnl, _root: root };
        std::fs::create_dir_all(stage.layout.pins().join(LAB)).unwrap();
        for node in ["r1", "r2"] {
            Netns::create_pinned(stage.pin(node)).unwrap();
        }
        stage
    }

    fn pin(&self, node: &str) -> PathBuf {
        self.layout.pin(&LAB.parse().unwrap(), &node.parse().unwrap())
    }

    fn place(&self, place: &Place) -> netloom_kernel::Place {
        match place {
            Place::Host => netloom_kernel::Place::host(self.host.clone()),
            Place::Node(_, node) => {
                let netns = Netns::open(self.pin(node.as_str())).unwrap();
                netloom_kernel::Place::node(netns, node.as_str())
            }
        }
    }

    fn ifindex(&self, place: &Place, interface: &str) -> Option<u32> {
        let dump = netloom_kernel::dump(&[self.place(place)]).unwrap().remove(0).unwrap();
        dump.named(interface).map(|link| link.ifindex)
    }

    async fn change(&self, request: Request) {
        let deadline = Instant::now() + Duration::from_secs(30);
        self.rtnl.submit(vec![request], deadline).await.unwrap().remove(0).unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for node in ["r1", "r2"] {
            unpin(self.pin(node)).unwrap();
        }
        unpin(self.layout.pins().join("the-host")).unwrap();
        let _ = rustix::mount::unmount(self.layout.pins(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[async_trait::async_trait]
impl FabricStage for Stage {
    async fn fabric(&mut self, reporter: Reporter) -> Arc<dyn Fabric> {
        Arc::new(KernelFabric::start(self.layout.clone(), &self.host, reporter).unwrap())
    }

    async fn add_foreign(&mut self, interface: &str) {
        let end = |name: &str| VethEnd {
            place: self.place(&Place::Host),
            name: name.parse().unwrap(),
            ifindex: None,
            mac: None,
            mtu: None,
            group: 0,
        };
        let (a, b) = (end(interface), end("foreign-peer"));
        self.change(Request::CreateVeth { a, a_state: AdminState::Down, a_master: None, b }).await;
    }

    async fn delete_interface(&mut self, place: &Place, interface: &str) {
        let ifindex = self.ifindex(place, interface).unwrap();
        self.change(Request::DeleteLink { place: self.place(place), ifindex }).await;
    }

    async fn exists(&mut self, place: &Place, interface: &str) -> bool {
        self.ifindex(place, interface).is_some()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kernel_fabric_keeps_the_contract() {
    if root() {
        fabric_contract(&mut Stage::new()).await;
    }
}
