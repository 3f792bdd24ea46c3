use netloom_model::InterfaceName;
use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::sample::{select, subsequence};
use proptest::{prop_assert_eq, proptest};

use super::*;
use crate::transport::VlanId;

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn seen(addresses: &[(&str, bool)]) -> SeenInterface {
    let addresses = addresses.iter().map(|(text, is_ours)| SeenAddress { address: cidr(text), is_ours: *is_ours });
    SeenInterface { ownership: Ownership::Other, vlan: None, mtu: 1500, is_up: true, addresses: addresses.collect() }
}

fn vlan(parent: &str, id: u16) -> Vlan {
    Vlan { parent: name(parent), id: VlanId::try_from(id).unwrap() }
}

fn host(interfaces: &[(&str, SeenInterface)]) -> HostView {
    let interfaces = interfaces.iter().map(|(text, seen)| (name(text), seen.clone()));
    HostView { interfaces: interfaces.collect(), ways: BTreeMap::new() }
}

fn sub(address: &str) -> Uplink {
    Uplink { address: Some(cidr(address)), ..Uplink::subinterface(vlan("eth0", 100), None).unwrap() }
}

fn own(address: &str, mtu: u32) -> Uplink {
    Uplink { address: Some(cidr(address)), mtu: mtu.try_into().ok(), ..Uplink::of(name("eth1")) }
}

fn texts(steps: &[Step]) -> Vec<String> {
    steps.iter().map(Step::to_string).collect()
}

fn planned(wanted: &Uplink, view: &HostView) -> Vec<String> {
    texts(&plan(wanted, None, view).unwrap())
}

#[test]
fn a_subinterface_is_made_on_a_parent_that_can_carry_it() {
    let view = host(&[("eth0", SeenInterface { is_up: false, ..seen(&[]) })]);
    assert_eq!(
        planned(&sub("10.0.0.5/24"), &view),
        [
            "make subinterface eth0.100 (VLAN 100 of eth0)",
            "set the MTU of eth0 from 1500 to 9000",
            "set the MTU of eth0.100 from 1500 to 9000",
            "switch eth0 on",
            "switch eth0.100 on",
            "add 10.0.0.5/24 to eth0.100",
        ]
    );
}

#[test]
fn what_is_so_already_is_not_touched() {
    let parent = SeenInterface { mtu: 9000, ..seen(&[("192.0.2.1/24", false)]) };
    let made = SeenInterface {
        ownership: Ownership::Ours,
        vlan: Some(vlan("eth0", 100)),
        mtu: 9000,
        ..seen(&[("10.0.0.5/24", true)])
    };
    let view = host(&[("eth0", parent), ("eth0.100", made), ("eth1", seen(&[("10.1.0.5/24", false)]))]);
    assert_eq!(plan(&sub("10.0.0.5/24"), None, &view), Ok(vec![]));
    // Whoever put it there.
    assert_eq!(plan(&own("10.1.0.5/24", 1500), None, &view), Ok(vec![]));
    assert_eq!(planned(&own("10.1.0.5/24", 9000), &view), ["set the MTU of eth1 from 1500 to 9000"]);
}

#[test]
fn a_new_address_is_there_before_the_others_go_unless_they_would_take_it_along() {
    let view = host(&[("eth1", seen(&[("10.1.0.5/24", false), ("10.2.0.5/24", false), ("2001:db8::1/64", false)]))]);
    assert_eq!(
        planned(&own("10.1.0.6/24", 1500), &view),
        ["take 10.1.0.5/24 from eth1", "add 10.1.0.6/24 to eth1", "take 10.2.0.5/24 from eth1"]
    );
}

#[test]
fn beside_an_address_that_is_right_only_our_own_are_taken_away() {
    let there = seen(&[("10.1.0.5/24", true), ("10.2.0.5/24", true), ("10.3.0.5/24", false), ("10.4.0.5/24", false)]);
    let view = host(&[("eth1", there)]);
    assert_eq!(planned(&own("10.1.0.5/24", 1500), &view), ["take 10.2.0.5/24 from eth1"]);
    // Kernels that keep no marks: what was wanted before is ours.
    let before = own("10.3.0.5/24", 1500);
    assert_eq!(
        texts(&plan(&own("10.1.0.5/24", 1500), Some(&before), &view).unwrap()),
        ["take 10.2.0.5/24 from eth1", "take 10.3.0.5/24 from eth1"]
    );
}

