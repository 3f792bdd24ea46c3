//! Whether what runs in a node has said that it is ready: its output is followed from the first question on, so that no question
//! waits for it. And whether a node may still boot, where nothing was said.
//!
//! ```text
//!   GET …/ready ──▶ Seen ◀── task `readiness` ◀── logs of the node (one session for each node that boots)
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use netloom_engine::{Follow, task};
use netloom_model::{KIND_LABEL, LabName, Node, NodeName};
use regex_lite::RegexBuilder;
use tokio::time::timeout;

use super::vendor::Vendor;
use crate::serve::App;

/// How long a node's output is followed; a controller has given it up by then.
const FOLLOWED: Duration = Duration::from_secs(900);
/// How long a node may boot whose device says nothing when it is ready.
const BOOTS: Duration = Duration::from_secs(30);
/// How much of its output is looked at together, in bytes: 500 lines.
const WINDOW: usize = 64 * 1024;
/// How many nodes are remembered.
const REMEMBERED: usize = 4096;

/// A life of a node, with the pattern that is looked for.
type Key = (LabName, NodeName, String, String);

/// What came of following a node: nothing yet, that it is ready, or that it ended without a word of it.
type Found = Arc<Mutex<Option<bool>>>;

/// What was seen of nodes.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<BTreeMap<Key, Found>>);

/// How it is known of a node that it is ready.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) vendor: Vendor,
    /// The pattern in its output that says so; one without is ready as soon as it runs.
    pub(super) pattern: Option<String>,
    /// How long a controller waits for that, in seconds.
    pub(super) within: u32,
}

impl Probe {
    /// That of a node, of the kind that is asked for or else of its own.
    pub(super) fn of(node: Option<&Node>, kind: Option<&str>) -> Self {
        let labelled = |key: &str| node.and_then(|node| node.labels.get(key)).map(String::as_str);
        let vendor = Vendor::of(
            kind.or_else(|| labelled(KIND_LABEL)).unwrap_or("linux"),
            node.and_then(|node| node.image.as_deref()),
        );
        let pattern = match labelled("archetype.readiness_probe") {
            Some("none") => None,
            Some("log_pattern") => labelled("archetype.readiness_pattern").or(vendor.ready),
            _ => vendor.ready,
        };
        let within = labelled("archetype.readiness_timeout").and_then(|text| text.parse().ok());
        Self { vendor, pattern: pattern.map(str::to_owned), within: within.unwrap_or(vendor.ready_within) }
    }

    /// Whether a node of this age may still boot, of which it was not seen that it is ready.
    fn may_boot(&self, age: Duration) -> bool {
        let within = if self.pattern.is_some() { Duration::from_secs(self.within.into()) } else { BOOTS };
        age < within.min(FOLLOWED)
    }
}

/// Whether a node that runs may still boot: nothing has said that it is ready, and it is young. Of a life whose age is not known
/// it is not said.
pub(super) fn may_boot(app: &App, lab: &LabName, node: &NodeName, probe: &Probe) -> bool {
    let snapshot = app.engine.inventory().snapshot();
    let Some(life) = snapshot.node(lab, node).and_then(|fact| fact.incarnation.clone()) else { return false };
    let is_young = age(&life, SystemTime::now()).is_some_and(|age| probe.may_boot(age));
    // The store knows it also of an agent that was started meanwhile.
    is_young && !app.engine.is_after_boot(lab, node, &life) && !app.readiness.has_seen(lab, node, life, probe)
}

/// How old a life of a container is, which is `<id>@<start time, RFC 3339>`; nothing if it is no such life, or of a clock that was
/// set back since.
fn age(life: &str, now: SystemTime) -> Option<Duration> {
    let (_, began) = life.split_once('@')?;
    now.duration_since(humantime::parse_rfc3339(began).ok()?).ok()
}

impl Readiness {
    /// Whether this life of a node was seen to be ready.
    fn has_seen(&self, lab: &LabName, node: &NodeName, life: String, probe: &Probe) -> bool {
        let Some(pattern) = probe.pattern.clone() else { return false };
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = seen.get(&(lab.clone(), node.clone(), life, pattern));
        found.is_some_and(|found| *found.lock().unwrap_or_else(PoisonError::into_inner) == Some(true))
    }
}

