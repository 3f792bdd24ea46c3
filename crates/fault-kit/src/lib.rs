//! What goes wrong on a host, made to go wrong on purpose.
//!
//! Only for tests and measurements; nothing that is shipped depends on it. Each fault is a value that ends with its drop, so
//! that a test that fails leaves no host behind that is frozen or full:
//!
//! | fault | made by |
//! |---|---|
//! | a daemon that is late, hangs, cuts connections, answers nonsense or (HTTP) 500 | [`Proxy`], in front of its unix socket |
//! | a disk that is full or frozen | [`Disk`], a file system of its own on a loop device |
//! | a process that is stopped | [`Stopped`] |
//! | a process without free descriptors | [`Descriptors`] |
//! | a process with little memory | [`Memory`] |
//! | processors that others use | [`Starved`] |
//! | a kernel whose RTNL lock others hold | [`LinkStorm`] |
//! | clients that connect and say nothing, or next to nothing | [`Clients`] |
//!
//! A log that nobody reads needs no more than a pipe. A clock that is set can only be had in a virtual machine.

mod clients;
mod crowd;
mod disk;
mod process;
mod proxy;

pub use clients::{Clients, Habit};
pub use crowd::{LinkStorm, Starved};
pub use disk::Disk;
pub use process::{Descriptors, Memory, Stopped};
pub use proxy::{Manner, Proxy};
