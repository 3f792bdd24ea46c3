//! The transport of a host: what is wanted is made and kept, what fails leaves everything as it was.

use std::net::IpAddr;
use std::time::Duration;

use netloom_engine::testing::FakeUnderlay;
use netloom_engine::{
    Changed, ErrorClass, Keep, OperationId, OperationState, Origin, StepState, Transport, TransportEdit,
    TransportError, Unfit, Uplink, Vlan,
};
use netloom_model::InterfaceName;

use crate::bench::{Bench, pass, until};

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn sub(id: u16, address: &str) -> Uplink {
    let vlan = Vlan { parent: name("eth1"), id: id.try_into().unwrap() };
    Uplink { address: address.parse().ok(), ..Uplink::subinterface(vlan, None).unwrap() }
}

/// A host that is reached by `eth0` and has `eth1` for other things.
async fn host() -> (Bench, FakeUnderlay) {
    let bench = Bench::new().await;
    let underlay = bench.world.underlay();
    underlay.has("eth0", &["192.0.2.7/24"]);
    underlay.has("eth1", &[]);
    underlay.leads("1.1.1.1", "eth0", "192.0.2.7");
    (bench, underlay)
}

async fn change(bench: &Bench, edit: TransportEdit) -> Result<Changed, TransportError> {
    bench.engine.change_interface(edit, None).await
}

fn data_plane(bench: &Bench) -> Option<IpAddr> {
    bench.engine.data_plane().borrow().map(|plane| plane.address)
}

fn trouble(bench: &Bench) -> Option<String> {
    bench.engine.transport_trouble().map(|why| why.to_string())
}

