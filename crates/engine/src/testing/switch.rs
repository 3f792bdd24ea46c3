//! A switch whose bridges and ports are entries of maps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use async_trait::async_trait;
use netloom_model::{InterfaceName, Lab, LabName, Link, LinkId, Vlan};

use super::fabric::FakeFabric;
use super::trouble::error;
use super::world::{State, World, name};
use crate::driver::{Context, DriverError, ErrorClass, Switch, SwitchFigures, TagClaim};
use crate::fact::{Fact, Source, SwitchBridgeFact, SwitchPortFact, SwitchTagFact, TunnelMark};

/// The first tag that is claimed.
const FIRST: u16 = 2050;

/// What the switch of a host has.
#[derive(Debug, Default)]
pub(super) struct FakeSwitch {
    bridges: BTreeMap<InterfaceName, SwitchBridgeFact>,
    ports: BTreeMap<InterfaceName, SwitchPortFact>,
    claims: BTreeMap<u16, SwitchTagFact>,
    /// Tags that others have claimed.
    taken: BTreeSet<u16>,
    /// The ports of others, with their tags.
    foreign: BTreeMap<String, u16>,
}

impl World {
    /// From its next engine on this host has a switch.
    pub fn add_switch(&self) {
        self.lock().switch = Some(FakeSwitch::default());
    }

    /// The ports of the switch as `bridge tag lab/link`.
    pub fn switch_ports(&self) -> Vec<String> {
        let state = self.lock();
        let ports = state.switch.iter().flat_map(|switch| switch.ports.values());
        let tag = |port: &SwitchPortFact| port.vlan.tag.map_or_else(|| "-".to_owned(), |tag| tag.to_string());
        ports.map(|port| format!("{} {} {}/{}", port.bridge, tag(port), port.lab, port.link)).collect()
    }

    /// The bridges of the switch.
    pub fn switch_bridges(&self) -> Vec<String> {
        self.lock().switch.iter().flat_map(|switch| switch.bridges.keys()).map(ToString::to_string).collect()
    }

    /// The tags that are claimed.
    pub fn tags(&self) -> Vec<u16> {
        let state = self.lock();
        let tags = state.switch.iter().flat_map(|switch| switch.claims.keys().chain(&switch.taken));
        tags.copied().collect::<BTreeSet<u16>>().into_iter().collect()
    }

    /// Somebody else has a tag on every bridge.
    pub fn take_tag(&self, tag: u16) {
        let mut state = self.lock();
        let switch = state.switch.get_or_insert_default();
        switch.taken.insert(tag);
    }

    /// An agent of this host claimed a tag for a link, and came no further.
    pub fn leave_claim(&self, lab: &str, link: &str, tag: u16) {
        let mut state = self.lock();
        let switch = state.switch.get_or_insert_default();
        let claim = SwitchTagFact {
            bridge: name("arch-ovs"),
            tag,
            lab: name(lab),
            link: LinkId::from_text(link),
            seen: SystemTime::now(),
        };
        switch.claims.insert(tag, claim);
    }

    /// Somebody takes the claim of a tag away.
    pub fn drop_claim(&self, tag: u16) {
        let mut state = self.lock();
        let switch = state.switch.get_or_insert_default();
        let claim = switch.claims.remove(&tag).expect("it is claimed");
        state.send(Source::Switch, vec![Fact::SwitchTagGone(claim.bridge, claim.tag)]);
    }

    /// A bridge of the switch with a port of this tag that somebody else made.
    pub fn add_foreign_switch(&self, bridge: &str, port: &str, tag: u16) {
        let mut state = self.lock();
        let switch = state.switch.get_or_insert_default();
        let made = SwitchBridgeFact { name: name(bridge), is_ours: false, seen: SystemTime::now() };
        switch.bridges.insert(name(bridge), made.clone());
        switch.foreign.insert(port.to_owned(), tag);
        state.send(Source::Switch, vec![Fact::SwitchBridge(made)]);
    }

    /// The tag of a port, whoever made it.
    pub fn tag_of(&self, port: &str) -> Option<u16> {
        let state = self.lock();
        let switch = state.switch.as_ref()?;
        let ours = switch.ports.values().find(|there| there.name.as_str() == port);
        ours.map_or_else(|| switch.foreign.get(port).copied(), |ours| ours.vlan.tag)
    }

    /// Somebody removes a port of ours.
    pub fn unplug(&self, port: &str) {
        let mut state = self.lock();
        let switch = state.switch.get_or_insert_default();
        switch.ports.remove(&name::<InterfaceName>(port));
        state.send(Source::Switch, vec![Fact::SwitchPortGone(name(port))]);
    }

