//! `netloom link`: a cable is put in, taken out, cut, mended.

use std::path::Path;

use netloom_engine::{Document, Layout};
use netloom_model::{LabName, LinkKind, Shape, Vxlan};
use serde_json::{Map, json};

use super::edit::Edit;
use crate::cli::{Link, LinkAdd, LinkEnd};
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::kinds;
use crate::remote;

/// Returns when it is so.
pub(crate) async fn run(command: Link, layout: &Layout) -> Result {
    let client = Client::connect(layout).await?;
    match command {
        Link::Add(options) => add(&options, &client).await,
        Link::Rm { lab, end, other, json } => remove(&lab, &end, other.as_deref(), json, &client).await,
        Link::Up(end) => switch(&end, "up", &client).await,
        Link::Down(end) => switch(&end, "down", &client).await,
    }
}

async fn add(options: &LinkAdd, client: &Client) -> Result {
    let LinkAdd { lab, a, b, mtu, ipv4, ipv6, json, .. } = options;
    let tunnel = tunnel(options)?;
    let (labels, own) = match tunnel {
        Some(_) => (vec![a], "its one end here"),
        None => (vec![a, b], "two ends"),
    };
    for (option, given) in [("--ipv4", ipv4), ("--ipv6", ipv6)] {
        if given.len() > labels.len() {
            let count = given.len();
            return Err(Failure::input(format_args!("{option}: here are {count} addresses, and a link has {own}")));
        }
    }
    let end = |at: usize| {
        let mut end = Map::new();
        for (field, given) in [("ipv4", ipv4), ("ipv6", ipv6)] {
            if let Some(address) = given.get(at).filter(|address| !address.is_empty()) {
                end.insert(field.to_owned(), address.as_str().into());
            }
        }
        end
    };
    let edit = Edit { client, lab, title: format!("link add {a} {b}"), json: *json };
    let patch = |wanted: &Document| {
        if wanted.links.keys().any(|key| labels.iter().all(|label| ends_on(key, label))) {
            let at = if tunnel.is_some() { format!("at {a}") } else { format!("between {a} and {b}") };
            return Err(Failure::input(format_args!("lab `{lab}` has a link {at} already")));
        }
        let mut ends = Map::new();
        for (at, label) in labels.iter().enumerate() {
            let mut end = end(at);
            end.extend(kernel_name(label, wanted)?.map(|kernel| ("kernel".to_owned(), kernel.into())));
            ends.insert((*label).clone(), end.into());
        }
        let mut link = json!({ "ends": ends });
        if let Some(tunnel) = &tunnel {
            link["kind"] = json!(LinkKind::VxlanStitch(tunnel.clone()));
        }
        if let Some(mtu) = mtu {
            link["mtu"] = (*mtu).into();
        }
        let key = labels.iter().map(|label| label.as_str()).collect::<Vec<_>>().join(" ");
        Ok(json!({ "links": { key: link } }))
    };
    edit.make_and_say(patch, &format!("link {a} {b} is up")).await
}

/// The tunnel to the other end, if that is on another host.
fn tunnel(LinkAdd { b, vni, dst_port, .. }: &LinkAdd) -> Result<Option<Vxlan>> {
    let Some(vni) = *vni else { return Ok(None) };
    let host = b.strip_prefix("remote:").filter(|host| !host.is_empty()).ok_or_else(|| {
        Failure::input(format_args!("--vni is for links to another host, and {b} is none; write remote:ADDRESS"))
    })?;
    let remote = remote::address(host).map_err(|why| {
        Failure::input(format_args!("{b}: no address is found for `{host}` ({why}); write one, as remote:192.0.2.7"))
    })?;
    Ok(Some(Vxlan { remote: remote.to_string(), vni, dst_port: *dst_port, src_port: None, parent: None, local: None }))
}

/// The name in the kernel of an end whose name is the device's own; what nobody knows is for the agent to refuse.
fn kernel_name(label: &str, wanted: &Document) -> Result<Option<String>> {
    let Some((node, interface)) = label.split_once(':') else { return Ok(None) };
    let Some((_, entry)) = wanted.nodes.iter().find(|(name, _)| name.as_str() == node) else { return Ok(None) };
    let directory = wanted.source.as_deref().and_then(|source| Path::new(source).parent());
    let kinds = kinds::read(directory.unwrap_or(Path::new(".")))?;
    let kind = kinds.get(&entry.node.kind).filter(|kind| kind.name.shape() == Shape::Runs);
    let Some(kind) = kind else { return Ok(None) };
    let found = kind.interface(interface).map_err(|why| Failure::input(format_args!("{label}: {why}")))?;
    Ok(found.alias().map(|_| found.kernel().to_string()))
}

async fn remove(lab: &LabName, end: &str, other: Option<&str>, json: bool, client: &Client) -> Result {
    let title = format!("link rm {end}");
    let edit = Edit { client, lab, title, json };
    let patch = |wanted: &Document| {
        let key = find(wanted, end)?;
        match other {
            Some(other) if !ends_on(key, other) => {
                let ends = key.replace(' ', " and ");
                Err(Failure::input(format_args!("the link at {end} is between {ends}; it does not end at {other}")))
            }
            _ => Ok(json!({ "links": { key: null } })),
        }
    };
    let what = other.map_or_else(|| format!("at {end}"), |other| format!("{end} {other}"));
    edit.make_and_say(patch, &format!("link {what} is removed")).await
}

async fn switch(LinkEnd { lab, end, json }: &LinkEnd, state: &str, client: &Client) -> Result {
    let edit = Edit { client, lab, title: format!("link {state} {end}"), json: *json };
    let patch =
        |wanted: &Document| Ok(json!({ "links": { find(wanted, end)?: { "ends": { end: { "state": state } } } } }));
    edit.make_and_say(patch, &format!("{end} is {state}")).await
}

fn ends_on(key: &str, end: &str) -> bool {
    key.split(' ').any(|own| own == end)
}

/// The link that has an end of this name.
fn find<'a>(wanted: &'a Document, end: &str) -> Result<&'a str> {
    let mut links = wanted.links.keys();
    links.find(|key| ends_on(key, end)).map(String::as_str).ok_or_else(|| {
        let ends = wanted.links.keys().flat_map(|key| key.split(' '));
        let near = ends.clone().find(|own| own.eq_ignore_ascii_case(end));
        let known: Vec<&str> = ends.take(40).collect();
        let hint = match (near, known.is_empty()) {
            (Some(near), _) => format!("did you mean {near}?"),
            (None, true) => "it has no links".to_owned(),
            (None, false) => format!("its ends are {}", known.join(", ")),
        };
        Failure::input(format_args!("there is no link at {end} in lab `{}`; {hint}", wanted.name))
    })
}
