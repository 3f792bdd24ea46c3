//! Tags claimed on one bridge by many at the same moment, and what is said when they run out.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netloom_drivers::fabric::ovs::{Datapath, OvsParts, OvsSwitch};
use netloom_engine::{
    Context, DriverError, ErrorClass, Inventory, Joins, Layout, Snapshot, Source, Switch, TagClaim, channel,
};
use netloom_model::LinkId;
use netloom_ovs_fixture::Ovs;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);
const BRIDGE: &str = "br0";

/// An agent as far as its switch goes.
struct Agent {
    switch: Arc<OvsSwitch>,
    inventory: Inventory,
}

impl Agent {
    /// One that sees the database; the root makes the instance.
    async fn new(ovs: &Ovs, root: &TempDir) -> Self {
        let (reporter, inventory, writer) = channel();
        netloom_engine::task::spawn("inventory", writer.run());
        let layout = Layout::new(root.path()).unwrap();
        let parts = OvsParts { socket: ovs.socket(), datapath: || Datapath::Netdev };
        let agent = Self { switch: Arc::new(OvsSwitch::start(&layout, reporter, parts)), inventory };
        agent.until(|all| all.sources.get(&Source::Switch).is_some_and(|state| state.listed.is_some())).await;
        agent
    }

    async fn until(&self, so: impl Fn(&Snapshot) -> bool) {
        let mut changes = self.inventory.changes();
        let waited = async {
            while !so(&self.inventory.snapshot()) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, waited).await.unwrap();
    }

    /// Waits until it knows all that the database has had until now: answers come behind what is told.
    async fn is_up_to_date(&self) {
        claim(&self.switch, &["a:eth1-b:eth1"]).await.remove(0).unwrap();
    }

    /// Claims a tag for each of these links of lab `x`, each by itself and all at the same moment.
    fn claim_each(&self, links: std::ops::Range<usize>) -> JoinSet<(String, Result<u16, DriverError>)> {
        let mut claims = JoinSet::new();
        for number in links {
            let switch = self.switch.clone();
            claims.spawn(async move {
                let link = format!("a:eth{number}-b:eth{number}");
                let answer = claim(&switch, &[&link]).await.remove(0);
                (link, answer)
            });
        }
        claims
    }
}

async fn claim(switch: &OvsSwitch, links: &[&str]) -> Vec<Result<u16, DriverError>> {
    let of = |link: &&str| TagClaim {
        lab: "x".parse().unwrap(),
        link: LinkId::from_text(*link),
        bridge: BRIDGE.parse().unwrap(),
        known: None,
        joins: Joins::Link,
    };
    switch.claim(links.iter().map(of).collect(), &context()).await
}

fn context() -> Context {
    Context { deadline: Instant::now() + PATIENCE, cancel: CancellationToken::new() }
}

