//! What is asked of the drivers for a takeover, and what is waited for before it counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use netloom_failpoint::point;
use netloom_model::{Lab, LabName, Link, LinkId, NodeName, RuntimeKind};
use netloom_plan::{Action, LinkFingerprint};
use tokio::sync::watch;
use tokio::time::timeout;

use super::read::{Beside, Heir, labs, read};
use super::view::{TakenNode, Takeover};
use super::{Inherited, Predecessor};
use crate::desired::Authority;
use crate::driver::{DriverError, LinkOrder};
use crate::engine::Engine;
use crate::fact::Source;
use crate::lab::{Accepted, Command, Ground, Kept, Taken, changes, engine_error, panicked, read_kept, told, within};
use crate::refusal::Refusal;
use crate::task;

/// How long what was marked may take to be seen.
const SEEN: Duration = Duration::from_secs(20);

impl Engine {
    /// What would be adopted of a lab, or of all that this agent does not know; nothing is touched.
    pub async fn adoptable(&self, lab: Option<&LabName>) -> Result<Vec<Takeover>, Refusal> {
        // Labs of ours can be adopted without a daemon that the other agent needed.
        let (inherited, unseen) = match self.inherited().await {
            Ok(inherited) => (inherited, None),
            Err(error) => (Inherited::default(), Some(error).filter(|_| self.has_seen_docker())),
        };
        let wishes = self.shared.wishes.all();
        let of_others = labs(&inherited);
        let mut views: BTreeMap<LabName, Takeover> = BTreeMap::new();
        for name in of_others.iter().filter(|name| lab.is_none_or(|lab| lab == *name)) {
            let heir = self.heir(name, &inherited);
            let is_known = heir.wish.is_some() && heir.wish.as_ref() == wishes.get(name).map(|wish| &**wish);
            // One that was adopted keeps the marks that it had.
            if !is_known || !heir.links.is_empty() || !heir.nodes.is_empty() {
                views.insert(name.clone(), heir.view);
            }
        }
        let snapshot = self.shared.inventory.snapshot();
        let unknown = snapshot.labs.keys().filter(|name| !wishes.contains_key(*name) && !of_others.contains(*name));
        for name in unknown.filter(|name| lab.is_none_or(|lab| lab == *name)) {
            let kept = self.kept(name).await?;
            views.insert(name.clone(), own(name, read_kept(name, &kept, &snapshot, &self.shared.config)));
        }
        match (lab, unseen) {
            (_, Some(error)) if views.is_empty() => Err(error.into()),
            (Some(lab), _) if views.is_empty() => Err(match self.shared.wishes.get(lab) {
                Some(_) => Refusal::Known(lab.clone()),
                None => Refusal::NoLab(lab.clone()),
            }),
            _ => Ok(views.into_values().collect()),
        }
    }

    /// Whether anything hangs on the agent before this one (see [`Predecessor::hung`]); nothing where none is looked for.
    pub fn hung_on_predecessor(&self) -> Option<watch::Receiver<Option<bool>>> {
        self.shared.predecessor.as_ref().map(|predecessor| predecessor.hung())
    }

    /// Adopts what the agent before this one has left of a lab; nothing if it has left nothing.
    pub(crate) async fn take_over(&self, lab: &LabName) -> Option<Accepted> {
        self.shared.predecessor.as_ref()?;
        let inherited = match self.inherited().await {
            Ok(inherited) => inherited,
            // What is known by marks of ours, or where no such daemon ever was, is no affair of that agent's.
            Err(_) if !self.has_seen_docker() || self.shared.inventory.snapshot().labs.contains_key(lab) => {
                return None;
            }
            Err(error) => return Some(Err(error.into())),
        };
        labs(&inherited).contains(lab).then_some(())?;
        // A client that hangs up leaves nothing half done.
        let (engine, lab) = (self.clone(), lab.clone());
        let taken = task::spawn("take over", async move { engine.take(&lab, &inherited).await });
        Some(taken.await.unwrap_or(Err(Refusal::Stopping)))
    }

    /// Whether Docker, which the other agent needed, has answered since this one was started.
    fn has_seen_docker(&self) -> bool {
        let snapshot = self.shared.inventory.snapshot();
        let docker = snapshot.sources.get(&Source::Runtime(RuntimeKind::Docker));
        docker.is_some_and(|docker| docker.listed.is_some())
    }

    async fn take(&self, lab: &LabName, inherited: &Inherited) -> Accepted {
        self.shared.pauses.check(lab)?;
        let _taking = self.shared.takeovers.begin(lab)?;
        let before = self.shared.wishes.get(lab);
        let heir = self.heir(lab, inherited);
        let Some(wish) = heir.wish.as_ref() else {
            return Err(Refusal::NotTaken { lab: lab.clone(), why: heir.view.refused });
        };
        if before.as_deref() == Some(wish) && heir.links.is_empty() && heir.nodes.is_empty() {
            return Err(Refusal::Known(lab.clone()));
        }
        let is_unknown = before.is_none();
        let (tags, claims) = (heir.tags.clone(), heir.claims.clone());
        let taken = Taken { before, wish: wish.clone(), tags, claims };
        let store = || self.ask_now(lab, |reply| Command::TakeOver { taken: Box::new(taken.clone()), reply });
        if is_unknown {
            // Nobody works for it: what is marked waits until it is wanted.
            self.mark_and_see(lab, &heir).await?;
            return store().await;
        }
        // What carries the mark of a lab and is not wanted in it is removed by whoever works for that: it is wanted first.
        let operation = store().await?;
        self.mark_and_see(lab, &heir).await?;
        Ok(operation)
    }

