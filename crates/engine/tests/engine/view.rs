//! Labs as they are shown.

use std::time::{Instant, SystemTime};

use netloom_engine::testing::Sketch;
use netloom_engine::{Fact, LabView, Place, PortFact, PortKind, Report, Source, Wish, channel, task};
use netloom_model::Mac;
use serde_json::json;

use crate::bench::{lab_name, until};

#[tokio::test]
async fn ten_thousand_nodes_are_shown_quickly() {
    let mut sketch = Sketch::new("lab");
    for n in 0..10_000 {
        sketch = sketch.node(&format!("r{n}"));
    }
    for n in 0..10_000_u16 {
        let ring = sketch.link(&format!("r{n}:eth1"), &format!("r{}:eth2", (n + 1) % 10_000));
        // Derived ones clash, and a sketch does not look.
        let [high, low] = n.to_be_bytes();
        sketch = ring.with_link(|link| {
            link.a.mac = Mac([2, 0, 0, high, low, 1]);
            link.b.as_mut().unwrap().mac = Mac([2, 0, 0, high, low, 2]);
        });
    }
    let wish: Wish = serde_json::from_value(json!({
        "lab": *sketch.lab(), "authority": "local", "phase": "run", "generation": 1, "rebuild": 0,
        "created": "2026-01-01T00:00:00Z",
    }))
    .unwrap();
    let (reporter, inventory, writer) = channel();
    task::spawn("inventory", writer.run());
    let ports = (0..20_000).map(|ifindex| {
        Fact::Port(PortFact {
            place: Place::Node(lab_name("lab"), format!("r{}", ifindex / 2).parse().unwrap()),
            ifindex,
            name: format!("eth{}", ifindex % 2 + 1).parse().unwrap(),
            kind: PortKind::Veth,
            admin_up: true,
            carrier: true,
            mtu: 1500,
            mac: None,
            addresses: vec![format!("10.0.{}.{}/32", ifindex >> 8, ifindex & 255)],
            given: Vec::new(),
            master: None,
            mark: None,
            seen: SystemTime::now(),
        })
    });
    reporter.send(Report::Events(Source::Fabric, ports.collect()));
    until("it is in", || inventory.snapshot().labs.contains_key(&lab_name("lab"))).await;
    let begun = Instant::now();
    let view = LabView::of(&lab_name("lab"), Some(&wish), &inventory.snapshot()).unwrap();
    let took = begun.elapsed();
    assert_eq!((view.nodes.len(), view.links.len()), (10_000, 10_000));
    assert!(view.nodes.iter().all(|node| node.addresses.len() == 2));
    // A quarter of a second in a debug build on an idle machine.
    assert!(took.as_secs() < 10, "{took:?}");
}
