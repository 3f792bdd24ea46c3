//! What links are made of.

pub mod kernel;
