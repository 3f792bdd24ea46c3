//! Whether others than their own host reach the nodes of management networks: `external-access`.
//!
//! Labs share networks. One is open as long as one of its labs says so, and whoever keeps it is told that each time somebody
//! may have come or gone, and with each look at everything. Nothing hangs on it: what cannot be done is said once, tried
//! again, and fails no lab, whose nodes are reached from their host all the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::desired::{Phase, Wish, Wishes};
use crate::driver::{Access, Context, DriverError, Networks};

/// Keeps the access to networks in step with what is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    wishes: Wishes,
    /// By network what was said to be wrong last.
    wrong: Arc<Mutex<BTreeMap<String, DriverError>>>,
}

impl Gate {
    pub(crate) fn new(wishes: Wishes) -> Self {
        Self { wishes, wrong: Arc::default() }
    }

    /// Opens or closes a network that a lab wants; leaves alone one that none does: a lab that is not known may be on it.
    /// Only the host reconciler calls this, for each network one after the other.
    pub(crate) async fn set(&self, networks: &dyn Networks, network: &str, context: &Context) {
        let all = self.wishes.all();
        let mut on = all.values().filter(|wish| is_on(wish, network)).filter_map(|wish| wish.on_network.as_ref());
        let Some(first) = on.next() else { return };
        let open = std::iter::once(first).chain(on).find(|on| on.network.external_access);
        let access = open.map_or(Access::Closed, |on| Access::Open(&on.network));
        self.say(network, networks.admit(network, access, context).await.err());
    }

    /// Closes a network that no lab wants any more.
    pub(crate) async fn close(&self, networks: &dyn Networks, network: &str, context: &Context) {
        self.say(network, networks.admit(network, Access::Closed, context).await.err());
    }

    /// Says what is wrong if it is not what was said last.
    fn say(&self, network: &str, wrong: Option<DriverError>) {
        let mut said = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(network) == wrong.as_ref() {
            return;
        }
        match wrong {
            Some(error) => {
                tracing::warn!(%error, "the access to a management network is not as its labs want it");
                said.insert(network.to_owned(), error);
            }
            None => {
                said.remove(network);
            }
        }
    }
}

fn is_on(wish: &Wish, network: &str) -> bool {
    wish.phase == Phase::Run && wish.network() == Some(network)
}
