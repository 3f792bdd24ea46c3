//! `netloom link up|down`: a cable is pulled, or put back.

use hyper::Method;
use netloom_agent::wire::{Accepted, PatchLink};
use netloom_engine::Layout;
use netloom_model::LabName;
use netloom_plan::AdminState;

use super::follow::{Following, Shown};
use crate::cli::LinkState;
use crate::client::{Client, segment};
use crate::failure::Result;
use crate::output;

/// Switches one end; returns when it is so.
pub(crate) async fn run(state: LinkState, lab: &LabName, end: String, layout: &Layout) -> Result {
    let client = Client::connect(layout).await?;
    let (admin, word) = match state {
        LinkState::Up => (AdminState::Up, "up"),
        LinkState::Down => (AdminState::Down, "down"),
    };
    let body = PatchLink { end: end.clone(), admin };
    let accepted: Accepted = client.ask(&Method::PATCH, &format!("/labs/{}/links", segment(lab)), Some(&body)).await?;
    let following = Following {
        client: &client,
        title: format!("link {word} at {end}"),
        shown: Shown::Not,
        timeout: None,
        go_on: format!("try again with `netloom link {word} {lab} {end}`"),
    };
    let ended = following.to_the_end(accepted.operation).await?;
    following.judge(&ended)?;
    output::result(&format!("lab {lab}: {end} is {word}\n"))
}
