//! The engine on a fake world: what people ask for, what goes wrong, what the world does by itself.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

mod adopt;
mod adopt_switch;
mod bench;
mod controlled;
mod deploy;
mod edit;
mod entries;
mod failure;
mod images;
mod inventory;
mod kinds;
mod leftovers;
mod lifecycle;
mod limits;
mod networks;
mod pauses;
mod power;
mod rates;
mod shared;
mod sources;
mod stages;
mod store;
mod switch;
mod transport;
mod view;
mod world;
