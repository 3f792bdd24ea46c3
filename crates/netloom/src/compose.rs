//! Which drivers the agent is made of. The only place that names them.

use netloom_engine::Layout;

use crate::config::Config;
use crate::failure::{Failure, Result};

/// An agent that answers.
pub(crate) struct Running;

/// Listens, puts the engine together from its drivers, and serves it.
pub(crate) async fn start(_layout: Layout, _config: &Config) -> Result<Running> {
    std::future::ready(()).await;
    Err(Failure::failed("this build has no drivers yet"))
}

impl Running {
    /// Lets requests and steps under way end, and stops. Labs run on.
    pub(crate) async fn stop(self) {
        std::future::ready(()).await;
    }
}
