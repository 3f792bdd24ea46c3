//! The client and servers that play a script.

#![expect(clippy::unwrap_used, reason = "only tests use this")]

mod client;
mod locks;
mod server;