/// What the database has: whose each tag is, as `instance/lab/link`.
fn claims(ovs: &Ovs) -> BTreeMap<u16, String> {
    let ids = ovs.vsctl(["get", "bridge", BRIDGE, "external_ids"]);
    let pairs = ids.trim().trim_matches(['{', '}']).split(", ").filter_map(|pair| {
        let (key, whose) = pair.split_once('=')?;
        let tag = key.trim_matches('"').strip_prefix("netloom-tag-")?;
        Some((tag.parse().unwrap(), whose.trim_matches('"').to_owned()))
    });
    pairs.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_links_of_two_agents_that_claim_at_once_share_no_tag_though_one_agent_is_killed() {
    let Some(ovs) = Ovs::start() else { return };
    let roots = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let (one, two) = (Agent::new(&ovs, &roots[0]).await, Agent::new(&ovs, &roots[1]).await);
    let (mut first, second) = (one.claim_each(0..250), two.claim_each(0..250));
    // Killed when it has a hundred of them.
    for _ in 0..100 {
        first.join_next().await.unwrap().unwrap().1.unwrap();
    }
    drop(first);
    drop(one);
    let one = Agent::new(&ovs, &roots[0]).await;
    let first = one.claim_each(0..250);

    let whose = |answers: Vec<(String, Result<u16, DriverError>)>, root: &TempDir| {
        let instance = Layout::new(root.path()).unwrap().instance().to_owned();
        let named = answers.into_iter().map(move |(link, tag)| (tag.unwrap(), format!("{instance}/x/{link}")));
        named.collect::<BTreeMap<u16, String>>()
    };
    let (first, second) = tokio::join!(first.join_all(), second.join_all());
    let (first, second) = (whose(first, &roots[0]), whose(second, &roots[1]));
    let mut all = first.clone();
    all.extend(second.clone());
    assert_eq!((first.len(), second.len(), all.len()), (250, 250, 500), "no tag twice");
    let there = claims(&ovs);
    let held = |(tag, whose): (&u16, &String)| there.get(tag) == Some(whose);
    assert!(all.iter().all(held), "the database has them so");
    assert_eq!(
        there.keys().copied().collect::<Vec<u16>>(),
        (2050..).take(there.len()).collect::<Vec<_>>(),
        "none is left out"
    );
    // A claim that was on its way when its agent was killed may arrive behind that of its next life: it is one of the same link.
    let known: BTreeSet<&String> = first.values().collect();
    let behind: Vec<&String> = there.iter().filter(|(tag, _)| !all.contains_key(tag)).map(|(_, whose)| whose).collect();
    assert!(behind.iter().all(|whose| known.contains(whose)), "{behind:?}");
    let links: Vec<LinkId> = (0..250).map(|number| LinkId::from_text(format!("a:eth{number}-b:eth{number}"))).collect();
    one.is_up_to_date().await;
    one.switch.release(&"x".parse().unwrap(), &links, &context()).await.unwrap();
    assert_eq!(claims(&ovs), second, "all of it goes with the link");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_tags_are_taken_the_next_link_is_refused_with_what_to_do() {
    let Some(ovs) = Ovs::start() else { return };
    let root = TempDir::new().unwrap();
    let agent = Agent::new(&ovs, &root).await;
    assert_eq!(claim(&agent.switch, &["a:eth1-b:eth1"]).await[0].as_ref().unwrap(), &2050);
    take(&ovs, 100..=3999);
    agent.is_up_to_date().await;

    // The last one is given to the first who asks, and whoever has one gets it again.
    let answers = claim(&agent.switch, &["a:eth1-b:eth1", "a:eth2-b:eth2", "a:eth3-b:eth3"]).await;
    assert_eq!(answers[0].as_ref().unwrap(), &2050);
    assert_eq!(answers[1].as_ref().unwrap(), &4000);
    let refused = answers[2].as_ref().unwrap_err();
    assert_eq!(refused.class, ErrorClass::Permanent);
    let said = refused.to_string();
    for part in ["bridge br0", "a:eth3-b:eth3", "all 3901 tags of the bridge are taken", "destroy a lab"] {
        assert!(said.contains(part), "{said}");
    }
    agent.switch.release(&"x".parse().unwrap(), &[LinkId::from_text("a:eth2-b:eth2")], &context()).await.unwrap();
    assert_eq!(claim(&agent.switch, &["a:eth3-b:eth3"]).await[0].as_ref().unwrap(), &4000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_tags_run_short_is_told_from_nine_in_ten_and_taken_back_when_there_is_room() {
    let Some(ovs) = Ovs::start() else { return };
    let root = TempDir::new().unwrap();
    let agent = Agent::new(&ovs, &root).await;
    let short = |all: &Snapshot| all.sources.get(&Source::Switch)?.strain.clone();
    claim(&agent.switch, &["a:eth1-b:eth1"]).await.remove(0).unwrap();
    take(&ovs, 100..=3609);
    agent.is_up_to_date().await;
    assert_eq!(claims(&ovs).len(), 3510);
    assert_eq!(short(&agent.inventory.snapshot()), None);
    claim(&agent.switch, &["a:eth2-b:eth2"]).await.remove(0).unwrap();
    agent.until(|all| short(all).is_some_and(|why| why.contains("`br0`") && why.contains("3901"))).await;
    assert!(agent.inventory.snapshot().sources[&Source::Switch].error.is_none(), "it works all the same");

    // One less is no news; a tenth less is.
    give_back(&ovs, 100..=101);
    agent.is_up_to_date().await;
    assert!(short(&agent.inventory.snapshot()).is_some());
    give_back(&ovs, 102..=500);
    agent.until(|all| short(all).is_none()).await;
}

/// Somebody else gives these back.
fn give_back(ovs: &Ovs, tags: std::ops::RangeInclusive<u16>) {
    let keys: Vec<String> = tags.map(|tag| format!("netloom-tag-{tag}")).collect();
    ovs.vsctl(
        ["--no-wait", "remove", "bridge", BRIDGE, "external_ids"].into_iter().chain(keys.iter().map(String::as_str)),
    );
}

/// Somebody else claims these tags, but for those that are claimed.
fn take(ovs: &Ovs, tags: std::ops::RangeInclusive<u16>) {
    let taken = claims(ovs);
    let free = tags.filter(|tag| !taken.contains_key(tag));
    let pairs: Vec<String> = free.map(|tag| format!("external_ids:netloom-tag-{tag}=other/y/{tag}")).collect();
    // Nobody switches here.
    ovs.vsctl(["--no-wait", "set", "bridge", BRIDGE].into_iter().chain(pairs.iter().map(String::as_str)));
}
