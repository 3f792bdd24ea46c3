//! Labs: what is wanted of them, and how they are.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use netloom_engine::{DeployRequest, Document, EditRequest, LabView, RaiseLimits, Rebuild, Refusal};
use netloom_model::LabName;
use serde::Deserialize;

use super::{Answer, Shared, outcome, parse};
use crate::problem::{JsonBody, Params, bad_request, json, switch};
use crate::serve::App;
use crate::wire::{Problem, PutLab};

/// `GET /labs`
pub(super) async fn list(State(app): State<Shared>) -> Response {
    json(StatusCode::OK, &app.engine.views())
}

fn view(app: &App, name: &LabName) -> Result<LabView, Problem> {
    app.engine.view(name).ok_or_else(|| Refusal::NoLab(name.clone()).into())
}

/// `GET /labs/{lab}`
pub(super) async fn one(State(app): State<Shared>, Path(lab): Path<String>) -> Answer {
    let view = view(&app, &parse(&lab)?)?;
    Ok(tagged(json(StatusCode::OK, &view), view.generation))
}

fn tagged(mut response: Response, generation: u64) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{generation}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The query of `PUT /labs/{lab}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PutQuery {
    #[serde(rename = "dry-run")]
    dry_run: Option<String>,
}

/// `PUT /labs/{lab}`
pub(super) async fn put(
    State(app): State<Shared>,
    Path(lab): Path<String>,
    Params(query): Params<PutQuery>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<PutLab>,
) -> Answer {
    let name: LabName = parse(&lab)?;
    if &name != body.lab.name() {
        let detail = format!("the path names lab `{name}`, the body lab `{}`; they must be the same", body.lab.name());
        return Err(bad_request(detail));
    }
    let dry_run = switch(query.dry_run.as_deref(), "dry-run")?.unwrap_or(false);
    let request = DeployRequest {
        generation: expected(&app, &name, &headers)?,
        lab: Arc::new(body.lab),
        rebuild: if body.rebuild { Rebuild::Yes } else { Rebuild::No },
        only: body.only,
        raise_limits: if body.raise_limits { RaiseLimits::Yes } else { RaiseLimits::No },
    };
    if dry_run {
        return Ok(json(StatusCode::OK, &app.engine.plan(&request).await?));
    }
    outcome(app.engine.deploy(request).await)
}

/// The generation that the client has in mind; 0 is that of a lab that is not there.
fn expected(app: &App, lab: &LabName, headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?").trim());
    if let Some(none) = text(header::IF_NONE_MATCH) {
        return if none == "*" { Ok(Some(0)) } else { Err(bad_request("`If-None-Match` can only be `*`")) };
    }
    let Some(tag) = text(header::IF_MATCH) else { return Ok(None) };
    if tag == "*" {
        let wish = app.engine.wishes().get(lab);
        let missing = || Problem::new(412, "changed", "The lab is not there", format!("there is no lab `{lab}`"));
        return wish.map(|wish| Some(wish.generation)).ok_or_else(missing);
    }
    let generation = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).and_then(|tag| tag.parse().ok());
    let bad = || bad_request(format!("`If-Match: {tag}` is not the ETag of a lab, such as `\"3\"`"));
    generation.map(Some).ok_or_else(bad)
}

/// The query of what may be done although a controller decides about the lab.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ForceQuery {
    force: bool,
}

/// `DELETE /labs/{lab}`
pub(super) async fn destroy(
    State(app): State<Shared>,
    Path(lab): Path<String>,
    Params(query): Params<ForceQuery>,
) -> Answer {
    let lab = parse(&lab)?;
    outcome(if query.force { app.engine.destroy_by_force(&lab).await } else { app.engine.destroy(&lab).await })
}

/// `POST /labs/{lab}/adopt`
pub(super) async fn adopt(
    State(app): State<Shared>,
    Path(lab): Path<String>,
    Params(query): Params<ForceQuery>,
) -> Answer {
    let lab = parse(&lab)?;
    outcome(if query.force { app.engine.seize(&lab).await } else { app.engine.adopt(&lab).await })
}

/// The query of `GET /adoptable`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AdoptableQuery {
    lab: Option<String>,
}

/// `GET /adoptable`
pub(super) async fn adoptable(State(app): State<Shared>, Params(query): Params<AdoptableQuery>) -> Answer {
    let lab = query.lab.as_deref().map(parse).transpose()?;
    Ok(json(StatusCode::OK, &app.engine.adoptable(lab.as_ref()).await?))
}

/// `GET /labs/{lab}/desired`
pub(super) async fn desired(State(app): State<Shared>, Path(lab): Path<String>) -> Answer {
    let name: LabName = parse(&lab)?;
    let wish = app.engine.wishes().get(&name).ok_or(Refusal::NoLab(name)).map_err(|refusal| known(&app, refusal))?;
    Ok(tagged(json(StatusCode::OK, &Document::of(&wish)), wish.generation))
}

/// `PATCH /labs/{lab}`
pub(super) async fn patch(
    State(app): State<Shared>,
    Path(lab): Path<String>,
    headers: HeaderMap,
    JsonBody(patch): JsonBody<serde_json::Value>,
) -> Answer {
    let name: LabName = parse(&lab)?;
    let generation = expected(&app, &name, &headers)?;
    if generation.is_none() {
        let detail = format!(
            "say with `If-Match` which generation of lab `{name}` the patch was made for (the `ETag` of \
             `/labs/{name}/desired`), or `If-Match: *` if that does not matter"
        );
        return Err(Problem::new(428, "unconditional", "The request must be conditional", detail));
    }
    // `*`: whichever it has when it is the patch's turn.
    let any = headers.get(header::IF_MATCH).is_some_and(|tag| tag == "*");
    let request = EditRequest { patch, generation: generation.filter(|_| !any) };
    outcome(app.engine.edit(&name, request).await.map_err(|refusal| known(&app, refusal)))
}

/// Tells a lab that only its marks know from one that is not there.
fn known(app: &App, refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::NoLab(name) if app.engine.inventory().snapshot().labs.contains_key(&name) => Refusal::Unknown(name),
        other => other,
    }
}
