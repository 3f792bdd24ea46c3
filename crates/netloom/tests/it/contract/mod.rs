//! The agent as the controller of Archetype Network Studio drives it, which is played by a double.
//!
//! All that is expected here comes of the contract between the two, nothing of how the agent is made:
//!
//! ```text
//!   double (Controller) ◀── register, heartbeat, events, carrier ── agent in a sandbox ──▶ dockerd, Open vSwitch
//!         └── Client ── what the controller calls, each answer checked by its schema ──▶ │
//! ```

mod client;
mod double;
mod flows;
mod predecessor;
mod rig;
mod schemas;
mod steps;
mod traffic;
