//! What a program in a namespace is told that waits for its interfaces (`netloom-init hold`).
//!
//! It has no socket to us and may see none of our files. What it does see is its interfaces, so it reads the alias of the one
//! that is always there and that nobody else writes to.

use std::time::Instant;

use netloom_engine::{DriverError, ErrorClass};
use netloom_kernel::{LinkChange, Netns, Request};
use netloom_model::InterfaceName;

use super::{KernelFabric, cause_of, class_of, class_of_submit, refusal};

/// `lo` of each namespace (`LOOPBACK_IFINDEX` of net/flow.h).
const LOOPBACK: u32 = 1;
/// IFALIASZ of linux/if.h, less the NUL.
const ALIAS_MAX: usize = 255;

/// What there is to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nothing: all is there.
    Wired,
    /// These interfaces.
    Awaits(Vec<InterfaceName>),
}

impl Held {
    /// The words for it; `None` if there is no room for them, and the program has to go by its arguments.
    fn text(&self) -> Option<String> {
        let text = match self {
            Self::Wired => "netloom: wired".to_owned(),
            Self::Awaits(names) => {
                names.iter().fold("netloom: awaits".to_owned(), |text, name| format!("{text} {name}"))
            }
        };
        (text.len() <= ALIAS_MAX).then_some(text)
    }
}

impl KernelFabric {
    /// Tells whoever waits in a namespace what to wait for.
    pub(crate) async fn tell_held(&self, netns: &Netns, held: &Held, deadline: Instant) -> Result<(), DriverError> {
        let Some(alias) = held.text() else { return Ok(()) };
        let refuse = |class, cause: String| refusal("tell", "what waits for its interfaces", cause, class);
        let change = LinkChange { alias: Some(alias), ..LinkChange::default() };
        let place = netloom_kernel::Place::node(netns.clone(), "the node");
        let request = Request::SetLink { place, ifindex: LOOPBACK, change };
        let answers = self.rtnl.submit(vec![request], deadline).await.map_err(class_of_submit);
        match answers.map_err(|class| refuse(class, cause_of(class).to_owned()))?.pop() {
            Some(Err(error)) => Err(refuse(class_of(error.kind), error.message)),
            Some(Ok(())) => Ok(()),
            None => Err(refuse(ErrorClass::Transient, cause_of(ErrorClass::Transient).to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_wait_for_is_said_in_words_that_fit_an_alias() {
        let names = |count: usize| (1..=count).map(|n| format!("eth{n}").parse().unwrap()).collect();
        assert_eq!(Held::Wired.text().as_deref(), Some("netloom: wired"));
        assert_eq!(Held::Awaits(names(2)).text().as_deref(), Some("netloom: awaits eth1 eth2"));
        assert_eq!(Held::Awaits(names(100)).text(), None);
    }
}
