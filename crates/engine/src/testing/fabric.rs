//! A fabric whose interfaces are entries of a map.

use async_trait::async_trait;
use netloom_model::{End, Endpoint, InterfaceName, Lab, LabName, Link, LinkId, Seam};
use netloom_plan::{AdminState, LinkFingerprint};

use super::switch::{plug, unplug};
use super::trouble::error;
use super::world::{State, World};
use crate::driver::{Context, DriverError, ErrorClass, Fabric, LinkOrder, Switch};
use crate::fact::{Fact, Place, PortFact, PortKind, PortMark, Source};
use crate::lab::bridge_of;
use crate::rates::PortCounters;
use crate::snapshot::sides;

/// The fabric of a [`World`].
#[derive(Debug, Clone)]
pub struct FakeFabric {
    pub(super) world: World,
}

impl FakeFabric {
    pub(super) fn new(world: World) -> Self {
        Self { world }
    }

    async fn carry_out(&self, order: LinkOrder) -> Result<(), DriverError> {
        let (operation, lab, link) = match &order {
            LinkOrder::Create { lab, link, .. } => ("create", lab.name(), link),
            LinkOrder::Adopt { lab, link, .. } => ("adopt", lab.name(), link),
            LinkOrder::Update { lab, link, .. } => ("update", lab.name(), link),
            LinkOrder::Set { lab, link, .. } => ("set", lab.name(), link),
            LinkOrder::Carry { lab, link, .. } => ("carry", lab.name(), link),
            LinkOrder::Delete { lab, link } => ("delete", lab, link),
        };
        self.world.enter(operation, &format!("{lab}/{link}")).await?;
        let failed = |cause: String| error(operation, &format!("link {link}"), &cause, ErrorClass::Permanent);
        let mut state = self.world.lock();
        match &order {
            LinkOrder::Create { lab, link, fingerprint, tag } => {
                create(&mut state, lab, link, fingerprint).and_then(|()| plug(&mut state, lab, find(lab, link), *tag))
            }
            LinkOrder::Adopt { .. } => Err("nobody else makes links here".to_owned()),
            LinkOrder::Update { lab, link, fingerprint, tag } => {
                update(&mut state, lab, link, fingerprint).and_then(|()| plug(&mut state, lab, find(lab, link), *tag))
            }
            LinkOrder::Set { lab, link, side, admin } => {
                let (_, place, name) = sides(lab.name(), find(lab, link)).swap_remove(usize::from(*side as u8));
                match state.find(&place, name.as_str()) {
                    Some(port) => {
                        state.switch(port, *admin);
                        let touched = state.settle(&[port]);
                        state.tell_ports(&touched);
                        Ok(())
                    }
                    None => Err(format!("its interface `{name}` is not there")),
                }
            }
            LinkOrder::Carry { lab, link, side, carrier } => {
                let link = find(lab, link);
                let name = on_host(lab, link).swap_remove(usize::from(*side as u8));
                match state.find(&Place::Host, name.as_str()) {
                    Some(port) => {
                        let there = state.ports.get_mut(&port).expect("just found");
                        if lab.seam(link).is_some_and(|seam| seam.tunnel == name) {
                            there.signals.sent = *carrier == AdminState::Down;
                            there.admin_up = true;
                        } else {
                            there.admin_up = *carrier == AdminState::Up;
                        }
                        let touched = state.settle(&[port]);
                        state.tell_ports(&touched);
                        Ok(())
                    }
                    None => Err(format!("its interface `{name}` is not there")),
                }
            }
            LinkOrder::Delete { lab, link } => {
                unplug(&mut state, lab, link);
                let ports = state.marked(lab, link);
                state.remove_ports(&ports);
                Ok(())
            }
        }
        .map_err(failed)
    }
}

fn find<'a>(lab: &'a Lab, id: &LinkId) -> &'a Link {
    lab.link(id).expect("an order's link is in its lab")
}

fn mark(lab: &Lab, link: &LinkId, fingerprint: &LinkFingerprint, switched: AdminState) -> PortMark {
    PortMark::Link { lab: lab.name().clone(), link: link.clone(), fingerprint: fingerprint.clone(), switched }
}

