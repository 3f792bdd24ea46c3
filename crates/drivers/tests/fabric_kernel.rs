//! The kernel fabric on the running kernel, with a namespace that plays the host.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::needless_pass_by_value,
    reason = "only tests use the helpers here"
)]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netloom_drivers::fabric::kernel::KernelFabric;
use netloom_engine::{
    Context, DriverError, ErrorClass, Fabric, Inventory, Layout, LinkOrder, Place, PortFact, PortKind, PortMark,
    Snapshot,
};
use netloom_kernel::{
    LinkChange, LinkInfo, NamespaceDump, Netns, Request, Rtnl, VethEnd, prepare_pin_directory, unpin,
};
use netloom_model::{Lab, LinkId, NodeName};
use netloom_plan::{AdminState, LinkFingerprint, Side};
use serde_json::{Value, json};

fn root() -> bool {
    if std::fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t0\t0\t0")) {
        return true;
    }
    assert!(std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(), "this test needs root and NETLOOM_REQUIRE_ROOT is set");
    eprintln!("SKIPPED: this test needs root");
    false
}

fn end(at: Value, interface: &str, mac: u8, ipv4: Option<&str>, ipv6: Option<&str>) -> Value {
    let mut end = json!({ "at": at, "interface": interface, "mac": format!("02:00:00:00:00:{mac:02x}") });
    if let Some(ipv4) = ipv4 {
        end["ipv4"] = ipv4.into();
    }
    if let Some(ipv6) = ipv6 {
        end["ipv6"] = ipv6.into();
    }
    end
}

fn node(name: &str) -> Value {
    json!({ "node": name })
}

/// A lab of two nodes `r1`, `r2` and a bridge `br-lab` with these links.
fn lab(links: Value) -> Arc<Lab> {
    let linux = |name: &str| json!({ "kind": "linux", "runtime": "namespace", "hostname": name });
    let bridge = json!({ "kind": "bridge", "hostname": "br-lab" });
    let nodes = json!({ "r1": linux("r1"), "r2": linux("r2"), "br-lab": bridge });
    Arc::new(serde_json::from_value(json!({ "name": "lab", "nodes": nodes, "links": links })).unwrap())
}

fn pair() -> Arc<Lab> {
    lab(json!([{
        "a": end(node("r1"), "eth1", 1, Some("10.0.0.1/24"), Some("2001:db8::1/64")),
        "b": end(node("r2"), "eth1", 2, Some("10.0.0.2/24"), Some("2001:db8::2/64")),
    }]))
}

/// A host of a test's own, with the namespaces of `r1` and `r2`.
struct Stage {
    root: tempfile::TempDir,
    layout: Layout,
    host: Netns,
    rtnl: Rtnl,
}

impl Stage {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path()).unwrap();
        prepare_pin_directory(layout.pins()).unwrap();
        let host = Netns::create_pinned(layout.pins().join("the-host")).unwrap();
        let rtnl = Rtnl::start(host.clone()).unwrap();
        let stage = Self { root, layout, host, rtnl };
        stage.make("r1");
        stage.make("r2");
        stage
    }

    fn pin(&self, node: &str) -> std::path::PathBuf {
        self.layout.pin(&"lab".parse().unwrap(), &node.parse().unwrap())
    }

    fn make(&self, node: &str) {
        std::fs::create_dir_all(self.pin(node).parent().unwrap()).unwrap();
        Netns::create_pinned(self.pin(node)).unwrap();
    }

    fn netns(&self, node: &str) -> Netns {
        if node == "host" { self.host.clone() } else { Netns::open(self.pin(node)).unwrap() }
    }

    fn place(&self, node: &str) -> netloom_kernel::Place {
        netloom_kernel::Place::node(self.netns(node), node)
    }

    fn dump(&self, node: &str) -> NamespaceDump {
        netloom_kernel::dump(&[self.place(node)]).unwrap().remove(0).unwrap()
    }

    fn link(&self, node: &str, name: &str) -> Option<LinkInfo> {
        self.dump(node).named(name).cloned()
    }

    fn start(&self) -> (KernelFabric, Inventory) {
        let (reporter, inventory, writer) = netloom_engine::channel();
        let fabric = KernelFabric::start(self.layout.clone(), &self.host, reporter).unwrap();
        netloom_engine::task::spawn("inventory", writer.run());
        (fabric, inventory)
    }

    async fn change(&self, request: Request) {
        self.rtnl.submit(vec![request], context().deadline).await.unwrap().remove(0).unwrap();
    }

    /// A veth pair on the host that somebody else made.
    async fn foreign(&self, name: &str) -> LinkInfo {
        let end = |name: &str| VethEnd {
            place: netloom_kernel::Place::host(self.host.clone()),
            name: name.parse().unwrap(),
            ifindex: None,
            mac: None,
            mtu: None,
            group: 0,
        };
        let (a, b) = (end(name), end(&format!("{name}-peer")));
        self.change(Request::CreateVeth { a, a_state: netloom_kernel::AdminState::Down, a_master: None, b }).await;
        self.link("host", name).unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for node in ["r1", "r2"] {
            unpin(self.pin(node)).unwrap();
        }
        unpin(self.layout.pins().join("the-host")).unwrap();
        let _ = rustix::mount::unmount(self.layout.pins(), rustix::mount::UnmountFlags::DETACH);
        assert!(self.root.path().exists());
    }
}

