//! The fakes keep the contracts that real drivers keep.

use std::sync::Arc;

use async_trait::async_trait;
use netloom_engine::testing::contract::{
    FabricStage, HostFilesStage, LAB, RuntimeStage, StoreStage, SwitchStage, fabric_contract, host_files_contract,
    runtime_contract, store_contract, switch_contract,
};
use netloom_engine::testing::{FakeHostFiles, FakeStore, World};
use netloom_engine::{Fabric, HostFiles, Place, PortKind, Reporter, Runtime, Store, channel};
use netloom_model::{LabName, RuntimeKind};

struct Stage(World, RuntimeKind);

impl Stage {
    fn new(kind: RuntimeKind) -> Self {
        let (reporter, _, _) = channel();
        Self(World::new(reporter), kind)
    }
}

#[async_trait]
impl RuntimeStage for Stage {
    async fn runtime(&mut self, reporter: Reporter) -> Arc<dyn Runtime> {
        self.0.report_to(reporter);
        Arc::new(self.0.runtime_of(self.1))
    }

    fn image(&self) -> Option<String> {
        (self.1 == RuntimeKind::Docker).then(|| "image".to_owned())
    }
}

#[async_trait]
impl FabricStage for Stage {
    async fn fabric(&mut self, reporter: Reporter) -> Arc<dyn Fabric> {
        self.0.report_to(reporter);
        Arc::new(self.0.fabric())
    }

    async fn add_foreign(&mut self, interface: &str) {
        self.0.add_foreign(interface, PortKind::Veth);
    }

    async fn delete_interface(&mut self, place: &Place, interface: &str) {
        self.0.delete_port(place, interface);
    }

    async fn exists(&mut self, place: &Place, interface: &str) -> bool {
        self.0.port(place, interface).is_some()
    }
}

#[async_trait]
impl SwitchStage for Stage {
    async fn fabric(&mut self, reporter: Reporter) -> Arc<dyn Fabric> {
        self.0.report_to(reporter);
        Arc::new(self.0.fabric())
    }

    async fn tag(&mut self, port: &str) -> Option<u16> {
        self.0.tag_of(port)
    }

    async fn set_tag(&mut self, port: &str, tag: u16) {
        self.0.retag(port, tag);
    }

    async fn remove_port(&mut self, port: &str) {
        self.0.unplug(port);
    }

    async fn is_claimed(&mut self, tag: u16) -> bool {
        self.0.tags().contains(&tag)
    }

    async fn drop_claim(&mut self, tag: u16) {
        self.0.drop_claim(tag);
    }
}

struct SameStore(FakeStore);

#[async_trait]
impl StoreStage for SameStore {
    async fn open(&mut self) -> Arc<dyn Store> {
        Arc::new(self.0.clone())
    }
}

struct SameFiles(FakeHostFiles);

#[async_trait]
impl HostFilesStage for SameFiles {
    async fn files(&mut self) -> Arc<dyn HostFiles> {
        Arc::new(self.0.clone())
    }

    fn said(&self, lab: &LabName) -> Option<String> {
        self.0.labs().get(lab).map(|entries| entries.hosts.clone())
    }

    fn said_to_ssh(&self, lab: &LabName) -> Option<String> {
        self.0.labs().get(lab).map(|entries| entries.ssh.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn the_fake_files_of_a_host_keep_the_contract() {
    host_files_contract(&mut SameFiles(FakeHostFiles::default())).await;
}

#[tokio::test(start_paused = true)]
async fn the_fake_runtimes_keep_the_contract() {
    for kind in [RuntimeKind::Namespace, RuntimeKind::Docker] {
        runtime_contract(&mut Stage::new(kind)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_fake_fabric_keeps_the_contract() {
    let mut stage = Stage::new(RuntimeKind::Namespace);
    stage.0.add_node(LAB, "r1");
    stage.0.add_node(LAB, "r2");
    fabric_contract(&mut stage).await;
}

#[tokio::test(start_paused = true)]
async fn the_fake_switch_keeps_the_contract() {
    let mut stage = Stage::new(RuntimeKind::Namespace);
    stage.0.add_node(LAB, "r1");
    stage.0.add_node(LAB, "r2");
    stage.0.add_switch();
    stage.0.add_foreign_switch("nlc-foreign", "nlc-fp", 2050);
    switch_contract(&mut stage).await;
}

#[tokio::test(start_paused = true)]
async fn the_fake_store_keeps_the_contract() {
    store_contract(&mut SameStore(FakeStore::default())).await;
}
