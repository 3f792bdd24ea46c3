//! What the levels behind a node say together, merged once for all nodes of one group and kind.
//!
//! The rules of all fields are associative: to take over from the group, then the kind, then the defaults gives what
//! taking over from the three merged gives (`tests/merging.rs`).

use std::rc::Rc;

use super::node::Spec;

/// Merged levels that are kept. Labs have a few; a file with more is merged anew for some of its nodes.
const KEPT: usize = 64;

/// Which levels are behind a node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Behind<'a> {
    /// The group, if it is a defined one.
    pub(super) group: Option<&'a str>,
    /// The kind by the name that the file has for it.
    pub(super) kind: Option<&'a str>,
}

/// Levels that were merged before.
#[derive(Default)]
pub(super) struct Farther {
    kept: Vec<Kept>,
}

struct Kept {
    group: Option<String>,
    kind: Option<String>,
    spec: Rc<Spec>,
}

impl Farther {
    /// What these levels say together; merged if that was not asked for before.
    pub(super) fn of(&mut self, behind: Behind<'_>, merge: impl FnOnce() -> Spec) -> Rc<Spec> {
        let is_it = |kept: &&Kept| Behind { group: kept.group.as_deref(), kind: kept.kind.as_deref() } == behind;
        if let Some(kept) = self.kept.iter().find(is_it) {
            return Rc::clone(&kept.spec);
        }
        if self.kept.len() >= KEPT {
            self.kept.clear();
        }
        let spec = Rc::new(merge());
        let [group, kind] = [behind.group, behind.kind].map(|name| name.map(str::to_owned));
        self.kept.push(Kept { group, kind, spec: Rc::clone(&spec) });
        spec
    }
}
