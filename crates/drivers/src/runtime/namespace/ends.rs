//! The pace at which namespaces are let go of.
//!
//! One worker of the kernel ends namespaces, all that wait for it in one batch. A batch takes it 50 ms and 0.8 ms more for
//! each namespace, and for these it holds RTNL: whoever wants to change a link anywhere on the host waits. So while
//! somebody does, few are let go of before the kernel has begun with them, which it says of each when it takes a batch.
//! Otherwise all at once: small batches make the destroy of a lab of 1,000 twice as long.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use netloom_kernel::{Monitor, MonitorEvent, Netns};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use crate::demand::Demand;

/// Namespaces in a batch while links are changed.
const FEW: usize = 24;
/// A namespace that has not ended after this long is held by somebody, and nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Those that were let go of.
#[derive(Debug)]
pub(super) struct Ends {
    monitor: Monitor,
    demand: Demand,
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    events: mpsc::Receiver<Vec<MonitorEvent>>,
    /// Let go of, when, and not taken by the kernel yet.
    waiting: HashMap<i32, Instant>,
}

impl Ends {
    /// Starts to listen in the host's namespace.
    pub(super) fn start(demand: Demand) -> io::Result<Self> {
        let (monitor, events) = Monitor::start_for_ends(&Netns::host()?)?;
        Ok(Self { monitor, demand, line: Mutex::new(Line { events, waiting: HashMap::new() }) })
    }

    /// The number by which the kernel tells of the end of a namespace.
    pub(super) fn number(&self, netns: &Netns) -> io::Result<i32> {
        self.monitor.watch(netns)
    }

    /// Returns when it is the turn of a namespace to be let go of, which must follow.
    pub(super) async fn turn(&self, number: i32) {
        let mut line = self.line.lock().await;
        line.make_room(|| self.demand.is_there()).await;
        line.waiting.insert(number, Instant::now());
    }
}

impl Line {
    async fn make_room(&mut self, is_wanted: impl Fn() -> bool) {
        while let Ok(events) = self.events.try_recv() {
            self.note(&events);
        }
        while self.waiting.len() >= FEW && is_wanted() {
            let Some(oldest) = self.waiting.values().min() else { return };
            match tokio::time::timeout_at(*oldest + PATIENCE, self.events.recv()).await {
                Ok(Some(events)) => self.note(&events),
                Ok(None) => self.waiting.clear(),
                Err(_) => self.waiting.retain(|_, since| since.elapsed() < PATIENCE),
            }
        }
    }

    fn note(&mut self, events: &[MonitorEvent]) {
        for event in events {
            match event {
                MonitorEvent::NamespaceGone { nsid } => drop(self.waiting.remove(nsid)),
                // What was lost may be the end of any.
                MonitorEvent::Overrun => self.waiting.clear(),
                MonitorEvent::Link { .. } | MonitorEvent::Address { .. } => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> (Line, mpsc::Sender<Vec<MonitorEvent>>) {
        let (sender, events) = mpsc::channel(8);
        let few = i32::try_from(FEW).unwrap();
        (Line { events, waiting: (0..few).map(|nsid| (nsid, Instant::now())).collect() }, sender)
    }

    async fn made_within(line: &mut Line, patience: Duration) -> bool {
        tokio::time::timeout(patience, line.make_room(|| true)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn while_links_are_changed_a_namespace_waits_until_the_kernel_has_begun_with_those_before() {
        let (mut line, sender) = full();
        assert!(!made_within(&mut line, PATIENCE / 2).await);
        sender.send(vec![MonitorEvent::NamespaceGone { nsid: 7 }]).await.unwrap();
        assert!(made_within(&mut line, Duration::ZERO).await);
        assert_eq!(line.waiting.len(), FEW - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_where_nobody_changes_a_link() {
        let (mut line, _sender) = full();
        line.make_room(|| false).await;
        assert_eq!(line.waiting.len(), FEW);
    }

    #[tokio::test(start_paused = true)]
    async fn namespaces_that_somebody_holds_are_not_waited_for_any_longer_than_a_second() {
        let (mut line, _sender) = full();
        assert!(made_within(&mut line, PATIENCE * 2).await);
        assert!(line.waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn after_events_were_lost_or_when_none_will_come_nobody_waits() {
        let (mut line, sender) = full();
        sender.send(vec![MonitorEvent::Overrun]).await.unwrap();
        assert!(made_within(&mut line, Duration::ZERO).await);
        let (mut line, sender) = full();
        drop(sender);
        assert!(made_within(&mut line, Duration::ZERO).await);
    }
}