    /// The switch forgets everything.
    pub fn empty_switch(&self) {
        let mut state = self.lock();
        let switch = std::mem::take(state.switch.get_or_insert_default());
        let ports = switch.ports.into_keys().map(Fact::SwitchPortGone);
        let claims = switch.claims.into_values().map(|claim| Fact::SwitchTagGone(claim.bridge, claim.tag));
        let gone = ports.chain(switch.bridges.into_keys().map(Fact::SwitchBridgeGone)).chain(claims).collect();
        state.send(Source::Switch, gone);
    }

    /// Somebody sets the tag of a port of ours.
    pub fn retag(&self, port: &str, tag: u16) {
        let mut state = self.lock();
        let switch = state.switch.get_or_insert_default();
        let of_link = |there: &&mut SwitchPortFact| there.name.as_str() == port;
        let mut facts = Vec::new();
        for port in switch.ports.values_mut().filter(of_link) {
            port.vlan.tag = Some(tag);
            facts.push(Fact::SwitchPort(SwitchPortFact { seen: SystemTime::now(), ..port.clone() }));
        }
        state.send(Source::Switch, facts);
    }
}

/// Makes the ports that a link has, or sets them.
pub(super) fn plug(state: &mut State, lab: &Lab, link: &Link, tag: Option<u16>) -> Result<(), String> {
    let wanted = lab.switch_ports(link);
    if wanted.is_empty() {
        return Ok(());
    }
    let switch = state.switch.as_mut().ok_or("the host has no switch")?;
    let mut facts = Vec::new();
    for port in wanted {
        let vlan = port.vlan.on_port(tag).ok_or("no tag was allotted to it")?;
        if port.vlan != Vlan::Allotted && !switch.bridges.contains_key(&port.bridge) {
            return Err(format!("bridge `{}` is not there", port.bridge));
        }
        if !switch.bridges.contains_key(&port.bridge) {
            let bridge = SwitchBridgeFact { name: port.bridge.clone(), is_ours: true, seen: SystemTime::now() };
            facts.push(Fact::SwitchBridge(bridge.clone()));
            switch.bridges.insert(port.bridge.clone(), bridge);
        }
        let fact = SwitchPortFact {
            name: port.interface.clone(),
            bridge: port.bridge,
            vlan,
            lab: lab.name().clone(),
            link: link.id(),
            tunnel: port.end.is_none().then(|| tunnel(link)).flatten(),
            fault: None,
            seen: SystemTime::now(),
        };
        facts.push(Fact::SwitchPort(fact.clone()));
        switch.ports.insert(port.interface, fact);
    }
    state.send(Source::Switch, facts);
    Ok(())
}

fn tunnel(link: &Link) -> Option<TunnelMark> {
    Some(TunnelMark { tunnel: link.kind.tunnel()?.clone(), mtu: link.mtu })
}

/// Removes the ports of a link.
pub(super) fn unplug(state: &mut State, lab: &LabName, link: &LinkId) {
    let Some(switch) = &mut state.switch else { return };
    let of_link = |port: &SwitchPortFact| &port.lab == lab && &port.link == link;
    let gone: Vec<InterfaceName> = switch.ports.values().filter(|port| of_link(port)).map(|p| p.name.clone()).collect();
    switch.ports.retain(|_, port| !of_link(port));
    state.send(Source::Switch, gone.into_iter().map(Fact::SwitchPortGone).collect());
}

#[async_trait]
impl Switch for FakeFabric {
    async fn check(&self) -> Result<(), DriverError> {
        self.world.look("check", "switch").await
    }

    async fn claim(&self, claims: Vec<TagClaim>, _context: &Context) -> Vec<Result<u16, DriverError>> {
        let mut answers = Vec::new();
        for TagClaim { lab, link, bridge, known, .. } in claims {
            if let Err(error) = self.world.enter("claim", &format!("{lab}/{link}")).await {
                answers.push(Err(error));
                continue;
            }
            let mut state = self.world.lock();
            let switch = state.switch.get_or_insert_default();
            let is_own = |claim: &&SwitchTagFact| claim.lab == lab && claim.link == link;
            let own = switch.claims.values().find(is_own).map(|claim| claim.tag);
            let others: Vec<u16> = switch.foreign.values().copied().collect();
            let is_taken = |tag: &u16| switch.claims.contains_key(tag) || switch.taken.contains(tag);
            let free = |tag: &u16| !is_taken(tag) && !others.contains(tag);
            let tag = own.or(known.filter(free)).or_else(|| (FIRST..4000).find(free)).expect("there are enough");
            let fact = SwitchTagFact { bridge, tag, lab, link, seen: SystemTime::now() };
            switch.claims.insert(tag, fact.clone());
            state.send(Source::Switch, vec![Fact::SwitchTag(fact)]);
            answers.push(Ok(tag));
        }
        answers
    }

