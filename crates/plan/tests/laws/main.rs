//! The laws of the planner, on generated labs.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

mod labs;
mod world;

use std::collections::BTreeSet;

use labs::{Wanted, edited, want};
use netloom_model::{ExecTarget, LinkId, NodeName};
use netloom_plan::{Action, Desired, NodeState, Plan, Printed, Prints, StepId, plan};
use proptest::prelude::*;
use world::{World, ideal, other_order};

/// The world after a first deploy.
fn deployed(wanted: &Wanted) -> World {
    let mut world = World::default();
    let plan = world.plan(wanted);
    world.carry_out(&plan.steps, wanted);
    world
}

fn printed(wanted: &Wanted) -> Printed<'_> {
    Printed { lab: wanted.lab.as_ref().unwrap(), rebuild: wanted.rebuild, restarts: &wanted.restarts }
}

fn assert_ordered(plan: &Plan) {
    let mut earlier: BTreeSet<&StepId> = BTreeSet::new();
    for step in &plan.steps {
        for before in &step.after {
            assert!(earlier.contains(before), "{} waits for {before}, which does not come earlier", step.id);
        }
        assert!(earlier.insert(&step.id), "{} is there twice", step.id);
        assert!(!step.reason.is_empty());
    }
}

/// What the world does to a lab by itself.
#[derive(Debug, Clone)]
enum Drift {
    LosesLink(usize),
    LosesBridge(usize),
    LosesNetwork(usize),
    Ends(usize, u8),
    LosesNames,
}

fn drift() -> impl Strategy<Value = Vec<Drift>> {
    let one = prop_oneof![
        (0..7_usize).prop_map(Drift::LosesLink),
        (0..2_usize).prop_map(Drift::LosesBridge),
        Just(Drift::LosesNetwork(0)),
        (0..5_usize, 0..6_u8).prop_map(|(node, how)| Drift::Ends(node, how)),
        Just(Drift::LosesNames),
    ];
    prop::collection::vec(one, 0..4)
}

