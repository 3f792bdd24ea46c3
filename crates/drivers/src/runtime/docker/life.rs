//! The calls that take a node through its life, and what each of them asks of Docker.
//!
//! A new node costs three calls of the API: create, start, inspect. Whatever Docker answers, what is known of the node
//! afterwards is what was seen and not what was asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use netloom_docker::{Container, Created, Error, ErrorKind, Remove};
use netloom_engine::{ErrorClass, Fact, Layout, NodeOrder};
use netloom_failpoint::point;
use netloom_model::{Prefix, PullPolicy};
use netloom_plan::{Effect, NodeState};

use super::super::fault::Fault;
use super::super::order::node_of;
use super::super::turns::Key;
use super::attach::Occasion;
use super::external::is_external;
use super::mark::Mark;
use super::observe::{Known, NOT_NOTED, Network, short};
use super::record::Record;
use super::reserve::Reservation;
use super::{Shared, adopted, attach, compose, hold, images, refused, reserve};

/// How long a node has to end after TERM before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How often it is looked whether a container is gone that is being removed already.
const REMOVING: Duration = Duration::from_millis(100);

/// What a container runs whose image says nothing, for a controller: images that it makes of root file systems say nothing.
const STAYS: [&str; 2] = ["sleep", "infinity"];

/// Whether a container was refused because neither it nor its image says what to run.
fn has_no_command(error: &Error) -> bool {
    match &error.kind {
        ErrorKind::Refused { message, .. } | ErrorKind::Daemon { message, .. } => {
            message.to_ascii_lowercase().contains("no command specified")
        }
        _ => false,
    }
}

impl Shared {
    pub(super) async fn create_node(
        self: Arc<Self>,
        order: NodeOrder,
        key: Key,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let node = node_of(&order).map_err(Fault::permanent)?;
        if is_external(node) {
            return self.take_in(order, key, deadline).await;
        }
        let privileges = self.privileges(deadline).await?;
        let ground = compose::Ground { layout: &self.layout, privileges: &privileges };
        let mut spec = compose::container(ground, &order).map_err(Fault::permanent)?;
        let name = order.lab.container_name(&order.node);
        let awaited = hold::awaited(&order, node);
        if !awaited.is_empty() {
            self.hold(&mut spec, &awaited, node.container.pull_policy, deadline).await?;
        }
        let _place = self.work(deadline).await?;
        let mut made = self.docker.create_container(&name, &spec, deadline).await;
        if let Err(error) = &made
            && order.lab.prefix() == &Prefix::Controller
            && has_no_command(error)
        {
            spec.cmd = Some(STAYS.map(str::to_owned).to_vec());
            made = self.docker.create_container(&name, &spec, deadline).await;
        }
        if let Err(error) = &made
            && images::is_missing(error)
        {
            self.doubt_images();
            return Err(no_image(&spec.image, node.container.pull_policy));
        }
        if let Err(error) = &made
            && let ErrorKind::Conflict(_) = error.kind
        {
            match self.make_way(&name, &order, &key, deadline).await? {
                Way::Adopted => return Ok(()),
                Way::Free => made = self.docker.create_container(&name, &spec, deadline).await,
            }
        }
        let Created { id, warnings } = made.map_err(refused)?;
        point!("container.created");
        for warning in warnings {
            tracing::warn!(lab = %key.0, node = %key.1, warning, "Docker warns of a new container");
        }
        let mark = Mark::read(&spec.labels, self.layout.instance());
        let mark = mark.ok_or_else(|| Fault::permanent("its labels cannot be read back".into()))?;
        self.note(
            &key,
            Known {
                record: Record::new(&id),
                id,
                container: name,
                image: spec.image,
                mark,
                state: NodeState::Created,
                started_at: String::new(),
                process: None,
                namespace: None,
                restarting: false,
                holds: !awaited.is_empty(),
                network: Network::of(&spec.host_config.network_mode, &spec.labels),
                reserved: self.has_place(&key, deadline).await?,
                // What the image adds is seen when it runs.
                user: spec.user,
                directory: spec.working_dir,
                env: spec.env,
                health: None,
                note: None,
                last_output: None,
                seen: NOT_NOTED,
            },
        );
        Ok(())
    }

