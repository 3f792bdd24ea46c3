//! The contract of fabrics.

use std::sync::Arc;

use async_trait::async_trait;
use netloom_model::{Lab, LinkId, Mtu};
use netloom_plan::{AdminState, LinkFingerprint, Side};

use super::{LAB, Watch, context};
use crate::driver::{Fabric, LinkOrder, Reporter};
use crate::fact::{Place, PortFact, PortKind, PortMark, Source};
use crate::snapshot::Snapshot;
use crate::testing::Sketch;
use crate::testing::world::name;

/// How to make a fabric over one and the same host. On it are the namespaces of the nodes `r1` and `r2` of the lab
/// `contract`, and none of the interfaces that the suite makes: `nlc-…` on the host, `eth…` in the nodes.
#[async_trait]
pub trait FabricStage: Send {
    /// Makes it, reporting here. The one that was made before has been dropped, as when an agent ends.
    async fn fabric(&mut self, reporter: Reporter) -> Arc<dyn Fabric>;

    /// Somebody else makes an interface on the host (any kind but a bridge).
    async fn add_foreign(&mut self, interface: &str);

    /// Somebody deletes an interface.
    async fn delete_interface(&mut self, place: &Place, interface: &str);

    /// Whether an interface is there, looked at without the fabric.
    async fn exists(&mut self, place: &Place, interface: &str) -> bool;
}

fn link(lab: &Lab, id: &str) -> netloom_model::Link {
    lab.links().iter().find(|link| link.id().as_str() == id).expect("the suite knows its links").clone()
}

fn create(lab: &Arc<Lab>, id: &str) -> LinkOrder {
    let fingerprint = LinkFingerprint::of(&link(lab, id), 0);
    LinkOrder::Create { lab: lab.clone(), link: LinkId::from_text(id), fingerprint, tag: None }
}

fn update(lab: &Arc<Lab>, id: &str) -> LinkOrder {
    let fingerprint = LinkFingerprint::of(&link(lab, id), 0);
    LinkOrder::Update { lab: lab.clone(), link: LinkId::from_text(id), fingerprint, tag: None }
}

fn set(lab: &Arc<Lab>, id: &str, side: Side, admin: AdminState) -> LinkOrder {
    LinkOrder::Set { lab: lab.clone(), link: LinkId::from_text(id), side, admin }
}

fn delete(id: &str) -> LinkOrder {
    LinkOrder::Delete { lab: name(LAB), link: LinkId::from_text(id) }
}

async fn one(fabric: &dyn Fabric, order: LinkOrder) -> Result<(), String> {
    let mut answers = fabric.apply(vec![order], &context()).await;
    assert_eq!(answers.len(), 1, "one answer for one order");
    answers.remove(0).map_err(|error| error.to_string())
}

fn inside(node: &str) -> Place {
    Place::Node(name(LAB), name(node))
}

fn port(all: &Snapshot, place: &Place, interface: &str) -> Option<PortFact> {
    let found = match place {
        Place::Host => all.host.values().find(|port| port.name.as_str() == interface)?,
        Place::Node(lab, node) => {
            let ports = &all.labs.get(lab)?.ports;
            ports.iter().find(|((of, _), port)| of == node && port.name.as_str() == interface)?.1
        }
    };
    Some(PortFact::clone(found))
}

fn up(all: &Snapshot, id: &str, count: usize) -> Option<Vec<PortFact>> {
    let ports: Vec<PortFact> =
        all.links(&name(LAB)).get(&LinkId::from_text(id))?.ports.iter().map(|port| PortFact::clone(port)).collect();
    (ports.len() == count && ports.iter().all(|port| port.admin_up && port.carrier)).then_some(ports)
}

fn absent(all: &Snapshot, id: &str) -> Option<()> {
    (!all.links(&name(LAB)).contains_key(&LinkId::from_text(id))).then_some(())
}

const PAIR: &str = "r1:eth1-r2:eth1";
const OUT: &str = "host:nlc-h0-r1:eth2";
const SWITCHED: &str = "nlc-br:nlc-p0-r2:eth2";

fn lab(mtu: u32, address: &str) -> Arc<Lab> {
    Sketch::new(LAB)
        .node("r1")
        .node("r2")
        .bridge("nlc-br")
        .link("r1:eth1", "r2:eth1")
        .with_link(|link| {
            link.mtu = Mtu::try_from(mtu).expect("the suite's own");
            link.a.ipv4 = Some(name(address));
            link.b.as_mut().expect("it has two ends").ipv6 = Some(name("2001:db8::2/64"));
        })
        .link("r1:eth2", "host:nlc-h0")
        .link("r2:eth2", "nlc-br:nlc-p0")
        .lab()
}

