//! What nodes run on.

pub mod namespace;
