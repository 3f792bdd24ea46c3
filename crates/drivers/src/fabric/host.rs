//! The fabric of a host: interfaces of the kernel, and for links on a switch ports of Open vSwitch too.
//!
//! ```text
//!   create ──▶ kernel: cables, up and marked ──▶ switch: ports with the link's tag, in one transaction
//!   delete ──▶ switch: ports, in one transaction ──▶ kernel: cables
//! ```
//!
//! What is on no switch never waits for one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use netloom_backlog::Backlog;
use netloom_engine::{Context, DriverError, Fabric, LinkOrder, Place, PortCounters, Switch, TunnelMark};
use netloom_failpoint::point;
use netloom_kernel::{NamespaceDump, Netns};
use netloom_model::{InterfaceName, LabName, LinkId};

use super::kernel::KernelFabric;
use super::ovs::{Maker, OvsSwitch, Plug, Stray};

/// The kernel's fabric and the switch of one host.
#[derive(Debug)]
pub struct HostFabric {
    kernel: Arc<KernelFabric>,
    switch: OvsSwitch,
}

impl HostFabric {
    /// Puts the two together.
    pub fn new(kernel: Arc<KernelFabric>, switch: OvsSwitch) -> Self {
        Self { kernel, switch }
    }
}

/// The ports that an order wants on switches.
fn plugs(order: &LinkOrder) -> Vec<Plug> {
    let (LinkOrder::Create { lab, link, tag, .. }
    | LinkOrder::Adopt { lab, link, tag, .. }
    | LinkOrder::Update { lab, link, tag, .. }) = order
    else {
        return Vec::new();
    };
    let by = if matches!(order, LinkOrder::Adopt { .. }) { Maker::Others } else { Maker::Us };
    let Some(spec) = lab.link(link) else { return Vec::new() };
    let plug = |port: netloom_model::SwitchPort<'_>| {
        let tunnel = spec.kind.tunnel().filter(|_| port.end.is_none());
        Some(Plug {
            end: port.label(),
            says: spec.access_port().map(|port| port.says.clone()).unwrap_or_default(),
            tunnel: tunnel.map(|tunnel| TunnelMark { tunnel: tunnel.clone(), mtu: spec.mtu }),
            name: port.interface,
            bridge: port.bridge,
            // One without the tag that it needs would let everything pass.
            vlan: port.vlan.on_port(*tag)?,
            lab: lab.name().clone(),
            link: link.clone(),
            by,
        })
    };
    lab.switch_ports(spec).into_iter().filter_map(plug).collect()
}

type Answers = Vec<(usize, Result<(), DriverError>)>;

/// What there is of a link that is to be made.
struct Left {
    /// The place of its order.
    at: usize,
    link: (LabName, LinkId),
    /// The interfaces that its ports are, and their numbers, as far as they are there.
    names: Vec<InterfaceName>,
    numbers: Vec<Option<u32>>,
}

impl HostFabric {
    /// The ports of the switch that agents of the contract have marked, or may have made.
    pub(crate) fn strays(&self) -> Result<Vec<Stray>, DriverError> {
        self.switch.why_down().map_or_else(|| Ok(self.switch.strays()), Err)
    }

    /// The interfaces of the host and of these namespaces as they are now.
    pub(crate) async fn look_into(
        &self,
        namespaces: &[Netns],
        context: &Context,
    ) -> Result<(NamespaceDump, Vec<Result<NamespaceDump, String>>), DriverError> {
        self.kernel.look_into(namespaces, context).await
    }

    /// Removes those of these ports that carry no mark of ours, with their interfaces. The ports last: nothing else says whose an
    /// interface is that was left when the agent ended.
    pub(crate) async fn remove_strays(&self, names: Vec<InterfaceName>, context: &Context) -> Result<(), DriverError> {
        self.kernel.remove_strays(&names, context).await?;
        point!("inherited.interfaces-removed");
        self.switch.remove_strays(&names, context).await?;
        point!("inherited.ports-removed");
        Ok(())
    }

    /// Has the kernel's part done of links with ports on bridges of which these forward in user space.
    async fn apply_cables(
        &self,
        in_user_space: &BTreeSet<InterfaceName>,
        orders: Vec<(usize, LinkOrder)>,
        context: &Context,
    ) -> Answers {
        if orders.is_empty() {
            return Vec::new();
        }
        let (ats, orders): (Vec<usize>, Vec<LinkOrder>) = orders.into_iter().unzip();
        ats.into_iter().zip(self.kernel.apply_behind(in_user_space, orders, context).await).collect()
    }

    /// The interfaces on the host of the links that are to be made of which the switch has ports already, with their numbers.
    async fn left_of(
        &self,
        orders: &[(usize, LinkOrder)],
        wanted: &[(usize, Vec<Plug>)],
        context: &Context,
    ) -> Vec<Left> {
        if !orders.iter().any(|(_, order)| matches!(order, LinkOrder::Create { .. })) {
            return Vec::new();
        }
        let there = self.switch.links();
        let mut left = Vec::new();
        for ((at, order), (_, plugs)) in orders.iter().zip(wanted) {
            let LinkOrder::Create { .. } = order else { continue };
            let link = plugs.first().map(|plug| (plug.lab.clone(), plug.link.clone()));
            let Some(link) = link.filter(|link| there.contains(link)) else { continue };
            let names: Vec<InterfaceName> = plugs.iter().map(|plug| plug.name.clone()).collect();
            left.push(Left { at: *at, link, names, numbers: Vec::new() });
        }
        let numbers = self.numbers(&left, context).await;
        left.iter_mut().zip(numbers).for_each(|(left, numbers)| left.numbers = numbers);
        left
    }

