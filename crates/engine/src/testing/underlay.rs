//! The interfaces of a host as a table.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use netloom_model::{InterfaceName, Mtu};
use tokio::sync::watch;

use crate::driver::{Context, DriverError, ErrorClass};
use crate::transport::{HostRoute, HostView, Ownership, SeenAddress, SeenInterface, SeenWay, Step, Underlay, WayOut};

#[derive(Debug, Default)]
struct State {
    view: HostView,
    calls: Vec<String>,
    /// A step whose text begins so fails with this.
    refused: Option<(String, ErrorClass)>,
    /// How long each step takes.
    takes: Duration,
    /// An address that takes over the way to others, and the way as it was.
    captor: Option<(IpAddr, IpAddr, Option<SeenWay>)>,
    /// The routes by an interface, each with the address that it needs.
    routes: BTreeMap<InterfaceName, Vec<IpAddr>>,
}

/// A host without interfaces; clones are the same host.
#[derive(Debug, Clone)]
pub struct FakeUnderlay {
    state: Arc<Mutex<State>>,
    way_out: watch::Sender<Option<WayOut>>,
}

impl Default for FakeUnderlay {
    fn default() -> Self {
        Self { state: Arc::default(), way_out: watch::Sender::new(None) }
    }
}

impl FakeUnderlay {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody's interface comes to the host, switched on and with an MTU of 1500.
    pub fn has(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| {
            let address = address.parse().expect("an address");
            SeenAddress { address, is_ours: false }
        });
        let seen = SeenInterface {
            ownership: Ownership::Other,
            vlan: None,
            mtu: 1500,
            is_up: true,
            addresses: addresses.collect(),
        };
        self.lock().view.interfaces.insert(name.parse().expect("a name"), seen);
    }

    /// A route by an interface, which goes with this address of it.
    pub fn routes_with(&self, name: &str, address: &str) {
        let routes = &mut self.lock().routes;
        routes.entry(name.parse().expect("a name")).or_default().push(address.parse().expect("an address"));
    }

    /// The addresses that the routes by an interface need, of those that are there.
    pub fn routes_by(&self, name: &str) -> Vec<IpAddr> {
        self.lock().routes.get(&name.parse().expect("a name")).cloned().unwrap_or_default()
    }

    /// The routes by an interface go.
    pub fn no_routes_by(&self, name: &str) {
        self.lock().routes.remove(&name.parse().expect("a name"));
    }

    /// An interface goes.
    pub fn lose(&self, name: &str) {
        self.lock().view.interfaces.remove(&name.parse().expect("a name"));
    }

    /// What leads to an address.
    pub fn leads(&self, to: &str, by: &str, source: &str) {
        let way = SeenWay { interface: by.parse().expect("a name"), source: source.parse().ok() };
        self.lock().view.ways.insert(to.parse().expect("an address"), way);
    }

    /// An address that will take over the way to another one when it is added.
    pub fn captures(&self, address: &str, to: &str) {
        let parse = |text: &str| text.parse().expect("an address");
        self.lock().captor = Some((parse(address), parse(to), None));
    }

    /// From now on steps whose text begins so fail; empty: all do.
    pub fn refuse(&self, step: &str, class: ErrorClass) {
        self.lock().refused = Some((step.to_owned(), class));
    }

    /// From now on each step takes so long.
    pub fn slow(&self, step: Duration) {
        self.lock().takes = step;
    }

    /// Nothing fails any more, and nothing takes long.
    pub fn calm(&self) {
        let mut state = self.lock();
        (state.refused, state.takes) = (None, Duration::ZERO);
    }

    /// All of it.
    pub fn view(&self) -> HostView {
        self.lock().view.clone()
    }

    /// The steps that were done or tried, and forgets them.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().calls)
    }
}

#[async_trait]
impl Underlay for FakeUnderlay {
    fn way_out(&self) -> watch::Receiver<Option<WayOut>> {
        self.way_out.subscribe()
    }

    async fn look(&self, towards: &[IpAddr], _: &Context) -> Result<HostView, DriverError> {
        let mut view = self.view();
        view.ways.retain(|to, _| towards.contains(to));
        Ok(view)
    }