    async fn mark_and_see(&self, lab: &LabName, heir: &Heir) -> Result<(), Refusal> {
        self.mark(lab, heir).await?;
        self.seen(heir).await.map_err(|why| Refusal::NotTaken { lab: lab.clone(), why })
    }

    fn heir(&self, lab: &LabName, inherited: &Inherited) -> Heir {
        let (there, tags) = (self.shared.wishes.get(lab), self.shared.tags.of(lab));
        let (boot, snapshot, authority) =
            (self.shared.boot(), self.shared.inventory.snapshot(), Authority::controller());
        let ground = Ground { switch: &self.shared.config.switch, boot: &boot };
        let beside =
            Beside { ground, authority: &authority, there: there.as_deref(), tags: &tags, snapshot: &snapshot };
        read(lab, inherited, beside)
    }

    async fn inherited(&self) -> Result<Inherited, DriverError> {
        let Some(predecessor) = self.shared.predecessor.clone() else { return Ok(Inherited::default()) };
        let (context, what) = (self.session_limit(), "what another agent has left");
        let limit = context.clone();
        let looked = task::own("look at what is left", async move { Predecessor::look(&*predecessor, &limit).await });
        let looked = async { looked.await.unwrap_or_else(|panic| Err(panicked(what, &panic))) };
        within(&context, what, looked).await
    }

    /// What the runtimes keep of the nodes of a lab.
    pub(crate) async fn kept(&self, lab: &LabName) -> Result<Kept, DriverError> {
        let mut kept = Kept::new();
        for runtime in self.shared.runtimes.values() {
            let (runtime, name) = (runtime.clone(), lab.clone());
            let asked = task::own("adopt", async move { runtime.applied(&name).await });
            let asked = async { asked.await.unwrap_or_else(|panic| Err(panicked(&format!("lab {lab}"), &panic))) };
            kept.extend(within(&self.session_limit(), &format!("lab {lab}"), asked).await?);
        }
        Ok(kept)
    }

    /// Marks nodes, interfaces, ports and tags as ours, in this order: what ends in between is done again.
    async fn mark(&self, lab: &LabName, heir: &Heir) -> Result<(), DriverError> {
        let context = self.session_limit();
        let Some(wish) = &heir.wish else { return Ok(()) };
        let none = || engine_error("adopt", lab.as_str(), "this agent has no runtime `docker`".to_owned());
        let runtime = self.shared.runtimes.get(&RuntimeKind::Docker).ok_or_else(none)?;
        point!("takeover.before-mark");
        for (node, id) in &heir.nodes {
            let Some(order) = wish.order(node) else { continue };
            within(&context, &format!("node {node}"), runtime.adopt(&order, id, &context)).await?;
            point!("takeover.node-marked");
        }
        let order = |id: &LinkId| {
            let link = wish.whole().link(id)?;
            let (lab, fingerprint) = (wish.whole().clone(), LinkFingerprint::of(link, wish.rebuild));
            let tag = heir.tags.get(&link.segment()).copied();
            Some(LinkOrder::Adopt { lab, link: id.clone(), fingerprint, tag })
        };
        let orders = heir.links.iter().filter_map(order).collect();
        let marked = async { Ok(self.shared.fabric.apply(orders, &context).await) };
        within(&context, "links", marked).await?.into_iter().collect::<Result<(), DriverError>>()?;
        point!("takeover.links-marked");
        if let Some(switch) = self.shared.fabric.switch().filter(|_| !heir.claims.is_empty()) {
            within(&context, "tags", switch.reclaim(heir.claims.clone(), &context)).await?;
            point!("takeover.tags-claimed");
        }
        Ok(())
    }

    /// Waits until all that was marked is seen, and nothing would be done for the wish; `Err` is what would.
    async fn seen(&self, heir: &Heir) -> Result<(), Vec<String>> {
        let Some(wish) = &heir.wish else { return Ok(()) };
        let mut snapshots = self.shared.inventory.changes();
        let mut left: Vec<String> = Vec::new();
        let settled = async {
            loop {
                snapshots.mark_unchanged();
                let steps = changes(wish, &BTreeMap::new(), &heir.tags, &self.shared.inventory.snapshot());
                // The other agent has told nobody the names of its nodes, and to tell them touches none.
                left = steps.iter().filter(|step| step.action != Action::WriteNames).map(told).collect();
                if left.is_empty() || snapshots.changed().await.is_err() {
                    return;
                }
            }
        };
        // Late is as good as never: whoever asks is told what it waits for.
        let _ = timeout(SEEN, settled).await;
        point!("takeover.seen");
        if left.is_empty() { Ok(()) } else { Err(left) }
    }
}

/// A lab of ours that the store has lost.
fn own(lab: &LabName, found: Result<Arc<Lab>, Vec<String>>) -> Takeover {
    let (nodes, links, refused) = match found {
        Ok(lab) => {
            let node = |name: &NodeName| TakenNode { name: name.clone(), container: None, runtime_id: None };
            let nodes = lab.nodes().keys().map(node).collect();
            (nodes, lab.links().iter().map(Link::id).collect(), Vec::new())
        }
        Err(why) => (Vec::new(), Vec::new(), why),
    };
    let (ports, segments, tunnels, left_out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Takeover { lab: lab.clone(), nodes, ports, segments, tunnels, links, left_out, refused }
}
