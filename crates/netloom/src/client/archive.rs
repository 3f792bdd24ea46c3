//! Files of nodes, as streams of tar.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream::unfold;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use netloom_agent::wire::ARCHIVE;
use netloom_engine::{CopyIn, CopyOut, Landing, Links, Owner, task};
use serde::de::DeserializeOwned;
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
        let uri = format!("{}{into}{owners}", path(at, &request.path));
        self.send_at_length(&Method::PUT, &uri, pieces).await.map(drop)
    }

    /// Loads an archive of images; returns when all is there.
    pub(crate) async fn load_images<T: DeserializeOwned>(&self, pieces: mpsc::Receiver<Bytes>) -> Result<T> {
        understood(&self.send_at_length(&Method::POST, "/images/load", pieces).await?)
    }

    /// Asks for what may take long.
    pub(crate) async fn ask_at_length<T: DeserializeOwned>(&self, method: &Method, path: &str) -> Result<T> {
        let (_, nothing) = mpsc::channel(1);
        understood(&self.send_at_length(method, path, nothing).await?)
    }

    async fn send_at_length(&self, method: &Method, uri: &str, pieces: mpsc::Receiver<Bytes>) -> Result<Bytes> {
        let io = TokioIo::new(self.stream().await?);
        let broken = |error: hyper::Error| self.broken(&error.to_string());
        let (mut sender, connection) = http1::handshake(io).await.map_err(broken)?;
        task::spawn("connection", connection);
        let frames = unfold(pieces, async |mut pieces| {
            let piece = pieces.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(piece)), pieces))
        });
        let request =
            Request::builder().method(method).uri(uri).header(HOST, "localhost").header(CONTENT_TYPE, ARCHIVE);
        let request = request.body(StreamBody::new(frames)).map_err(Failure::failed)?;
        // As long as it takes: an agent that goes away is noticed.
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let answer = self.whole(response).await?;
        if status.is_success() { Ok(answer) } else { Err(failure(status, &answer)) }
    }
}

fn understood<T: DeserializeOwned>(answer: &[u8]) -> Result<T> {
    serde_json::from_slice(answer)
        .map_err(|error| Failure::failed(format_args!("the agent's answer is not understood ({error})")))
}

fn path(at: &LabNode, path: &str) -> String {
    format!("/labs/{}/nodes/{}/archive?path={}", segment(&at.lab), segment(&at.node), segment(path))
}
