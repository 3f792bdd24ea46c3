//! The real runtimes keep the contract of runtimes.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use the helpers here")]

use std::sync::Arc;

use netloom_drivers::runtime::namespace::NamespaceRuntime;
use netloom_engine::testing::contract::{RuntimeStage, runtime_contract};
use netloom_engine::{Layout, Reporter, Runtime};

fn root() -> bool {
    if std::fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t0\t0\t0")) {
        return true;
    }
    assert!(std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(), "this test needs root and NETLOOM_REQUIRE_ROOT is set");
    eprintln!("SKIPPED: this test needs root");
    false
}

/// A root directory of the test's own.
struct Below(tempfile::TempDir);

impl Drop for Below {
    fn drop(&mut self) {
        // The runtime mounts the directory of pins on itself.
        let pins = Layout::new(self.0.path()).unwrap().pins();
        let _ = rustix::mount::unmount(pins, rustix::mount::UnmountFlags::DETACH);
    }
}

#[async_trait::async_trait]
impl RuntimeStage for Below {
    async fn runtime(&mut self, reporter: Reporter) -> Arc<dyn Runtime> {
        Arc::new(NamespaceRuntime::start(Layout::new(self.0.path()).unwrap(), reporter).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_namespace_runtime_keeps_the_contract() {
    if root() {
        runtime_contract(&mut Below(tempfile::tempdir().unwrap())).await;
    }
}