/// What every fabric does: makes links whole, addressed and up, once, and adopts what is there; mends what is half
/// there; answers each order of a batch for itself; switches ends and says so in their marks; removes by marks only;
/// tolerates the absence of what it deletes; counts what the ends of links carry; touches nothing foreign; tells of every change, also of those that
/// others make; finds everything again when it is made anew.
pub async fn fabric_contract(stage: &mut dyn FabricStage) {
    let (watch, reporter) = Watch::new();
    let fabric = stage.fabric(reporter).await;
    fabric.relist().await.expect("it can look");
    let listed = |all: &Snapshot| all.sources.get(&Source::Fabric)?.listed;
    watch.until("the host was looked at", listed).await;
    let lab = lab(9000, "10.0.0.1/24");

    links_are_made_whole_and_once(&*fabric, &watch, &lab).await;
    bridges_come_and_go(&*fabric, &watch, &lab, stage).await;
    bridges_in_nodes_come_and_go(&*fabric, &watch, stage).await;
    each_order_is_answered_for_itself(&*fabric, &watch, stage).await;
    updates_are_live(&*fabric, &watch).await;
    ends_are_switched(&*fabric, &watch, &lab).await;
    what_others_delete_is_told_and_made_again(&*fabric, &watch, &lab, stage).await;

    drop(fabric);
    let (watch, reporter) = Watch::new();
    let fabric = stage.fabric(reporter).await;
    fabric.relist().await.expect("it can look");
    for id in [PAIR, OUT, SWITCHED] {
        watch.until("everything is found again", |all| up(all, id, 2)).await;
    }
    removal_is_by_marks(&*fabric, &watch, stage).await;
}

async fn links_are_made_whole_and_once(fabric: &dyn Fabric, watch: &Watch, lab: &Arc<Lab>) {
    let answers = fabric.apply(vec![create(lab, PAIR), create(lab, OUT)], &context()).await;
    assert!(answers.len() == 2 && answers.iter().all(Result::is_ok), "{answers:?}");
    let ports = watch.until("the link is up", |all| up(all, PAIR, 2)).await;
    for port in &ports {
        assert_eq!((port.kind, port.mtu), (PortKind::Veth, 9000), "{port:?}");
        let Some(PortMark::Link { fingerprint, switched, .. }) = &port.mark else { panic!("{port:?}") };
        assert_eq!((fingerprint, switched), (&LinkFingerprint::of(&link(lab, PAIR), 0), &AdminState::Up));
    }
    let addressed = |all: &Snapshot| {
        let (a, b) = (port(all, &inside("r1"), "eth1")?, port(all, &inside("r2"), "eth1")?);
        let has = |port: &PortFact, address: &str| port.addresses.iter().any(|there| there == address);
        (has(&a, "10.0.0.1/24") && has(&b, "2001:db8::2/64")).then_some((a, b))
    };
    let (a, b) = watch.until("its ends have their addresses", addressed).await;
    // Kernels before 5.18 forget it.
    assert!(a.given.is_empty() || a.given == ["10.0.0.1/24"], "{a:?}");
    let wanted = link(lab, PAIR);
    assert_eq!((a.mac, b.mac), (Some(wanted.a.mac), wanted.b.as_ref().map(|end| end.mac)));
    watch.until("the link to the host is up", |all| up(all, OUT, 2)).await;
    assert!(port(&watch.now(), &Place::Host, "nlc-h0").is_some());

    let counters = fabric.counters(lab.name(), &context()).await.expect("they can be read");
    let mut counted: Vec<_> = counters.iter().map(|port| (port.place.clone(), port.ifindex)).collect();
    counted.sort();
    let outer = port(&watch.now(), &inside("r1"), "eth2").expect("it is there").ifindex;
    let host = port(&watch.now(), &Place::Host, "nlc-h0").expect("it is there").ifindex;
    let mut ends = [(inside("r1"), a.ifindex), (inside("r2"), b.ifindex), (inside("r1"), outer), (Place::Host, host)];
    ends.sort();
    assert_eq!(counted, ends, "all ends of the lab's links, and nothing else");
    let none = fabric.counters(&name("contract2"), &context()).await.expect("they can be read");
    assert_eq!(none, [], "another lab has none");

    assert_eq!(one(fabric, create(lab, PAIR)).await, Ok(()), "what is there is adopted");
    fabric.relist().await.expect("it can look");
    let still = port(&watch.now(), &inside("r1"), "eth1").expect("it is there");
    assert_eq!(still.ifindex, a.ifindex, "and not made anew");
}

