//! One actor per lab: the only writer of the lab's wish, the only one that changes its world.
//!
//! ```text
//!  requests ──Command──▶ [bounded queue] ─┐
//!  inventory ──watch<version>─────────────┼─▶ actor: wish × snapshot ─▶ plan ─▶ Execution ─▶ drivers
//!  timers (back-off, deadline, settling) ─┘       │                                             │
//!                                                 └── store (the wish, before it is accepted)   └─▶ facts
//! ```
//!
//! The same loop serves a first deploy, an edit, a repair and a destroy: whenever nothing is under way and the
//! snapshot has changed it plans again. An operation ends when the snapshot shows what was asked for.

mod accept;
mod actor;
mod admit;
mod adopt;
mod command;
mod controlled;
mod edit;
mod execute;
mod finish;
mod hands_off;
mod links;
mod observe;
mod planning;
mod pull;
mod restart;
mod step;
mod sweep;
mod trouble;
mod wait;

pub(crate) use actor::{Actor, QUEUE};
pub(crate) use admit::{check_drivers, check_host, next_wish};
pub(crate) use adopt::{Kept, changes, read_kept, told};
pub(crate) use command::{Accepted, Command, Taken};
pub use command::{DeployRequest, Rebuild};
pub use controlled::{Controlled, ControlledEdit, ControlledNode, ControlledTunnel, Near, PortName};
pub(crate) use controlled::{Ground, next_controlled, nothing, says_of_port, says_of_tunnel};
pub use edit::EditRequest;
pub(crate) use edit::{Draft, next_edit};
#[cfg(feature = "testing")]
pub(crate) use observe::bridge_of;
pub(crate) use observe::{Once, observe};
pub(crate) use pull::{Fetched, PULL_LIMIT};
pub(crate) use step::{cancelled, engine_error, panicked, within};