    /// What has the name of a new container: the container itself, made by a call that was given up or by another life of
    /// the agent, or one of this node that has to go. What is not ours is left alone, which is the error.
    async fn make_way(
        self: &Arc<Self>,
        name: &str,
        order: &NodeOrder,
        key: &Key,
        deadline: Instant,
    ) -> Result<Way, Fault> {
        let Some(there) = self.inspect(name, deadline).await? else { return Ok(Way::Free) };
        let mark = self.mark_of(&there.id, &there.config.labels);
        if mark.is_none() && adopted::makes_way(&there) {
            self.docker.remove_container(&there.id, Remove::ALL, deadline).await.map_err(refused)?;
            return Ok(Way::Free);
        }
        let Some(mark) = mark.filter(|mark| (&mark.lab, &mark.node) == (&key.0, &key.1)) else {
            return Err(Fault::permanent(format!(
                "the name `{name}` is taken by a container that is not ours ({}, image {}); remove or rename it, or set \
                 another `prefix` in the topology",
                short(&there.id),
                there.config.image
            )));
        };
        if mark.fingerprint.change_to(&order.fingerprint) < Some(Effect::Recreate) {
            self.take_over((key, Occasion::Seen), &there, mark, deadline).await?;
            return Ok(Way::Adopted);
        }
        self.docker.remove_container(&there.id, Remove::ALL, deadline).await.map_err(refused)?;
        Ok(Way::Free)
    }

    pub(super) async fn start_node(
        self: Arc<Self>,
        order: NodeOrder,
        key: Key,
        deadline: Instant,
    ) -> Result<(), Fault> {
        if let Some(external) = self.external(&key) {
            return self.join(external, order, key, deadline).await;
        }
        // The next plan makes it.
        let known = self.known(&key).ok_or_else(|| Fault::transient("it is not there".into()))?;
        if known.record.adopted && !known.is_running() {
            return self.make_ours(&key, &known, deadline).await;
        }
        let mut record = known.record.clone();
        record.stopped = false;
        if known.fingerprint() != &order.fingerprint {
            record.apply(&order);
        }
        if record != known.record {
            self.write_record(&key, record, deadline).await?;
        }
        let awaited = hold::awaited(&order, node_of(&order).map_err(Fault::permanent)?);
        point!("container.start.recorded");
        let place = self.work(deadline).await?;
        self.put_documents(node_of(&order).map_err(Fault::permanent)?, &known, deadline).await?;
        let started = self.docker.start_container(&known.id, deadline).await;
        drop(place);
        point!("container.started");
        if started.is_err() && self.is_of_another(&known, deadline).await {
            return self.make_anew(&key, &known, deadline).await;
        }
        // Also after an error: it may run all the same.
        let seen = self.look_when(Occasion::Ordered(awaited), &key, &known.id, deadline).await;
        started.map_err(refused)?;
        seen
    }

    pub(super) async fn update_node(
        self: Arc<Self>,
        order: NodeOrder,
        key: Key,
        deadline: Instant,
    ) -> Result<(), Fault> {
        if self.external(&key).is_some() {
            return self.renew(order, key, deadline).await;
        }
        let known = self.known(&key).ok_or_else(|| Fault::transient("it is not there".into()))?;
        let update = compose::update(node_of(&order).map_err(Fault::permanent)?);
        let place = self.work(deadline).await?;
        self.docker.update_container(&known.id, &update, deadline).await.map_err(refused)?;
        drop(place);
        point!("container.updated");
        let mut record = known.record;
        record.apply(&order);
        self.write_record(&key, record, deadline).await
    }

