//! The contract of switches, and of fabrics with one.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use netloom_model::{InterfaceName, Lab, LinkId, LinkKind, Mtu, PortVlan, Vxlan};
use netloom_plan::LinkFingerprint;

use super::{LAB, Watch, context};
use crate::driver::{ErrorClass, Fabric, Joins, LinkOrder, Reporter, Switch, TagClaim};
use crate::fact::{Source, TunnelMark};
use crate::snapshot::Snapshot;
use crate::testing::Sketch;
use crate::testing::world::name;

/// How to make a fabric with a switch over one and the same host. On it are the namespaces of the nodes `r1` and `r2` of the
/// lab `contract`, and a bridge `nlc-foreign` of the switch with a port `nlc-fp` of tag 2050 that somebody else made.
#[async_trait]
pub trait SwitchStage: Send {
    /// Makes it, reporting here. The one that was made before has been dropped, as when an agent ends.
    async fn fabric(&mut self, reporter: Reporter) -> Arc<dyn Fabric>;

    /// The tag of a port, looked at without the fabric; `None` of one that is not there or has none.
    async fn tag(&mut self, port: &str) -> Option<u16>;

    /// Somebody else sets the tag of a port.
    async fn set_tag(&mut self, port: &str, tag: u16);

    /// Somebody else removes a port.
    async fn remove_port(&mut self, port: &str);

    /// Whether a tag is claimed on `nlc-foreign`, looked at without the fabric.
    async fn is_claimed(&mut self, tag: u16) -> bool;

    /// Somebody else takes away the claim of a tag there.
    async fn drop_claim(&mut self, tag: u16);
}

const BRIDGE: &str = "nlc-foreign";
const ONE: &str = "r1:eth1-r2:eth1";
const TWO: &str = "r1:eth2-r2:eth2";
const PORT: &str = "nlc-own:nlc-p1-r1:eth3";
const TUNNEL: &str = "r1:eth4";

fn lab() -> Arc<Lab> {
    let plain = Sketch::new(LAB)
        .node("r1")
        .node("r2")
        .still("ovs-bridge", "nlc-own")
        .link("r1:eth1", "r2:eth1")
        .link("r1:eth2", "r2:eth2")
        .link("r1:eth3", "nlc-own:nlc-p1")
        .link("r1:eth4", "host:none")
        .with_link(|link| {
            let TunnelMark { tunnel, mtu } = tunnel();
            (link.b, link.kind, link.mtu) = (None, LinkKind::VxlanStitch(tunnel), mtu);
        })
        .lab();
    Arc::new(plain.on_switch(&name(BRIDGE)))
}

fn tunnel() -> TunnelMark {
    let tunnel = Vxlan {
        remote: "192.0.2.7".to_owned(),
        vni: 4711,
        dst_port: 4789,
        src_port: Some(4000),
        parent: None,
        local: None,
    };
    TunnelMark { tunnel, mtu: Mtu::try_from(1300).expect("a usual one") }
}

fn claim(id: &str, known: Option<u16>) -> TagClaim {
    TagClaim { lab: name(LAB), link: LinkId::from_text(id), bridge: name(BRIDGE), known, joins: Joins::Link }
}

fn create(lab: &Arc<Lab>, id: &str, tag: Option<u16>) -> LinkOrder {
    let link = LinkId::from_text(id);
    let fingerprint = LinkFingerprint::of(lab.link(&link).expect("the suite knows its links"), 0);
    LinkOrder::Create { lab: lab.clone(), link, fingerprint, tag }
}

fn delete(id: &str) -> LinkOrder {
    LinkOrder::Delete { lab: name(LAB), link: LinkId::from_text(id) }
}

async fn apply(fabric: &dyn Fabric, orders: Vec<LinkOrder>) {
    let count = orders.len();
    let answers = fabric.apply(orders, &context()).await;
    assert_eq!(answers.len(), count, "one answer for one order");
    for answer in answers {
        answer.expect("it is done");
    }
}

async fn claimed(switch: &dyn Switch, id: &str, known: Option<u16>) -> u16 {
    switch.claim(vec![claim(id, known)], &context()).await.remove(0).expect("there is one")
}

fn ports(lab: &Lab, id: &str) -> Vec<InterfaceName> {
    let link = lab.link(&LinkId::from_text(id)).expect("the suite knows its links");
    lab.switch_ports(link).into_iter().map(|port| port.interface).collect()
}

/// Sees that the switch can be used from its start on, and has it tell everything.
async fn listed(switch: &dyn Switch, watch: &Watch) {
    switch.check().await.expect("it can be used, as soon as it has looked");
    switch.relist().await.expect("it can look");
    watch.until("the switch was looked at", |all| all.sources.get(&Source::Switch)?.listed).await;
}

