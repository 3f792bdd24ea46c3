//! The kernel fabric on the running kernel, with a namespace that plays the host.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::needless_pass_by_value,
    reason = "only tests use the helpers here"
)]

mod hanging;
mod lives;
mod refusals;
mod rehome;
mod stage;
mod wiring;
