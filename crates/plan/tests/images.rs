//! Images as a plan fetches them.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

use std::collections::{BTreeMap, BTreeSet};

use insta::assert_snapshot;
use netloom_model::{Lab, RuntimeKind};
use netloom_plan::{Action, Desired, ImageStock, Observed, Plan, apply, obstacles, plan};
use serde_json::{Map, Value, json};

/// Containers with an image and a pull policy each, and a link between the first two.
fn lab(nodes: &[(&str, &str, &str)]) -> Lab {
    let node = |(name, image, policy): &(&str, &str, &str)| {
        let container = json!({ "pull_policy": policy });
        let node =
            json!({ "kind": "linux", "runtime": "docker", "hostname": name, "image": image, "container": container });
        ((*name).to_owned(), node)
    };
    let end = |of: &str, mac: &str| json!({ "at": { "node": of }, "interface": "eth1", "mac": mac });
    let link = match nodes {
        [(a, ..), (b, ..), ..] => vec![json!({ "a": end(a, "02:00:00:00:00:01"), "b": end(b, "02:00:00:00:00:02") })],
        _ => Vec::new(),
    };
    let nodes: Map<String, Value> = nodes.iter().map(node).collect();
    serde_json::from_value(json!({ "name": "lab", "nodes": nodes, "links": link })).unwrap()
}

fn with_desired<T>(lab: &Lab, rebuild: u64, work: impl FnOnce(&Desired<'_>) -> T) -> T {
    let (down, nodes, restarts) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    work(&Desired {
        lab: Some(lab),
        rebuild,
        down: &down,
        stopped: &nodes,
        restarts: &restarts,
        restart_due: &nodes,
        prints: None,
        network: None,
    })
}

fn way(lab: &Lab, observed: &Observed) -> Plan {
    with_desired(lab, 0, |desired| plan(lab.name(), desired, observed))
}

fn stock(images: &[(&str, ImageStock)]) -> Observed {
    let images = images.iter().map(|(image, stock)| ((RuntimeKind::Docker, (*image).to_owned()), *stock));
    Observed { images: images.collect(), ..Observed::default() }
}

fn made(lab: &Lab, images: &[(&str, ImageStock)]) -> Observed {
    let mut observed = stock(images);
    for step in way(lab, &observed).steps {
        with_desired(lab, 0, |desired| apply(&step.action, desired, &mut observed));
    }
    observed.images = stock(images).images;
    observed
}

fn pulls(plan: &Plan) -> Vec<&str> {
    let pulls = plan.steps.iter().filter_map(|step| match &step.action {
        Action::PullImage { image, .. } => Some(image.as_str()),
        _ => None,
    });
    pulls.collect()
}

#[test]
fn missing_images_are_fetched_once_each_and_before_anything_is_made() {
    let policy = "if-not-present";
    let lab = lab(&[("a", "frr", policy), ("b", "frr", policy), ("c", "web", policy), ("d", "here", policy)]);
    let plan =
        way(&lab, &stock(&[("frr", ImageStock::Missing), ("web", ImageStock::Missing), ("here", ImageStock::There)]));
    assert_snapshot!(plan, @r"
    lab lab: 12 steps
       1. pull image frr             (a, b are made from it)
       2. pull image web             (c is made from it)
       3. write names of nodes       (the lab's nodes or addresses changed)
       4. create node a              (not there)
       5. create node b              (not there)
       6. create node c              (not there)
       7. create node d              (not there)
       8. start node a               (it is new)
       9. start node b               (it is new)
      10. create link a:eth1-b:eth1  (not there)
      11. start node c               (it is new)
      12. start node d               (it is new)
    ");
    for step in plan.steps.iter().filter(|step| !step.id.as_str().starts_with("image/")) {
        let after: Vec<&str> = step.after.iter().map(netloom_plan::StepId::as_str).collect();
        assert!(["image/frr/pull", "image/web/pull"].iter().all(|pull| after.contains(pull)), "{}: {after:?}", step.id);
    }
}

#[test]
fn not_even_a_network_is_asked_for_before_the_images_of_a_new_lab_are_there() {
    let lab = lab(&[("a", "frr", "if-not-present")]);
    let missing = stock(&[("frr", ImageStock::Missing)]);
    let plan =
        with_desired(&lab, 0, |desired| plan(lab.name(), &Desired { network: Some("clab"), ..*desired }, &missing));
    let ensure = plan.steps.iter().find(|step| matches!(step.action, Action::EnsureNetwork { .. })).unwrap();
    assert_eq!(ensure.after.iter().map(netloom_plan::StepId::as_str).collect::<Vec<_>>(), ["image/frr/pull"], "{plan}");
}

#[test]
fn policies_say_when_an_image_is_fetched() {
    use ImageStock::{Fetched, Missing, There, Unknown};
    for (policy, fetched) in
        [("if-not-present", vec![Missing]), ("always", vec![Unknown, Missing, There]), ("never", Vec::new())]
    {
        for is in [Unknown, Missing, There, Fetched] {
            let plan = way(&lab(&[("a", "frr", policy)]), &stock(&[("frr", is)]));
            assert_eq!(!pulls(&plan).is_empty(), fetched.contains(&is), "{policy} {is:?}: {plan}");
        }
    }
}

#[test]
fn a_node_that_is_there_needs_no_image() {
    let lab = lab(&[("a", "frr", "always"), ("b", "web", "never")]);
    let observed = made(&lab, &[("frr", ImageStock::Missing), ("web", ImageStock::Missing)]);
    assert!(way(&lab, &observed).is_empty());
    assert!(with_desired(&lab, 0, |desired| obstacles(desired, &observed)).is_empty());
}

#[test]
fn of_a_lab_that_runs_only_what_is_made_from_an_image_waits_for_it() {
    let policy = "if-not-present";
    let observed = made(&lab(&[("a", "frr", policy), ("b", "old", policy)]), &[("frr", ImageStock::There)]);
    let observed = Observed { images: stock(&[("new", ImageStock::Missing)]).images, ..observed };
    let next = lab(&[("a", "frr", policy), ("b", "new", policy), ("c", "frr", policy)]);
    let plan = way(&next, &observed);
    let waits = |id: &str| {
        let step = plan.steps.iter().find(|step| step.id.as_str() == id).unwrap_or_else(|| panic!("{id}: {plan}"));
        step.after.iter().any(|after| after.as_str() == "image/new/pull")
    };
    // What it replaces stays until the image is there.
    assert!(waits("node/b/delete") && waits("node/b/create"), "{plan}");
    assert!(!waits("node/c/create"), "{plan}");
}

#[test]
fn all_images_that_nobody_may_fetch_are_said_at_once() {
    let lab = lab(&[("a", "frr", "never"), ("b", "frr", "never"), ("c", "web", "never"), ("d", "x", "always")]);
    let missing = stock(&[("frr", ImageStock::Missing), ("web", ImageStock::Missing), ("x", ImageStock::Missing)]);
    let found = with_desired(&lab, 0, |desired| obstacles(desired, &missing));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_snapshot!(found[0], @"2 images are not on this host, and `image-pull-policy: Never` forbids to pull them: `frr` (nodes a, b), `web` (node c); load them (`netloom image load FILE`) or pull them (`netloom image pull frr`), or write `image-pull-policy: IfNotPresent`");
    assert!(with_desired(&lab, 0, |desired| obstacles(desired, &stock(&[("frr", ImageStock::Unknown)]))).is_empty());
}
