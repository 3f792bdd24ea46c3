//! MAC addresses for the ends of links that name none.
//!
//! An end has a row of addresses of its own and gets the first that is free. Two ends may want the same one: the one
//! whose label sorts first gets it, so that moving a link within the file changes no addresses. What comes of that is
//! what comes of asking all ends one after the other in the order of their labels; but hardly any two want the same, so
//! instead of sorting them all, one that has an address gives it up when one comes that goes before it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::lab::{DerivedMacs, End, Link};
use crate::name::{LabName, Mac};

/// What stands in ends without an address until they get one; nobody can give it.
pub(super) const NONE: Mac = Mac([0; 6]);

/// Which end it is, and how many of its addresses it was refused.
#[derive(Clone, Copy)]
struct Seeker {
    /// Twice the number of its link, and one more for the second end.
    end: u32,
    attempt: u32,
}

impl Seeker {
    fn end(self, links: &[Link]) -> Option<&End> {
        let link = links.get(self.end as usize / 2)?;
        if self.end.is_multiple_of(2) { Some(&link.a) } else { link.b.as_ref() }
    }

    fn end_mut(self, links: &mut [Link]) -> Option<&mut End> {
        let link = links.get_mut(self.end as usize / 2)?;
        if self.end.is_multiple_of(2) { Some(&mut link.a) } else { link.b.as_mut() }
    }

    fn goes_before(self, other: Self, links: &[Link]) -> bool {
        let key = |seeker: Self| (seeker.end(links).map(End::label), seeker.end);
        key(self) < key(other)
    }
}

/// Gives an address to each end that has [`NONE`]; those that others name are not to be had.
pub(super) fn derive(lab: &LabName, links: &mut [Link], named: impl Iterator<Item = Mac>) {
    let mut macs = DerivedMacs::new(lab);
    let mut held: HashMap<Mac, Option<Seeker>> = HashMap::with_capacity(2 * links.len());
    held.extend(named.map(|mac| (mac, None)));
    for end in (0..).take(2 * links.len()) {
        let seeker = Seeker { end, attempt: 0 };
        if seeker.end(links).is_some_and(|end| end.mac == NONE) {
            seek(seeker, links, &mut macs, &mut held);
        }
    }
}

/// Finds an address for one end, and another for the one that has to give it up, and so on. It ends: there are 2^24
/// addresses for fewer than a million ends, and an end never goes back to one that it was refused.
fn seek(mut seeker: Seeker, links: &mut [Link], macs: &mut DerivedMacs, held: &mut HashMap<Mac, Option<Seeker>>) {
    while let Some(mac) = seeker.end(links).map(|end| macs.of(end.label_parts(), seeker.attempt)) {
        match held.entry(mac) {
            Entry::Vacant(free) => {
                free.insert(Some(seeker));
                seeker.end_mut(links).into_iter().for_each(|end| end.mac = mac);
                return;
            }
            Entry::Occupied(mut taken) => {
                if let Some(holder) = taken.get_mut().as_mut().filter(|holder| seeker.goes_before(**holder, links)) {
                    seeker.end_mut(links).into_iter().for_each(|end| end.mac = mac);
                    std::mem::swap(holder, &mut seeker);
                }
            }
        }
        seeker.attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::{NONE, derive};
    use crate::lab::{End, Endpoint, Link, derived_mac};
    use crate::name::Mac;

    /// A lab with hundreds of clashes: 24 bits for 100,000 ends.
    #[test]
    fn ends_get_the_addresses_that_they_get_one_after_the_other_by_label() {
        let lab = "clash".parse().unwrap();
        let end = |node: usize| {
            End::new(
                Endpoint::Node(format!("n{}", node * 7919 % 50_000).parse().unwrap()),
                "eth1".parse().unwrap(),
                NONE,
            )
        };
        let mut links: Vec<Link> = (0..25_000).map(|n| Link::new(end(n), Some(end(n + 25_000)))).collect();
        let given = links[0].a.label();
        let given_mac = derived_mac(&lab, &links[9].a.label(), 0);
        links[0].a.mac = given_mac;

        let labels = links.iter().flat_map(Link::ends).map(End::label).filter(|label| *label != given);
        let mut labels: Vec<String> = labels.collect();
        labels.sort_unstable();
        let mut taken = HashSet::from([given_mac]);
        let mut first = |label: &String| {
            (0..99).map(|attempt| derived_mac(&lab, label, attempt)).find(|mac| taken.insert(*mac)).unwrap()
        };
        let mut expected: BTreeMap<String, Mac> = labels.iter().map(|label| (label.clone(), first(label))).collect();
        let moved = expected.iter().filter(|(label, mac)| derived_mac(&lab, label, 0) != **mac).count();
        assert!(moved > 20, "{moved} ends lost their first address: too few to see anything");
        expected.insert(given, given_mac);

        derive(&lab, &mut links, [given_mac].into_iter());
        let found: BTreeMap<String, Mac> =
            links.iter().flat_map(Link::ends).map(|end| (end.label(), end.mac)).collect();
        assert_eq!(found, expected);
    }
}
