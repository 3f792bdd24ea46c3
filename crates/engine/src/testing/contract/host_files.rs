//! The contract of those who tell a host of labs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use netloom_model::LabName;
use netloom_plan::Entries;

use super::context;
use crate::entries::{HostFiles, Keeps, Told};

/// How to make a teller over one and the same host, which is told nothing at first.
#[async_trait]
pub trait HostFilesStage: Send {
    /// Makes it. The one that was made before has been dropped.
    async fn files(&mut self) -> Arc<dyn HostFiles>;

    /// The lines with addresses and names that the host has of a lab; `None` if it is told nothing of it.
    fn said(&self, lab: &LabName) -> Option<String>;

    /// The part of ssh's configuration that the host has of a lab, likewise.
    fn said_to_ssh(&self, lab: &LabName) -> Option<String>;
}

fn lab(name: &str) -> LabName {
    name.parse().expect("a name")
}

fn labs(names: &[&str]) -> BTreeSet<LabName> {
    names.iter().map(|name| lab(name)).collect()
}

fn entries(address: &str) -> Entries {
    Entries {
        hosts: format!("{address}\tclab-node\n"),
        ssh: format!("Host clab-node\n\tHostName {address}\n\tStrictHostKeyChecking no\n"),
    }
}

/// What a host is told: of each lab that its node has this address.
fn told(of: &[(&str, &str)], keeps: Keeps) -> Told {
    let of = of.iter().map(|(name, address)| (lab(name), entries(address)));
    Told { labs: of.collect::<BTreeMap<_, _>>(), keeps }
}

/// Tells a host something that has to work; the labs of which something was kept.
async fn tell(files: &dyn HostFiles, told: Told) -> BTreeSet<LabName> {
    let (kept, wrong) = files.write(told, &context()).await;
    assert!(wrong.is_empty(), "{wrong:?}");
    kept
}

fn assert_said(stage: &dyn HostFilesStage, name: &str, address: Option<&str>) {
    let wanted = address.map(entries);
    assert_eq!(stage.said(&lab(name)), wanted.as_ref().map(|wanted| wanted.hosts.clone()), "of {name}");
    assert_eq!(stage.said_to_ssh(&lab(name)), wanted.map(|wanted| wanted.ssh), "of {name}, to ssh");
}

/// What each teller does: says of labs what is asked for and nothing else, keeps what it is to keep and says so, also what
/// was written by the one before it.
pub async fn host_files_contract(stage: &mut dyn HostFilesStage) {
    let nobody = || Keeps::Only(BTreeSet::new());
    let files = stage.files().await;
    assert_said(stage, "a", None);
    for _ in 0..2 {
        let kept = tell(&*files, told(&[("a", "192.0.2.1"), ("b", "192.0.2.2")], nobody())).await;
        assert!(kept.is_empty(), "what is wanted is not kept: {kept:?}");
        assert_said(stage, "a", Some("192.0.2.1"));
        assert_said(stage, "b", Some("192.0.2.2"));
    }

    // Of those that are to be kept what is there stays, and nothing is made up.
    let keeps = Keeps::Only(labs(&["b", "c"]));
    assert_eq!(tell(&*files, told(&[("a", "192.0.2.9")], keeps)).await, labs(&["b"]));
    assert_said(stage, "a", Some("192.0.2.9"));
    assert_said(stage, "b", Some("192.0.2.2"));
    assert_said(stage, "c", None);

    // Another one finds what there is.
    drop(files);
    let files = stage.files().await;
    assert_eq!(tell(&*files, told(&[], Keeps::AllBut(labs(&["b"])))).await, labs(&["a"]));
    assert_said(stage, "a", Some("192.0.2.9"));
    assert_said(stage, "b", None);

    assert!(tell(&*files, told(&[], nobody())).await.is_empty());
    assert_said(stage, "a", None);
}
