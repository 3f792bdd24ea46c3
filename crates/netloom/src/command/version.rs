//! `netloom version`.

use netloom_engine::Layout;

use crate::client::Client;
use crate::failure::Result;
use crate::output;

/// The version of this program, and of the agent when one answers.
pub(crate) async fn run(json: bool, layout: &Layout) -> Result {
    let agent = Client::find(layout).await.ok().map(|(_, info)| info.version);
    let own = env!("CARGO_PKG_VERSION");
    if json {
        return output::json(&serde_json::json!({ "version": own, "agent": agent }));
    }
    output::result(&format!("netloom {own}\nagent {}\n", agent.as_deref().unwrap_or("does not answer")))
}
