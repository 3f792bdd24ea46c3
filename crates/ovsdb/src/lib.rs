//! A client of the Open vSwitch Database protocol (RFC 7047), over unix sockets and TCP.
//!
//! For programs that configure Open vSwitch, or follow what it does, and must go on when its database server does not: each
//! call has a deadline, nothing grows without a limit, and what is unknown is said to be unknown. Not for TLS, for servers
//! in a cluster (it keeps to the one that it is given), and for what is no database: OpenFlow.
//!
//! * [`Client`] stays: it makes sessions, one after the other, and keeps a [`Mirror`] of the columns that it is told.
//! * [`Connection`] is one session, for what needs no more.
//! * [`Transaction`] is what is to be done, together or not at all, in terms of [`Row`], [`Set`], [`Map`] and [`Uuid`].
//! * [`Scanner`] and [`Replica`] are the parts without I/O: where messages end, and what updates make of rows.
//!
//! ```text
//!   transact ──▶ task `ovsdb session` ⇄ server            one for each session; ends with it
//!                      │[bounded]: updates, locks, answers, in order
//!                      ▼
//!   Mirror ◀── task `ovsdb client`                        one for each client; ends with its last clone
//! ```
//!
//! Open vSwitch does what its database says some time after it says so. A transaction that counts `next_cfg` up is done when
//! `cur_cfg` has got there; an interface that could not be made has an `error`:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use netloom_ovsdb::{Client, Condition, Config, Interest, Mutation, Row, Transaction};
//! use tokio::time::Instant;
//!
//! # async fn shown() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new("unix:/run/openvswitch/db.sock".parse()?, "Open_vSwitch")
//!     .mirror("Open_vSwitch", ["cur_cfg", "next_cfg"])
//!     .mirror("Interface", ["name", "ofport", "error"]);
//! let client = Client::start(config);
//! let deadline = Instant::now() + Duration::from_secs(5);
//! client.connected(deadline).await?;
//!
//! let mut change = Transaction::new();
//! let interface = change.insert("Interface", Row::new().with("name", "p1"));
//! let port = change.insert("Port", Row::new().with("name", "p1").with("interfaces", &interface).with("tag", 10));
//! change.mutate("Bridge", [Condition::equals("name", "br0")], [Mutation::insert("ports", port)]);
//! change.mutate("Open_vSwitch", [], [Mutation::add("next_cfg", 1)]);
//! let counted = change.select("Open_vSwitch", []);
//! let done = client.transact(&change, deadline).await?;
//!
//! let wanted = done.rows(counted).and_then(|rows| rows.first()?.integer("next_cfg")).unwrap_or_default();
//! let interface = done.inserted(&interface).unwrap_or_default();
//! let interests = [Interest::table("Open_vSwitch").columns(["cur_cfg"])];
//! let error = client
//!     .mirror()
//!     .wait_until(interests, deadline, |snapshot| {
//!         let current = snapshot.rows("Open_vSwitch").next()?.1.integer("cur_cfg")?;
//!         let error = || snapshot.row("Interface", interface)?.string("error").map(str::to_owned);
//!         (current >= wanted).then(error)
//!     })
//!     .await?;
//! println!("{}", error.as_deref().unwrap_or("p1 is there"));
//! # Ok(())
//! # }
//! ```
//!
//! The example `watch` of this crate prints all changes of a running server.

mod client;
mod connection;
mod endpoint;
mod error;
mod frame;
mod message;
mod mirror;
mod op;
mod schema;
mod task;
mod value;

pub use client::{Claim, Client, Config, Lock, LockState, State, Tenure};
pub use connection::{Connection, Events, Limits, Notification, Strays};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::{Ended, Error, Result, Unanswered};
pub use frame::{FrameError, Scanner};
pub use mirror::{
    Changes, Desync, Interest, Mirror, Next, Replica, RowChange, Rows, Snapshot, Subscription, Updates, Watch,
};
pub use op::{Condition, Mutation, Op, OpResult, Outcome, Place, Refusal, RefusalKind, Transaction, Until};
pub use schema::{AtomType, ColumnType, Mismatch, Schema};
pub use value::{Atom, Datum, InvalidName, InvalidUuid, Malformed, Map, NamedUuid, Row, Set, Uuid};
