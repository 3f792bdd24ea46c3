//! Sends what is in the outbox.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};

use super::backoff::Backoff;
use super::call::{Caller, Failure};
use super::config::AgentId;
use super::member::Member;
use super::told::{Message, NodeEvent, Subject};
use super::voice::Voice;

/// How many calls are under way at once while they arrive. While they do not it is one, after each pause.
const AT_ONCE: usize = 4;
/// How long the controller may take for a node event.
const EVENT_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take for a change of a carrier: it calls the agent at the far end meanwhile.
const CARRIER_LIMIT: Duration = Duration::from_secs(10);

/// An event with who sends it.
#[derive(Serialize)]
struct Signed<'a> {
    agent_id: &'a AgentId,
    #[serde(flatten)]
    event: &'a NodeEvent,
}

/// What the controller says. Whether it could do anything with it is its own affair: it has it.
#[derive(Deserialize)]
struct Taken {}

/// Sends what is put into the member's outbox, for ever, from the first registration on: before it the agent may be given
/// another id. Dropped, it leaves what was under way to the next one.
pub(super) async fn deliver(caller: Caller, member: Arc<Member>) {
    let outbox = &member.outbox;
    outbox.resume();
    // Its sender lives as long as the member.
    let _ = member.registered.subscribe().wait_for(|registered| *registered).await;
    let (mut backoff, mut voice) = (Backoff::default(), Voice::new("events of nodes and interfaces"));
    let mut under_way = FuturesUnordered::new();
    let mut pause: Option<Instant> = None;
    loop {
        let room = match (pause, backoff.is_failing()) {
            (Some(_), _) => 0,
            (None, true) => 1,
            (None, false) => AT_ONCE,
        };
        while under_way.len() < room {
            let Some(message) = outbox.next() else { break };
            under_way.push(send(&caller, &member, message));
        }
        tokio::select! {
            Some((subject, result)) = under_way.next() => {
                match &result {
                    Ok(()) => (backoff.reset(), voice.well()),
                    // It has answered; the dead letter says what.
                    Err(failure) if failure.is_final() => (tracing::debug!(%subject, %failure, "it is not told"), ()),
                    Err(failure) => {
                        // Calls that were under way together fail together: that is one failure.
                        pause.get_or_insert_with(|| Instant::now() + backoff.next());
                        ((), voice.failed(failure))
                    }
                };
                outbox.ended(&subject, &result);
            }
            () = outbox.woken.notified(), if under_way.len() < room => {}
            () = sleep_until(pause.unwrap_or_else(Instant::now)), if pause.is_some() => pause = None,
        }
    }
}

async fn send(caller: &Caller, member: &Member, message: Message) -> (Subject, Result<(), Failure>) {
    let path = message.path();
    let sent: Result<Taken, Failure> = match &message {
        Message::Node(event) => {
            let id = member.id();
            caller.post(path, &Signed { agent_id: &id, event }, EVENT_LIMIT).await
        }
        Message::Carrier(change) => caller.post(path, change, CARRIER_LIMIT).await,
    };
    (message.subject(), sent.map(|Taken {}| ()))
}
