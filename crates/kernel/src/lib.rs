//! The Linux kernel as the rest of Netloom sees it: network namespaces, links, addresses, events.
//!
//! The only crate with `unsafe` and the only one that knows netlink's message types; neither shows in
//! its interface. Nothing here knows labs: requests carry a human name for the namespace they act in,
//! so that errors read well, and that is all.
//!
//! ```text
//!   callers (async)                       threads                              kernel
//!   Rtnl::submit ──bounded queue──▶ nl-writer   sends ≤64 messages a datagram ─▶ rtnetlink
//!   Dumper::dump ──bounded queue──▶ nl-reader   dumps many namespaces          ─▶ rtnetlink
//!   Receiver ◀──bounded channel──── nl-monitor  one all-nsid socket            ◀─ multicast
//!   SignalFail ─wanted state──────▶ fail-signal   frames in tunnels, and what is heard there  ⇄ packet sockets
//!   WayWatch ──calls back──────── nl-routes   looks a way up, again when routes change  ◀─▶ rtnetlink
//!   Netns::create_pinned, run_in ─▶ nl-netns    one short-lived thread a call (unshare, setns)
//!   Spawner::spawn ─bounded queue─▶ nl-spawn-N  a thread per process (setns, unshare, posix_spawn)
//! ```
//!
//! A netlink socket and an open namespace file keep a namespace alive, so neither is kept longer than a batch:
//! a namespace whose pin is gone ends when its last process does, not when a cache is full.
#![expect(unsafe_code, reason = "the one crate that may; each block says why it is sound")]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

mod announce;
mod cgroup;
mod dump;
mod encode;
mod error;
mod fail_signal;
mod gate;
mod memory;
mod monitor;
mod netns;
mod parse;
mod priority;
mod probe;
mod process;
mod ready;
mod request;
mod route;
mod rtnl;
mod socket;
mod spawn;

pub use announce::Announcement;
pub use cgroup::{CgroupError, Cgroups, Limits, Members, Usage};
pub use dump::{Dumper, NamespaceDump, dump};
pub use error::{KernelError, KernelErrorKind, SubmitError};
pub use fail_signal::{FarEnd, SignalFail, SignalFailThread};
pub use memory::give_back_large_blocks;
pub use monitor::{Change, Monitor, MonitorEvent};
pub use netns::{Netns, prepare_pin_directory, unmount, unpin};
pub use parse::{AddressInfo, Counters, LinkInfo, Way};
pub use priority::take_turns_first;
pub use probe::{Feature, probe};
pub use process::{Identity, Process, Signal};
pub use ready::readable;
pub use request::{Address, AdminState, LinkChange, Place, Request, Tunnel, VethEnd};
pub use route::{SavedRoute, WayWatch};
pub use rtnl::Rtnl;
pub use spawn::{SpawnError, Spawned, Spawner, Surroundings};
