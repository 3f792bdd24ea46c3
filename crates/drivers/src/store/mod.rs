//! Where desired state lives.

mod redb;

pub use redb::RedbStore;
