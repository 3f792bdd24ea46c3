//! The agent's HTTP API: what people and programs talk to. It knows the engine and no driver.
//!
//! | route | answer |
//! |---|---|
//! | `GET /livez`, `GET /healthz`, `GET /health` | 200 or 503, [`wire::Liveness`]: no loop has work older than its limit. With a secret `/health` has beside it `agent_id`, `commit`, `registered` (at a controller) and `timestamp` |
//! | `GET /readyz` (`?verbose`) | 200 or 503, [`wire::Readiness`]: each capability with reason and since when |
//! | `GET /debug/stalls` | list of [`wire::Stall`]: which loops and threads were late, and where |
//! | `GET /info` | [`wire::Info`] |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /labs` | list of `LabView` |
//! | `GET /labs/{lab}` | `LabView`, `ETag: "<generation>"` |
//! | `PUT /labs/{lab}` | body [`wire::PutLab`]; `If-Match: "<generation>"` or `If-None-Match: *`; 202 [`wire::Accepted`] with `Location` |
//! | `PUT /labs/{lab}?dry-run=true` | 200 `Plan`; nothing is changed |
//! | `DELETE /labs/{lab}` | nothing of it is to remain; 202 [`wire::Accepted`]; 409 `authority` if a controller decides about it, unless `?force=true` |
//! | `POST /labs/{lab}/adopt` | wants again, just as it runs, a lab that only its marks know, or that the agent before this one has left; nothing is changed but marks; 202 [`wire::Accepted`] of an operation that has ended, 409 `known` or `unadoptable`. With `?force=true` the command line decides from now on about a lab that a controller decides about; what does not run stays stopped; 409 `known` if nobody else does |
//! | `GET /adoptable` (`?lab=`) | what that would adopt of one lab, or of all: a list of [`netloom_engine::Takeover`]; nothing is touched |
//! | `PATCH /labs/{lab}` | body: a merge patch (RFC 7396) of what the next route shows; `If-Match` required; 202 [`wire::Accepted`]; 409 `unknown` if only its marks know the lab |
//! | `GET /labs/{lab}/desired` | `Document`: what is wanted of the lab, `ETag: "<generation>"`; 409 likewise |
//! | `GET /labs/{lab}/nodes/{node}/logs` (`?follow=true`, `?last=50`) | `text/plain`, chunk by chunk; with `last` at least that many lines of its end, as far as 64 KiB hold them |
//! | `GET /labs/{lab}/nodes/{node}/exec` | WebSocket, see below |
//! | `GET /labs/{lab}/nodes/{node}/archive?path=P` (`&follow=true`) | `application/x-tar`: what is at P in the node, see below |
//! | `PUT /labs/{lab}/nodes/{node}/archive?path=P` (`&into=true`, `&owners=true`) | body: tar; 204 |
//! | `GET /labs/{lab}/rates` (`?every=1s`) | server-sent events `rates`, data `Rates`: the first without rates; `gone` `{"lab"}` at the end of the lab. Counters are looked at only while somebody listens |
//! | `GET /rates` (`?every=1s`) | the same for all labs at once, data: list of `Rates` |
//! | `GET /images` | `ImagesView`: the images of this host as last seen, with the labs that need them |
//! | `GET /images/{ref}` | `ImageView`, by name or id; a name of one word that is a route here is written with its tag |
//! | `POST /images/pull` | body [`wire::PullImage`]; 202 [`wire::Accepted`]: an operation of no lab, whose step has `progress` |
//! | `POST /images/load` | body: tar as `docker save` writes it, streamed; 200 [`wire::ImagesLoaded`]; 422 `archive` |
//! | `DELETE /images/{ref}` | 200 `ImagesRemoved`; 409 `image-needed` by labs, or `image-used` by something else |
//! | `POST /images/prune` (`?all=true`) | 200 `ImagesRemoved`: those without a name, or all, that no lab needs |
//! | `GET /leftovers` (`?grace=120`) | `LeftoversView`: what carries our mark, is nobody's and older than that many seconds; nothing is changed |
//! | `POST /leftovers/remove` (`?grace=120`) | removes just that; 202 [`wire::Accepted`]: an operation of no lab |
//! | `GET /operations` | list of `OperationView`, oldest first |
//! | `GET /operations/{id}` (`?wait=30`) | `OperationView`, at once or when it has ended, at most that many seconds later |
//! | `GET /operations/{id}/watch` | server-sent events: `snapshot` (`OperationView`), then `step` and `operation` (`Event`); ends with the operation; another `snapshot` after falling behind |
//! | `DELETE /operations/{id}` | cancels; 202 [`wire::Accepted`] |
//! | `GET /events` (`?after=SEQ`, `?follow=false`, `?lab=NAME`) | server-sent events named `operation`, `step`, `node`, `notice`, data `Event`, id its number; `lagged` `{"missed":n}`. Without `after`: only new ones when following, all that are kept when not |
//!
//! Refusals are [`wire::Problem`]s (RFC 9457). Everything may be done on the unix socket; on TCP a request needs
//! `Authorization: Bearer <token>`, except for the first two rows and, from private networks, the metrics. A request with
//! the configured secret instead of the token gets another API, that of the agent contract, which controllers speak
//! (`contract/`); where there is a secret, one without a key is refused as that API does: 403 `{"detail": …}`.
//!
//! A session of `exec` (WebSocket, version 13): the first message is text, an `ExecRequest`. Then the client sends
//! binary messages (first byte 0, then standard input; no more bytes close it) and text [`wire::ExecControl`]; the
//! server sends binary messages (first byte 1: standard output, 2: standard error), at last a text
//! [`wire::ExecEnd`], and closes. A client that goes away ends the command: HUP to one with a terminal, TERM to others,
//! and KILL two seconds later.
//!
//! An archive holds what `netloom_engine::CopyOut` and `CopyIn` say, and is streamed: bodies of this route have no limit.
//! What does not fit what is there (no such file) is 422 `copy`, before anything is touched. An archive that cannot be
//! sent to its end is followed by the trailer [`wire::FAILED`], or breaks off for clients without `TE: trailers`. A `PUT`
//! that breaks off leaves nothing half done under the name that was asked for.
//!
//! ```text
//!            ┌ thread `health` (own runtime, SCHED_RR) ┐        ┌ main runtime ──────────────────────────┐
//!  TCP ────▶ │ accept, peek ─▶ answer health itself    │──────▶ │ connection tasks ─▶ router ─▶ Engine    │ ◀── unix socket
//!            │          ping of the main runtime ──────│──────▶ │ pulse task                              │
//!            └─────────────────────────────────────────┘bounded └─────────────────────────────────────────┘
//!  thread `starts`: writes down what is under way, for the start after a crash
//!  thread `log`: writes what loggers queued; drops and counts what does not fit
//!  with a controller: tasks `controller`, `controller-watch`, `controller-outbox`, `controller-transport`, which call it ([`ControllerConfig`])
//! ```

mod access;
mod connection;
mod contract;
mod controller;
mod health;
mod listen;
pub mod log;
mod metrics;
mod network_manager;
mod plugin;
mod problem;
mod routes;
pub mod scrollback;
mod serve;
mod session;
mod starts;
mod supervisor;
mod token;
mod transport;
pub mod wire;

pub use access::Networks;
pub use controller::{AgentId, ControllerConfig, ControllerSecret, ControllerUrl, Introduction, Unusable};
pub use listen::{Listeners, ServeConfig, ServeError};
pub use metrics::DockerCalls;
pub use starts::Starts;
pub use token::TokenError;