fn create(state: &mut State, lab: &Lab, id: &LinkId, fingerprint: &LinkFingerprint) -> Result<(), String> {
    let link = find(lab, id);
    let ours = state.marked(lab.name(), id);
    let same = |port: &u32| matches!(&state.ports[port].mark, Some(PortMark::Link { fingerprint: f, .. }) if f.identity == fingerprint.identity);
    let attached = sides(lab.name(), link).iter().zip(link.ends()).all(|((_, place, name), end)| {
        let Some(bridge) = bridge_of(lab, link, end) else { return true };
        let port = state.find(place, name.as_str());
        port.is_some_and(|port| state.ports[&port].master == state.find(place, bridge))
    });
    let on_host = on_host(lab, link);
    if ours.len() == link.ends().count() + on_host.len() && ours.iter().all(same) && attached {
        configure(state, lab, link, fingerprint, &ours);
        state.tell_ports(&ours);
        return Ok(());
    }
    // What is left of an earlier one makes way.
    state.remove_ports(&ours);
    for end in link.ends() {
        check_end(state, lab, link, end)?;
    }
    let mut ports = Vec::new();
    for end in link.ends() {
        let kind = if link.b.is_some() { PortKind::Veth } else { PortKind::Dummy };
        let mark = mark(lab, id, fingerprint, AdminState::Up);
        let port = state.new_port(Place::of(lab.name(), end), end.interface.kernel().clone(), kind, Some(mark));
        if let Some(bridge) = bridge_of(lab, link, end) {
            let master = state.find(&Place::of(lab.name(), end), bridge);
            state.ports.get_mut(&port).expect("just made").master = master;
        }
        ports.push(port);
    }
    for (at, name) in on_host.iter().enumerate() {
        let mark = mark(lab, id, fingerprint, AdminState::Up);
        let kind = if at < ports.len() { PortKind::Veth } else { PortKind::Other };
        let far = state.new_port(Place::Host, name.clone(), kind, Some(mark));
        // What is behind a tunnel is on another host.
        state.peers.extend(ports.get(at).into_iter().flat_map(|near| [(*near, far), (far, *near)]));
        state.tell_ports(&[far]);
    }
    if let [a, b] = ports[..]
        && on_host.is_empty()
    {
        state.peers.extend([(a, b), (b, a)]);
    }
    configure(state, lab, link, fingerprint, &ports);
    let touched = state.settle(&ports);
    state.tell_ports(&touched);
    Ok(())
}

/// What of a link is on the host beside its ends: those of cables to a switch or a tunnel, and the tunnel.
fn on_host(lab: &Lab, link: &Link) -> Vec<InterfaceName> {
    if let Some(Seam { cable, tunnel }) = lab.seam(link) {
        return vec![cable, tunnel];
    }
    if link.switch().is_none() {
        return Vec::new();
    }
    lab.switch_ports(link).into_iter().map(|port| port.interface).collect()
}

fn check_end(state: &State, of: &Lab, link: &Link, end: &End) -> Result<(), String> {
    let (lab, name) = (of.name(), end.interface.kernel());
    if let Endpoint::Node(node) = end.home() {
        match state.nodes.get(&(lab.clone(), node.clone())) {
            None => return Err(format!("node `{node}` is not there")),
            Some(there) if !there.has_namespace => return Err(format!("node `{node}` has no namespace yet")),
            Some(_) => {}
        }
    }
    if let Some(bridge) = bridge_of(of, link, end) {
        let there = state.find(&Place::of(lab, end), bridge).map(|port| state.ports[&port].kind);
        if there != Some(PortKind::Bridge) {
            return Err(format!("bridge `{bridge}` is not there"));
        }
    }
    let taken = state.find(&Place::of(lab, end), name.as_str()).is_some();
    if taken { Err(format!("interface `{name}` already exists")) } else { Ok(()) }
}

