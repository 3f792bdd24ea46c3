//! `netloom prune`: what labs have left behind, shown and, on a person's word, removed.

use std::io::{BufRead, IsTerminal, stdin};

use hyper::Method;
use netloom_agent::wire::Accepted;
use netloom_engine::{Layout, LeftoversView};

use super::follow::{Following, Shown};
use crate::cli::Prune;
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::{output, render};

/// Shows it, asks, and has it removed.
pub(crate) async fn run(options: Prune, layout: &Layout) -> Result {
    let Prune { dry_run, yes, grace, json } = options;
    let client = Client::connect(layout).await?;
    let query = format!("?grace={}", grace.as_secs());
    let view: LeftoversView = client.get(&format!("/leftovers{query}")).await?;
    if dry_run {
        return if json { output::json(&view) } else { output::result(&render::leftovers(&view)) };
    }
    if !json {
        output::result(&render::leftovers(&view))?;
    }
    if view.leftovers.is_empty() {
        return if json { output::json(&view) } else { Ok(()) };
    }
    if !yes {
        ask(view.leftovers.len())?;
    }
    let accepted: Accepted = client.ask(&Method::POST, &format!("/leftovers/remove{query}"), None::<&()>).await?;
    let following = Following {
        client: &client,
        title: "removal of what is left".to_owned(),
        shown: if json { Shown::Json } else { Shown::Late },
        timeout: None,
        go_on: "go on with `netloom prune`".to_owned(),
    };
    let ended = following.to_the_end(accepted.operation).await?;
    following.judge(&ended)?;
    if json { Ok(()) } else { output::result(&format!("{}\n", ended.message.unwrap_or_default())) }
}

/// Removes nothing but on a person's word.
fn ask(count: usize) -> Result {
    if !stdin().is_terminal() {
        let them = if count == 1 { "it" } else { "them" };
        return Err(Failure::input(format_args!("nothing was removed: --yes removes {them} without a question")));
    }
    output::say(&format!("remove {}? [y/N]", render::count(count, "thing")));
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer).map_err(|error| Failure::failed(crate::failure::plain(&error)))?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::ended("nothing was removed"))
}
