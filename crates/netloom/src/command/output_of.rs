//! `netloom logs` and `netloom events`: streams to standard output.

use std::io::stdout;

use netloom_engine::{Event, Layout};

use crate::cli::LabNode;
use crate::client::{Client, segment};
use crate::failure::Result;
use crate::{output, render};

/// What a node's command has written, and writes.
pub(crate) async fn logs(node: &LabNode, follow: bool, layout: &Layout) -> Result {
    let client = Client::connect(layout).await?;
    let path = format!("/labs/{}/nodes/{}/logs?follow={follow}", segment(&node.lab), segment(&node.node));
    let mut stream = client.bytes(&path).await?;
    while let Some(bytes) = stream.next().await? {
        output::bytes(&mut stdout().lock(), &bytes)?;
    }
    Ok(())
}

/// What happened, and happens.
pub(crate) async fn events(follow: bool, json: bool, layout: &Layout) -> Result {
    let client = Client::connect(layout).await?;
    let mut stream = client.events(&format!("/events?after=0&follow={follow}")).await?;
    while let Some(said) = stream.next().await? {
        if said.name == "lagged" {
            output::say(&format!("events were lost: {}", said.data));
            continue;
        }
        match serde_json::from_str::<Event>(&said.data) {
            Ok(event) if json => output::json_line(&event)?,
            Ok(event) => output::result(&render::event(&event))?,
            // An agent of a later version may tell of things that are not known here.
            Err(_) if json => output::result(&(said.data + "\n"))?,
            Err(_) => output::say(&format!("an event that is not understood: {}", said.name)),
        }
    }
    Ok(())
}
