//! Links removed, found by their marks.
//!
//! The kernel takes 16 ms to delete one interface and half a millisecond for each of a group that is deleted at once, but
//! a group is of one namespace. So the links are dealt out to as few namespaces as it takes, greedily: all ports of a
//! bridge go in one call, the links of a ring in half as many calls as there are links.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use netloom_engine::{Fabric, Place, PortMark};
use netloom_failpoint::point;
use netloom_kernel::{LinkChange, Request};
use netloom_model::{LabName, LinkId};

use super::apply::{Call, Removal, Work};

impl Call<'_> {
    /// Where the mirror has ends of the links. The kernel is asked about them once more before any is touched.
    pub(super) async fn places_of(&self, removals: &[Removal]) -> Vec<Place> {
        if removals.is_empty() {
            return Vec::new();
        }
        if !self.fabric.listed.load(Ordering::Acquire)
            && let Err(error) = self.fabric.relist().await
        {
            tracing::warn!(%error, "links are deleted by what events have told alone");
        }
        let wanted: BTreeSet<(&LabName, &LinkId)> =
            removals.iter().map(|removal| (&removal.lab, &removal.id)).collect();
        let marks = &self.fabric.shared.marks;
        self.fabric.shared.mirror().places_with(|found| match marks.read(found) {
            Some(PortMark::Link { lab, link, .. }) => wanted.contains(&(&lab, &link)),
            _ => false,
        })
    }

    pub(super) async fn remove(&mut self, removals: Vec<Removal>) {
        if removals.is_empty() {
            return;
        }
        let places: Vec<Place> = self.open.keys().cloned().collect();
        if let Err((class, cause)) = self.look(places).await {
            self.refuse_all(removals.iter().map(|removal| removal.order), &cause, class);
            return;
        }
        let mut ends: BTreeMap<(LabName, LinkId), Vec<Piece>> = BTreeMap::new();
        for (place, dump) in &self.dumps {
            for found in &dump.links {
                if let Some(PortMark::Link { lab, link, .. }) = self.fabric.shared.marks.read(found) {
                    let (place, ifindex, peer) = (place.clone(), found.ifindex, found.peer);
                    ends.entry((lab, link)).or_default().push(Piece { place, ifindex, peer });
                }
            }
        }
        let mut victims = Vec::new();
        for Removal { order, lab, id } in removals {
            self.answers[order] = Some(Ok(()));
            let pieces = ends.remove(&(lab, id)).unwrap_or_default();
            victims.extend(cables(pieces).into_iter().map(|ends| Victim { order, ends }));
        }
        point!("link.before-delete");
        let (groups, mut single) = deal(victims);
        single.extend(self.remove_groups(groups).await);
        let mut work = Work::default();
        for Victim { order, ends } in single {
            for (place, ifindex) in ends {
                // The second end goes with the first; asking for it too costs nothing.
                work.add(&place, order, [Request::DeleteLink { place: self.kernel[&place].clone(), ifindex }]);
            }
        }
        self.carry_out(work).await;
        point!("link.deleted");
    }

    /// Deletes links by namespace; returns those that have to be deleted one by one.
    async fn remove_groups(&mut self, groups: BTreeMap<Place, Vec<Victim>>) -> Vec<Victim> {
        if groups.is_empty() {
            return Vec::new();
        }
        // A number of this call alone: what an interrupted call left in its group is in nobody's way.
        let group = self.fabric.shared.marks.doomed_group();
        let mut batch = Vec::new();
        for (place, victims) in &groups {
            let change = LinkChange { group: Some(group), ..LinkChange::default() };
            batch.extend(victims.iter().flat_map(|victim| victim.at(place)).map(|ifindex| Request::SetLink {
                place: self.kernel[place].clone(),
                ifindex,
                change: change.clone(),
            }));
        }
        // What fails here is seen by the dump.
        let grouped = self.fabric.submit(batch, self.context).await.is_ok();
        point!("link.doomed");
        if !grouped || self.look(groups.keys().cloned()).await.is_err() {
            return groups.into_values().flatten().collect();
        }
        let (mut batch, mut dealt, mut single) = (Vec::new(), Vec::new(), Vec::new());
        for (place, victims) in groups {
            // A group is a number that anyone may use: every member must be known to be doomed.
            let doomed: BTreeSet<u32> = victims.iter().flat_map(|victim| victim.at(&place)).collect();
            let members = self.dumps[&place].links.iter().filter(|link| link.group == group);
            if members.into_iter().all(|link| doomed.contains(&link.ifindex)) {
                batch.push(Request::DeleteGroup { place: self.kernel[&place].clone(), group });
                dealt.push(victims);
            } else {
                single.extend(victims);
            }
        }
        let results = self.fabric.submit(batch, self.context).await.unwrap_or_default();
        point!("link.group-deleted");
        let deleted = results.iter().map(Result::is_ok).chain(std::iter::repeat(false));
        single.extend(dealt.into_iter().zip(deleted).filter(|(_, deleted)| !deleted).flat_map(|(victims, _)| victims));
        single
    }
}