/// The ports of a link as they are reported, when they are whole.
fn whole(all: &Snapshot, lab: &Lab, id: &str, tag: Option<u16>) -> Option<()> {
    let good = ports(lab, id).iter().all(|port| {
        all.switch.port(port).is_some_and(|there| {
            there.vlan == PortVlan { tag, ..PortVlan::default() } && there.fault.is_none() && there.link.as_str() == id
        })
    });
    let seen = all.links(&name(LAB)).get(&LinkId::from_text(id))?.clone();
    let up = seen.ports.iter().all(|port| port.admin_up && port.carrier);
    (good && up).then_some(())
}

fn gone(all: &Snapshot, id: &str) -> Option<()> {
    let link = LinkId::from_text(id);
    let left = all.switch.ports_of(&name(LAB)).filter(|port| port.link == link).count();
    (left == 0 && !all.links(&name(LAB)).contains_key(&link)).then_some(())
}

/// What is claimed again, and what is not.
async fn reclaims(stage: &mut dyn SwitchStage, switch: &dyn Switch, watch: &Watch, (one, two): (u16, u16)) {
    let is_told = |all: &Snapshot| all.switch.tags().any(|claim| claim.tag == one && claim.link.as_str() == ONE);
    stage.drop_claim(one).await;
    watch.until("a lost claim is told", |all| (!is_told(all)).then_some(())).await;
    let both = vec![claim(ONE, Some(one)), claim(TWO, Some(two))];
    switch.reclaim(both.clone(), &context()).await.expect("one is made, the other is there");
    watch.until("it is claimed again", |all| is_told(all).then_some(())).await;
    switch.reclaim(both, &context()).await.expect("both are there");
    assert!(stage.is_claimed(one).await && stage.is_claimed(two).await);

    stage.drop_claim(one).await;
    watch.until("it is lost again", |all| (!is_told(all)).then_some(())).await;
    let with_theirs = vec![claim(ONE, Some(one)), claim(TWO, Some(2050))];
    let refused = switch.reclaim(with_theirs, &context()).await.expect_err("somebody else has a port with it");
    assert!(refused.class == ErrorClass::Permanent && refused.cause.contains("nlc-fp"), "{refused}");
    let of_another = vec![claim(ONE, Some(one)), claim(ONE, Some(two))];
    let refused = switch.reclaim(of_another, &context()).await.expect_err("another link has claimed it");
    assert_eq!(refused.class, ErrorClass::Permanent, "{refused}");
    assert!(!stage.is_claimed(one).await, "none is claimed where one is refused");
    switch.reclaim(vec![claim(ONE, Some(one))], &context()).await.expect("nobody else has it");
    watch.until("it is claimed again", |all| is_told(all).then_some(())).await;
}

