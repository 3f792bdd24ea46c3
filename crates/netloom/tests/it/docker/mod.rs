//! Labs of containers, with a daemon of the test's own.

mod access;
mod bad_days;
mod documents;
mod entries;
mod events;
mod external;
mod fields;
mod holds;
pub(crate) mod host;
mod labs;
mod leftovers;
mod lives;
mod management;
mod outages;
pub(crate) mod plugin;
mod settings;
mod shared;
mod stages;