async fn bridges_come_and_go(fabric: &dyn Fabric, watch: &Watch, lab: &Arc<Lab>, stage: &mut dyn FabricStage) {
    let bridge = name("nlc-br");
    let early = one(fabric, create(lab, SWITCHED)).await.expect_err("its bridge is not there");
    assert!(early.contains("nlc-br"), "it says what is missing: {early}");
    assert!(!stage.exists(&inside("r2"), "eth2").await, "a refusal leaves nothing behind");
    for _ in 0..2 {
        fabric.ensure_bridge(&Place::Host, &bridge, &context()).await.expect("it is made, or there");
    }
    // It is made in one message and marked in the next.
    let marked = |all: &Snapshot| port(all, &Place::Host, "nlc-br").filter(|port| port.mark == Some(PortMark::Bridge));
    let made = watch.until("the bridge is there and ours", marked).await;
    assert_eq!(made.kind, PortKind::Bridge);
    assert_eq!(one(fabric, create(lab, SWITCHED)).await, Ok(()));
    let enslaved = |all: &Snapshot| {
        let bridge = port(all, &Place::Host, "nlc-br")?.ifindex;
        up(all, SWITCHED, 2)?;
        port(all, &Place::Host, "nlc-p0").filter(|port| port.master == Some(bridge))
    };
    watch.until("the link is a port of the bridge", enslaved).await;
    // Somebody deletes the bridge: making it and the link again puts the port back.
    stage.delete_interface(&Place::Host, "nlc-br").await;
    watch.until("the bridge is gone", |all| port(all, &Place::Host, "nlc-br").is_none().then_some(())).await;
    fabric.ensure_bridge(&Place::Host, &bridge, &context()).await.expect("it is made");
    assert_eq!(one(fabric, create(lab, SWITCHED)).await, Ok(()));
    watch.until("the link is a port of the new bridge", enslaved).await;
}

async fn each_order_is_answered_for_itself(fabric: &dyn Fabric, watch: &Watch, stage: &mut dyn FabricStage) {
    stage.add_foreign("nlc-foreign").await;
    let other = Sketch::new(LAB)
        .node("r1")
        .node("r2")
        .node("r9")
        .link("r1:eth5", "r2:eth5")
        .link("r1:eth6", "r9:eth1")
        .link("r1:eth7", "host:nlc-foreign")
        .link("r1:eth8", "r2:eth8")
        .lab();
    let orders = vec![
        create(&other, "r1:eth5-r2:eth5"),
        create(&other, "r1:eth6-r9:eth1"),
        delete("never:eth0-there:eth0"),
        create(&other, "host:nlc-foreign-r1:eth7"),
        create(&other, "r1:eth8-r2:eth8"),
    ];
    let answers = fabric.apply(orders, &context()).await;
    let ok: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, false, true, false, true], "{answers:?}");
    let said = |at: usize| answers[at].as_ref().expect_err("it failed").to_string();
    assert!(said(1).contains("r9"), "it says which node: {}", said(1));
    assert!(said(3).contains("nlc-foreign"), "it says which interface: {}", said(3));
    assert!(stage.exists(&Place::Host, "nlc-foreign").await, "what is foreign is not touched");
    for (place, interface) in [(inside("r1"), "eth6"), (inside("r1"), "eth7")] {
        assert!(!stage.exists(&place, interface).await, "{interface}: a failed order leaves nothing behind");
    }
    for id in ["r1:eth5-r2:eth5", "r1:eth8-r2:eth8"] {
        watch.until("the others are up", |all| up(all, id, 2)).await;
        assert_eq!(one(fabric, delete(id)).await, Ok(()));
        watch.until("it is gone", |all| absent(all, id)).await;
    }
}

async fn updates_are_live(fabric: &dyn Fabric, watch: &Watch) {
    let before = port(&watch.now(), &inside("r1"), "eth1").expect("it is there");
    let edited = lab(1400, "10.9.9.1/30");
    assert_eq!(one(fabric, update(&edited, PAIR)).await, Ok(()));
    let wanted = LinkFingerprint::of(&link(&edited, PAIR), 0);
    let changed = |all: &Snapshot| {
        let port = port(all, &inside("r1"), "eth1")?;
        let marked = matches!(&port.mark, Some(PortMark::Link { fingerprint, .. }) if fingerprint == &wanted);
        let has = |address: &str| port.addresses.iter().any(|there| there == address);
        (marked && port.mtu == 1400 && has("10.9.9.1/30") && !has("10.0.0.1/24")).then_some(port)
    };
    let after = watch.until("MTU, addresses and mark are new", changed).await;
    assert_eq!((after.ifindex, after.mac), (before.ifindex, before.mac), "it is the same interface");
    let missing = Sketch::new(LAB).node("r1").node("r2").link("r1:eth9", "r2:eth9").lab();
    assert!(one(fabric, update(&missing, "r1:eth9-r2:eth9")).await.is_err(), "what is not there is not updated");
}

