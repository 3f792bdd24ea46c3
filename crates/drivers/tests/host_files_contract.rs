//! The files of a host keep the contract of those who tell it of labs.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

use std::fs;
use std::sync::Arc;

use netloom_drivers::host_files::EtcFiles;
use netloom_engine::testing::contract::{HostFilesStage, host_files_contract};
use netloom_engine::{HostFiles, Layout};
use netloom_model::LabName;

/// What `/etc/hosts` has beside labs.
const OTHERS: &str = "127.0.0.1\tlocalhost\n";

struct Host {
    layout: Layout,
    _root: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path()).unwrap();
        fs::create_dir_all(layout.ssh_parts()).unwrap();
        fs::create_dir_all(layout.state()).unwrap();
        fs::write(layout.hosts(), OTHERS).unwrap();
        Self { layout, _root: root }
    }
}

#[async_trait::async_trait]
impl HostFilesStage for Host {
    async fn files(&mut self) -> Arc<dyn HostFiles> {
        Arc::new(EtcFiles::start(&self.layout).unwrap())
    }

    fn said(&self, lab: &LabName) -> Option<String> {
        let text = fs::read_to_string(self.layout.hosts()).unwrap();
        let (_, rest) = text.split_once(&format!("###### CLAB-{lab}-START ######\n"))?;
        let (block, _) = rest.split_once(&format!("###### CLAB-{lab}-END ######\n")).unwrap();
        Some(without_mark(block))
    }

    fn said_to_ssh(&self, lab: &LabName) -> Option<String> {
        let text = fs::read_to_string(self.layout.ssh_parts().join(format!("clab-{lab}.conf"))).ok()?;
        Some(without_mark(&text))
    }
}

/// Without the line that says whose it is.
fn without_mark(text: &str) -> String {
    let (mark, rest) = text.split_once('\n').unwrap();
    assert!(mark.starts_with("# of netloom "), "{text}");
    rest.to_owned()
}

#[tokio::test]
async fn etc_files_keep_the_contract() {
    let mut host = Host::new();
    host_files_contract(&mut host).await;
    assert_eq!(fs::read_to_string(host.layout.hosts()).unwrap(), OTHERS);
}