    pub(super) async fn stop_node(self: Arc<Self>, key: Key, deadline: Instant) -> Result<(), Fault> {
        if let Some(external) = self.external(&key) {
            return Err(Self::cannot_stop(&external));
        }
        let Some(known) = self.known(&key) else { return Ok(()) };
        self.write_record(&key, Record { stopped: true, ..known.record }, deadline).await?;
        point!("container.stop.recorded");
        let place = self.work(deadline).await?;
        // Time must be left to kill it.
        let grace = GRACE.min(deadline.saturating_duration_since(Instant::now()) / 2);
        self.docker.stop_container(&known.id, grace, deadline).await.map_err(refused)?;
        drop(place);
        self.look(&key, &known.id, deadline).await
    }

    pub(super) async fn delete_node(self: Arc<Self>, key: Key, deadline: Instant) -> Result<(), Fault> {
        if let Some(external) = self.external(&key) {
            return self.leave(external, key, deadline).await;
        }
        if let Some(known) = self.known(&key) {
            // What it leaves is found by that, should the agent end before it is gone too.
            let (of, left) = (key.clone(), Reservation::of(&known));
            let noted = self.files(deadline, move |layout| reserve::note(layout, &of, &left)).await?;
            noted.map_err(|error| Fault::transient(format!("its removal cannot be noted: {error}")))?;
            if known.network.outside().is_some() {
                // They would stay where they are: that namespace does not end with the node.
                let cleared = self.fabric.clear(&key.0, &key.1, deadline).await;
                cleared.map_err(|error| Fault::transient(error.to_string()))?;
            }
            let _place = self.work(deadline).await?;
            match self.docker.remove_container(&known.id, Remove::ALL, deadline).await {
                Err(error) if matches!(error.kind, ErrorKind::RemovalInProgress(_)) => {
                    self.removed(&known.id, deadline).await?;
                }
                other => other.map_err(refused)?,
            }
            point!("container.removed");
        }
        let of = key.clone();
        self.files(deadline, move |layout| attach::forget(layout, &of)).await??;
        self.adopted().retain(|_, mark| (&mark.lab, &mark.node) != (&key.0, &key.1));
        self.forget(&key);
        Ok(())
    }

    /// Waits until a container is gone that somebody is removing.
    async fn removed(&self, id: &str, deadline: Instant) -> Result<(), Fault> {
        while self.inspect(id, deadline).await?.is_some() {
            if Instant::now() + REMOVING >= deadline {
                return Err(ErrorClass::Deadline.into());
            }
            tokio::time::sleep(REMOVING).await;
        }
        Ok(())
    }

