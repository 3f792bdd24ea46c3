//! Prints what changes in an Open vSwitch: `watch [ENDPOINT]`, by default `unix:/run/openvswitch/db.sock`.

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::time::Duration;

use netloom_ovsdb::{Client, Config, Next, RowChange, Snapshot};
use tokio::time::Instant;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "unix:/run/openvswitch/db.sock".to_owned());
    let config = Config::new(endpoint.parse()?, "Open_vSwitch")
        .mirror("Open_vSwitch", ["cur_cfg", "next_cfg"])
        .mirror("Bridge", ["name", "ports"])
        .mirror("Port", ["name", "interfaces", "tag", "trunks"])
        .mirror("Interface", ["name", "type", "ofport", "link_state", "error"]);
    let client = Client::start(config);
    client.connected(Instant::now() + Duration::from_secs(5)).await?;
    // First the subscription, so that no change falls between.
    let mut changes = client.mirror().subscribe();
    show(&client.mirror().snapshot());
    while let Some(next) = changes.next().await {
        match next {
            Next::Changes(changes) => changes.rows.iter().for_each(tell),
            Next::Lagged(_) => show(&client.mirror().snapshot()),
        }
    }
    Ok(())
}

fn show(snapshot: &Snapshot) {
    for (uuid, bridge) in snapshot.rows("Bridge") {
        println!("bridge {} ({uuid})", bridge.string("name").unwrap_or_default());
        for port in bridge.uuids("ports").filter_map(|port| snapshot.row("Port", port)) {
            let tag = port.integer("tag").map_or_else(String::new, |tag| format!(" tag {tag}"));
            println!("  port {}{tag}", port.string("name").unwrap_or_default());
        }
    }
}

fn tell(change: &RowChange) {
    let name = change.after.as_ref().or(change.before.as_ref()).and_then(|row| row.string("name")).unwrap_or_default();
    match &change.after {
        None => println!("{} {name} {} went", change.table, change.uuid),
        Some(row) => {
            let columns = row.iter().filter(|(column, _)| change.touches(column));
            let columns: Vec<String> = columns.map(|(column, value)| format!("{column}={value:?}")).collect();
            println!("{} {name} {} {}", change.table, change.uuid, columns.join(" "));
        }
    }
}