/// An interface with the mark of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    place: Place,
    ifindex: u32,
    /// The ifindex of the other end, if it is one of a pair.
    peer: Option<u32>,
}

/// The interfaces of one link, as they go together: the pairs, and all others at once.
fn cables(mut pieces: Vec<Piece>) -> Vec<Vec<(Place, u32)>> {
    let place = |piece: Piece| (piece.place, piece.ifindex);
    if pieces.len() <= 2 {
        return if pieces.is_empty() { Vec::new() } else { vec![pieces.into_iter().map(place).collect()] };
    }
    let (mut all, mut others) = (Vec::new(), Vec::new());
    while let Some(one) = pieces.pop() {
        let is_peer = |other: &Piece| one.peer == Some(other.ifindex) && other.peer == Some(one.ifindex);
        match pieces.iter().position(is_peer) {
            Some(at) => all.push(vec![place(pieces.remove(at)), place(one)]),
            None => others.push(place(one)),
        }
    }
    all.extend((!others.is_empty()).then_some(others));
    all
}

/// A cable of a link that is there and has to go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Victim {
    order: usize,
    ends: Vec<(Place, u32)>,
}

impl Victim {
    /// Its interfaces in one place.
    fn at(&self, place: &Place) -> impl Iterator<Item = u32> {
        self.ends.iter().filter(move |(of, _)| of == place).map(|(_, ifindex)| *ifindex)
    }
}

/// Deals links out to the places that hold most of them; those that are alone in their place are returned apart.
fn deal(victims: Vec<Victim>) -> (BTreeMap<Place, Vec<Victim>>, Vec<Victim>) {
    let mut by_place: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
    // Of more than two interfaces one does not take all others along.
    for (at, victim) in victims.iter().enumerate().filter(|(_, victim)| victim.ends.len() <= 2) {
        let places: BTreeSet<&Place> = victim.ends.iter().map(|(place, _)| place).collect();
        for place in places {
            by_place.entry(place.clone()).or_default().push(at);
        }
    }
    let mut by_size: Vec<(Place, Vec<usize>)> = by_place.into_iter().collect();
    by_size.sort_by_key(|(_, held)| Reverse(held.len()));
    let mut left: Vec<Option<Victim>> = victims.into_iter().map(Some).collect();
    let mut groups = BTreeMap::new();
    for (place, held) in by_size {
        if held.iter().filter(|at| left[**at].is_some()).count() > 1 {
            groups.insert(place, held.into_iter().filter_map(|at| left[at].take()).collect());
        }
    }
    (groups, left.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_dealt_to_few_places_and_none_is_lost() {
        let place = |n: usize| Place::Node("lab".parse().unwrap(), format!("n{}", n % 10).parse().unwrap());
        let ring = (0..10).map(|n| Victim { order: n, ends: vec![(place(n), 1), (place(n + 1), 2)] });
        let spokes = (10..20).map(|n| Victim { order: n, ends: vec![(Place::Host, 10), (place(n), 3)] });
        let (groups, single) = deal(ring.chain(spokes).collect());
        assert_eq!(groups[&Place::Host].len(), 10);
        assert_eq!(groups.len(), 6);
        let mut all: Vec<usize> = groups.into_values().flatten().chain(single).map(|victim| victim.order).collect();
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
    }
}
