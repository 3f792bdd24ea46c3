//! A namespace that plays the host, the namespaces of two nodes, and orders about the links between them.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netloom_drivers::fabric::kernel::KernelFabric;
use netloom_engine::{Context, DriverError, Fabric, Inventory, Layout, LinkOrder, PortFact, Snapshot};
use netloom_kernel::{LinkInfo, NamespaceDump, Netns, Request, Rtnl, VethEnd, prepare_pin_directory, unpin};
use netloom_model::{Lab, LinkId};
use netloom_plan::{AdminState, LinkFingerprint, Side};
use serde_json::{Value, json};

pub(crate) fn root() -> bool {
    if std::fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t0\t0\t0")) {
        return true;
    }
    assert!(std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(), "this test needs root and NETLOOM_REQUIRE_ROOT is set");
    eprintln!("SKIPPED: this test needs root");
    false
}

pub(crate) fn end(at: Value, interface: &str, mac: u8, ipv4: Option<&str>, ipv6: Option<&str>) -> Value {
    let mut end = json!({ "at": at, "interface": interface, "mac": format!("02:00:00:00:00:{mac:02x}") });
    if let Some(ipv4) = ipv4 {
        end["ipv4"] = ipv4.into();
    }
    if let Some(ipv6) = ipv6 {
        end["ipv6"] = ipv6.into();
    }
    end
}

pub(crate) fn node(name: &str) -> Value {
    json!({ "node": name })
}

/// A lab of two nodes `r1`, `r2` and a bridge `br-lab` with these links.
pub(crate) fn lab(links: Value) -> Arc<Lab> {
    let linux = |name: &str| json!({ "kind": "linux", "runtime": "namespace", "hostname": name });
    let bridge = json!({ "kind": "bridge", "hostname": "br-lab" });
    let inner = json!({ "kind": "bridge", "hostname": "lan" });
    let nodes = json!({ "r1": linux("r1"), "r2": linux("r2"), "br-lab": bridge, "lan|r1": inner });
    Arc::new(serde_json::from_value(json!({ "name": "lab", "nodes": nodes, "links": links })).unwrap())
}

pub(crate) fn pair() -> Arc<Lab> {
    lab(json!([{
        "a": end(node("r1"), "eth1", 1, Some("10.0.0.1/24"), Some("2001:db8::1/64")),
        "b": end(node("r2"), "eth1", 2, Some("10.0.0.2/24"), Some("2001:db8::2/64")),
    }]))
}

/// A host of a test's own, with the namespaces of `r1` and `r2`.
pub(crate) struct Stage {
    root: tempfile::TempDir,
    pub(crate) layout: Layout,
    pub(crate) host: Netns,
    rtnl: Rtnl,
}

impl Stage {
    pub(crate) fn new() -> Self {
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

    pub(crate) fn pin(&self, node: &str) -> std::path::PathBuf {
        self.layout.pin(&"lab".parse().unwrap(), &node.parse().unwrap())
    }

    pub(crate) fn make(&self, node: &str) {
        std::fs::create_dir_all(self.pin(node).parent().unwrap()).unwrap();
        Netns::create_pinned(self.pin(node)).unwrap();
    }

    pub(crate) fn netns(&self, node: &str) -> Netns {
        if node == "host" { self.host.clone() } else { Netns::open(self.pin(node)).unwrap() }
    }

    pub(crate) fn place(&self, node: &str) -> netloom_kernel::Place {
        netloom_kernel::Place::node(self.netns(node), node)
    }

    /// What is there, but for whether addresses are still being looked for elsewhere, which ends by itself.
    pub(crate) fn dump(&self, node: &str) -> NamespaceDump {
        let mut dump = netloom_kernel::dump(&[self.place(node)]).unwrap().remove(0).unwrap();
        dump.addresses.iter_mut().for_each(|address| address.tentative = false);
        dump
    }

    pub(crate) fn link(&self, node: &str, name: &str) -> Option<LinkInfo> {
        self.dump(node).named(name).cloned()
    }

    pub(crate) fn start(&self) -> (KernelFabric, Inventory) {
        let (reporter, inventory, writer) = netloom_engine::channel();
        let fabric = KernelFabric::start(self.layout.clone(), &self.host, reporter).unwrap();
        netloom_engine::task::spawn("inventory", writer.run());
        (fabric, inventory)
    }

    pub(crate) async fn change(&self, request: Request) {
        self.rtnl.submit(vec![request], context().deadline).await.unwrap().remove(0).unwrap();
    }

    /// A veth pair on the host that somebody else made.
    pub(crate) async fn foreign(&self, name: &str) -> LinkInfo {
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

pub(crate) fn context() -> Context {
    Context { deadline: Instant::now() + Duration::from_secs(30), cancel: tokio_util::sync::CancellationToken::new() }
}

pub(crate) fn create(lab: &Arc<Lab>, at: usize) -> LinkOrder {
    let link = &lab.links()[at];
    LinkOrder::Create { lab: lab.clone(), link: link.id(), fingerprint: LinkFingerprint::of(link, 0), tag: None }
}

pub(crate) fn update(lab: &Arc<Lab>, at: usize) -> LinkOrder {
    let link = &lab.links()[at];
    LinkOrder::Update { lab: lab.clone(), link: link.id(), fingerprint: LinkFingerprint::of(link, 0), tag: None }
}

pub(crate) fn delete(lab: &Arc<Lab>, at: usize) -> LinkOrder {
    LinkOrder::Delete { lab: lab.name().clone(), link: lab.links()[at].id() }
}

pub(crate) fn set(lab: &Arc<Lab>, at: usize, side: Side, admin: AdminState) -> LinkOrder {
    LinkOrder::Set { lab: lab.clone(), link: lab.links()[at].id(), side, admin }
}

pub(crate) async fn apply(fabric: &KernelFabric, order: LinkOrder) -> Result<(), DriverError> {
    fabric.apply(vec![order], &context()).await.remove(0)
}

/// Waits until a snapshot shows what is wanted.
pub(crate) async fn until<T>(inventory: &Inventory, mut wanted: impl FnMut(&Snapshot) -> Option<T>) -> T {
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

pub(crate) fn ports(snapshot: &Snapshot, id: &LinkId) -> Vec<Arc<PortFact>> {
    let seen = snapshot.links(&"lab".parse().unwrap());
    seen.get(id).map(|seen| seen.ports.clone()).unwrap_or_default()
}

/// Sends 20 MB from one namespace to an address in another and checks every byte.
pub(crate) fn bulk(from: &Netns, to: &Netns, address: &str) {
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