async fn ends_are_switched(fabric: &dyn Fabric, watch: &Watch, lab: &Arc<Lab>) {
    let shows = |admin: AdminState| {
        move |all: &Snapshot| {
            let (a, b) = (port(all, &inside("r1"), "eth1")?, port(all, &inside("r2"), "eth1")?);
            let Some(PortMark::Link { switched, .. }) = a.mark else { return None };
            let up = admin == AdminState::Up;
            (switched == admin && a.admin_up == up && b.carrier == up && b.admin_up).then_some(())
        }
    };
    let a_is_r1 = link(lab, PAIR).a.label() == "r1:eth1";
    let side = if a_is_r1 { Side::A } else { Side::B };
    for admin in [AdminState::Down, AdminState::Down, AdminState::Up] {
        assert_eq!(one(fabric, set(lab, PAIR, side, admin)).await, Ok(()));
        watch.until("the end is switched and marked, and its peer sees it", shows(admin)).await;
    }
}

async fn what_others_delete_is_told_and_made_again(
    fabric: &dyn Fabric,
    watch: &Watch,
    lab: &Arc<Lab>,
    stage: &mut dyn FabricStage,
) {
    stage.delete_interface(&inside("r2"), "eth1").await;
    watch.until("both ends are gone", |all| absent(all, PAIR)).await;
    assert_eq!(one(fabric, create(lab, PAIR)).await, Ok(()));
    watch.until("it is back", |all| up(all, PAIR, 2)).await;
    assert_eq!(one(fabric, create(lab, OUT)).await, Ok(()));
}

async fn bridges_in_nodes_come_and_go(fabric: &dyn Fabric, watch: &Watch, stage: &mut dyn FabricStage) {
    const INNER: &str = "nlc-in|r2:eth3-r1:eth3";
    let lab = Sketch::new(LAB).node("r1").node("r2").bridge("nlc-in|r2").link("r1:eth3", "nlc-in|r2:eth3").lab();
    let (r2, bridge) = (inside("r2"), name("nlc-in"));
    let early = one(fabric, create(&lab, INNER)).await.expect_err("its bridge is not there");
    assert!(early.contains("nlc-in"), "it says what is missing: {early}");
    for _ in 0..2 {
        fabric.ensure_bridge(&r2, &bridge, &context()).await.expect("it is made, or there");
    }
    assert_eq!(one(fabric, create(&lab, INNER)).await, Ok(()));
    let enslaved = |all: &Snapshot| {
        let bridge = port(all, &r2, "nlc-in").filter(|port| port.mark == Some(PortMark::Bridge))?.ifindex;
        up(all, INNER, 2)?;
        port(all, &r2, "eth3").filter(|port| port.master == Some(bridge))
    };
    let made = watch.until("the link is a port of the bridge in the node", enslaved).await;
    assert_eq!(one(fabric, create(&lab, INNER)).await, Ok(()));
    let still = watch.until("it is a port of it still", enslaved).await;
    assert_eq!(still.ifindex, made.ifindex, "what is there is adopted");
    assert_eq!(one(fabric, delete(INNER)).await, Ok(()));
    for _ in 0..2 {
        fabric.remove_bridge(&r2, &bridge, &context()).await.expect("it is removed, or gone");
    }
    assert!(!stage.exists(&r2, "nlc-in").await, "the bridge is gone");
}

async fn removal_is_by_marks(fabric: &dyn Fabric, watch: &Watch, stage: &mut dyn FabricStage) {
    let orders: Vec<LinkOrder> = [PAIR, OUT, SWITCHED, PAIR].map(delete).into();
    let answers = fabric.apply(orders, &context()).await;
    assert!(answers.len() == 4 && answers.iter().all(Result::is_ok), "{answers:?}");
    for id in [PAIR, OUT, SWITCHED] {
        watch.until("it is gone", |all| absent(all, id)).await;
    }
    for (place, interface) in [(inside("r1"), "eth1"), (Place::Host, "nlc-h0"), (Place::Host, "nlc-p0")] {
        assert!(!stage.exists(&place, interface).await, "{interface} is gone");
    }
    let missing = name("nlc-none");
    for bridge in [&name("nlc-br"), &name("nlc-br"), &missing, &name("nlc-foreign")] {
        fabric
            .remove_bridge(&Place::Host, bridge, &context())
            .await
            .expect("absence and what is foreign are tolerated");
    }
    watch.until("the bridge is gone", |all| port(all, &Place::Host, "nlc-br").is_none().then_some(())).await;
    assert!(stage.exists(&Place::Host, "nlc-foreign").await, "what is foreign is not touched");
}
