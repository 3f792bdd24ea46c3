//! What guests did to their own ends of links.
//!
//! A guest that switches an interface off is seen in its namespace, and the controller has the far end lose its carrier. What
//! the agent switched off is never told, and neither is what a guest does in answer: some take an interface whose carrier
//! went out of service, and if that were told, both ends would take each other down for ever.

use std::collections::BTreeMap;

use netloom_engine::Phase;
use netloom_model::{InterfaceName, NodeName};
use netloom_plan::NodeState;

use super::super::told::{Carrier, CarrierChange, Message};
use super::ends::is_ordered_off;
use super::{First, Look};

/// What is known of one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    /// What the controller holds for true.
    told: Carrier,
    /// Whether it went off while the far end of its cable was off through the agent.
    is_excused: bool,
}

/// The interfaces of a lab. One that the controller holds for on is forgotten when it vanishes, one that it holds for off
/// only with its node.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    known: BTreeMap<(NodeName, InterfaceName), Known>,
}

impl Interfaces {
    pub(super) fn look(&mut self, look: &Look<'_>, told: &mut Vec<Message>) {
        let mut before = std::mem::take(&mut self.known);
        for end in look.ends {
            let key = (end.node.clone(), end.interface.clone());
            let known = before.remove(&key);
            let port = look.ports.inside(end).filter(|_| runs(look, &end.node));
            let Some(port) = port else {
                // What goes down with its node is no doing of the guest.
                if let Some(known) = known.filter(|known| known.told == Carrier::Off) {
                    self.known.insert(key, known);
                }
                continue;
            };
            if is_ordered_off(port) {
                self.known.extend(known.map(|known| (key, known)));
                continue;
            }
            let now = Carrier::of(port.admin_up);
            let is_cut = look.ports.is_cut(end);
            let Some(mut known) = known else {
                // An interface is made off, and switched on in a step of its own: only what was on can go off. Of one that was
                // off when the agent started, the controller may have been told.
                if now == Carrier::On || look.first == First::Found {
                    self.known.insert(key, Known { told: now, is_excused: false });
                }
                continue;
            };
            known.is_excused = now == Carrier::Off && (known.is_excused || (is_cut && known.told == Carrier::On));
            if known.told != now && !known.is_excused {
                known.told = now;
                told.push(Message::Carrier(CarrierChange {
                    lab_id: look.lab.clone(),
                    node: end.node.clone(),
                    interface: end.interface.clone(),
                    carrier_state: now,
                }));
            }
            self.known.insert(key, known);
        }
    }
}

/// Whether a node runs, and is to.
fn runs(look: &Look<'_>, node: &NodeName) -> bool {
    let fact = look.facts.and_then(|facts| facts.nodes.get(node));
    look.wish.phase == Phase::Run
        && !look.wish.stopped.contains(node)
        && fact.is_some_and(|fact| fact.state == NodeState::Running)
}