fn happens(drift: &Drift, world: &mut World) {
    match drift {
        Drift::LosesLink(at) => {
            let link = world.seen.links.keys().nth(*at).cloned();
            if let Some(link) = link {
                world.lose_link(&link);
            }
        }
        Drift::LosesBridge(at) => {
            if let Some(bridge) = world.seen.bridges.values_mut().nth(*at) {
                bridge.exists = false;
            }
        }
        Drift::LosesNetwork(at) => world.lose_network(*at),
        Drift::Ends(at, how) => {
            if let Some(node) = world.seen.nodes.values_mut().nth(*at) {
                node.execs_done = 0;
                node.state = match how {
                    0 => NodeState::Created,
                    1 => NodeState::Exited { code: 3 },
                    2 => NodeState::Stopped,
                    3 => NodeState::Failed { cause: "no".into() },
                    4 => NodeState::Creating,
                    _ => NodeState::Stopping,
                };
            }
        }
        Drift::LosesNames => world.seen.names = None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_first_deploy_makes_the_lab(first in want(), seed in any::<u64>()) {
        let wanted = Wanted::of(&first);
        let plan = World::default().plan(&wanted);
        assert_ordered(&plan);
        prop_assert_eq!(&deployed(&wanted).seen_beside_last_lives(&wanted), &ideal(&wanted));
        let mut world = World::default();
        world.carry_out(&other_order(&plan, seed), &wanted);
        prop_assert_eq!(&world.seen_beside_last_lives(&wanted), &ideal(&wanted));
    }

    #[test]
    fn nobody_enters_a_stage_before_what_it_waits_for(first in want(), seed in any::<u64>()) {
        let mut wanted = Wanted::of(&first);
        wanted.stopped.clear();
        let mut world = World::default();
        for step in other_order(&world.plan(&wanted), seed) {
            world.check_waits(&step.action, wanted.lab.as_ref().unwrap());
            world.step(&step.action, &wanted);
        }
    }

    #[test]
    fn fingerprints_that_are_kept_over_an_edit_are_those_of_the_edited_lab((first, second) in edited()) {
        let (first, second) = (Wanted::of(&first), Wanted::of(&second));
        let prints = Prints::of(printed(&first)).then(printed(&first), printed(&second));
        prop_assert_eq!(&prints, &Prints::of(printed(&second)));
        let world = deployed(&first);
        let desired = Desired { prints: Some(&prints), ..second.desired() };
        let planned = plan(second.lab.as_ref().unwrap().name(), &desired, &world.seen);
        prop_assert_eq!(planned, world.plan(&second));
    }

    #[test]
    fn what_is_as_desired_needs_nothing(first in want()) {
        let wanted = Wanted::of(&first);
        let plan = deployed(&wanted).plan(&wanted);
        prop_assert!(plan.is_empty(), "{}", plan);
    }

    #[test]
    fn an_edit_leads_to_the_edited_lab((first, second) in edited(), drifts in drift(), seed in any::<u64>()) {
        let wanted = Wanted::of(&second);
        let mut world = deployed(&Wanted::of(&first));
        for drift in &drifts {
            happens(drift, &mut world);
        }
        let plan = world.plan(&wanted);
        assert_ordered(&plan);
        let mut other = world.clone();
        world.carry_out(&plan.steps, &wanted);
        prop_assert_eq!(&world.seen_beside_last_lives(&wanted), &ideal(&wanted), "{}", plan);
        other.carry_out(&other_order(&plan, seed), &wanted);
        prop_assert_eq!(&other.seen_beside_last_lives(&wanted), &ideal(&wanted), "{}", plan);
    }

    #[test]
    fn a_plan_that_breaks_off_anywhere_still_leads_there(
        (first, second) in edited(),
        seed in any::<u64>(),
        done in any::<prop::sample::Index>(),
    ) {
        let wanted = Wanted::of(&second);
        let mut world = deployed(&Wanted::of(&first));
        let order = other_order(&world.plan(&wanted), seed);
        world.carry_out(&order[..done.index(order.len() + 1)], &wanted);
        let rest = world.plan(&wanted);
        assert_ordered(&rest);
        world.carry_out(&rest.steps, &wanted);
        prop_assert_eq!(&world.seen_beside_last_lives(&wanted), &ideal(&wanted), "{}", rest);
    }

    #[test]
    fn a_broken_off_plan_can_give_way_to_another_or_to_a_destroy(
        (first, second) in edited(),
        third in want(),
        done in any::<prop::sample::Index>(),
    ) {
        let wanted = Wanted::of(&second);
        let mut world = deployed(&Wanted::of(&first));
        let plan = world.plan(&wanted);
        world.carry_out(&plan.steps[..done.index(plan.steps.len() + 1)], &wanted);
        let mut gone = world.clone();
        let removal = gone.plan(&Wanted::nothing());
        gone.carry_out(&removal.steps, &Wanted::nothing());
        prop_assert!(gone.seen.nodes.is_empty() && gone.seen.links.is_empty() && gone.seen.bridges.is_empty());
        let third = Wanted::of(&third);
        let plan = world.plan(&third);
        world.carry_out(&plan.steps, &third);
        prop_assert_eq!(&world.seen_beside_last_lives(&third), &ideal(&third), "{}", plan);
    }

    #[test]
    fn destroy_leaves_nothing_in_any_order(first in want(), drifts in drift(), seed in any::<u64>()) {
        let mut world = deployed(&Wanted::of(&first));
        for drift in &drifts {
            happens(drift, &mut world);
        }
        let plan = world.plan(&Wanted::nothing());
        assert_ordered(&plan);
        world.carry_out(&other_order(&plan, seed), &Wanted::nothing());
        let seen = &world.seen;
        prop_assert!(seen.nodes.is_empty() && seen.links.is_empty() && seen.bridges.is_empty(), "{}", plan);
        prop_assert!(world.plan(&Wanted::nothing()).is_empty());
    }

    #[test]
    fn equal_inputs_give_equal_plans((first, second) in edited()) {
        let world = deployed(&Wanted::of(&first));
        let wanted = Wanted::of(&second);
        let (one, two) = (world.plan(&wanted), world.plan(&Wanted::of(&second)));
        prop_assert_eq!(serde_json::to_string(&one).unwrap(), serde_json::to_string(&two).unwrap());
        prop_assert_eq!(&serde_json::from_str::<Plan>(&serde_json::to_string(&one).unwrap()).unwrap(), &one);
    }

    #[test]
    fn a_plan_names_only_what_is_wanted_or_there((first, second) in edited()) {
        let mut world = deployed(&Wanted::of(&first));
        world.seen.taken.insert("eth0".parse().unwrap());
        let wanted = Wanted::of(&second);
        let lab = wanted.lab.as_ref().unwrap();
        let node = |name: &NodeName| lab.nodes().contains_key(name) || world.seen.nodes.contains_key(name);
        let link = |id: &LinkId| lab.links().iter().any(|link| &link.id() == id) || world.seen.links.contains_key(id);
        for step in world.plan(&wanted).steps {
            let known = match &step.action {
                Action::EnsureBridge { bridge } | Action::ReleaseBridge { bridge } => {
                    lab.nodes().keys().any(|name| name.as_str() == bridge.as_str())
                        || world.seen.bridges.get(bridge).is_some_and(|there| there.held)
                }
                Action::EnsureNetwork { network } | Action::ReleaseNetwork { network } => {
                    wanted.network == Some(network) || world.seen.networks.contains_key(network)
                }
                Action::AddBridge { node: of, .. } | Action::RemoveBridge { node: of, .. } => node(of),
                Action::WriteNames | Action::WriteEntries | Action::RemoveEntries => true,
                Action::CreateLink { link: id }
                | Action::UpdateLink { link: id }
                | Action::SetLink { link: id, .. }
                | Action::CarryLink { link: id, .. }
                | Action::DeleteLink { link: id } => link(id),
                of_node => node(of_node.node().unwrap()),
            };
            prop_assert!(known, "{}", step.action);
        }
    }

    #[test]
    fn what_did_not_change_is_not_touched((first, second) in edited()) {
        let (before, after) = (Wanted::of(&first), Wanted::of(&second));
        prop_assume!(before.rebuild == after.rebuild);
        let (old, new) = (before.lab.as_ref().unwrap(), after.lab.as_ref().unwrap());
        for step in deployed(&before).plan(&after).steps {
            if let Some(node) = step.action.node() {
                let hand = |of: &Wanted| (of.stopped.contains(node), of.restarts[node]);
                let changed = old.nodes().get(node) != new.nodes().get(node) || hand(&before) != hand(&after);
                prop_assert!(changed, "{} ({})", step.action, step.reason);
            }
        }
    }

    #[test]
    fn a_node_that_is_stopped_is_never_started((first, second) in edited(), drifts in drift()) {
        let wanted = Wanted::of(&second);
        let mut world = deployed(&Wanted::of(&first));
        for drift in &drifts {
            happens(drift, &mut world);
        }
        for step in world.plan(&wanted).steps {
            // A node that is the host itself cannot be stopped.
            let lives = match &step.action {
                Action::Exec { target, .. } => *target == ExecTarget::Container,
                action => matches!(action, Action::StartNode { .. }),
            };
            let stopped = step.action.node().is_some_and(|node| wanted.stopped.contains(node));
            prop_assert!(!(lives && stopped), "{} ({})", step.action, step.reason);
        }
    }
}
