//! The switch of the host keeps the contract of switches, on a namespace that plays the host and has an Open vSwitch.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use the helpers here")]

use std::path::PathBuf;
use std::sync::Arc;

use netloom_drivers::fabric::HostFabric;
use netloom_drivers::fabric::kernel::KernelFabric;
use netloom_drivers::fabric::ovs::{Datapath, OvsParts, OvsSwitch};
use netloom_engine::testing::contract::{LAB, SwitchStage, switch_contract};
use netloom_engine::{Fabric, Layout, Reporter};
use netloom_kernel::{Netns, prepare_pin_directory, unpin};
use netloom_ovs_fixture::Ovs;

struct Stage {
    // Ends first: it is in the namespace.
    ovs: Ovs,
    layout: Layout,
    host: Netns,
    // Removed last.
    _root: tempfile::TempDir,
}

impl Stage {
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(), "this test needs root");
            eprintln!("SKIPPED: this test needs root");
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path()).unwrap();
        prepare_pin_directory(layout.pins()).unwrap();
        let host = Netns::create_pinned(layout.pins().join("the-host")).unwrap();
        std::fs::create_dir_all(layout.pins().join(LAB)).unwrap();
        for node in ["r1", "r2"] {
            Netns::create_pinned(pin(&layout, node)).unwrap();
        }
        let Some(ovs) = host.run(Ovs::start_with_switch).unwrap() else {
            tidy(&layout);
            return None;
        };
        let add = ["add-br", "nlc-foreign", "--", "set", "bridge", "nlc-foreign", "datapath_type=netdev"];
        ovs.vsctl(add);
        let add =
            ["add-port", "nlc-foreign", "nlc-fp", "tag=2050", "--", "set", "interface", "nlc-fp", "type=internal"];
        ovs.vsctl(add);
        Some(Self { ovs, layout, host, _root: root })
    }
}

fn pin(layout: &Layout, node: &str) -> PathBuf {
    layout.pin(&LAB.parse().unwrap(), &node.parse().unwrap())
}

fn tidy(layout: &Layout) {
    for node in ["r1", "r2"] {
        unpin(pin(layout, node)).unwrap();
    }
    unpin(layout.pins().join("the-host")).unwrap();
    let _ = rustix::mount::unmount(layout.pins(), rustix::mount::UnmountFlags::DETACH);
}

impl Drop for Stage {
    fn drop(&mut self) {
        tidy(&self.layout);
    }
}

#[async_trait::async_trait]
impl SwitchStage for Stage {
    async fn fabric(&mut self, reporter: Reporter) -> Arc<dyn Fabric> {
        let kernel = KernelFabric::start(self.layout.clone(), &self.host, reporter.clone()).unwrap();
        let parts = OvsParts { socket: self.ovs.socket(), datapath: || Datapath::Netdev };
        let switch = OvsSwitch::start(&self.layout, reporter, parts);
        Arc::new(HostFabric::new(Arc::new(kernel), switch))
    }

    async fn tag(&mut self, port: &str) -> Option<u16> {
        let said = self.ovs.vsctl(["--if-exists", "--bare", "get", "port", port, "tag"]);
        said.trim().parse().ok()
    }

    async fn set_tag(&mut self, port: &str, tag: u16) {
        self.ovs.vsctl(["set", "port", port, &format!("tag={tag}")]);
    }

    async fn remove_port(&mut self, port: &str) {
        self.ovs.vsctl(["del-port", port]);
    }

    async fn is_claimed(&mut self, tag: u16) -> bool {
        let key = format!("external_ids:netloom-tag-{tag}");
        !self.ovs.vsctl(["--if-exists", "get", "bridge", "nlc-foreign", &key]).trim().is_empty()
    }

    async fn drop_claim(&mut self, tag: u16) {
        self.ovs.vsctl(["remove", "bridge", "nlc-foreign", "external_ids", &format!("netloom-tag-{tag}")]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_vswitch_keeps_the_contract() {
    if let Some(mut stage) = Stage::new() {
        switch_contract(&mut stage).await;
    }
}