fn context() -> Context {
    Context { deadline: Instant::now() + Duration::from_secs(30), cancel: tokio_util::sync::CancellationToken::new() }
}

fn create(lab: &Arc<Lab>, at: usize) -> LinkOrder {
    let link = &lab.links()[at];
    LinkOrder::Create { lab: lab.clone(), link: link.id(), fingerprint: LinkFingerprint::of(link, 0) }
}

fn update(lab: &Arc<Lab>, at: usize) -> LinkOrder {
    let link = &lab.links()[at];
    LinkOrder::Update { lab: lab.clone(), link: link.id(), fingerprint: LinkFingerprint::of(link, 0) }
}

fn delete(lab: &Arc<Lab>, at: usize) -> LinkOrder {
    LinkOrder::Delete { lab: lab.name().clone(), link: lab.links()[at].id() }
}

fn set(lab: &Arc<Lab>, at: usize, side: Side, admin: AdminState) -> LinkOrder {
    LinkOrder::Set { lab: lab.clone(), link: lab.links()[at].id(), side, admin }
}

async fn apply(fabric: &KernelFabric, order: LinkOrder) -> Result<(), DriverError> {
    fabric.apply(vec![order], &context()).await.remove(0)
}

/// Waits until a snapshot shows what is wanted.
async fn until<T>(inventory: &Inventory, mut wanted: impl FnMut(&Snapshot) -> Option<T>) -> T {
    let mut changes = inventory.changes();
    let found = async {
        loop {
            changes.borrow_and_update();
            if let Some(found) = wanted(&inventory.snapshot()) {
                return found;
            }
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.expect("it is observed")
}

fn ports(snapshot: &Snapshot, id: &LinkId) -> Vec<Arc<PortFact>> {
    let seen = snapshot.links(&"lab".parse().unwrap());
    seen.get(id).map(|seen| seen.ports.clone()).unwrap_or_default()
}

/// Sends 20 MB from one namespace to an address in another and checks every byte.
fn bulk(from: &Netns, to: &Netns, address: &str) {
    let address: IpAddr = address.parse().unwrap();
    let listener = to.run(|| TcpListener::bind(SocketAddr::new(address, 0))).unwrap().unwrap();
    let target = listener.local_addr().unwrap();
    let timeout = Some(Duration::from_secs(20));
    let receiver = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(timeout).unwrap();
        let (mut buffer, mut total) = (vec![0; 1 << 16], 0_usize);
        loop {
            let length = stream.read(&mut buffer).unwrap();
            if length == 0 {
                return total;
            }
            assert!(buffer[..length].iter().enumerate().all(|(at, byte)| usize::from(*byte) == (total + at) % 251));
            total += length;
        }
    });
    let connect = || TcpStream::connect_timeout(&target, Duration::from_secs(20));
    let mut stream = from.run(connect).unwrap().unwrap();
    stream.set_write_timeout(timeout).unwrap();
    let total = 20_000_000;
    let bytes: Vec<u8> = (0..251).cycle().take(total).collect();
    stream.write_all(&bytes).unwrap();
    drop(stream);
    assert_eq!(receiver.join().unwrap(), total);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_between_two_nodes_is_marked_addressed_up_and_observed_without_a_relist() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let lab = pair();
    let id = lab.links()[0].id();
    apply(&fabric, create(&lab, 0)).await.unwrap();
    let ends = until(&inventory, |snapshot| {
        let ports = ports(snapshot, &id);
        let whole = ports.iter().all(|port| port.carrier && port.admin_up && port.addresses.len() == 2);
        (ports.len() == 2 && whole).then_some(ports)
    })
    .await;
    assert_eq!(ends[0].addresses, ["10.0.0.1/24", "2001:db8::1/64"]);
    assert_eq!((ends[0].mtu, ends[0].kind), (9500, PortKind::Veth));
    assert_eq!(ends[0].mac, Some("02:00:00:00:00:01".parse().unwrap()));
    assert_ne!(ends[0].ifindex, ends[1].ifindex);
    let mark = PortMark::Link {
        lab: "lab".parse().unwrap(),
        link: id.clone(),
        fingerprint: LinkFingerprint::of(&lab.links()[0], 0),
        switched: AdminState::Up,
    };
    assert!(ends.iter().all(|port| port.mark.as_ref() == Some(&mark)));
    assert!(inventory.snapshot().sources.is_empty(), "nothing was relisted");
    bulk(&stage.netns("r1"), &stage.netns("r2"), "10.0.0.2");
    bulk(&stage.netns("r2"), &stage.netns("r1"), "2001:db8::1");

    // The same order again finds it as it is.
    let before = (stage.dump("r1"), stage.dump("r2"));
    apply(&fabric, create(&lab, 0)).await.unwrap();
    assert_eq!((stage.dump("r1"), stage.dump("r2")), before);

    // Removed by hand: the event says so, and the order makes it anew.
    let place = stage.place("r2");
    let ifindex = stage.link("r2", "eth1").unwrap().ifindex;
    stage.change(Request::DeleteLink { place, ifindex }).await;
    until(&inventory, |snapshot| ports(snapshot, &id).is_empty().then_some(())).await;
    apply(&fabric, create(&lab, 0)).await.unwrap();
    assert!(stage.link("r1", "eth1").unwrap().ifindex > ifindex);

    apply(&fabric, delete(&lab, 0)).await.unwrap();
    apply(&fabric, delete(&lab, 0)).await.unwrap();
    until(&inventory, |snapshot| ports(snapshot, &id).is_empty().then_some(())).await;
    assert_eq!((stage.dump("r1").links.len(), stage.dump("r2").links.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_to_the_host_and_to_a_bridge_carry_bulk_and_leave_nothing() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    fabric.relist().await.unwrap();
    let lab = lab(json!([
        { "a": end(node("r1"), "eth0", 1, Some("10.1.0.2/24"), None), "b": end(json!("host"), "to-r1", 2, Some("10.1.0.1/24"), None) },
        { "a": end(node("r1"), "eth1", 3, Some("10.2.0.1/24"), None), "b": end(json!({ "bridge": "br-lab" }), "p1", 4, None, None) },
        { "a": end(json!({ "bridge": "br-lab" }), "p2", 5, None, None), "b": end(node("r2"), "eth1", 6, Some("10.2.0.2/24"), None) },
    ]));
    let orders: Vec<LinkOrder> = (0..3).map(|at| create(&lab, at)).collect();
    let early = fabric.apply(orders.clone(), &context()).await;
    let refused: Vec<&DriverError> = early.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|error| error.cause == "there is no bridge `br-lab` on the host"), "{refused:?}");

    let bridge = "br-lab".parse().unwrap();
    fabric.ensure_bridge(&bridge, &context()).await.unwrap();
    fabric.ensure_bridge(&bridge, &context()).await.unwrap();
    for answer in fabric.apply(orders, &context()).await {
        answer.unwrap();
    }
    until(&inventory, |snapshot| {
        let port = snapshot.host_port(&"p1".parse().unwrap())?;
        let bridge = snapshot.host_port(&bridge)?;
        assert_eq!(bridge.mark, Some(PortMark::Bridge));
        (port.master == Some(bridge.ifindex) && port.carrier && bridge.admin_up).then_some(())
    })
    .await;
    bulk(&stage.netns("r1"), &stage.host, "10.1.0.1");
    bulk(&stage.host, &stage.netns("r1"), "10.1.0.2");
    bulk(&stage.netns("r1"), &stage.netns("r2"), "10.2.0.2");

    let busy = fabric.remove_bridge(&bridge, &context()).await.unwrap_err();
    assert_eq!(busy.cause, "it still has ports: p1, p2");
    for answer in fabric.apply((0..3).map(|at| delete(&lab, at)).collect(), &context()).await {
        answer.unwrap();
    }
    fabric.remove_bridge(&bridge, &context()).await.unwrap();
    fabric.remove_bridge(&bridge, &context()).await.unwrap();
    until(&inventory, |snapshot| (snapshot.host.len() == 1).then_some(())).await;
    assert_eq!(stage.dump("host").links.len(), 1);
    assert_eq!((stage.dump("r1").links.len(), stage.dump("r2").links.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_refused_with_its_name_and_stays_as_it_is() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, _inventory) = stage.start();
    let taken = stage.foreign("to-r1").await;
    let lab = lab(json!([
        { "a": end(node("r1"), "eth0", 1, None, None), "b": end(json!("host"), "to-r1", 2, None, None) },
    ]));
    let error = apply(&fabric, create(&lab, 0)).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Permanent);
    assert!(
        error.to_string().contains("interface `to-r1` already exists on the host and is not ours (number "),
        "{error}"
    );
    assert_eq!(stage.link("host", "to-r1"), Some(taken));
    assert_eq!(stage.dump("r1").links.len(), 1, "nothing is left of the refused link");
    let unmarked = apply(&fabric, set(&lab, 0, Side::B, AdminState::Up)).await.unwrap_err();
    assert_eq!(unmarked.cause, "its interface `to-r1` is not there on the host");
    assert!(!stage.link("host", "to-r1").unwrap().up);

    let wrong = fabric.ensure_bridge(&"to-r1".parse().unwrap(), &context()).await.unwrap_err();
    assert!(wrong.cause.starts_with("the host has a veth interface of that name"), "{wrong}");
    let place = netloom_kernel::Place::host(stage.host.clone());
    let name: netloom_model::InterfaceName = "br-theirs".parse().unwrap();
    stage
        .change(Request::CreateBridge { place, name: name.clone(), ifindex: None, mac: None, mtu: None, group: 0 })
        .await;
    let theirs = stage.link("host", "br-theirs");
    fabric.ensure_bridge(&name, &context()).await.unwrap();
    fabric.remove_bridge(&name, &context()).await.unwrap();
    assert_eq!(stage.link("host", "br-theirs"), theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_what_came_with_the_link_and_nothing_else() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let before = pair();
    apply(&fabric, create(&before, 0)).await.unwrap();
    let added = "192.0.2.1/32".parse().map(netloom_kernel::Address::V4).unwrap();
    let ifindex = stage.link("r1", "eth1").unwrap().ifindex;
    stage.change(Request::AddAddress { place: stage.place("r1"), ifindex, address: added, protocol: None }).await;
    let after = lab(json!([{
        "a": end(node("r1"), "eth1", 1, Some("10.9.0.1/24"), Some("2001:db8::1/64")),
        "b": end(node("r2"), "eth1", 2, None, None),
        "mtu": 1400,
    }]));
    apply(&fabric, update(&after, 0)).await.unwrap();
    let id = after.links()[0].id();
    until(&inventory, |snapshot| {
        let ports = ports(snapshot, &id);
        let applied = ports.iter().all(|port| match &port.mark {
            Some(PortMark::Link { fingerprint, .. }) => *fingerprint == LinkFingerprint::of(&after.links()[0], 0),
            _ => false,
        });
        (ports.len() == 2
            && applied
            && ports.iter().all(|port| port.mtu == 1400)
            && ports[0].addresses == ["10.9.0.1/24", "192.0.2.1/32", "2001:db8::1/64"]
            && ports[1].addresses.is_empty())
        .then_some(())
    })
    .await;
    assert_eq!(stage.link("r1", "eth1").unwrap().ifindex, ifindex, "it is the same link");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_switched_off_says_so_and_comes_back_with_its_addresses() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let lab = pair();
    let id = lab.links()[0].id();
    apply(&fabric, create(&lab, 0)).await.unwrap();
    let switched = |port: &PortFact| match &port.mark {
        Some(PortMark::Link { switched, .. }) => *switched,
        _ => AdminState::Up,
    };
    apply(&fabric, set(&lab, 0, Side::A, AdminState::Down)).await.unwrap();
    until(&inventory, |snapshot| {
        let ports = ports(snapshot, &id);
        let (a, b) = (ports.first()?, ports.get(1)?);
        (!a.admin_up && switched(a) == AdminState::Down && !b.carrier && switched(b) == AdminState::Up).then_some(())
    })
    .await;
    apply(&fabric, update(&lab, 0)).await.unwrap();
    assert!(!stage.link("r1", "eth1").unwrap().up, "an update switches nothing");
    apply(&fabric, set(&lab, 0, Side::A, AdminState::Up)).await.unwrap();
    until(&inventory, |snapshot| {
        let ports = ports(snapshot, &id);
        let up = |port: &Arc<PortFact>| port.carrier && port.addresses.len() == 2 && switched(port) == AdminState::Up;
        (ports.len() == 2 && ports.iter().all(up)).then_some(())
    })
    .await;
    bulk(&stage.netns("r1"), &stage.netns("r2"), "2001:db8::2");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_life_of_the_agent_sees_all_of_it_and_goes_on() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let long = "HundredGigabitEthernet0/0/0/1.with-a-name-of-more-than-sixty-characters";
    let longer = &format!("{long}{long}")[..120];
    let lab = lab(json!([
        { "a": end(node("r1"), long, 1, None, None), "b": end(node("r2"), longer, 2, None, None) },
        { "a": end(node("r1"), "eth2", 3, None, None), "b": end(node("r2"), "eth2", 4, None, None) },
    ]));
    let (first, _) = stage.start();
    apply(&first, create(&lab, 0)).await.unwrap();
    drop(first);
    assert!(stage.dump("r1").named(long).is_some());

    let (second, inventory) = stage.start();
    second.relist().await.unwrap();
    let id = lab.links()[0].id();
    // The marks have no room for the id, and still it is known again.
    until(&inventory, |snapshot| (ports(snapshot, &id).len() == 2).then_some(())).await;
    drop((second, inventory));
    let (second, inventory) = stage.start();
    // Without a relist, so that the same ifindexes are tried first.
    apply(&second, create(&lab, 1)).await.unwrap();
    apply(&second, create(&lab, 0)).await.unwrap();
    second.relist().await.unwrap();
    let id = lab.links()[0].id();
    until(&inventory, |snapshot| (ports(snapshot, &id).len() == 2).then_some(())).await;
    assert_eq!(stage.dump("r1").links.len(), 3);
    apply(&second, delete(&lab, 0)).await.unwrap();
    assert_eq!(stage.dump("r1").links.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_event_told_is_mended_by_the_relist_alone() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (reporter, inventory, writer) = netloom_engine::channel();
    let fabric = KernelFabric::start_deaf(stage.layout.clone(), &stage.host, reporter).unwrap();
    netloom_engine::task::spawn("inventory", writer.run());
    let lab = pair();
    let id = lab.links()[0].id();
    apply(&fabric, create(&lab, 0)).await.unwrap();
    fabric.relist().await.unwrap();
    until(&inventory, |snapshot| (ports(snapshot, &id).len() == 2).then_some(())).await;
    let ifindex = stage.link("r1", "eth1").unwrap().ifindex;
    stage.change(Request::DeleteLink { place: stage.place("r1"), ifindex }).await;
    fabric.relist().await.unwrap();
    until(&inventory, |snapshot| ports(snapshot, &id).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_order_left_half_made_is_made_anew() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, _inventory) = stage.start();
    let lab = pair();
    apply(&fabric, create(&lab, 0)).await.unwrap();
    let made = stage.link("r1", "eth1").unwrap();
    // As it is between the two batches of a create: the group, no alias, down.
    for node in ["r1", "r2"] {
        let change = LinkChange {
            state: Some(netloom_kernel::AdminState::Down),
            alias: Some(String::new()),
            ..LinkChange::default()
        };
        let ifindex = stage.link(node, "eth1").unwrap().ifindex;
        stage.change(Request::SetLink { place: stage.place(node), ifindex, change }).await;
    }
    apply(&fabric, create(&lab, 0)).await.unwrap();
    let anew = stage.link("r1", "eth1").unwrap();
    assert!(anew.ifindex > made.ifindex && anew.lower_up && anew.alias.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_goes_and_comes_back_is_another_one() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let lab = pair();
    let id = lab.links()[0].id();
    apply(&fabric, create(&lab, 0)).await.unwrap();
    until(&inventory, |snapshot| (ports(snapshot, &id).len() == 2).then_some(())).await;
    unpin(stage.pin("r2")).unwrap();
    until(&inventory, |snapshot| ports(snapshot, &id).is_empty().then_some(())).await;
    let gone = apply(&fabric, create(&lab, 0)).await.unwrap_err();
    assert_eq!(
        (gone.cause.as_str(), gone.class),
        ("the network namespace of node `r2` is not there", ErrorClass::Transient)
    );
    stage.make("r2");
    apply(&fabric, create(&lab, 0)).await.unwrap();
    let ends = until(&inventory, |snapshot| {
        let ports = ports(snapshot, &id);
        (ports.len() == 2).then_some(ports)
    })
    .await;
    let place = |name: &str| Place::Node("lab".parse().unwrap(), name.parse::<NodeName>().unwrap());
    assert_eq!([&ends[0].place, &ends[1].place], [&place("r1"), &place("r2")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dummy_is_made_or_refused_with_the_reason() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, _inventory) = stage.start();
    let lab = lab(json!([{ "a": end(node("r1"), "d0", 1, Some("10.0.0.1/32"), None) }]));
    match apply(&fabric, create(&lab, 0)).await {
        Ok(()) => assert!(stage.link("r1", "d0").unwrap().up),
        Err(error) => {
            assert_eq!(error.class, ErrorClass::Permanent);
            assert!(error.cause.starts_with("the kernel has no `dummy` interfaces (module dummy)"), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_and_a_late_one_change_nothing() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, _inventory) = stage.start();
    let lab = pair();
    let cancelled = context();
    cancelled.cancel.cancel();
    let answers = fabric.apply(vec![create(&lab, 0)], &cancelled).await;
    assert_eq!(answers[0].as_ref().unwrap_err().class, ErrorClass::Cancelled);
    let late = Context { deadline: Instant::now(), ..context() };
    let answers = fabric.apply(vec![create(&lab, 0)], &late).await;
    assert_eq!(answers[0].as_ref().unwrap_err().class, ErrorClass::Deadline);
    assert_eq!(stage.dump("r1").links.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_of_a_hundred_nodes_is_wired_and_observed_in_one_batch() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let name = |n: usize| format!("n{}", n % 100);
    for n in 0..100 {
        stage.make(&name(n));
    }
    let linux = |name: &str| json!({ "kind": "linux", "runtime": "namespace", "hostname": name });
    let nodes: serde_json::Map<String, Value> = (0..100).map(|n| (name(n), linux(&name(n)))).collect();
    let links: Vec<Value> = (0..100)
        .map(|n| {
            let mut a = end(node(&name(n)), "eth1", 0, Some(&format!("10.0.{n}.1/30")), None);
            let mut b = end(node(&name(n + 1)), "eth2", 0, Some(&format!("10.0.{n}.2/30")), None);
            a["mac"] = format!("02:00:00:00:01:{n:02x}").into();
            b["mac"] = format!("02:00:00:00:02:{n:02x}").into();
            json!({ "a": a, "b": b })
        })
        .collect();
    let lab: Arc<Lab> =
        Arc::new(serde_json::from_value(json!({ "name": "lab", "nodes": nodes, "links": links })).unwrap());
    let started = Instant::now();
    for answer in fabric.apply((0..100).map(|at| create(&lab, at)).collect(), &context()).await {
        answer.unwrap();
    }
    let made = started.elapsed();
    until(&inventory, |snapshot| {
        let seen = snapshot.links(lab.name());
        let up = |port: &Arc<PortFact>| port.carrier && port.addresses.len() == 1;
        (seen.len() == 100 && seen.values().all(|link| link.ports.len() == 2 && link.ports.iter().all(up)))
            .then_some(())
    })
    .await;
    println!("100 links made in {made:?}, observed after {:?}", started.elapsed());
    let started = Instant::now();
    fabric.relist().await.unwrap();
    println!("relist of 103 namespaces: {:?}", started.elapsed());
    let started = Instant::now();
    for answer in fabric.apply((0..100).map(|at| delete(&lab, at)).collect(), &context()).await {
        answer.unwrap();
    }
    println!("100 links deleted in {:?}", started.elapsed());
    until(&inventory, |snapshot| snapshot.links(lab.name()).is_empty().then_some(())).await;
    for n in 0..100 {
        unpin(stage.pin(&name(n))).unwrap();
    }
}
