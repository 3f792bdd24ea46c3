//! A Docker daemon of a test's own, and an image for it that needs no registry.
//!
//! Only for tests and measurements; nothing that is shipped depends on it. The daemon has a network namespace,
//! directories, a socket, a containerd and a control group of its own. All of that ends with the [`Dockerd`] that
//! started it, also after a panic, and when the process that holds it is killed:
//!
//! ```text
//!   Dockerd ──stdin: orders, end of file──▶ keeper (a shell in the network namespace) ──▶ dockerd ──▶ containerd, shims
//!           ◀──────stdout: pid of dockerd──────┘
//! ```
//!
//! It needs root and the Debian packages `docker.io` and `busybox-static`.

mod daemon;
mod image;

pub use daemon::Dockerd;
pub use image::{BUSYBOX, archive, busybox};
