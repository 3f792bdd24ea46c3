//! Tasks that belong to somebody: they end with the handle that was given out.

use std::future::Future;

use tokio::task::AbortHandle;

/// A task that ends when this is dropped, at its next await.
#[derive(Debug)]
pub(crate) struct Owned(AbortHandle);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a task under a name; a panic is reported.
pub(crate) fn spawn(name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Owned {
    let panicking = Panicking(name);
    #[expect(clippy::disallowed_methods, reason = "the one place of this crate; it is owned, and a panic is reported")]
    let task = tokio::spawn(async move {
        future.await;
        drop(panicking);
    });
    Owned(task.abort_handle())
}

/// Tells of a panic when it is dropped by one.
struct Panicking(&'static str);

impl Drop for Panicking {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.0, "task panicked");
        }
    }
}
