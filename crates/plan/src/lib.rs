//! Desired × observed → ordered steps with reasons. Pure: no clock, no I/O, ordered collections throughout.
//!
//! ```text
//!  Desired (a lab, what is switched off, …) ─┐
//!                                            ├─▶ plan() ─▶ Plan { steps, each with reason and `after` }
//!  Observed (only what is marked as ours) ───┘
//! ```
//!
//! Laws, each a property test: `plan(a, a)` is empty; applying `plan(a, b)` to `a` gives `b`; equal inputs
//! give equal plans; no step names an object that is neither desired nor marked as ours.

mod apply;
mod commands;
mod entries;
mod fingerprint;
mod left_out;
mod limits;
mod names;
mod obstacle;
mod planner;
mod prints;
mod repeat;
mod state;
mod step;

pub use apply::apply;
pub use commands::{Command, Moment, commands, print};
pub use entries::Entries;
pub use fingerprint::{Effect, LinkFingerprint, NODE_FIELDS, NodeFingerprint, Unreadable, effect};
pub use left_out::{LeftOut, Omission};
pub use limits::{BRIDGE_PORTS, HostLimits, Level, Limit, Need, Severity, Shortage, connected, shortages};
pub use names::{names, names_hash};
pub use obstacle::{Obstacle, UnfetchedImage, obstacles};
pub use planner::plan;
pub use prints::{Printed, Prints};
pub use repeat::{added_address, repeats_link};
pub use state::{
    AdminState, Desired, ImageStock, Live, LiveMark, NodeState, Observed, ObservedBridge, ObservedLink, ObservedNode,
    Side,
};
pub use step::{Action, Owner, Plan, Step, StepId};