#[test]
fn addresses_that_would_go_along_with_one_of_ours_are_put_back() {
    let later = [("10.1.0.5/24", false), ("10.2.0.6/24", false), ("10.2.0.5/24", true), ("10.1.0.9/24", true)];
    let view = host(&[("eth1", seen(&later))]);
    assert_eq!(
        planned(&own("10.1.0.5/24", 1500), &view),
        [
            "take 10.1.0.5/24 from eth1",
            "take 10.2.0.6/24 from eth1",
            "take 10.2.0.5/24 from eth1",
            "take 10.1.0.9/24 from eth1",
            "add 10.2.0.6/24 to eth1",
            "add 10.1.0.5/24 to eth1",
        ]
    );
}

#[test]
fn an_address_of_the_other_family_takes_away_only_what_is_ours_there() {
    let view = host(&[("eth1", seen(&[("10.2.0.6/24", false), ("10.2.0.5/24", true)]))]);
    assert_eq!(
        planned(&own("2001:db8::1/64", 1500), &view),
        [
            "add 2001:db8::1/64 to eth1",
            "take 10.2.0.6/24 from eth1",
            "take 10.2.0.5/24 from eth1",
            "add 10.2.0.6/24 to eth1",
        ]
    );
}

#[test]
fn what_is_somebodys_is_refused_and_left() {
    let of_lab = SeenInterface { ownership: Ownership::Lab, ..seen(&[]) };
    let view = host(&[("eth0", seen(&[])), ("eth0.100", seen(&[])), ("eth1", of_lab)]);
    assert_eq!(plan(&sub("10.0.0.5/24"), None, &view), Err(Unfit::Foreign(name("eth0.100"))));
    assert_eq!(plan(&own("10.0.0.5/24", 1500), None, &view), Err(Unfit::OfLab(name("eth1"))));
    assert_eq!(plan(&Uplink::of(name("eth7")), None, &view), Err(Unfit::NoInterface(name("eth7"))));
    assert_eq!(plan_removal(&name("eth0"), None, &view), Err(Unfit::NotMade(name("eth0"))));
    assert_eq!(plan_removal(&name("eth7"), None, &view), Ok(vec![]));
    // Somebody's own of that tag, under another name.
    let taken = SeenInterface { vlan: Some(vlan("eth0", 100)), ..seen(&[]) };
    let view = host(&[("eth0", seen(&[])), ("data", taken)]);
    let unfit = Unfit::VlanTaken { vlan: vlan("eth0", 100), by: name("data") };
    assert_eq!(plan(&sub("10.0.0.5/24"), None, &view), Err(unfit));
}

#[test]
fn a_subinterface_that_somebody_has_made_just_so_serves_and_stays_theirs() {
    let there = SeenInterface { vlan: Some(vlan("eth0", 100)), mtu: 9000, ..seen(&[("10.0.0.9/24", false)]) };
    let of = |there: SeenInterface| host(&[("eth0", SeenInterface { mtu: 9000, ..seen(&[]) }), ("eth0.100", there)]);
    assert_eq!(
        planned(&sub("10.0.0.5/24"), &of(there.clone())),
        ["take 10.0.0.9/24 from eth0.100", "add 10.0.0.5/24 to eth0.100"]
    );
    let with_ours = SeenInterface { addresses: seen(&[("10.0.0.5/24", true)]).addresses, ..there };
    let removal = plan_removal(&name("eth0.100"), Some(&sub("10.0.0.5/24")), &of(with_ours)).unwrap();
    assert_eq!(texts(&removal), ["take 10.0.0.5/24 from eth0.100"]);
}

#[test]
fn only_what_we_made_or_put_there_is_removed() {
    let made = SeenInterface { ownership: Ownership::Ours, vlan: Some(vlan("eth0", 100)), ..seen(&[]) };
    let view = host(&[("eth0.100", made), ("eth1", seen(&[("10.1.0.5/24", true), ("10.2.0.5/24", false)]))]);
    assert_eq!(texts(&plan_removal(&name("eth0.100"), None, &view).unwrap()), ["remove subinterface eth0.100"]);
    let before = own("10.1.0.5/24", 1500);
    assert_eq!(texts(&plan_removal(&name("eth1"), Some(&before), &view).unwrap()), ["take 10.1.0.5/24 from eth1"]);
}

