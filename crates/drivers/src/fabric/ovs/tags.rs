//! Tags claimed on a bridge, so that no two links on it share one, whoever makes them. No I/O.
//!
//! A claim is a pair among the `external_ids` of the bridge. A mutation never replaces a pair that is there, and the same
//! transaction reads what the bridge has then: of two that claim one tag at the same moment one sees the other's claim, and
//! tries the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use netloom_engine::{Joins, TagClaim};
use netloom_model::InterfaceName;
use netloom_ovsdb::{Condition, Map, Mutation, Transaction, Uuid};

use super::board::Board;
use super::mark::{PortMark, claimant, tag_key};

/// The tags of ports that are linked, as controllers of the agent contract expect them.
const LINKED: std::ops::RangeInclusive<u16> = 2050..=4000;
/// Those of ports that are not; each range takes what the other has no room for.
const UNLINKED: std::ops::RangeInclusive<u16> = 100..=2049;

/// How many tags a bridge has for links.
pub(super) const TAGS: usize = 3901;

/// That tags run short: from nine in ten that are taken, until it is less than 17 in 20. So long it is told once.
pub(super) fn strain(board: &Board<'_>, instance: &str, before: bool) -> Option<String> {
    let percent = if before { 85 } else { 90 };
    let short = used(board, instance).find(|name| 100 * taken_on(board, name) >= percent * TAGS);
    short.map(|name| {
        format!(
            "nine in ten of the {TAGS} tags of bridge `{name}` are taken; when all are, no link can be made on it: destroy \
             a lab that is on it"
        )
    })
}

/// How many tags are taken on the bridges that this instance uses.
pub(super) fn taken(board: &Board<'_>, instance: &str) -> usize {
    used(board, instance).map(|name| taken_on(board, name)).sum()
}

fn taken_on(board: &Board<'_>, bridge: &str) -> usize {
    board.tags(bridge).iter().filter(|tag| is_for_links(**tag)).count()
}

fn is_for_links(tag: u16) -> bool {
    LINKED.contains(&tag) || UNLINKED.contains(&tag)
}

/// The bridges on which this instance has claimed a tag.
fn used<'a>(board: &'a Board<'_>, instance: &str) -> impl Iterator<Item = &'a str> {
    let ours = format!("{instance}/");
    let is_used = move |name: &&str| board.claims(name).values().any(|whose| whose.starts_with(&ours));
    board.bridges.keys().copied().filter(is_used)
}

/// Chooses a tag for each claim on one bridge: the one that it has claimed already, the one that it was allotted before, the
/// lowest that is free; `None` where there is none left. `lost` are tags that are another's
/// though the board does not show it.
pub(super) fn choose(
    board: &Board<'_>,
    bridge: &str,
    instance: &str,
    claims: &[TagClaim],
    lost: &BTreeSet<u16>,
) -> Vec<Option<u16>> {
    let claimed = board.claims(bridge);
    let whose: BTreeMap<&str, u16> = claimed.iter().map(|(tag, whose)| (*whose, *tag)).collect();
    let mut taken = board.tags(bridge);
    taken.extend(lost);
    let own = |claim: &TagClaim| whose.get(claimant(instance, &claim.lab, &claim.link).as_str()).copied();
    // Of ports that carry the link's own mark no claim may be left, when somebody has tidied up.
    let marked = board.marked(instance);
    let of_ports = |claim: &TagClaim| {
        let mark = PortMark { lab: claim.lab.clone(), link: claim.link.clone() };
        let here = marked.get(&mark)?.iter().filter(|port| port.bridge == bridge);
        let tags: BTreeSet<Option<u16>> = here.map(|port| port.tag()).collect();
        let tag = if tags.len() == 1 { tags.into_iter().next().flatten() } else { None };
        tag.filter(|tag| !lost.contains(tag) && !claimed.contains_key(tag))
    };
    let kept = |claim: &TagClaim| own(claim).or_else(|| of_ports(claim).filter(|_| claim.joins == Joins::Link));
    let mut tags: Vec<Option<u16>> = claims.iter().map(kept).collect();
    taken.extend(tags.iter().flatten());
    // What is taken stays so: the search for the next goes on where that for the last ended.
    let (mut others, mut apart) = (LINKED.chain(UNLINKED), UNLINKED.chain(LINKED));
    for (tag, claim) in tags.iter_mut().zip(claims).filter(|(tag, _)| tag.is_none()) {
        let known = claim.known.filter(|known| !taken.contains(known) && is_for_links(*known));
        let mut is_free = |tag: &u16| !taken.contains(tag);
        *tag = known.or_else(|| match claim.joins {
            Joins::Link | Joins::Segment => others.find(&mut is_free),
            Joins::Nothing => apart.find(&mut is_free),
        });
        taken.extend(*tag);
    }
    tags
}

/// The tags that claims under way have chosen, by bridge: no two claims of this agent try the same one. Otherwise a hundred
/// labs that are deployed at once would all try the lowest, and one of them get it, again and again.
#[derive(Debug, Default)]
pub(super) struct Tried(Mutex<BTreeSet<(InterfaceName, u16)>>);

/// Tags that are tried until this is dropped.
#[derive(Debug)]
pub(super) struct Trying<'a> {
    of: &'a Tried,
    tags: Vec<(InterfaceName, u16)>,
}

