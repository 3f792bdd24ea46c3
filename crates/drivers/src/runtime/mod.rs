//! What nodes run on.

mod fault;
pub mod namespace;
mod pool;
mod turns;