#[test]
fn steps_that_would_cut_the_host_off_are_seen_beforehand() {
    let mut view = host(&[("eth1", seen(&[("10.1.0.5/24", false), ("2001:db8::1/64", false)]))]);
    let management = |addresses: &[&str]| Management {
        towards: Vec::new(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let steps = plan(&own("10.9.0.5/24", 1500), None, &view).unwrap();
    assert_eq!(management(&[]).check(&steps, &view), Ok(()));
    let cut = Unfit::Management { what: "the address 10.1.0.5/24".to_owned() };
    assert_eq!(management(&["10.1.0.5"]).check(&steps, &view), Err(cut.clone()));
    let way = SeenWay { interface: name("eth1"), source: "10.1.0.5".parse().ok() };
    view.ways.insert("1.1.1.1".parse().unwrap(), way);
    assert_eq!(management(&[]).check(&steps, &view), Err(cut));
    // The kernel takes addresses of IPv6 away below 1280.
    let small = Uplink { mtu: 1000.try_into().ok(), ..Uplink::of(name("eth1")) };
    let steps = plan(&small, None, &view).unwrap();
    assert_eq!(management(&["10.1.0.5"]).check(&steps, &view), Ok(()));
    assert!(management(&["2001:db8::1"]).check(&steps, &view).is_err());
}

#[test]
fn what_the_host_has_lost_is_named() {
    let mut before = host(&[("eth1", seen(&[("10.1.0.5/24", false)]))]);
    let to = "1.1.1.1".parse().unwrap();
    before.ways.insert(to, SeenWay { interface: name("eth1"), source: "10.1.0.5".parse().ok() });
    let management = Management { towards: Vec::new(), addresses: vec!["10.1.0.5".parse().unwrap()] };
    assert_eq!(management.lost(&before, &before), None);
    let mut after = before.clone();
    after.ways.get_mut(&to).unwrap().interface = name("eth2");
    assert_eq!(management.lost(&before, &after).unwrap(), "the way from 10.1.0.5 to 1.1.1.1 by eth1");
    after.ways.clone_from(&before.ways);
    after.interfaces.clear();
    assert_eq!(management.lost(&before, &after).unwrap(), "the address 10.1.0.5");
    // What was not there before is not missed.
    assert_eq!(management.lost(&after, &after), None);
}

#[test]
fn every_step_is_taken_back_by_its_opposite() {
    let was = SeenInterface {
        ownership: Ownership::Ours,
        vlan: Some(vlan("eth0", 100)),
        mtu: 9000,
        ..seen(&[("10.1.0.5/24", true)])
    };
    let delete = Step::Delete { interface: name("eth0.100"), was: Box::new(was) };
    assert_eq!(
        texts(&delete.undo()),
        ["make subinterface eth0.100 (VLAN 100 of eth0)", "switch eth0.100 on", "add 10.1.0.5/24 to eth0.100"]
    );
    let view = host(&[("eth0", SeenInterface { is_up: false, ..seen(&[]) })]);
    let back: Vec<Step> = plan(&sub("10.0.0.5/24"), None, &view).unwrap().iter().rev().flat_map(Step::undo).collect();
    assert_eq!(
        texts(&back),
        [
            "take 10.0.0.5/24 from eth0.100",
            "switch eth0.100 off",
            "switch eth0 off",
            "set the MTU of eth0.100 from 9000 to 1500",
            "set the MTU of eth0 from 9000 to 1500",
            "remove subinterface eth0.100",
        ]
    );
}

/// What the kernel makes of a step: it takes the addresses that came later along with the first one of their network.
fn apply(view: &mut HostView, step: &Step) {
    if let Step::Create { interface, vlan, mtu } = step {
        let parent = view.interfaces[&vlan.parent].mtu;
        let made = SeenInterface {
            ownership: Ownership::Ours,
            vlan: Some(vlan.clone()),
            mtu: mtu.map_or(parent, Mtu::bytes),
            is_up: false,
            addresses: Vec::new(),
        };
        assert!(made.mtu <= parent && view.interfaces.insert(interface.clone(), made).is_none());
        return;
    }
    if let Step::Delete { interface, .. } = step {
        view.interfaces.remove(interface);
        return;
    }
    let seen = view.interfaces.get_mut(step.interface()).unwrap();
    match step {
        Step::SetMtu { from, to, .. } => {
            assert_eq!(seen.mtu, *from);
            seen.mtu = *to;
        }
        Step::Up(_) => seen.is_up = true,
        Step::Down(_) => seen.is_up = false,
        // The later ones are seen first, as they can be taken away alone.
        Step::AddAddress { address, .. } => seen.addresses.insert(0, *address),
        Step::RemoveAddress { address, .. } => {
            let at = seen.addresses.iter().position(|one| one.address == address.address);
            if let Some(at) = at {
                let later = seen.addresses.drain(..at).collect::<Vec<_>>();
                seen.addresses.remove(0);
                let stays = |one: &SeenAddress| !one.address.shares_network_with(address.address);
                seen.addresses.splice(0..0, later.into_iter().filter(stays));
            }
        }
        Step::Create { .. } | Step::Delete { .. } => {}
    }
}

const ADDRESSES: [&str; 6] =
    ["10.1.0.5/24", "10.1.0.6/24", "10.1.0.7/24", "10.2.0.5/24", "10.1.0.5/16", "2001:db8::1/64"];

fn an_interface() -> impl Strategy<Value = SeenInterface> {
    let addresses = (subsequence(ADDRESSES.to_vec(), 0..=5), vec(any::<bool>(), 6)).prop_map(|(texts, ours)| {
        // One address is on an interface once, whatever its prefix.
        let mut all: Vec<SeenAddress> = Vec::new();
        for (text, is_ours) in texts.into_iter().zip(ours) {
            let address = cidr(text);
            if all.iter().all(|one| one.address.ip() != address.ip()) {
                all.push(SeenAddress { address, is_ours });
            }
        }
        all
    });
    (select(vec![1500, 9000]), any::<bool>(), addresses).prop_map(|(mtu, is_up, addresses)| SeenInterface {
        ownership: Ownership::Other,
        vlan: None,
        mtu,
        is_up,
        addresses,
    })
}

fn a_host() -> impl Strategy<Value = HostView> {
    let made = (an_interface(), select(vec![100, 101])).prop_map(|(seen, id)| SeenInterface {
        ownership: Ownership::Ours,
        vlan: Some(vlan("eth0", id)),
        mtu: 1500,
        ..seen
    });
    (an_interface(), an_interface(), proptest::option::of(made)).prop_map(|(eth0, eth1, made)| {
        let mut view = host(&[("eth0", eth0), ("eth1", eth1)]);
        view.interfaces.extend(made.map(|made| (name("eth0.100"), made)));
        view
    })
}

fn a_wish() -> impl Strategy<Value = Uplink> {
    let address = select(ADDRESSES.to_vec());
    (address, select(vec![1500, 9000]), any::<bool>()).prop_map(|(address, mtu, is_sub)| {
        let mtu = mtu.try_into().ok();
        if is_sub { Uplink { mtu, ..sub(address) } } else { Uplink { mtu, ..own(address, 1500) } }
    })
}

proptest! {
    #[test]
    fn what_was_planned_is_what_was_wanted_and_nothing_is_left_to_do(view in a_host(), wanted in a_wish()) {
        let mut after = view.clone();
        for step in &plan(&wanted, None, &view).unwrap() {
            apply(&mut after, step);
        }
        prop_assert_eq!(plan(&wanted, None, &after), Ok(vec![]));
        let was_right = |seen: &&SeenInterface| seen.addresses.iter().any(|one| Some(one.address) == wanted.address);
        if let Some(before) = view.interfaces.get(&wanted.name).filter(|seen| wanted.vlan.is_none() || seen.vlan == wanted.vlan).filter(was_right) {
            let others = |seen: &SeenInterface| seen.addresses.iter().filter(|one| !one.is_ours).count();
            prop_assert_eq!(others(&after.interfaces[&wanted.name]), others(before));
        }
        let seen = &after.interfaces[&wanted.name];
        prop_assert_eq!((seen.mtu, seen.is_up), (wanted.mtu.unwrap().bytes(), true));
        prop_assert_eq!(seen.addresses.iter().filter(|one| Some(one.address) == wanted.address).count(), 1);
    }

    #[test]
    fn whatever_was_done_of_a_plan_can_be_taken_back(view in a_host(), wanted in a_wish(), done in 0_usize..8) {
        let mut after = view.clone();
        let steps = plan(&wanted, None, &view).unwrap();
        let done = &steps[..done.min(steps.len())];
        for step in done {
            apply(&mut after, step);
        }
        for step in done.iter().rev().flat_map(Step::undo) {
            apply(&mut after, &step);
        }
        let sorted = |mut view: HostView| {
            for seen in view.interfaces.values_mut() {
                seen.addresses.sort_by_key(|one| one.address);
            }
            view
        };
        prop_assert_eq!(sorted(after), sorted(view));
    }
}
