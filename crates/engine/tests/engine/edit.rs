//! Live edits: what is asked for happens to that alone, one after the other or many at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use netloom_engine::testing::{FakeStore, Sketch, Trouble};
use netloom_engine::{Document, EditRequest, OperationState, Place, Refusal};
use netloom_model::{Lab, LinkKind};
use netloom_plan::LiveMark;
use serde_json::{Value, json};

use crate::bench::{Bench, end, lab_name, pair, pass, until};

fn inside(node: &str) -> Place {
    Place::Node(lab_name("lab"), node.parse().unwrap())
}

fn why(refused: Result<Arc<netloom_engine::Operation>, Refusal>) -> String {
    match refused {
        Err(Refusal::Edit { why, .. }) => why.join("\n"),
        other => panic!("{other:?}"),
    }
}

fn linux() -> Value {
    json!({ "kind": "linux", "runtime": "namespace" })
}

#[tokio::test(start_paused = true)]
async fn a_link_is_added_changed_and_removed_and_nothing_else_is_touched() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").node("r3").lab()).await;
    let added =
        json!({ "links": { "r3:eth1 r1:eth5": { "mtu": 9000, "ends": { "r1:eth5": { "ipv4": "10.0.0.1/30" } } } } });
    let view = bench.edited(added).await;
    assert_eq!(view.kind, "edit");
    let steps: Vec<String> = view.steps.iter().map(|step| step.id.to_string()).collect();
    assert_eq!(steps, ["names/write", "link/r1:eth5-r3:eth1/create"]);
    assert_eq!(bench.world.take_calls(), ["names lab", "create lab/r1:eth5-r3:eth1"]);

    // Either order names the link.
    bench.edited(json!({ "links": { "r1:eth5 r3:eth1": { "mtu": 1400 } } })).await;
    assert_eq!(bench.world.take_calls(), ["update lab/r1:eth5-r3:eth1"]);
    assert_eq!(bench.world.port(&inside("r3"), "eth1").unwrap().mtu, 1400);

    bench.edited(json!({ "links": { "r1:eth5 r3:eth1": null } })).await;
    assert_eq!(bench.world.links(), ["lab/r1:eth1-r2:eth1"]);
    // What is gone already may be removed again.
    let again = bench.edited(json!({ "links": { "r1:eth5 r3:eth1": null } })).await;
    assert_eq!(again.message.as_deref(), Some("nothing to change"));
}

#[tokio::test(start_paused = true)]
async fn an_end_is_switched_off_and_on() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    let switch = |state: &str| json!({ "links": { "r1:eth1 r2:eth1": { "ends": { "r1:eth1": { "state": state } } } } });
    bench.edited(switch("down")).await;
    assert!(!bench.world.port(&inside("r1"), "eth1").unwrap().admin_up);
    assert_eq!(bench.world.take_calls(), ["set lab/r1:eth1-r2:eth1"]);
    // It stays off over a deploy of the same file and over a restart of the engine.
    assert_eq!(bench.deploy(&pair()).await.message.as_deref(), Some("nothing to change"));
    let bench = bench.restart().await;
    bench.ready().await;
    pass(5).await;
    assert!(!bench.world.port(&inside("r1"), "eth1").unwrap().admin_up);
    bench.edited(switch("up")).await;
    let port = bench.world.port(&inside("r1"), "eth1").unwrap();
    assert!(port.admin_up && port.carrier);
}

