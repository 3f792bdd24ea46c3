//! The agent's API as a client sees it, on an engine over a fake world.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

mod access;
mod bench;
mod console;
mod controlled;
mod copy;
mod delivery;
mod doors;
mod health;
mod host;
mod images;
mod labs;
mod streams;
