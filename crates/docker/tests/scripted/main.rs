//! The client against daemons that play a script: each way in which an answer can be slow, broken or strange.

#![expect(clippy::unwrap_used, reason = "only tests use this")]

mod answers;
mod connections;
mod deadlines;
mod server;
mod sessions;
mod streams;
