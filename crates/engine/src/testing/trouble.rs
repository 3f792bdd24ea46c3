//! What can go wrong with a call, on demand.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};
use std::time::Duration;

use crate::driver::{DriverError, ErrorClass};

/// What happens to a call instead of, or before, its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It fails, and will fail again.
    Permanent(String),
    /// It fails, and may work later.
    Transient(String),
    /// It takes this long.
    Slow(Duration),
    /// It never returns.
    Hangs,
    /// It panics.
    Panics,
    /// It blocks the thread that it is called on for this long, which no driver may do.
    Blocks(Duration),
}

/// The troubles that were ordered.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    ordered: Vec<(String, Bound<usize>, Bound<usize>, Trouble)>,
    counts: BTreeMap<String, usize>,
}

impl Troubles {
    /// Orders a trouble for the calls of this name in `calls`, counted from 0 since now. A `*` at the end of the
    /// name stands for anything.
    pub(super) fn order(&mut self, name: &str, calls: &impl RangeBounds<usize>, trouble: Trouble) {
        self.counts.clear();
        self.ordered.push((name.to_owned(), calls.start_bound().cloned(), calls.end_bound().cloned(), trouble));
    }

    pub(super) fn clear(&mut self) {
        self.ordered.clear();
    }

    /// The trouble of the next call of this name.
    pub(super) fn next(&mut self, name: &str) -> Option<Trouble> {
        let count = self.counts.entry(name.to_owned()).or_default();
        let nth = *count;
        *count += 1;
        let fits = |pattern: &str| pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start));
        let found =
            self.ordered.iter().rev().find(|(pattern, from, to, _)| fits(pattern) && (*from, *to).contains(&nth));
        found.map(|(_, _, _, trouble)| trouble.clone())
    }
}

impl Trouble {
    /// Lets it happen; `Ok` means that the call goes on with its work.
    pub(super) async fn happen(self, operation: &str, object: &str) -> Result<(), DriverError> {
        match self {
            Self::Permanent(cause) => Err(error(operation, object, &cause, ErrorClass::Permanent)),
            Self::Transient(cause) => Err(error(operation, object, &cause, ErrorClass::Transient)),
            Self::Slow(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Self::Hangs => std::future::pending().await,
            Self::Blocks(time) => {
                #[expect(clippy::disallowed_methods, reason = "to block is what was ordered")]
                std::thread::sleep(time);
                Ok(())
            }
            Self::Panics => panic!("{operation} {object} was told to panic"),
        }
    }
}

pub(super) fn error(operation: &str, object: &str, cause: &str, class: ErrorClass) -> DriverError {
    DriverError {
        operation: operation.to_owned(),
        object: object.to_owned(),
        backend: "fake".to_owned(),
        cause: cause.to_owned(),
        hint: None,
        class,
    }
}