    /// Asks Docker for a container. `None`: there is none.
    pub(super) async fn inspect(&self, id: &str, deadline: Instant) -> Result<Option<Container>, Fault> {
        let _place = self.reads.enter(deadline).await.map_err(|busy| Fault::transient(busy.to_string()))?;
        match self.docker.inspect_container(id, deadline).await {
            Ok(container) => Ok(Some(container)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(refused(error)),
        }
    }

    /// Looks at the container of a node and takes over what is there.
    pub(super) async fn look(self: &Arc<Self>, key: &Key, id: &str, deadline: Instant) -> Result<(), Fault> {
        self.look_when(Occasion::Seen, key, id, deadline).await
    }

    async fn look_when(
        self: &Arc<Self>,
        occasion: Occasion,
        key: &Key,
        id: &str,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let external = self.external(key);
        // Another one of the name is as good.
        let id = external.as_ref().map_or(id, |external| &external.container);
        match (self.inspect(id, deadline).await?, external) {
            (None, None) => self.is_removed(key, deadline).await?,
            (None, Some(external)) => self.is_without_container(key, &external),
            (Some(container), external) => {
                let mark = match external {
                    Some(external) => Some(external.mark(key)),
                    None => self.mark_of(&container.id, &container.config.labels),
                };
                let mark = mark.ok_or_else(|| Fault::permanent("the container is not ours".into()))?;
                self.take_over((key, occasion), &container, mark, deadline).await?;
            }
        }
        Ok(())
    }

    /// The container of a node is gone. What is left of the node is the node now: by an agent that ended while it removed it, or
    /// because somebody else removed the container, and the place of its links is still there. It is not gone before that is.
    async fn is_removed(self: &Arc<Self>, key: &Key, deadline: Instant) -> Result<(), Fault> {
        let (of, was) = (key.clone(), self.known(key).map(|known| Reservation::of(&known)));
        let left = move |layout: &Layout| match reserve::left(layout, &of) {
            None if was.is_some() && reserve::is_there(layout, &of) => {
                let noted = was.map(|was| reserve::note(layout, &of, &was));
                if let Some(Err(error)) = noted {
                    tracing::warn!(lab = %of.0, node = %of.1, %error, "what is left of a node cannot be noted");
                }
                reserve::left(layout, &of)
            }
            left => left,
        };
        match self.files(deadline, left).await? {
            None => self.forget(key),
            Some(left) => {
                self.nodes().remove(key);
                self.tell(Fact::Node(left));
            }
        }
        Ok(())
    }

    /// Takes over what was seen of a container; one that runs has its links before it is shown as running.
    pub(super) async fn take_over(
        self: &Arc<Self>,
        (key, occasion): (&Key, Occasion),
        container: &Container,
        mark: Mark,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let (of, id) = (key.clone(), container.id.clone());
        let record = self.files(deadline, move |layout| Record::read(layout, &of, &id)).await?;
        let mut known = Known::of(container, mark, record);
        if matches!(known.state, NodeState::Exited { .. } | NodeState::Failed { .. }) {
            known.last_output = self.last_output(&known.id, deadline).await;
        }
        if known.state == NodeState::Created {
            known.reserved = self.has_place(key, deadline).await?;
        } else if !known.is_running() && known.network.holds_links() {
            // The one of its last life, but after a reboot there is none.
            let of = key.clone();
            let made = self.files(deadline, move |layout| reserve::pin(layout, &of)).await?;
            made.map_err(|error| Fault::transient(format!("a place for its links: {error}")))?;
        }
        let attached = if known.is_running() {
            let was_seen = occasion == Occasion::Seen;
            let attached = self.attach((key, occasion), &mut known, container.state.pid, deadline).await;
            // One that was started just now is where it is to be.
            if was_seen && let Some(left) = self.left_behind(&known, deadline).await {
                known.network = left;
            }
            if attached.is_err() {
                // Whoever lists it next sees that it is not known to run, and looks again.
                known.process = None;
            }
            attached
        } else {
            Ok(())
        };
        self.note(key, known);
        attached
    }

    /// Whether the links of a node have a place, from its last life or made for them.
    async fn has_place(self: &Arc<Self>, key: &Key, deadline: Instant) -> Result<bool, Fault> {
        let of = key.clone();
        self.files(deadline, move |layout| reserve::is_there(layout, &of)).await
    }

    async fn write_record(self: &Arc<Self>, key: &Key, record: Record, deadline: Instant) -> Result<(), Fault> {
        let (of, written) = (key.clone(), record.clone());
        let write = self.files(deadline, move |layout| written.write(layout, &of)).await?;
        write.map_err(|error| Fault::transient(format!("what was applied to it cannot be noted: {error}")))?;
        self.change(key, |known| known.record = record);
        Ok(())
    }
}

/// The image was there, as far as anybody knew.
pub(super) fn no_image(image: &str, policy: PullPolicy) -> Fault {
    match policy {
        PullPolicy::Never => Fault::permanent(format!(
            "the image `{image}` is not on this host, and `image-pull-policy: never` forbids to pull it; load it (`netloom image \
             load FILE`) or pull it (`netloom image pull {image}`)"
        )),
        // The next plan pulls it.
        PullPolicy::IfNotPresent | PullPolicy::Always => {
            Fault::transient(format!("the image `{image}` is not on this host any more"))
        }
    }
}

/// What has come of a name that was taken.
enum Way {
    /// The container is the node's, as wanted.
    Adopted,
    /// The name is free now.
    Free,
}
