//! `external-access`: rules of the host's firewall that let others through to a management network, and its nodes back.
//!
//! Docker's firewall lets nothing in that was not asked for from inside or published: whoever is behind another interface of
//! the host reaches no node where the host drops what it is not to forward, which Docker sees to, and containers of other
//! networks of Docker reach none at all. What Docker keeps for the host's own rules is the chain `DOCKER-USER`, which comes
//! before its own; two rules for each network let everything through by its bridge, either way. They stand behind what
//! others have in the chain: who forbids something there has the last word.
//!
//! A rule says in a comment which agent made it for which network. That is all that is kept of it: rules that somebody takes
//! away come back with the next look, and rules of ours that are not wanted go, whatever happened in between. Where Docker
//! keeps no firewall (`--iptables=false`) there is no chain, and nothing is done.

mod iptables;
mod rules;

use std::time::Instant;

use netloom_engine::Access;
use netloom_failpoint::point;
use netloom_model::{Family, InterfaceName};

use super::super::super::fault::Fault;
use super::super::Shared;
use iptables::{Failed, IpTables};
use rules::Filter;

/// What a network is to have in the firewalls of both families; none of a family: no rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// The comment by which its rules are known.
    mark: String,
    ipv4: Option<InterfaceName>,
    ipv6: Option<InterfaceName>,
}

impl Wanted {
    fn of(network: &str, access: Access<'_>, instance: &str) -> Self {
        let mark = format!("netloom:{instance}:{network}");
        let Access::Open(network) = access else { return Self { mark, ipv4: None, ipv6: None } };
        let bridge = |has_subnet: bool| network.bridge.clone().filter(|_| has_subnet);
        let ipv4 = bridge(matches!(network.ipv4, Family::Subnet { .. }));
        let ipv6 = bridge(matches!(network.ipv6, Family::Subnet { .. }));
        Self { mark, ipv4, ipv6 }
    }
}

impl Shared {
    /// Sees to it that the rules of a network are those that are wanted, in both families.
    pub(super) async fn set_access(&self, network: &str, access: Access<'_>, deadline: Instant) -> Result<(), Fault> {
        let wanted = Wanted::of(network, access, self.layout.instance());
        let set = move || {
            let each = [
                set(IpTables::V4, &wanted.mark, wanted.ipv4.as_ref(), deadline),
                set(IpTables::V6, &wanted.mark, wanted.ipv6.as_ref(), deadline),
            ];
            each.into_iter().filter_map(Result::err).collect::<Vec<_>>()
        };
        let wrong = self.firewall.run(deadline, set).await.map_err(Fault::from)?;
        if wrong.is_empty() { Ok(()) } else { Err(Fault::transient(wrong.join("; "))) }
    }
}

/// The same in one family. An error says what that means for people.
fn set(family: IpTables, mark: &str, bridge: Option<&InterfaceName>, deadline: Instant) -> Result<(), String> {
    let saved = match family.save(deadline) {
        Ok(saved) => saved,
        // Without the program nobody can have made a rule that is to go.
        Err(Failed::Missing(_)) if bridge.is_none() => return Ok(()),
        Err(failed) => return Err(format!("others may not reach its nodes by {family}: {failed}")),
    };
    let filter = Filter::read(&saved);
    if let Some(why) = bridge.and_then(|bridge| filter.in_the_way_of(bridge, family)) {
        return Err(why);
    }
    for change in filter.changes(mark, bridge) {
        family.change(&change, deadline).map_err(|failed| format!("its rules for {family}: {failed}"))?;
        tracing::info!(%family, rule = change.join(" "), "a rule for the access to a management network was changed");
        point!("network.rule-changed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use netloom_model::Management;

    use super::*;

    #[test]
    fn a_network_has_rules_for_the_families_that_it_has_addresses_of() {
        let bridge: InterfaceName = "br-x".parse().unwrap();
        let network = Management { bridge: Some(bridge.clone()), ipv6: Family::Off, ..Management::default() };
        let open = Wanted::of("clab", Access::Open(&network), "1a2b");
        assert_eq!(open, Wanted { mark: "netloom:1a2b:clab".into(), ipv4: Some(bridge), ipv6: None });
        let closed = Wanted::of("clab", Access::Closed, "1a2b");
        assert_eq!(closed, Wanted { mark: "netloom:1a2b:clab".into(), ipv4: None, ipv6: None });
    }
}
