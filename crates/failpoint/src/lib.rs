//! Fail points: named places at which a test may kill, block or fail the agent.
//!
//! A point stands where something outside the process has just changed or is about to: the store, the kernel, files.
//! In a build without the feature `enabled`, which is every build that is shipped, a point is nothing. With it:
//!
//! ```text
//!   NETLOOM_FAILPOINT=<order>[,<order>…]   order: <name>[:<n>[+]][=<action>]
//!   NETLOOM_FAILPOINT_LOG=<file>           the name is appended to it before the action is taken
//!   NETLOOM_FAILPOINT_TRACE=<file>         the name of every point that is passed is appended to it, and who passes
//!                                          it: each process counts its own passages
//!   NETLOOM_FAILPOINT_ARMED=<file>         passages count only while it is there
//! ```
//!
//! The action is taken at the `n`-th passage (the first unless given), with a `+` at every one from then on:
//!
//! * `kill` (unless given): the process is killed by SIGKILL, as if it had been taken by surprise
//! * `panic`: the thread or task panics, as a defect would have it
//! * `error`: the operation fails; only where the point is [`fallible!`], elsewhere nothing happens
//! * `block:<file>`: the thread waits as long as the file is there
//!
//! An order that cannot be read ends the process: a test would otherwise believe in what never happened.

#[cfg(feature = "enabled")]
mod enabled;
mod names;

#[cfg(feature = "enabled")]
pub use enabled::{fallible, pass};
pub use names::ALL;

/// A point that can kill or block: `point!("store.after-commit")`. The name must be one of [`ALL`].
#[cfg(feature = "enabled")]
#[macro_export]
macro_rules! point {
    ($name:literal) => {{
        const { $crate::known($name) };
        $crate::pass($name);
    }};
}

/// A point that can kill or block: `point!("store.after-commit")`. The name must be one of [`ALL`].
#[cfg(not(feature = "enabled"))]
#[macro_export]
macro_rules! point {
    ($name:literal) => {
        const { $crate::known($name) }
    };
}

/// A point that can also fail: `fallible!("store.before-commit")?`, an [`std::io::Result`].
#[cfg(feature = "enabled")]
#[macro_export]
macro_rules! fallible {
    ($name:literal) => {{
        const { $crate::known($name) };
        $crate::fallible($name)
    }};
}

/// A point that can also fail: `fallible!("store.before-commit")?`, an [`std::io::Result`].
#[cfg(not(feature = "enabled"))]
#[macro_export]
macro_rules! fallible {
    ($name:literal) => {{
        const { $crate::known($name) };
        ::std::io::Result::Ok(())
    }};
}

/// Stops the compilation unless the name is one of [`ALL`].
#[doc(hidden)]
pub const fn known(name: &str) {
    let mut at = 0;
    while at < ALL.len() {
        if same(ALL[at].as_bytes(), name.as_bytes()) {
            return;
        }
        at += 1;
    }
    panic!("this fail point is not in the list of crates/failpoint/src/names.rs");
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}