/// Whether a node that runs has written what says that it is ready. `Err` if nothing can say so.
pub(super) fn look(app: &Arc<App>, lab: &LabName, node: &NodeName, pattern: &str) -> Result<bool, String> {
    let regex = RegexBuilder::new(pattern).case_insensitive(true).build();
    let regex = regex.map_err(|error| format!("the pattern of its readiness cannot be read: {error}"))?;
    let snapshot = app.engine.inventory().snapshot();
    let life = snapshot.node(lab, node).and_then(|fact| fact.incarnation.clone()).unwrap_or_default();
    let key = (lab.clone(), node.clone(), life, pattern.to_owned());
    let mut seen = app.readiness.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(state) = seen.get(&key) {
        let state = *state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(is_ready) = state {
            if !is_ready {
                // It was followed to the end without a word: it is looked at anew.
                seen.remove(&key);
            }
            return Ok(is_ready);
        }
        return Ok(false);
    }
    while seen.len() >= REMEMBERED {
        seen.pop_first();
    }
    let state = Arc::new(Mutex::new(None));
    seen.insert(key, state.clone());
    drop(seen);
    let (app, lab, node) = (app.clone(), lab.clone(), node.clone());
    task::spawn("readiness", async move {
        let found = timeout(FOLLOWED, follow(&app, &lab, &node, &regex)).await.unwrap_or(false);
        *state.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    });
    Ok(false)
}

async fn follow(app: &App, lab: &LabName, node: &NodeName, regex: &regex_lite::Regex) -> bool {
    let Ok((mut logs, _place)) = app.engine.logs(lab, node, Follow::Yes).await else { return false };
    let mut window = Vec::new();
    loop {
        let chunk = tokio::select! {
            chunk = logs.chunks.recv() => chunk,
            () = app.stop.cancelled() => None,
        };
        let Some(chunk) = chunk else { return false };
        window.extend_from_slice(&chunk);
        if regex.is_match(&String::from_utf8_lossy(&window)) {
            return true;
        }
        let old = window.len().saturating_sub(WINDOW);
        window.drain(..old);
    }
}

#[cfg(test)]
mod tests {
    use netloom_model::Kind;

    use super::*;

    #[test]
    fn the_age_of_a_life_is_counted_from_its_start() {
        let now = humantime::parse_rfc3339("2026-01-01T00:01:00Z").unwrap();
        let of = |life: &str| age(life, now);
        assert_eq!(of("0123456789ab@2026-01-01T00:00:00Z"), Some(Duration::from_secs(60)));
        assert_eq!(of("0123456789ab@2026-01-01T00:00:59.5Z"), Some(Duration::from_millis(500)));
        assert_eq!(of("0123456789ab@2026-01-01T00:00:00.123456789Z").map(|age| age.as_secs()), Some(59));
        for none in ["life-1", "0123456789ab@", "@x", "0123456789ab@0001-01-01T00:00:00Z", "a@2026-01-02T00:00:00Z"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_node_boots_as_long_as_its_device_takes_or_half_a_minute() {
        let probe = |kind: &str, labels: &[(&str, &str)]| {
            let mut node = Node::new(Kind::linux(), "n");
            let own = [("node_kind", kind)].into_iter().chain(labels.iter().copied());
            node.labels.extend(own.map(|(key, value)| (format!("archetype.{key}"), value.to_owned())));
            Probe::of(Some(&node), None)
        };
        let boots = |probe: &Probe, seconds| probe.may_boot(Duration::from_secs(seconds));
        let frr = probe("frr", &[]);
        assert_eq!((frr.pattern.as_deref(), boots(&frr, 29), boots(&frr, 30)), (None, true, false));
        let ceos = probe("ceos", &[]);
        assert_eq!((ceos.pattern.is_some(), boots(&ceos, 299), boots(&ceos, 300)), (true, true, false));
        let patient = probe("ceos", &[("readiness_timeout", "86400")]);
        assert_eq!((boots(&patient, 899), boots(&patient, 900)), (true, false));
        assert_eq!(probe("ceos", &[("readiness_probe", "none")]).pattern, None);
        let own = probe("frr", &[("readiness_probe", "log_pattern"), ("readiness_pattern", "well")]);
        assert_eq!((own.pattern.as_deref(), boots(&own, 119)), (Some("well"), true));
        let asked = Probe::of(None, Some("ceos"));
        assert_eq!((asked.pattern, asked.within), (ceos.pattern, ceos.within), "what is asked for goes before");
    }
}
