//! An Open vSwitch of a test's own: its database server and, if asked, its switch.
//!
//! Only for tests and measurements; nothing that is shipped depends on it. The daemons run in the namespaces of the caller,
//! with a directory, sockets, a database and logs of their own. All of that ends with the [`Ovs`] that started it, also
//! after a panic, and when the process that holds it is killed:
//!
//! ```text
//!   Ovs ──stdin: orders, end of file──▶ keeper (a shell) ──▶ ovsdb-server, ovs-vswitchd (each dies with the keeper)
//!       ◀──────stdout: a pid──────────────┘
//! ```
//!
//! It needs the Debian package `openvswitch-switch`; the switch needs root, and makes its devices (bridges, internal ports,
//! `ovs-netdev`) in the caller's network namespace: give a test one of its own. They outlive a switch that is killed; the
//! keeper removes those of the datapath in user space at the end, unless it was killed too. That of the kernel goes with the
//! namespace.

mod ovs;

pub use ovs::{Daemon, Ovs};
