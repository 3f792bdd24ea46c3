//! The management network of labs: what it is on this host is asked once, and each node's address on it is chosen once.
//! Both become part of the wish, so that whoever plans it later finds them.
//!
//! Labs share networks, and may be accepted at the same moment: addresses are chosen under one lock, over all wishes and
//! over those that are on their way into the store.

mod access;
mod addresses;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use netloom_model::{Lab, LabName, ManagementDriver, Node, OnNetwork};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::desired::{Phase, Wish, Wishes};
use crate::driver::{Context, DriverError, Surveyed};
use crate::engine::Shared;
use crate::lab::{engine_error, within};
use crate::refusal::Refusal;
pub(crate) use access::Gate;

/// The addresses of nodes on management networks, of all labs.
#[derive(Debug)]
pub(crate) struct Addresses {
    wishes: Wishes,
    /// Those of wishes that the store has not confirmed yet.
    pending: Mutex<BTreeMap<LabName, OnNetwork>>,
}

impl Addresses {
    pub(crate) fn new(wishes: Wishes) -> Self {
        Self { wishes, pending: Mutex::default() }
    }

    /// Puts the nodes of a wish on the network that was surveyed, or on the one that it has. Their addresses are nobody
    /// else's until [`Self::settle`].
    pub(crate) fn claim(&self, wish: &mut Wish, found: Option<&Surveyed>) -> Result<(), Refusal> {
        let mut pending = self.pending();
        let Some(on) = self.choose(&pending, wish, found)? else { return Ok(()) };
        pending.insert(wish.lab.name().clone(), on.clone());
        put(wish, on);
        Ok(())
    }

    /// As [`Self::claim`], of a wish that nobody stores.
    pub(crate) fn propose(&self, wish: &mut Wish, found: Option<&Surveyed>) -> Result<(), Refusal> {
        if let Some(on) = self.choose(&self.pending(), wish, found)? {
            put(wish, on);
        }
        Ok(())
    }

    /// The wish of a lab was accepted or refused: its claim holds by the wish, or not at all.
    pub(crate) fn settle(&self, lab: &LabName) {
        self.pending().remove(lab);
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<LabName, OnNetwork>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn choose(
        &self,
        pending: &BTreeMap<LabName, OnNetwork>,
        wish: &mut Wish,
        found: Option<&Surveyed>,
    ) -> Result<Option<OnNetwork>, Refusal> {
        if !wish.lab.is_on_network() {
            wish.on_network = None;
            return Ok(None);
        }
        let before = wish.on_network.as_ref();
        let Some(ground) = found.map(|found| &found.on).or(before) else { return Ok(None) };
        let network = ground.network.network.as_str();
        let all = self.wishes.all();
        let accepted = all.iter().filter_map(|(lab, wish)| Some((lab, wish.on_network.as_ref()?)));
        let others =
            accepted.chain(pending).filter(|(lab, on)| *lab != wish.lab.name() && on.network.network == network);
        let mut taken: BTreeMap<IpAddr, String> = found.map(|found| found.taken.clone()).unwrap_or_default();
        let own: Vec<String> = wish.lab.nodes().keys().map(|node| wish.lab.container_name(node)).collect();
        taken.retain(|_, container| !own.contains(container));
        for (lab, on) in others {
            for (node, addresses) in &on.nodes {
                taken.extend(addresses.all().map(|address| (address, format!("node {node} of lab {lab}"))));
            }
        }
        let chosen = addresses::choose(&wish.lab, ground, before, &taken);
        chosen.map(Some).map_err(|why| Refusal::Network { lab: wish.lab.name().clone(), why })
    }
}

fn put(wish: &mut Wish, on: OnNetwork) {
    wish.networks.insert(on.network.network.clone());
    // What was put together before is of the wish as it was.
    *wish = Wish { on_network: Some(on), ..wish.clone() };
}

/// Asks what the network of a wish is on this host, if that has to be known: it is new to the lab, or a node is.
pub(crate) async fn survey(
    shared: &Shared,
    there: Option<&Wish>,
    wish: &Wish,
) -> Result<Option<Surveyed>, DriverError> {
    check_driver(&wish.lab)?;
    if !wish.lab.is_on_network() {
        return Ok(None);
    }
    let Some(networks) = shared.runtimes.values().find_map(|runtime| runtime.networks()) else { return Ok(None) };
    let known = there.filter(|there| there.phase == Phase::Run && there.lab.management() == wish.lab.management());
    let known = known.and_then(|there| there.on_network.as_ref());
    if known.is_some_and(|on| wish.lab.managed().all(|(node, _)| on.nodes.contains_key(node))) {
        return Ok(None);
    }
    let context =
        Context { deadline: (Instant::now() + shared.config.step_limit).into_std(), cancel: CancellationToken::new() };
    let object = format!("network {}", wish.lab.management().network);
    match within(&context, &object, networks.survey(wish.lab.management(), &context)).await {
        Ok(mut found) => {
            found.taken.extend(unknown(shared, wish.lab.name()));
            Ok(Some(found))
        }
        // No node needs it: its links are left out, which is said.
        Err(error) if wish.lab.managed().next().is_none() => {
            tracing::info!(lab = %wish.lab.name(), %error, "links to the management network are left out");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A network of macvlans is not made, and its nodes would be without one, and nobody would have said so.
fn check_driver(lab: &Lab) -> Result<(), DriverError> {
    let management = lab.management();
    if management.driver == ManagementDriver::Bridge || !lab.nodes().values().any(Node::is_managed) {
        return Ok(());
    }
    let why = "`mgmt.driver: macvlan` is not made by this version".to_owned();
    let mut error = engine_error("make", &format!("network {}", management.network), why);
    error.hint = Some(
        "leave it out to have a bridge; or give the nodes `network-mode: none` and links of type `macvlan`".to_owned(),
    );
    Err(error)
}

/// The addresses in nodes of labs that run and that nobody wants, as when the store was lost: their network's owner knows
/// nothing of those that are linked to it.
fn unknown(shared: &Shared, but: &LabName) -> Vec<(IpAddr, String)> {
    let (snapshot, wishes) = (shared.inventory.snapshot(), shared.wishes.all());
    let labs = snapshot.labs.iter().filter(|(lab, _)| *lab != but && !wishes.contains_key(*lab));
    let ports = labs.flat_map(|(lab, facts)| facts.ports.values().map(move |port| (lab, port)));
    let addresses = ports.flat_map(|(lab, port)| {
        let of = |text: &String| text.split('/').next()?.parse().ok();
        let who = format!("lab {lab}, which runs and is not known (`netloom adopt {lab}` takes it back)");
        port.addresses.iter().filter_map(of).map(move |address| (address, who.clone()))
    });
    addresses.collect()
}