    /// The numbers of the interfaces of each, by one look at the host.
    async fn numbers(&self, left: &[Left], context: &Context) -> Vec<Vec<Option<u32>>> {
        if left.is_empty() {
            return Vec::new();
        }
        let there = self.kernel.numbers_on_host(context).await.unwrap_or_default();
        let numbers = |left: &Left| left.names.iter().map(|name| there.get(name.as_str()).copied()).collect();
        left.iter().map(numbers).collect()
    }

    /// Removes the ports of links whose interfaces were made again: `ovs-vswitchd` may not have noticed that they were gone, and
    /// would go on with what it has open.
    async fn free(&self, left: Vec<Left>, context: &Context) {
        let now = self.numbers(&left, context).await;
        let stale = left.into_iter().zip(now).filter(|(left, now)| left.numbers != *now).map(|(left, _)| left.link);
        let stale = stale.collect();
        // What comes of it shows in the ports that are made next.
        self.switch.unplug(stale, context).await;
    }

    /// Ports go before the interfaces that they are, and come after them; these are those that each order wants. What the switch does not let go of stays whole.
    async fn apply_switched(
        &self,
        orders: Vec<(usize, LinkOrder)>,
        wanted: Vec<(usize, Vec<Plug>)>,
        context: &Context,
    ) -> Answers {
        if orders.is_empty() {
            return Vec::new();
        }
        let removed = |(at, order): &(usize, LinkOrder)| match order {
            LinkOrder::Delete { lab, link } => Some((*at, (lab.clone(), link.clone()))),
            _ => None,
        };
        let left = self.left_of(&orders, &wanted, context).await;
        let (ats, links): (Vec<usize>, Vec<_>) = orders.iter().filter_map(removed).unzip();
        let unplugs = !links.is_empty();
        let unplugged = self.switch.unplug(links, context).await;
        if unplugs {
            point!("link.unplugged");
        }
        let kept = ats.into_iter().zip(unplugged).filter(|(_, answer)| answer.is_err());
        let mut answers: BTreeMap<usize, Result<(), DriverError>> = kept.collect();
        let bridges = wanted.iter().flat_map(|(_, plugs)| plugs).map(|plug| &plug.bridge).collect();
        let in_user_space = self.switch.in_user_space(bridges);
        let rest = orders.into_iter().filter(|(at, _)| !answers.contains_key(at)).collect();
        answers.extend(self.apply_cables(&in_user_space, rest, context).await);
        let is_made = |at: &usize| answers.get(at).is_some_and(Result::is_ok);
        self.free(left.into_iter().filter(|left| is_made(&left.at)).collect(), context).await;
        let made = wanted.into_iter().filter(|(at, plugs)| !plugs.is_empty() && is_made(at));
        let (ats, plugs): (Vec<usize>, Vec<Vec<Plug>>) = made.unzip();
        if !plugs.is_empty() {
            point!("link.before-plug");
        }
        answers.extend(ats.into_iter().zip(self.switch.plug(plugs, context).await));
        answers.into_iter().collect()
    }
}

#[async_trait]
impl Fabric for HostFabric {
    fn name(&self) -> &'static str {
        self.kernel.name()
    }

    fn backlogs(&self) -> Vec<Backlog> {
        self.kernel.backlogs()
    }

    fn switch(&self) -> Option<&dyn Switch> {
        Some(&self.switch)
    }

    async fn apply(&self, orders: Vec<LinkOrder>, context: &Context) -> Vec<Result<(), DriverError>> {
        let count = orders.len();
        let is_delete = |order: &LinkOrder| matches!(order, LinkOrder::Delete { .. });
        let there = if orders.iter().any(is_delete) { self.switch.links() } else { BTreeSet::new() };
        let has_ports = |order: &LinkOrder| match order {
            LinkOrder::Delete { lab, link } => there.contains(&(lab.clone(), link.clone())),
            _ => false,
        };
        let (mut switched, mut wanted, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        for (at, order) in orders.into_iter().enumerate() {
            let plugs = plugs(&order);
            if plugs.is_empty() && !has_ports(&order) {
                plain.push((at, order));
            } else {
                switched.push((at, order));
                wanted.push((at, plugs));
            }
        }
        let on_no_switch = BTreeSet::new();
        let plain = self.apply_cables(&on_no_switch, plain, context);
        let (switched, plain) = tokio::join!(self.apply_switched(switched, wanted, context), plain);
        let mut answers: BTreeMap<usize, Result<(), DriverError>> = switched.into_iter().chain(plain).collect();
        (0..count).map(|at| answers.remove(&at).expect("each order was answered")).collect()
    }

    async fn ensure_bridge(&self, place: &Place, bridge: &InterfaceName, context: &Context) -> Result<(), DriverError> {
        self.kernel.ensure_bridge(place, bridge, context).await
    }

    async fn remove_bridge(&self, place: &Place, bridge: &InterfaceName, context: &Context) -> Result<(), DriverError> {
        self.kernel.remove_bridge(place, bridge, context).await
    }

    async fn announce(&self, place: &Place, deadline: Instant) {
        self.kernel.announce(place, deadline).await;
    }

    async fn counters(&self, lab: &LabName, context: &Context) -> Result<Vec<PortCounters>, DriverError> {
        self.kernel.counters(lab, context).await
    }

    async fn relist(&self) -> Result<(), DriverError> {
        self.kernel.relist().await
    }
}
