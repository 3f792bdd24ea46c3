//! Labs as they are shown.

use std::sync::Arc;
use std::time::SystemTime;

use netloom_engine::testing::Sketch;
use netloom_engine::{
    Fact, FailSignals, LabView, Place, PortFact, PortKind, Report, Snapshot, Source, Standing, Wish, channel, task,
};
use netloom_model::Mac;
use serde_json::json;

use crate::bench::{grows_with_the_size, lab_name, until};

/// A ring that is wanted, and its interfaces as they are seen.
async fn ring(size: u16) -> (Wish, Arc<Snapshot>) {
    let mut sketch = Sketch::new("lab");
    for n in 0..size {
        sketch = sketch.node(&format!("r{n}"));
    }
    for n in 0..size {
        let ring = sketch.link(&format!("r{n}:eth1"), &format!("r{}:eth2", (n + 1) % size));
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
    let ports = (0..2 * u32::from(size)).map(|ifindex| {
        Fact::Port(PortFact {
            place: Place::Node(lab_name("lab"), format!("r{}", ifindex / 2).parse().unwrap()),
            ifindex,
            name: format!("eth{}", ifindex % 2 + 1).parse().unwrap(),
            altnames: Vec::new(),
            kind: PortKind::Veth,
            admin_up: true,
            carrier: true,
            mtu: 1500,
            mac: None,
            addresses: vec![format!("10.0.{}.{}/32", ifindex >> 8, ifindex & 255)],
            given: Vec::new(),
            master: None,
            signals: FailSignals::default(),
            mark: None,
            seen: SystemTime::now(),
        })
    });
    reporter.send(Report::Events(Source::Fabric, ports.collect()));
    until("it is in", || inventory.snapshot().labs.contains_key(&lab_name("lab"))).await;
    (wish, inventory.snapshot())
}

#[tokio::test]
async fn the_time_to_show_a_lab_grows_with_its_size() {
    let (small, large) = (ring(1000).await, ring(10_000).await);
    let view = |(wish, snapshot): &(Wish, Arc<Snapshot>)| {
        LabView::of(&lab_name("lab"), Some(wish), &Standing::default(), snapshot).expect("it is wanted")
    };
    let shown = view(&large);
    assert_eq!((shown.nodes.len(), shown.links.len()), (10_000, 10_000));
    assert!(shown.nodes.iter().all(|node| node.addresses.len() == 2));
    grows_with_the_size(&small, &large, |lab| drop(view(lab)));
}
