//! The program as a person uses it: the binary, driven by its command line, on hosts of its own.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "what all tests share is no test function to clippy")]

mod agent;
mod around;
mod ask;
mod bad_days;
mod cli;
mod console;
mod contract;
mod controller;
mod cp;
mod docker;
mod doctor;
mod edit;
mod edit_bad_days;
mod full_disks;
mod host_bad_days;
mod hosts;
mod images;
mod lab;
mod leftovers;
mod limits;
mod ovs;
mod power;
mod recovery;
mod registry;
mod safe_mode;
mod sandbox;
mod sessions;
mod terminal;
mod transport;
mod two_agents;
mod watch;