#[tokio::test(start_paused = true)]
async fn a_node_comes_and_goes_with_its_links() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.edited(json!({ "nodes": { "r3": linux() }, "links": { "r2:eth2 r3:eth1": {} } })).await;
    assert_eq!(bench.world.take_calls(), ["create lab/r3", "create lab/r2:eth2-r3:eth1", "start lab/r3"]);
    let left = why(bench.edit(json!({ "nodes": { "r3": null } })).await);
    assert!(left.contains("`r3` cannot go while link `r2:eth2 r3:eth1` ends on it"), "{left}");
    bench.edited(json!({ "nodes": { "r3": null }, "links": { "r3:eth1 r2:eth2": null } })).await;
    assert_eq!(bench.world.nodes(), ["lab/r1 running", "lab/r2 running"]);
    assert_eq!(bench.world.links(), ["lab/r1:eth1-r2:eth1"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_an_edit_is_said_at_once_and_changes_nothing() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").bridge("br0").lab()).await;
    let (writes, wish) = (bench.store.writes(), bench.engine.wishes().get(&lab_name("lab")));
    for (patch, says) in [
        (json!([]), "not a map"),
        (json!({ "name": "other" }), "`name` cannot be changed"),
        (json!({ "lnks": {} }), "no `lnks`"),
        (json!({ "links": null }), "`links` is a map"),
        (json!({ "links": { "r1:eth5": { "mtu": 1 } } }), "out of range"),
        (json!({ "links": { "r1:eth5 r9:eth5": {} } }), "no node `r9`"),
        (json!({ "links": { "r1:eth1 r2:eth5": {} } }), "interface `eth1`"),
        (json!({ "links": { "r1 r2": {} } }), "by its ends"),
        (json!({ "links": { "r1:lo r2:eth5": {} } }), "named `lo`"),
        (json!({ "links": { "r1:eth5 r2:eth5": {}, "r2:eth5 r1:eth5": {} } }), "twice"),
        (json!({ "links": { "r1:eth1 r2:eth1": { "colour": "red" } } }), "`colour`"),
        (json!({ "links": { "r1:eth1 r2:eth1": { "ends": { "r1:eth9": {} } } } }), "no end `r1:eth9`"),
        (json!({ "links": { "r1:eth1 r2:eth1": 5 } }), "null to remove it"),
        (json!({ "links": { "r1:p br0:p": { "ends": { "br0:p": { "ipv4": "10.0.0.1/8" } } } } }), "port of a bridge"),
        (json!({ "nodes": { "r9": { "cmd": ["true"] } } }), "`r9` is not in the lab"),
        (json!({ "nodes": { "r9": { "kind": "linux", "runtime": "namespace", "colour": 1 } } }), "`colour`"),
        (json!({ "nodes": { "host": linux() } }), "mean something else"),
        (json!({ "nodes": { "-": linux() } }), "must start with"),
        (json!({ "nodes": { "r1": { "hostname": "" } } }), "host name is empty"),
    ] {
        let said = why(bench.edit(patch.clone()).await);
        assert!(said.contains(says), "{patch}: {said}");
    }
    let two = why(bench.edit(json!({ "nodes": { "x": {} }, "links": { "r1": {} } })).await);
    assert_eq!(two.lines().count(), 2, "{two}");
    let missing = json!({ "nodes": { "r1": { "binds": [{ "source": "/missing", "target": "/x" }] } } });
    assert!(matches!(bench.edit(missing).await, Err(Refusal::Unable(_))));
    let taken = bench.edit(json!({ "links": { "r1:eth5 host:uplink": {} } })).await;
    assert!(matches!(taken, Err(Refusal::Obstacles(_))), "{taken:?}");
    assert_eq!(bench.world.calls(), [""; 0]);
    assert_eq!((bench.store.writes(), bench.engine.wishes().get(&lab_name("lab"))), (writes, wish));
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_another_generation_is_refused() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    let edit = |generation, key: &str| {
        let patch = json!({ "links": { key: {} } });
        let (engine, lab) = (bench.engine.clone(), lab_name("lab"));
        async move { engine.edit(&lab, EditRequest { patch, generation: Some(generation) }).await }
    };
    let first = edit(1, "r1:eth5 r2:eth5").await.unwrap();
    // The second command line had read the same generation.
    let second = edit(1, "r1:eth6 r2:eth6").await;
    assert!(matches!(second, Err(Refusal::Changed { current: 2, expected: 1, .. })), "{second:?}");
    assert_eq!(end(&first).await.state, OperationState::Succeeded);
    assert_eq!(end(&edit(2, "r1:eth6 r2:eth6").await.unwrap()).await.state, OperationState::Succeeded);
    assert_eq!(bench.world.links().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn edits_follow_each_other_while_the_first_is_under_way_and_all_end() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").node("r3").lab()).await;
    bench.world.trouble("create lab/r1:eth5-r2:eth5", .., Trouble::Slow(Duration::from_secs(3)));
    let add = |key: &str| json!({ "links": { key: {} } });
    let first = bench.edit(add("r1:eth5 r2:eth5")).await.unwrap();
    until("it is under way", || !bench.world.calls().is_empty()).await;
    let second = bench.edit(add("r1:eth6 r3:eth6")).await.unwrap();
    // Taken back before it was ever made.
    let third = bench.edit(json!({ "links": { "r1:eth6 r3:eth6": null } })).await.unwrap();
    let fourth = bench.edit(json!({ "links": { "r1:eth5 r2:eth5": null } })).await.unwrap();
    for edit in [&first, &second, &third, &fourth] {
        assert_eq!(end(edit).await.state, OperationState::Succeeded);
    }
    assert_eq!(bench.world.links(), ["lab/r1:eth1-r2:eth1"]);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_goes_and_comes_back_at_once_is_there_when_the_edit_ends() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.world.trouble("delete lab/r1:eth1-r2:eth1", .., Trouble::Slow(Duration::from_millis(5)));
    for _ in 0..20 {
        let gone = bench.edit(json!({ "links": { "r1:eth1 r2:eth1": null } })).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let back = bench.edit(json!({ "links": { "r1:eth1 r2:eth1": {} } })).await.unwrap();
        for edit in [gone, back] {
            assert_eq!(end(&edit).await.state, OperationState::Succeeded);
        }
        assert_eq!(bench.world.links(), ["lab/r1:eth1-r2:eth1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn fifty_edits_from_several_clients_at_once_are_all_true_at_the_end() {
    let bench = Bench::new().await;
    let mut lab = Sketch::pair("lab").node("r3").node("r4").node("r5");
    for n in 0..25 {
        lab = lab.link(&format!("r1:old{n}"), &format!("r3:old{n}"));
    }
    bench.made(&lab.lab()).await;
    let clients = (0..50).map(|n: usize| {
        let engine = bench.engine.clone();
        let patch = if n.is_multiple_of(2) {
            json!({ "links": { format!("r2:new{n} r{}:new{n}", 3 + n % 3): {} } })
        } else {
            json!({ "links": { format!("r1:old{0} r3:old{0}", n / 2): null } })
        };
        async move {
            // A full queue says so at once; whoever is told comes again.
            loop {
                match engine.edit(&lab_name("lab"), EditRequest { patch: patch.clone(), generation: None }).await {
                    Ok(operation) => return end(&operation).await,
                    Err(Refusal::Busy(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
                    Err(other) => panic!("{other}"),
                }
            }
        }
    });
    let ended = futures::future::join_all(clients).await;
    assert!(ended.iter().all(|view| view.state == OperationState::Succeeded), "{ended:#?}");
    let mut wanted: BTreeSet<String> =
        (0..50).step_by(2).map(|n| format!("lab/r2:new{n}-r{}:new{n}", 3 + n % 3)).collect();
    wanted.insert("lab/r1:eth1-r2:eth1".to_owned());
    assert_eq!(bench.world.links().into_iter().collect::<BTreeSet<_>>(), wanted);
    let wish = bench.engine.wishes().get(&lab_name("lab")).unwrap();
    assert_eq!((wish.lab.links().len(), wish.generation), (26, 51));
}

#[tokio::test(start_paused = true)]
async fn an_edit_does_not_wait_for_what_is_broken_elsewhere() {
    let bench = Bench::new().await;
    let lab = Sketch::pair("lab").node("r3").runs("r3", &["no-such"]).with("r3", |node| {
        node.restart_policy = netloom_model::RestartPolicy::No;
    });
    bench.deploy(&lab.lab()).await;
    bench.world.exit("lab", "r3", 3, "no licence\n");
    pass(1).await;
    bench.edited(json!({ "links": { "r1:eth5 r2:eth5": {} } })).await;
    // A step that fails is the affair of the edit that wants it.
    bench.world.trouble("create lab/r1:eth6-r2:eth6", .., Trouble::Permanent("no room".into()));
    let failed = end(&bench.edit(json!({ "links": { "r1:eth6 r2:eth6": {} } })).await.unwrap()).await;
    assert_eq!(failed.state, OperationState::Failed);
    assert!(failed.problems.iter().any(|problem| problem.contains("no room")), "{failed:#?}");
    let other = end(&bench.edit(json!({ "links": { "r1:eth7 r2:eth7": {} } })).await.unwrap()).await;
    assert_eq!((other.state, other.problems.as_slice()), (OperationState::Succeeded, [].as_slice()), "{other:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_takes_long_holds_up_nothing_but_its_node() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.world.trouble("exec lab/r3: echo slow", .., Trouble::Slow(Duration::from_secs(300)));
    let node = json!({ "kind": "linux", "runtime": "namespace", "exec": [["echo", "slow"], ["true"]] });
    let slow = bench.edit(json!({ "nodes": { "r3": node.clone() } })).await.unwrap();
    until("the command runs", || bench.world.calls().iter().any(|call| call == "exec lab/r3: echo slow")).await;
    let began = tokio::time::Instant::now();
    bench.edited(json!({ "links": { "r1:eth5 r2:eth5": {} } })).await;
    bench.world.delete_port(&inside("r1"), "eth1");
    until("what was lost comes back", || bench.world.port(&inside("r1"), "eth1").is_some()).await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let ended = end(&slow).await;
    assert_eq!(ended.state, OperationState::Succeeded, "{ended:#?}");
    let ran = bench.world.calls().into_iter().filter(|call| call.starts_with("exec"));
    assert_eq!(ran.collect::<Vec<_>>(), ["exec lab/r3: echo slow", "exec lab/r3: true"]);

    // A node that goes takes its command along.
    let again = json!({ "nodes": { "r3": null } });
    bench.edited(again.clone()).await;
    bench.edit(json!({ "nodes": { "r3": node } })).await.unwrap();
    until("the command runs again", || bench.world.calls().iter().filter(|call| call.ends_with("slow")).count() == 2)
        .await;
    pass(5).await;
    let began = tokio::time::Instant::now();
    bench.edited(again).await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(bench.world.nodes(), ["lab/r1 running", "lab/r2 running"]);
}

#[tokio::test(start_paused = true)]
async fn an_edit_waits_for_no_deploy_and_revives_no_lab() {
    let bench = Bench::new().await;
    bench.world.trouble("start lab/r2", .., Trouble::Slow(Duration::from_secs(20)));
    let deploy = bench.begin(&pair()).await.unwrap();
    pass(1).await;
    let add = json!({ "links": { "r1:eth5 r2:eth5": {} } });
    let early = bench.edit(add.clone()).await;
    assert!(matches!(&early, Err(Refusal::InProgress { operation, .. }) if operation == deploy.id()), "{early:?}");
    assert_eq!(end(&deploy).await.state, OperationState::Succeeded);

    bench.world.trouble("delete lab/*", .., Trouble::Slow(Duration::from_secs(20)));
    let destroy = bench.engine.destroy(&lab_name("lab")).await.unwrap();
    pass(1).await;
    let late = bench.edit(add.clone()).await;
    assert!(matches!(late, Err(Refusal::Destroying(_))), "{late:?}");
    assert_eq!(end(&destroy).await.state, OperationState::Succeeded);
    assert!(matches!(bench.edit(add).await, Err(Refusal::NoLab(_))));
    assert_eq!(bench.world.nodes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_destroy_ends_edits_and_a_cancelled_edit_holds_the_lab() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.world.trouble("create lab/*", .., Trouble::Slow(Duration::from_secs(20)));
    let one = bench.edit(json!({ "links": { "r1:eth5 r2:eth5": {} } })).await.unwrap();
    let two = bench.edit(json!({ "links": { "r1:eth6 r2:eth6": {} } })).await.unwrap();
    bench.engine.cancel(one.id()).await.unwrap();
    assert_eq!(end(&one).await.state, OperationState::Cancelled);
    assert_eq!(end(&two).await.state, OperationState::Superseded);
    let held = bench.edit(json!({})).await;
    assert!(matches!(held, Err(Refusal::Held { .. })), "{held:?}");
    bench.world.calm();
    let lab = bench.engine.wishes().get(&lab_name("lab")).unwrap().lab.clone();
    bench.made(&lab).await;
    bench.world.trouble("create lab/*", .., Trouble::Slow(Duration::from_secs(20)));
    let three = bench.edit(json!({ "links": { "r1:eth7 r2:eth7": {} } })).await.unwrap();
    pass(1).await;
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert_eq!(end(&three).await.state, OperationState::Superseded);
}

#[tokio::test(start_paused = true)]
async fn edits_are_marked_as_live_until_a_file_replaces_them() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").node("r3").lab()).await;
    let live = || bench.engine.wishes().get(&lab_name("lab")).unwrap().live.clone();
    bench
        .edited(
            json!({ "links": { "r1:eth5 r2:eth5": {}, "r1:eth1 r2:eth1": { "mtu": 1400 } }, "nodes": { "r3": null } }),
        )
        .await;
    let marks: Vec<LiveMark> = live().links.values().copied().collect();
    assert_eq!(marks, [LiveMark::Changed, LiveMark::Added]);
    assert_eq!(live().nodes.values().copied().collect::<Vec<_>>(), [LiveMark::Removed]);
    bench.edited(json!({ "links": { "r1:eth5 r2:eth5": null } })).await;
    assert_eq!(live().links.len(), 1);
    // Kept over a restart, gone with the next file.
    let bench = bench.restart().await;
    bench.ready().await;
    let live = || bench.engine.wishes().get(&lab_name("lab")).unwrap().live.clone();
    assert!(!live().is_empty());
    bench.made(&Sketch::pair("lab").node("r3").lab()).await;
    assert!(live().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_document_is_the_lab_again() {
    let lab =
        Sketch::pair("lab").bridge("br0").link("r2:eth2", "br0:p1").link("r2:eth3", "host:up9").link("r2:b", "r1:a");
    let lab = lab.lab();
    let bench = Bench::new().await;
    bench.made(&lab).await;
    let wish = bench.engine.wishes().get(&lab_name("lab")).unwrap();
    let document = serde_json::to_value(Document::of(&wish)).unwrap();
    assert!(document["links"].as_object().unwrap().contains_key("r2:b r1:a"), "{document}");
    let read: Document = serde_json::from_value(document).unwrap();
    assert_eq!(read.lab().unwrap(), *lab);
}

#[tokio::test(start_paused = true)]
async fn what_an_edit_does_not_name_stays_with_its_link_and_its_lab() {
    let bench = Bench::new().await;
    let sketch = Sketch::pair("lab").with_link(|link| {
        link.kind = LinkKind::VethStitch;
        link.vars = serde_json::from_value(json!({ "cost": 10 })).unwrap();
        link.a.vars = serde_json::from_value(json!({ "role": "dce" })).unwrap();
    });
    let mut parts = (*sketch.lab()).clone().into_parts();
    parts.management.network = "oob".to_owned();
    parts.settings.debug = true;
    bench.made(&Arc::new(Lab::new(parts).unwrap())).await;
    bench.edited(json!({ "links": { "r1:eth1 r2:eth1": { "mtu": 1400 } } })).await;
    let wish = bench.engine.wishes().get(&lab_name("lab")).unwrap();
    let [link] = wish.lab.links() else { panic!() };
    assert_eq!((link.mtu.bytes(), &link.kind), (1400, &LinkKind::VethStitch));
    assert_eq!((json!(link.vars), json!(link.a.vars)), (json!({ "cost": 10 }), json!({ "role": "dce" })));
    assert_eq!(wish.lab.management().network, "oob");
    assert!(wish.lab.settings().debug);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_left_out_is_shown_with_the_reason_and_holds_up_nothing() {
    let bench = Bench::new().await;
    let sketch = Sketch::pair("lab").link("r1:eth2", "host:oob").with_link(|link| link.kind = LinkKind::ManagementNet);
    bench.made(&sketch.lab()).await;
    assert_eq!(bench.world.links(), ["lab/r1:eth1-r2:eth1"]);
    let view = bench.engine.view(&lab_name("lab")).unwrap();
    let said: Vec<(&str, Option<&str>)> =
        view.links.iter().map(|link| (link.id.as_str(), link.left_out.as_deref())).collect();
    let needs = "it needs the management network, which Docker keeps, and there is no Docker here";
    assert_eq!(said, [("host:oob-r1:eth2", Some(needs)), ("r1:eth1-r2:eth1", None)]);
    assert!(view.nodes.iter().all(|node| node.ready), "{:?}", view.nodes);
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_an_older_version_stored_is_read() {
    let old = r#"{"lab":{"name":"lab","prefix":"clab","nodes":{"r1":{"kind":"linux","runtime":"namespace","hostname":"r1",
        "startup_delay":0,"restart_policy":"always","network_mode":"default"}},"links":[]},"authority":"local","phase":"run",
        "generation":4,"rebuild":1,"down":[],"bridges":[],"held":null,"created":"2026-01-01T00:00:00Z"}"#;
    let store = FakeStore::default();
    let put = netloom_engine::Write::Put { key: "labs/lab".into(), value: old.into() };
    netloom_engine::Store::write(&store, vec![put]).await.unwrap();
    let Bench { engine, world, .. } = Bench::new().await;
    let bench = Bench { engine, world, store }.restart().await;
    until("its node runs", || bench.world.nodes() == ["lab/r1 running"]).await;
    bench.edited(json!({ "nodes": { "r2": linux() } })).await;
    assert_eq!(bench.engine.wishes().get(&lab_name("lab")).unwrap().generation, 5);
}
