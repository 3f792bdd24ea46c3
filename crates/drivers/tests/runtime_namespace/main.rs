//! The namespace runtime on the running kernel: real nodes, below a root directory of each test's own.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use the helpers here")]

mod commands;
mod cost;
mod life;
mod stage;
mod traces;
mod unseen;
mod world;