fn configure(state: &mut State, lab: &Lab, link: &Link, fingerprint: &LinkFingerprint, ports: &[u32]) {
    for ifindex in state.marked(lab.name(), &link.id()) {
        let marked = state.ports.get_mut(&ifindex).and_then(|port| port.mark.as_mut());
        if let Some(PortMark::Link { fingerprint: applied, .. }) = marked {
            applied.clone_from(fingerprint);
        }
    }
    for (end, ifindex) in link.ends().zip(ports) {
        let port = state.ports.get_mut(ifindex).expect("just found");
        port.mtu = link.mtu.bytes();
        port.mac = Some(end.mac);
        port.addresses =
            end.ipv4.iter().map(ToString::to_string).chain(end.ipv6.iter().map(ToString::to_string)).collect();
        port.addresses.sort();
        port.given = port.addresses.clone();
    }
}

fn update(state: &mut State, lab: &Lab, id: &LinkId, fingerprint: &LinkFingerprint) -> Result<(), String> {
    let link = find(lab, id);
    let found: Option<Vec<u32>> =
        sides(lab.name(), link).iter().map(|(_, place, name)| state.find(place, name.as_str())).collect();
    let ports = found.ok_or("it is not there")?;
    configure(state, lab, link, fingerprint, &ports);
    state.tell_ports(&state.marked(lab.name(), id));
    Ok(())
}

#[async_trait]
impl Fabric for FakeFabric {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn switch(&self) -> Option<&dyn Switch> {
        self.world.lock().switch.is_some().then_some(self as &dyn Switch)
    }

    async fn apply(&self, orders: Vec<LinkOrder>, _context: &Context) -> Vec<Result<(), DriverError>> {
        let mut answers = Vec::with_capacity(orders.len());
        for order in orders {
            answers.push(self.carry_out(order).await);
        }
        answers
    }

    async fn ensure_bridge(
        &self,
        place: &Place,
        bridge: &InterfaceName,
        _context: &Context,
    ) -> Result<(), DriverError> {
        self.world.enter("ensure", &format!("bridge/{bridge}")).await?;
        let mut state = self.world.lock();
        let port = match state.find(place, bridge.as_str()) {
            Some(port) if state.ports[&port].kind == PortKind::Bridge => port,
            Some(_) => {
                let cause = "the host has an interface of that name that is no bridge";
                return Err(error("ensure", &format!("bridge {bridge}"), cause, ErrorClass::Permanent));
            }
            None => state.new_port(place.clone(), bridge.clone(), PortKind::Bridge, Some(PortMark::Bridge)),
        };
        state.tell_ports(&[port]);
        Ok(())
    }

    async fn remove_bridge(
        &self,
        place: &Place,
        bridge: &InterfaceName,
        _context: &Context,
    ) -> Result<(), DriverError> {
        self.world.enter("remove", &format!("bridge/{bridge}")).await?;
        let mut state = self.world.lock();
        if let Some(port) = state.find(place, bridge.as_str())
            && state.ports[&port].mark == Some(PortMark::Bridge)
        {
            state.remove_ports(&[port]);
        }
        Ok(())
    }

    async fn counters(&self, lab: &LabName, _context: &Context) -> Result<Vec<PortCounters>, DriverError> {
        self.world.look("counters", lab.as_str()).await?;
        let state = self.world.lock();
        let ours =
            state.ports.values().filter(|port| matches!(&port.mark, Some(PortMark::Link { lab: of, .. }) if of == lab));
        let sent = |ifindex: &u32| state.sent.get(ifindex).copied().unwrap_or_default();
        let counters = ours.map(|port| PortCounters {
            place: port.place.clone(),
            ifindex: port.ifindex,
            rx: state.peers.get(&port.ifindex).map(sent).unwrap_or_default(),
            tx: sent(&port.ifindex),
        });
        Ok(counters.collect())
    }

    async fn relist(&self) -> Result<(), DriverError> {
        self.world.look("relist", "fabric").await?;
        let answer = self.world.lock().relist(Source::Fabric, |state, seen| {
            state.ports.values().map(|port| Fact::Port(PortFact { seen, ..port.clone() })).collect()
        });
        answer.map_err(|why| error("list", "interfaces", &why, ErrorClass::Transient))
    }
}
