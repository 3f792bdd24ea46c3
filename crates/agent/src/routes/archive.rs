//! Files of a node as tar, both ways. Nothing is kept here: a slow client slows the node, and the other way round.
//!
//! Whichever side ends first ends the session. What goes wrong while an archive is under way from a node comes after it,
//! as the trailer [`FAILED`], to clients that take trailers (`TE: trailers`); for others the connection breaks off.

use std::fmt::Write as _;
use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::unfold;
use http_body_util::StreamBody;
use hyper::body::Frame;
use netloom_engine::{CopyIn, CopyOut, Incoming, Landing, Links, Outgoing, Owner, Refusal, task};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Answer, Shared, parse};
use crate::problem::{Params, bad_request, switch};
use crate::serve::App;
use crate::wire::{ARCHIVE, FAILED, Problem};

/// How long a client may take to notice that it has its answer.
const READ_OFF: Duration = Duration::from_secs(10);

/// The query of `GET /labs/{lab}/nodes/{node}/archive`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutQuery {
    path: String,
    follow: Option<String>,
}

/// `GET /labs/{lab}/nodes/{node}/archive`
pub(super) async fn get(
    State(app): State<Shared>,
    Path((lab, node)): Path<(String, String)>,
    Params(query): Params<OutQuery>,
    headers: HeaderMap,
) -> Answer {
    let follow = switch(query.follow.as_deref(), "follow")?.unwrap_or(false);
    let links = if follow { Links::Followed } else { Links::Kept };
    let request = CopyOut { path: given(query.path)?, links };
    let (copying, place) = app.engine.copy_out(&parse(&lab)?, &parse(&node)?, request).await?;
    let takes = headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    let takes_trailers = takes.flat_map(|value| value.split(',')).any(|value| value.trim() == "trailers");
    let failure = if takes_trailers { Failure::Trailer } else { Failure::BreaksOff };
    let state = Some(Sending { copying, _place: place, stop: app.stop.clone(), failure });
    let frames = unfold(state, async |state| state?.next().await);
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(ARCHIVE));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::TRAILER, HeaderValue::from_static(FAILED));
    Ok(response)
}

/// How a client learns that something went wrong after the beginning.
#[derive(Debug, Clone, Copy)]
enum Failure {
    Trailer,
    BreaksOff,
}

struct Sending {
    copying: Outgoing,
    _place: OwnedSemaphorePermit,
    stop: CancellationToken,
    failure: Failure,
}

impl Sending {
    async fn next(mut self) -> Option<(io::Result<Frame<Bytes>>, Option<Self>)> {
        let piece = tokio::select! {
            piece = self.copying.pieces.recv() => piece?.map_err(|error| Problem::from(Refusal::from(error))),
            () = self.stop.cancelled() => Err(Refusal::Stopping.into()),
        };
        match (piece, self.failure) {
            (Ok(piece), _) => Some((Ok(Frame::data(piece)), Some(self))),
            (Err(problem), Failure::Trailer) => Some((Ok(Frame::trailers(failed(&problem))), None)),
            (Err(problem), Failure::BreaksOff) => Some((Err(io::Error::other(problem)), None)),
        }
    }
}

/// The problem on one line; JSON with what is not ASCII escaped, since a header takes nothing else.
fn failed(problem: &Problem) -> HeaderMap {
    let json = serde_json::to_string(problem).unwrap_or_default();
    let escaped = json.chars().fold(String::with_capacity(json.len()), |mut text, c| {
        let mut units = [0; 2];
        match c {
            ' '..='~' => text.push(c),
            _ => {
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
        text
    });
    HeaderValue::from_str(&escaped).into_iter().map(|value| (FAILED_NAME, value)).collect()
}

const FAILED_NAME: header::HeaderName = header::HeaderName::from_static(FAILED);

/// The query of `PUT /labs/{lab}/nodes/{node}/archive`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InQuery {
    path: String,
    into: Option<String>,
    owners: Option<String>,
}

/// `PUT /labs/{lab}/nodes/{node}/archive`
pub(super) async fn put(
    State(app): State<Shared>,
    Path((lab, node)): Path<(String, String)>,
    Params(query): Params<InQuery>,
    body: Body,
) -> Answer {
    let mut body = body.into_data_stream();
    let copied = copy(&app, &lab, &node, query, &mut body).await;
    read_off(&app, body);
    copied.map(|()| StatusCode::NO_CONTENT.into_response())
}

async fn copy(app: &App, lab: &str, node: &str, query: InQuery, body: &mut BodyDataStream) -> Result<(), Problem> {
    let into = switch(query.into.as_deref(), "into")?.unwrap_or(false);
    let owners = switch(query.owners.as_deref(), "owners")?.unwrap_or(false);
    let request = CopyIn {
        path: given(query.path)?,
        landing: if into { Landing::Into } else { Landing::Named },
        owner: if owners { Owner::Kept } else { Owner::Root },
    };
    let (Incoming { pieces, done }, _place) = app.engine.copy_in(&parse(lab)?, &parse(node)?, request).await?;
    Ok(feed(app, body, pieces, done).await?.map_err(Refusal::from)?)
}

/// Gives what a client sends to a runtime, and waits for the runtime's word. That may come before everything was sent, and
/// is the answer then too.
pub(super) async fn feed<T>(
    app: &App,
    body: &mut BodyDataStream,
    pieces: mpsc::Sender<Bytes>,
    mut done: oneshot::Receiver<T>,
) -> Result<T, Problem> {
    let feed = async move {
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|_| bad_request("the body could not be read to its end"))?;
            if pieces.send(piece).await.is_err() {
                // It has ended on the other side, which says how.
                break;
            }
        }
        Ok::<_, Problem>(())
    };
    let mut feed = pin!(feed);
    let mut fed = false;
    loop {
        tokio::select! {
            done = &mut done => return done.map_err(|_| broken_off()),
            end = &mut feed, if !fed => {
                end?;
                fed = true;
            }
            () = app.stop.cancelled() => return Err(Refusal::Stopping.into()),
        }
    }
}

/// Reads what a client still sends while it is answered already: closed in its face, the connection would be reset, and
/// the answer with it.
pub(super) fn read_off(app: &App, mut body: BodyDataStream) {
    let stop = app.stop.clone();
    let rest = async move {
        let rest = async { while let Some(Ok(_)) = body.next().await {} };
        tokio::select! {
            _ = tokio::time::timeout(READ_OFF, rest) => {}
            () = stop.cancelled() => {}
        }
    };
    task::spawn("rest of an archive", app.tasks.track_future(rest));
}

fn broken_off() -> Problem {
    let detail = "the runtime ended the session without saying why; the node may have gone";
    Problem::new(502, "driver", "The session broke off", detail)
}

fn given(path: String) -> Result<String, Problem> {
    if path.is_empty() { Err(bad_request("`path` is empty")) } else { Ok(path) }
}
