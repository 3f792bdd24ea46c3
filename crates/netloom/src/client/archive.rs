//! Files of nodes, as streams of tar.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream::unfold;
use http_body_util::StreamBody;
use hyper::Request;
use hyper::body::Frame;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use netloom_agent::wire::ARCHIVE;
use netloom_engine::{CopyIn, CopyOut, Landing, Links, Owner, task};
use tokio::sync::mpsc;

use super::{Body, Client, failure, segment};
use crate::cli::LabNode;
use crate::failure::{Failure, Result};

impl Client {
    /// Opens what is at a path in a node.
    pub(crate) async fn copy_out(&self, at: &LabNode, request: &CopyOut) -> Result<Body> {
        let follow = if request.links == Links::Followed { "&follow=true" } else { "" };
        self.bytes(&format!("{}{follow}", path(at, &request.path))).await
    }

    /// Copies into a node; returns when all is there. What is given last ends the archive, whole or not: the other side
    /// knows by its end mark.
    pub(crate) async fn copy_in(&self, at: &LabNode, request: &CopyIn, pieces: mpsc::Receiver<Bytes>) -> Result {
        let into = if request.landing == Landing::Into { "&into=true" } else { "" };
        let owners = if request.owner == Owner::Kept { "&owners=true" } else { "" };
        let io = TokioIo::new(self.stream().await?);
        let broken = |error: hyper::Error| self.broken(&error.to_string());
        let (mut sender, connection) = http1::handshake(io).await.map_err(broken)?;
        task::spawn("connection", connection);
        let frames = unfold(pieces, async |mut pieces| {
            let piece = pieces.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(piece)), pieces))
        });
        let uri = format!("{}{into}{owners}", path(at, &request.path));
        let request = Request::put(uri).header(HOST, "localhost").header(CONTENT_TYPE, ARCHIVE);
        let request = request.body(StreamBody::new(frames)).map_err(Failure::failed)?;
        // As long as it takes: an agent that goes away is noticed.
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(failure(status, &self.whole(response).await?)) }
    }
}

fn path(at: &LabNode, path: &str) -> String {
    format!("/labs/{}/nodes/{}/archive?path={}", segment(&at.lab), segment(&at.node), segment(path))
}
