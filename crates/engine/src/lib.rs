//! placeholder
#![allow(missing_docs)]
pub mod driver;
pub mod fact;
pub mod layout;