/// What every switch does: claims a tag that nobody else has, the same one each time, and gives it back; makes the ports of
/// a link with its tag, all of a batch at once, and once; sets back what somebody else changed, and makes again what somebody
/// removed; removes by marks only, and tolerates the absence of what it removes; makes and removes bridges of its own; touches
/// nothing of anybody else on the same bridge; tells of every change; finds everything again when it is made anew, with what
/// tunnels were made from; claims again what is in use, unless somebody else has it.
pub async fn switch_contract(stage: &mut dyn SwitchStage) {
    let (watch, reporter) = Watch::new();
    let fabric = stage.fabric(reporter).await;
    fabric.relist().await.expect("it can look");
    let switch = fabric.switch().expect("it has one");
    let lab = lab();
    let foreign = |all: &Snapshot| all.switch.bridge(&name(BRIDGE)).filter(|bridge| !bridge.is_ours).map(drop);
    listed(switch, &watch).await;
    watch.until("the foreign bridge is there", foreign).await;

    let one = claimed(switch, ONE, None).await;
    let two = claimed(switch, TWO, None).await;
    assert_eq!(BTreeSet::from([one, two, 2050]).len(), 3, "{one} and {two} are tags of their own");
    let told = |all: &Snapshot, id: &str, tag: u16| {
        let mut tags = all.switch.tags().filter(|claim| claim.link.as_str() == id && claim.lab == name(LAB));
        tags.any(|claim| claim.tag == tag && claim.bridge == name(BRIDGE))
    };
    watch.until("a claim is told", |all| told(all, TWO, two).then_some(())).await;
    assert_eq!(claimed(switch, ONE, None).await, one, "the same one again");
    assert_eq!(claimed(switch, ONE, Some(two)).await, one, "whatever it is said to have had");
    switch.release(&name(LAB), &[LinkId::from_text(TWO)], &context()).await.expect("it is given back");
    watch.until("one that is given back is told", |all| (!told(all, TWO, two)).then_some(())).await;
    assert_eq!(claimed(switch, TWO, Some(3000)).await, 3000, "the one that it had before, if it is free");
    switch.release(&name(LAB), &[LinkId::from_text(TWO)], &context()).await.expect("it is given back");
    let two = claimed(switch, TWO, Some(2050)).await;
    assert!(![2050, one].contains(&two), "{two} is nobody else's");

    apply(&*fabric, vec![create(&lab, ONE, Some(one)), create(&lab, TWO, Some(two))]).await;
    watch.until("the first link is whole", |all| whole(all, &lab, ONE, Some(one))).await;
    watch.until("the second link is whole", |all| whole(all, &lab, TWO, Some(two))).await;
    for port in ports(&lab, ONE) {
        assert_eq!(stage.tag(port.as_str()).await, Some(one));
    }
    apply(&*fabric, vec![create(&lab, ONE, Some(one))]).await;
    let indexes = |all: &Snapshot| {
        let seen = all.links(&name(LAB)).remove(&LinkId::from_text(ONE))?;
        Some(seen.ports.iter().map(|port| port.ifindex).collect::<BTreeSet<u32>>())
    };
    let before = watch.until("its interfaces are there", indexes).await;
    assert_eq!(before.len(), 4, "two cables");

    let [near, far] = <[InterfaceName; 2]>::try_from(ports(&lab, ONE)).expect("it has two ports");
    stage.set_tag(near.as_str(), 7).await;
    watch.until("another tag is told", |all| (all.switch.port(&near)?.vlan.tag == Some(7)).then_some(())).await;
    stage.remove_port(far.as_str()).await;
    watch.until("a lost port is told", |all| all.switch.port(&far).is_none().then_some(())).await;
    apply(&*fabric, vec![create(&lab, ONE, Some(one))]).await;
    watch.until("it is whole again", |all| whole(all, &lab, ONE, Some(one))).await;
    assert_eq!(watch.until("its interfaces are there", indexes).await, before, "no cable was made anew");

    switch.ensure_bridge(&name("nlc-own"), &context()).await.expect("it is made");
    switch.ensure_bridge(&name("nlc-own"), &context()).await.expect("it is there");
    apply(&*fabric, vec![create(&lab, PORT, None)]).await;
    watch.until("the port of the lab's own bridge is whole", |all| whole(all, &lab, PORT, None)).await;

    let three = claimed(switch, TUNNEL, None).await;
    apply(&*fabric, vec![create(&lab, TUNNEL, Some(three))]).await;
    watch.until("the link to a tunnel is whole", |all| whole(all, &lab, TUNNEL, Some(three))).await;

    drop(fabric);
    let (watch, reporter) = Watch::new();
    let fabric = stage.fabric(reporter).await;
    fabric.relist().await.expect("it can look");
    let switch = fabric.switch().expect("it has one");
    listed(switch, &watch).await;
    watch.until("the first link is found", |all| whole(all, &lab, ONE, Some(one))).await;
    watch
        .until("the lab's own bridge is found", |all| {
            all.switch.bridge(&name("nlc-own")).filter(|one| one.is_ours).map(drop)
        })
        .await;
    watch.until("a claim is found", |all| told(all, ONE, one).then_some(())).await;
    assert_eq!(claimed(switch, ONE, None).await, one, "a claim outlives who made it");
    let [cable, end] = <[InterfaceName; 2]>::try_from(ports(&lab, TUNNEL)).expect("it has two ports");
    let said = |all: &Snapshot| Some([&cable, &end].map(|port| all.switch.port(port).map(|port| port.tunnel.clone())));
    let said = watch.until("the tunnel is found", said).await;
    assert_eq!(said, [Some(None), Some(Some(tunnel()))], "with what it was made from");

    reclaims(stage, switch, &watch, (one, two)).await;

    apply(&*fabric, vec![delete(ONE), delete(TWO), delete(PORT), delete(TUNNEL)]).await;
    for link in [ONE, TWO, PORT, TUNNEL] {
        watch.until("the link is gone", |all| gone(all, link)).await;
    }
    apply(&*fabric, vec![delete(ONE)]).await;
    switch.remove_bridge(&name("nlc-own"), &context()).await.expect("it is removed");
    switch.remove_bridge(&name("nlc-own"), &context()).await.expect("it is gone");
    switch.remove_bridge(&name(BRIDGE), &context()).await.expect("it is left alone");
    watch
        .until("the lab's own bridge is gone", |all| all.switch.bridge(&name("nlc-own")).is_none().then_some(()))
        .await;
    watch.until("the foreign one is there", foreign).await;
    assert_eq!(stage.tag("nlc-fp").await, Some(2050), "nobody touched it");
    let links = [ONE, TWO, TUNNEL].map(LinkId::from_text);
    switch.release(&name(LAB), &links, &context()).await.expect("they are given back");
}