/// How the operations of this ended so far.
fn ended(bench: &Bench) -> Vec<OperationState> {
    let all = bench.engine.journal().all();
    all.iter().filter(|one| one.kind() == "transport").map(|one| one.view().state).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_is_made_once_kept_and_made_again_after_a_reboot() {
    let (bench, underlay) = host().await;
    assert!(matches!(bench.engine.begin_transport(None).await, Some((Origin::Nowhere, None))));
    let edit = TransportEdit::Create(sub(100, "10.0.0.5/24"));
    let made = change(&bench, edit.clone()).await.unwrap();
    assert_eq!((made.former_mtu, made.mtu, made.address.unwrap().to_string()), (0, 9000, "10.0.0.5/24".to_owned()));
    assert_eq!(data_plane(&bench), "10.0.0.5".parse().ok());
    let steps = bench.engine.journal().all()[0].view().steps;
    assert_eq!(steps.iter().map(|step| &*step.text).collect::<Vec<_>>(), underlay.take_calls());
    assert_eq!(steps.len(), 5);
    // Again: nothing is done.
    assert_eq!(change(&bench, edit).await.unwrap().former_mtu, 9000);
    assert_eq!((underlay.take_calls(), ended(&bench)), (vec![], vec![OperationState::Succeeded]));
    assert_eq!(bench.store.keys(), ["transport/eth1.100"]);

    // The machine is started anew, and `eth1` is late.
    underlay.lose("eth1.100");
    underlay.lose("eth1");
    let bench = bench.restart().await;
    let (origin, operation) = bench.engine.begin_transport(None).await.unwrap();
    assert_eq!((origin, operation.unwrap().view().state), (Origin::Kept, OperationState::Failed));
    assert_eq!((data_plane(&bench), underlay.take_calls()), (None, vec![]));
    underlay.has("eth1", &[]);
    until("it is made again", || data_plane(&bench) == "10.0.0.5".parse().ok()).await;
    assert_eq!(underlay.view().interfaces[&name("eth1.100")].addresses.len(), 1);

    assert_eq!(change(&bench, TransportEdit::Delete(name("eth1.100"))).await.unwrap().mtu, 0);
    assert!(!underlay.view().interfaces.contains_key(&name("eth1.100")));
    assert_eq!((bench.store.keys(), data_plane(&bench)), (vec![], None));
    assert!(change(&bench, TransportEdit::Delete(name("eth1.100"))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_before_the_configuration_is_told_is_not_done_again_by_the_start() {
    let (bench, underlay) = host().await;
    change(&bench, TransportEdit::Create(sub(100, "10.0.0.5/24"))).await.unwrap();
    underlay.take_calls();
    assert!(matches!(bench.engine.begin_transport(None).await, Some((Origin::Kept, None))));
    assert_eq!((underlay.take_calls(), ended(&bench)), (vec![], vec![OperationState::Succeeded]));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_fails_at_any_step_leaves_the_host_and_the_store_as_they_were() {
    let (bench, underlay) = host().await;
    let before = underlay.view();
    for step in ["set the MTU of eth1", "make", "switch", "add"] {
        for class in [ErrorClass::Permanent, ErrorClass::Deadline] {
            underlay.refuse(step, class);
            let edit = TransportEdit::Create(sub(100, "10.0.0.5/24"));
            let error = change(&bench, edit).await.unwrap_err();
            // What takes back a step that may be done after all is refused as well.
            let is_stranded = matches!(error, TransportError::Stranded { .. });
            assert!(matches!(error, TransportError::Failed(_)) || is_stranded, "{error}");
            assert!(!is_stranded || class == ErrorClass::Deadline, "{error}");
            assert_eq!(underlay.view(), before, "{step}");
        }
    }
    until("nothing is kept", || bench.store.keys().is_empty()).await;
    assert!(ended(&bench).iter().all(|state| *state == OperationState::Failed));
    underlay.calm();
    bench.store.fail_writes(Some("no space left"));
    let refused = change(&bench, TransportEdit::Create(sub(100, "10.0.0.5/24"))).await.unwrap_err();
    assert!(refused.to_string().starts_with("nothing was changed: "), "{refused}");
    assert_eq!(underlay.view(), before);
}

#[tokio::test(start_paused = true)]
async fn a_change_in_the_middle_of_which_the_agent_ends_is_taken_back_by_the_next_one() {
    let (bench, underlay) = host().await;
    bench.engine.begin_transport(None).await;
    let (before, address) = (underlay.view(), "10.0.0.5/24".parse().ok());
    let edit = TransportEdit::Configure { name: name("eth1"), mtu: 1400.try_into().ok(), address };
    // That it is done cannot be stored.
    bench.store.fail_writes_after(1, "no space left");
    let refused = change(&bench, edit.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("no space left"), "{refused}");
    assert_eq!(underlay.view(), before);
    // Nor that it was taken back. It is as if the agent had ended when half of it was done.
    assert_eq!(bench.store.keys(), ["transport-undo", "transport/eth1"]);
    let (undo, record) = (bench.store.text("transport-undo"), bench.store.text("transport/eth1"));
    underlay.has("eth1", &["10.0.0.5/24"]);
    let bench = bench.restart().await;
    assert_eq!((bench.store.text("transport-undo"), bench.store.text("transport/eth1")), (undo, record));
    bench.store.fail_writes(None);
    assert!(matches!(bench.engine.begin_transport(None).await, Some((Origin::Nowhere, None))));
    assert_eq!(underlay.view(), before);
    until("nothing is kept", || bench.store.keys().is_empty()).await;
    // And now it works.
    change(&bench, edit).await.unwrap();
    assert_eq!(bench.store.keys(), ["transport/eth1"]);
}

#[tokio::test(start_paused = true)]
async fn routes_that_go_with_an_address_come_back_with_it_also_in_the_next_life_of_the_agent() {
    let (bench, underlay) = host().await;
    underlay.has("eth1", &["10.0.0.4/24"]);
    underlay.routes_with("eth1", "10.0.0.4");
    bench.engine.begin_transport(None).await;
    let (before, routes) = (underlay.view(), underlay.routes_by("eth1"));
    let edit = TransportEdit::Configure { name: name("eth1"), mtu: None, address: "10.0.0.5/24".parse().ok() };
    underlay.refuse("add 10.0.0.5", ErrorClass::Permanent);
    change(&bench, edit.clone()).await.unwrap_err();
    assert_eq!((underlay.view(), underlay.routes_by("eth1")), (before.clone(), routes.clone()));
    until("nothing is kept", || bench.store.keys().is_empty()).await;
    underlay.calm();
    // Its end cannot be stored, and the address that is put back brings its routes: as a life that begins then finds it.
    bench.store.fail_writes_after(1, "no space left");
    change(&bench, edit).await.unwrap_err();
    underlay.has("eth1", &["10.0.0.5/24"]);
    underlay.no_routes_by("eth1");
    let bench = bench.restart().await;
    bench.store.fail_writes(None);
    bench.engine.begin_transport(None).await;
    assert_eq!((underlay.view(), underlay.routes_by("eth1")), (before, routes));
    until("nothing is kept", || bench.store.keys().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_wants_any_more_is_taken_away_also_by_a_later_life_of_the_agent() {
    let (bench, underlay) = host().await;
    let dedicated = Uplink { address: "10.1.0.5/24".parse().ok(), ..Uplink::of(name("eth1")) };
    bench.engine.begin_transport(Some(Transport::Dedicated(dedicated))).await;
    assert_eq!(underlay.view().interfaces[&name("eth1")].addresses.len(), 1);
    // The next life has another configuration, and ends before it is so.
    underlay.refuse("take 10.1.0.5/24", ErrorClass::Permanent);
    let bench = bench.restart().await;
    let (_, operation) = bench.engine.begin_transport(None).await.unwrap();
    assert_eq!(operation.unwrap().view().state, OperationState::Failed);
    let bench = bench.restart().await;
    underlay.calm();
    bench.engine.begin_transport(None).await;
    assert!(underlay.view().interfaces[&name("eth1")].addresses.is_empty());
    assert_eq!(bench.store.keys(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_way_to_the_host_is_neither_taken_away_nor_captured() {
    let (bench, underlay) = host().await;
    let before = underlay.view();
    underlay.take_calls();
    let address = "10.0.0.5/24".parse().ok();
    let edit = TransportEdit::Configure { name: name("eth0"), mtu: None, address };
    let refused = change(&bench, edit).await.unwrap_err();
    assert!(matches!(refused, TransportError::Unfit(Unfit::Management { .. })), "{refused}");
    assert_eq!((underlay.take_calls(), underlay.view()), (vec![], before.clone()));
    // That a new network takes over the way out shows only when it is there.
    underlay.captures("1.0.0.5", "1.1.1.1");
    let error = change(&bench, TransportEdit::Create(sub(100, "1.0.0.5/8"))).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "it took the way from 192.0.2.7 to 1.1.1.1 by eth0 from this host, which is how it is reached; it was taken back"
    );
    assert_eq!(underlay.view(), before);
    // So does the way to whoever asks.
    underlay.leads("198.51.100.9", "eth0", "192.0.2.7");
    underlay.captures("198.51.100.5", "198.51.100.9");
    let asker = "198.51.100.9".parse().ok();
    let edit = TransportEdit::Create(sub(100, "198.51.100.5/24"));
    assert!(matches!(bench.engine.change_interface(edit, asker).await, Err(TransportError::Lost(_))));
}

#[tokio::test(start_paused = true)]
async fn an_mtu_is_kept_or_holds_once() {
    let (bench, underlay) = host().await;
    bench.engine.begin_transport(None).await;
    let mtu = |bytes: u32, keep| TransportEdit::SetMtu { name: name("eth1"), mtu: bytes.try_into().unwrap(), keep };
    let once = change(&bench, mtu(4000, Keep::Once)).await.unwrap();
    assert_eq!((once.former_mtu, once.mtu, once.keep), (1500, 4000, Keep::Once));
    assert_eq!(bench.store.keys(), [""; 0]);
    assert_eq!(change(&bench, mtu(9000, Keep::Always)).await.unwrap().former_mtu, 4000);
    // Another one instead of what is kept is kept itself.
    assert_eq!(change(&bench, mtu(9100, Keep::Once)).await.unwrap().keep, Keep::Always);
    underlay.has("eth1", &["10.3.0.1/24"]);
    let bench = bench.restart().await;
    bench.engine.begin_transport(None).await;
    let eth1 = underlay.view().interfaces[&name("eth1")].clone();
    assert_eq!((eth1.mtu, eth1.addresses.len()), (9100, 1));
    assert_eq!(data_plane(&bench), None);
}

#[tokio::test(start_paused = true)]
async fn the_configuration_comes_before_what_is_kept_and_that_before_the_controller() {
    let (bench, underlay) = host().await;
    bench.engine.begin_transport(None).await;
    // Nobody else has said anything.
    bench.engine.transport_fetched(Transport::Subinterface(sub(300, "10.0.3.5/24")), None);
    until("it is made", || data_plane(&bench) == "10.0.3.5".parse().ok()).await;
    // It has another idea.
    bench.engine.transport_fetched(Transport::Subinterface(sub(301, "10.0.4.5/24")), None);
    until("the other one is made", || data_plane(&bench) == "10.0.4.5".parse().ok()).await;
    assert!(!underlay.view().interfaces.contains_key(&name("eth1.300")));
    change(&bench, TransportEdit::Create(sub(200, "10.0.2.5/24"))).await.unwrap();
    assert_eq!(data_plane(&bench), "10.0.2.5".parse().ok());

    let bench = bench.restart().await;
    let configured = Transport::Subinterface(sub(100, "10.0.1.5/24"));
    let begun = bench.engine.begin_transport(Some(configured)).await.unwrap();
    assert_eq!((begun.0, begun.1.unwrap().view().state), (Origin::Configured, OperationState::Succeeded));
    assert_eq!(data_plane(&bench), "10.0.1.5".parse().ok());
    bench.engine.transport_fetched(Transport::Subinterface(sub(302, "10.0.5.5/24")), None);
    pass(5).await;
    let names: Vec<String> = underlay.view().interfaces.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["eth0", "eth1", "eth1.100", "eth1.200"]);
    let refused = change(&bench, TransportEdit::Delete(name("eth1.100"))).await.unwrap_err();
    assert!(matches!(refused, TransportError::Configured(_)), "{refused}");

    // What the configuration does not say any more goes.
    let bench = bench.restart().await;
    bench.engine.begin_transport(Some(Transport::Management)).await;
    assert!(!underlay.view().interfaces.contains_key(&name("eth1.100")));
    assert_eq!((data_plane(&bench), bench.store.keys()), (None, vec!["transport/eth1.200".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_cuts_the_host_off_is_tried_once_and_an_mtu_alone_is_none() {
    let (bench, underlay) = host().await;
    let mtu = TransportEdit::SetMtu { name: name("eth1"), mtu: 4000.try_into().unwrap(), keep: Keep::Always };
    change(&bench, mtu).await.unwrap();
    underlay.captures("1.0.0.5", "1.1.1.1");
    let bench = bench.restart().await;
    assert!(matches!(bench.engine.begin_transport(None).await, Some((Origin::Nowhere, Some(_)))));
    underlay.take_calls();
    bench.engine.transport_fetched(Transport::Subinterface(sub(100, "1.0.0.5/8")), None);
    pass(600).await;
    let made = "make subinterface eth1.100 (VLAN 100 of eth1)";
    assert_eq!(underlay.take_calls().iter().filter(|call| *call == made).count(), 1);
    assert!(!underlay.view().interfaces.contains_key(&name("eth1.100")));
    assert!(
        trouble(&bench).is_some_and(|why| why.starts_with("eth1.100: it took the way from ")),
        "{:?}",
        trouble(&bench)
    );
    // Another word of the controller is another try.
    bench.engine.transport_fetched(Transport::Subinterface(sub(100, "10.0.0.5/24")), None);
    until("it is made", || data_plane(&bench).is_some()).await;
    until("nothing is wrong", || trouble(&bench).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_again_and_again_is_said_once() {
    let (bench, underlay) = host().await;
    underlay.lose("eth1");
    assert_eq!(trouble(&bench), None, "nothing is wanted");
    bench.engine.begin_transport(Some(Transport::Subinterface(sub(100, "10.0.1.5/24")))).await;
    pass(600).await;
    assert_eq!(ended(&bench), [OperationState::Failed]);
    assert!(trouble(&bench).is_some_and(|why| why.starts_with("eth1.100: ")), "{:?}", trouble(&bench));
    let notices = || {
        let (past, _) = bench.engine.events().follow(0);
        past.iter().filter(|event| matches!(&event.what, netloom_engine::What::Notice { .. })).count()
    };
    assert_eq!(notices(), 1);
    underlay.has("eth1", &[]);
    until("it is made", || data_plane(&bench).is_some()).await;
    assert_eq!((notices(), trouble(&bench)), (2, None));
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_no_trouble_any_more_when_somebody_has_it_as_they_want_it() {
    let (bench, underlay) = host().await;
    underlay.captures("1.0.0.5", "1.1.1.1");
    bench.engine.begin_transport(None).await;
    bench.engine.transport_fetched(Transport::Subinterface(sub(100, "1.0.0.5/8")), None);
    until("it is given up", || trouble(&bench).is_some()).await;
    change(&bench, TransportEdit::Create(sub(100, "10.0.0.5/24"))).await.unwrap();
    until("nothing is wrong", || trouble(&bench).is_none()).await;
}

/// Cancels the last operation in the middle of its second step, of those that take a second each.
async fn cancel_later(bench: &Bench) -> OperationId {
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let operation = bench.engine.journal().all().pop().unwrap();
    bench.engine.cancel(operation.id()).await.unwrap();
    operation.id().clone()
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_cancelled_ends_after_the_step_under_way_and_is_taken_back() {
    let (bench, underlay) = host().await;
    let before = underlay.view();
    underlay.slow(Duration::from_secs(1));
    let edit = TransportEdit::Create(sub(100, "10.0.0.5/24"));
    let (changed, id) = tokio::join!(change(&bench, edit.clone()), cancel_later(&bench));
    assert!(matches!(changed, Err(TransportError::Cancelled)), "{changed:?}");
    assert_eq!(underlay.view(), before);
    let view = bench.engine.journal().get(&id).unwrap().view();
    assert_eq!(view.state, OperationState::Cancelled);
    let states: Vec<StepState> = view.steps.iter().map(|step| step.state).collect();
    assert_eq!(states[..3], [StepState::Done, StepState::Done, StepState::Skipped], "{view:#?}");
    assert!(states[3..].iter().all(|state| *state == StepState::Skipped));
    until("nothing is kept", || bench.store.keys().is_empty()).await;
    pass(600).await;
    assert_eq!((underlay.view(), trouble(&bench)), (before, None), "nothing of it is wanted");
    underlay.calm();
    change(&bench, edit).await.unwrap();
    assert_eq!(ended(&bench), [OperationState::Cancelled, OperationState::Succeeded]);
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_and_was_cancelled_is_held_until_something_else_is_wanted() {
    let (bench, underlay) = host().await;
    let before = underlay.view();
    underlay.slow(Duration::from_secs(1));
    let wanted = Transport::Subinterface(sub(100, "10.0.1.5/24"));
    let begin = bench.engine.begin_transport(Some(wanted));
    let (begun, id) = tokio::join!(begin, cancel_later(&bench));
    assert_eq!(begun.unwrap().1.unwrap().view().state, OperationState::Cancelled);
    underlay.calm();
    underlay.take_calls();
    pass(600).await;
    assert_eq!((underlay.view(), underlay.take_calls()), (before, vec![]));
    let said = format!("operation {id} was cancelled");
    assert!(trouble(&bench).is_some_and(|why| why.contains(&said)), "{:?}", trouble(&bench));
    let mtu = TransportEdit::SetMtu { name: name("eth1"), mtu: 9000.try_into().unwrap(), keep: Keep::Once };
    change(&bench, mtu).await.unwrap();
    until("all of it is made", || data_plane(&bench) == "10.0.1.5".parse().ok()).await;
    until("nothing is wrong", || trouble(&bench).is_none()).await;
    // One that has ended stays as it is.
    let ended = bench.engine.cancel(&id).await.unwrap();
    assert_eq!(ended.view().state, OperationState::Cancelled);
}
