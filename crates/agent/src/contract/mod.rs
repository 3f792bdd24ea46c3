//! The API that controllers of the agent contract speak. It has a router of its own: which of the two a request gets is decided
//! by its key ([`crate::access`]).
//!
//! | area | routes |
//! |---|---|
//! | [`labs`] | `/labs/{lab}/status`, `/jobs/…`, clean-up |
//! | [`workspace`] | `/labs/{lab}/workspace`, `/cleanup-workspaces` |
//! | [`reconcile`] | `/labs/{lab}/nodes/reconcile` |
//! | [`nodes`] | `/labs/{lab}/nodes/{node}…`, `/containers/…` |
//! | [`boot_logs`] | `/labs/{lab}/boot-logs` |
//! | [`configs`] | `…/extract-config`, `/labs/{lab}/extract-configs`, `…/config` |
//! | [`links`] | `/labs/{lab}/links…`, `/labs/{lab}/interfaces/…`, `/ports/…` |
//! | [`overlay`], [`attach`] | `/overlay/…`, `/ovs/…` |
//! | [`external`] | `/labs/{lab}/external…`, `/ovs-plugin/labs/{lab}/external…` |
//! | [`path`] | `/network/test-mtu` |
//! | [`interfaces`] | `/interfaces…`, `/bridges`, `/ovs-plugin/…`, and what is not done here |
//! | [`host`] | `/locks…`, `/update`, `/poap/…` |
//! | [`about`] | `/info`, `/capacity`, `/disk-usage`, `/deployment-mode`, `/callbacks/dead-letters` |
//! | [`console`] | `/console/{lab}/{node}` |
//! | [`images`] | `/images…` |
//!
//! Bodies are JSON. What was understood and could not be done is 200 with `"success": false` and `"error"`; every other
//! refusal is `{"detail": …}`: a text, or with 422 a list of what could not be read ([`answer`]). Each answer has an
//! `X-Request-Id` ([`named`]). A router of another area is merged where the others are.

mod about;
mod after_boot;
mod answer;
mod attach;
mod boot_logs;
mod carry_out;
mod configs;
mod console;
mod external;
mod fields;
mod host;
mod images;
mod interfaces;
mod labs;
mod links;
mod looked;
mod named;
mod node_spec;
mod nodes;
mod overlay;
mod path;
mod readiness;
mod reconcile;
mod underlay;
mod vendor;
mod workspace;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{from_fn, from_fn_with_state};

use crate::serve::App;
use crate::wire::BODY_LIMIT;

pub(crate) use after_boot::AfterBoot;
pub(crate) use answer::Detail;
use answer::{Answer, Json, done};
pub(crate) use images::Transfers;
pub(crate) use readiness::Readiness;
pub(crate) use vendor::Seen;
pub(crate) use workspace::Workspaces;

type Shared = Arc<App>;

/// Everything that a controller may ask.
pub(crate) fn router(app: Shared) -> Router {
    let of_host = Router::new()
        .merge(boot_logs::routes())
        .merge(configs::routes())
        .merge(external::routes())
        .merge(images::routes())
        .merge(interfaces::routes())
        .merge(labs::routes())
        .merge(links::routes())
        .merge(nodes::routes())
        .merge(overlay::routes())
        .merge(reconcile::routes())
        .merge(workspace::routes())
        .layer(from_fn_with_state(app.clone(), looked::looked));
    of_host
        .merge(about::routes())
        .merge(console::routes())
        .merge(host::routes())
        .merge(path::routes())
        .fallback(async || Detail::new(404, "Not Found"))
        .method_not_allowed_fallback(async |_: Request| Detail::new(405, "Method Not Allowed"))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn(named::named))
        .with_state(app)
}
