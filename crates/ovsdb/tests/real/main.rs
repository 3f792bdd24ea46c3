//! The client and a real server.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use this")]

mod claims;
mod mirror;
mod outages;
mod switch;
mod transactions;

use std::time::Duration;

use netloom_ovs_fixture::Ovs;
use netloom_ovsdb::{Client, Config, Endpoint, Mutation, NamedUuid, Row, Transaction};
use tokio::time::Instant;

/// Long enough for a loaded machine.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// What an agent mirrors of Open vSwitch.
fn config(endpoint: Endpoint) -> Config {
    let mut config = Config::new(endpoint, "Open_vSwitch")
        .mirror("Open_vSwitch", ["cur_cfg", "next_cfg", "bridges"])
        .mirror("Bridge", ["name", "ports", "fail_mode", "datapath_type", "external_ids", "other_config"])
        .mirror("Port", ["name", "interfaces", "tag", "trunks", "external_ids"])
        .mirror(
            "Interface",
            ["name", "type", "options", "ofport", "error", "link_state", "admin_state", "mtu", "external_ids"],
        );
    (config.first_pause, config.longest_pause) = (Duration::from_millis(5), Duration::from_millis(50));
    config
}

fn start(ovs: &Ovs) -> Client {
    Client::start(config(Endpoint::Unix(ovs.socket())))
}

async fn connected(ovs: &Ovs) -> Client {
    let client = start(ovs);
    client.connected(soon()).await.unwrap();
    client
}

/// Makes a bridge of these ports in a transaction that has done nothing yet; gives the bridge's name in it.
fn make_bridge(change: &mut Transaction, name: &str, ports: &[NamedUuid]) -> NamedUuid {
    let row = Row::new()
        .with("name", name)
        .with("datapath_type", "netdev")
        .with("ports", ports.iter().collect::<netloom_ovsdb::Set>());
    let bridge = change.insert("Bridge", row);
    change.mutate("Open_vSwitch", [], [Mutation::insert("bridges", &bridge)]);
    bridge
}

/// Makes a port with an interface of this type; gives its name in the transaction.
fn make_port(change: &mut Transaction, name: &str, kind: &str) -> NamedUuid {
    let interface = change.insert("Interface", Row::new().with("name", name).with("type", kind));
    change.insert("Port", Row::new().with("name", name).with("interfaces", interface))
}