    async fn apply(&self, step: &Step, _: &Context) -> Result<(), DriverError> {
        let takes = self.lock().takes;
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let mut state = self.lock();
        state.calls.push(step.to_string());
        let refused = state.refused.clone().filter(|(text, _)| step.to_string().starts_with(text));
        if let Some((_, class)) = refused {
            return Err(refusal(step.interface(), "the fake refuses it".to_owned(), class));
        }
        change(&mut state, step);
        let State { view, routes, .. } = &mut *state;
        let seen = view.interfaces.get(step.interface());
        let has =
            |address: &IpAddr| seen.is_some_and(|seen| seen.addresses.iter().any(|one| one.address.ip() == *address));
        routes.entry(step.interface().clone()).or_default().retain(has);
        Ok(())
    }

    async fn routes(&self, interface: &InterfaceName, _: &Context) -> Result<Vec<HostRoute>, DriverError> {
        let state = self.lock();
        let routes = state.routes.get(interface).into_iter().flatten();
        Ok(routes.map(|address| HostRoute(address.to_string().into_bytes())).collect())
    }

    async fn restore(&self, interface: &InterfaceName, routes: &[HostRoute], _: &Context) -> Result<(), DriverError> {
        let mut state = self.lock();
        let Some(seen) = state.view.interfaces.get(interface) else { return Ok(()) };
        let text = |route: &HostRoute| String::from_utf8(route.0.clone()).expect("a route of this fake");
        let wanted: Vec<IpAddr> =
            routes.iter().map(|route| text(route).parse().expect("a route of this fake")).collect();
        let (had, lost): (Vec<IpAddr>, Vec<IpAddr>) =
            wanted.into_iter().partition(|address| seen.addresses.iter().any(|one| one.address.ip() == *address));
        let there = state.routes.entry(interface.clone()).or_default();
        for address in had {
            if !there.contains(&address) {
                there.push(address);
            }
        }
        let refused = lost.first().map(|address| format!("no address {address}"));
        refused.map_or(Ok(()), |cause| Err(refusal(interface, cause, ErrorClass::Permanent)))
    }
}

fn refusal(interface: &InterfaceName, cause: String, class: ErrorClass) -> DriverError {
    let (operation, object) = ("change".to_owned(), interface.to_string());
    DriverError { operation, object, backend: "fake".to_owned(), cause, hint: None, class }
}

fn change(state: &mut State, step: &Step) {
    if let Step::Create { interface, vlan, mtu } = step {
        let parent = state.view.interfaces.get(&vlan.parent).map_or(1500, |parent| parent.mtu);
        let seen = SeenInterface {
            ownership: Ownership::Ours,
            vlan: Some(vlan.clone()),
            mtu: mtu.map_or(parent, Mtu::bytes),
            is_up: false,
            addresses: Vec::new(),
        };
        state.view.interfaces.insert(interface.clone(), seen);
        return;
    }
    if let (Step::AddAddress { interface, address }, Some((by, to, was))) = (step, &mut state.captor)
        && address.address.ip() == *by
    {
        let way = SeenWay { interface: interface.clone(), source: Some(*by) };
        *was = state.view.ways.insert(*to, way);
    }
    if let (Step::RemoveAddress { address, .. }, Some((by, to, was))) = (step, &mut state.captor)
        && address.address.ip() == *by
        && let Some(was) = was.take()
    {
        state.view.ways.insert(*to, was);
    }
    let interfaces = &mut state.view.interfaces;
    if let Step::Delete { interface, .. } = step {
        interfaces.remove(interface);
        return;
    }
    let Some(seen) = interfaces.get_mut(step.interface()) else { return };
    match step {
        Step::SetMtu { to, .. } => seen.mtu = *to,
        Step::Up(_) => seen.is_up = true,
        Step::Down(_) => seen.is_up = false,
        Step::AddAddress { address, .. } => seen.addresses.push(*address),
        Step::RemoveAddress { address, .. } => seen.addresses.retain(|one| one.address != address.address),
        Step::Create { .. } | Step::Delete { .. } => {}
    }
}