    async fn reclaim(&self, claims: Vec<TagClaim>, _context: &Context) -> Result<(), DriverError> {
        for TagClaim { lab, link, .. } in &claims {
            self.world.enter("reclaim", &format!("{lab}/{link}")).await?;
        }
        let mut state = self.world.lock();
        let switch = state.switch.get_or_insert_default();
        let wanted = claims.into_iter().filter_map(|TagClaim { lab, link, bridge, known, .. }| {
            Some(SwitchTagFact { bridge, tag: known?, lab, link, seen: SystemTime::now() })
        });
        let wanted: Vec<SwitchTagFact> = wanted.collect();
        for SwitchTagFact { tag, lab, link, .. } in &wanted {
            let is_own = |claim: &SwitchTagFact| &claim.lab == lab && &claim.link == link;
            let is_claimed = switch.claims.get(tag).is_some_and(|claim| !is_own(claim));
            let port = switch.foreign.iter().find(|(_, of)| *of == tag).map(|(port, _)| port.clone());
            if is_claimed || switch.taken.contains(tag) || port.is_some() {
                let cause = format!("tag {tag} is that of {}", port.as_deref().unwrap_or("others"));
                return Err(error("claim", "the tags that ports have", &cause, ErrorClass::Permanent));
            }
        }
        switch.claims.extend(wanted.iter().map(|fact| (fact.tag, fact.clone())));
        state.send(Source::Switch, wanted.into_iter().map(Fact::SwitchTag).collect());
        Ok(())
    }

    async fn release(&self, lab: &LabName, links: &[LinkId], _context: &Context) -> Result<(), DriverError> {
        self.world.enter("release", &format!("{lab}/tags")).await?;
        let mut state = self.world.lock();
        let switch = state.switch.get_or_insert_default();
        let is_given = |claim: &SwitchTagFact| &claim.lab == lab && links.contains(&claim.link);
        let given = switch.claims.values().filter(|claim| is_given(claim));
        let gone = given.map(|claim| Fact::SwitchTagGone(claim.bridge.clone(), claim.tag)).collect();
        switch.claims.retain(|_, claim| !is_given(claim));
        state.send(Source::Switch, gone);
        Ok(())
    }

    async fn ensure_bridge(&self, bridge: &InterfaceName, _context: &Context) -> Result<(), DriverError> {
        self.world.enter("ensure", &format!("switch/{bridge}")).await?;
        let mut state = self.world.lock();
        let switch = state.switch.get_or_insert_default();
        let new = || SwitchBridgeFact { name: bridge.clone(), is_ours: true, seen: SystemTime::now() };
        let fact = switch.bridges.entry(bridge.clone()).or_insert_with(new).clone();
        state.send(Source::Switch, vec![Fact::SwitchBridge(fact)]);
        Ok(())
    }

    async fn remove_bridge(&self, bridge: &InterfaceName, _context: &Context) -> Result<(), DriverError> {
        self.world.enter("remove", &format!("switch/{bridge}")).await?;
        let mut state = self.world.lock();
        let switch = state.switch.get_or_insert_default();
        if switch.bridges.get(bridge).is_some_and(|there| there.is_ours) {
            switch.bridges.remove(bridge);
            state.send(Source::Switch, vec![Fact::SwitchBridgeGone(bridge.clone())]);
        }
        Ok(())
    }

    async fn relist(&self) -> Result<(), DriverError> {
        self.world.look("relist", "switch").await?;
        let answer = self.world.lock().relist(Source::Switch, |state, seen| {
            let switch = state.switch.iter();
            let ports = switch.clone().flat_map(|switch| switch.ports.values());
            let bridges = switch.clone().flat_map(|switch| switch.bridges.values());
            let tags = switch.flat_map(|switch| switch.claims.values());
            let ports = ports.map(|port| Fact::SwitchPort(SwitchPortFact { seen, ..port.clone() }));
            let tags = tags.map(|tag| Fact::SwitchTag(SwitchTagFact { seen, ..tag.clone() }));
            let bridges = bridges.map(|one| Fact::SwitchBridge(SwitchBridgeFact { seen, ..one.clone() }));
            ports.chain(bridges).chain(tags).collect()
        });
        answer.map_err(|why| error("list", "the switch", &why, ErrorClass::Transient))
    }

    fn figures(&self) -> SwitchFigures {
        let tags = self.world.lock().switch.as_ref().map_or(0, |switch| switch.claims.len());
        SwitchFigures { tags, ..SwitchFigures::default() }
    }
}