impl Tried {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<(InterfaceName, u16)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has tags chosen that are neither `lost` nor tried by others, and holds them.
    pub(super) fn with(
        &self,
        bridge: &InterfaceName,
        lost: &BTreeSet<u16>,
        choose: impl FnOnce(&BTreeSet<u16>) -> Vec<Option<u16>>,
    ) -> (Vec<Option<u16>>, Trying<'_>) {
        let mut tried = self.lock();
        let here = tried.iter().filter(|(of, _)| of == bridge).map(|(_, tag)| *tag);
        let chosen = choose(&here.chain(lost.iter().copied()).collect());
        let named = chosen.iter().flatten().map(|tag| (bridge.clone(), *tag));
        let tags = named.filter(|tag| tried.insert(tag.clone())).collect();
        (chosen, Trying { of: self, tags })
    }
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        let mut tried = self.of.lock();
        for tag in &self.tags {
            tried.remove(tag);
        }
    }
}

/// The transaction that claims them, and the number of the operation that reads what became of it.
pub(super) fn claim(bridge: Uuid, instance: &str, claims: &[(TagClaim, u16)]) -> (Transaction, usize) {
    let mut change = Transaction::new();
    let pairs: Map =
        claims.iter().map(|(claim, tag)| (tag_key(*tag), claimant(instance, &claim.lab, &claim.link))).collect();
    change.mutate("Bridge", [Condition::is_row(bridge)], [Mutation::insert("external_ids", pairs)]);
    let read = change.select("Bridge", [Condition::is_row(bridge)]);
    (change, read)
}

/// Claims with the tags that they are of, by bridge.
pub(super) type Claims = BTreeMap<InterfaceName, Vec<(TagClaim, u16)>>;

/// The ports that have each tag of each bridge, with the links that they are marked as.
type Users<'a> = BTreeMap<(&'a str, u16), Vec<(&'a str, Option<PortMark>)>>;

/// Of the claims of tags that the ports of links have already those that are to be made: the others are there. `Err` says who
/// else has a tag.
pub(super) fn missing(board: &Board<'_>, instance: &str, claims: &[TagClaim]) -> Result<Claims, Vec<String>> {
    let (mut missing, mut others) = (Claims::new(), Vec::new());
    let mut users = Users::new();
    for (name, port) in &board.ports {
        for tag in port.tags() {
            let mark = PortMark::read(port.row, instance);
            users.entry((port.bridge, tag)).or_default().push((name, mark));
        }
    }
    let mut claimed: BTreeMap<&str, BTreeMap<u16, &str>> = BTreeMap::new();
    for (claim, tag) in claims.iter().filter_map(|claim| Some((claim, claim.known?))) {
        let TagClaim { lab, link, bridge, .. } = claim;
        let what = || format!("tag {tag} of bridge {bridge}, which the ports of link {link} have");
        let bridge = bridge.as_str();
        match claimed.entry(bridge).or_insert_with(|| board.claims(bridge)).get(&tag) {
            Some(whose) if *whose == claimant(instance, lab, link) => {}
            Some(whose) => others.push(format!("{}, is claimed for `{whose}`", what())),
            None => {
                // Each port of a segment is marked as a link of its own, and whoever is not marked at all may be in it too.
                let is_own = |mark: &Option<PortMark>| match claim.joins {
                    Joins::Link => mark.as_ref().is_some_and(|mark| mark.lab == *lab && mark.link == *link),
                    Joins::Segment | Joins::Nothing => mark.as_ref().is_none_or(|mark| mark.lab == *lab),
                };
                let mut with_it = users.get(&(bridge, tag)).into_iter().flatten();
                match with_it.find(|(_, mark)| !is_own(mark)) {
                    Some((name, _)) => others.push(format!("{}, is also that of port `{name}`", what())),
                    None => missing.entry(claim.bridge.clone()).or_default().push((claim.clone(), tag)),
                }
            }
        }
    }
    if others.is_empty() { Ok(missing) } else { Err(others) }
}

/// Which of the claims hold, by what the bridge has.
pub(super) fn holds(ids: Option<&Map>, instance: &str, claim: &TagClaim, tag: u16) -> bool {
    let whose = ids.and_then(|ids| ids.get_str(&tag_key(tag)));
    whose == Some(claimant(instance, &claim.lab, &claim.link).as_str())
}

/// The transaction that gives back all tags that these links have claimed on any bridge; nothing if there are none.
pub(super) fn release<'a>(
    board: &Board<'_>,
    instance: &str,
    links: impl Iterator<Item = (&'a netloom_model::LabName, &'a netloom_model::LinkId)>,
) -> Option<Transaction> {
    let whose: BTreeSet<String> = links.map(|(lab, link)| claimant(instance, lab, link)).collect();
    let mut change = Transaction::new();
    for (name, bridge) in &board.bridges {
        let claims = board.claims(name);
        // With their values, so that what somebody else has by now stays.
        let pairs: Map = claims
            .iter()
            .filter(|(_, of)| whose.contains(**of))
            .map(|(tag, of)| (tag_key(*tag), (*of).to_owned()))
            .collect();
        if !pairs.is_empty() {
            change.mutate("Bridge", [Condition::is_row(bridge.uuid)], [Mutation::remove("external_ids", pairs)]);
        }
    }
    (!change.ops().is_empty()).then_some(change)
}
