//! Containers that another agent of the contract has made and that were adopted: ours by a record, since nothing can be written
//! on a container that is there.
//!
//! One that has ended is not started again: it hangs on networks of the agent that made it. When its node is started it is
//! removed, and made as every other node is.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use futures::stream;
use netloom_docker::{Container, Filters, Network, Remove};
use netloom_engine::{InheritedNode, Layout, NodeOrder};
use netloom_failpoint::point;
use netloom_kernel::Netns;
use netloom_model::{
    Access, Bind, CgroupNamespace, Container as Made, Kind, LabName, NetworkMode, Node, NodeName, Privilege,
    PullPolicy, RestartPolicy, RuntimeKind, controlled_container,
};

use super::super::fault::{Fault, plain};
use super::super::keys_in;
use super::super::turns::Key;
use super::attach::{self, Occasion};
use super::mark::{INHERITED_LAB, Mark, inherited};
use super::observe::Known;
use super::record::{self, Record};
use super::{READS, Shared, refused};

/// The driver of the networks that such an agent attaches containers to.
const NETWORKS: &str = "archetype-ovs";

/// The containers that were adopted, by their ids.
pub(super) type Adopted = BTreeMap<String, Mark>;

impl Shared {
    /// Whose a container is: by its labels, or by what is noted of it.
    pub(super) fn mark_of(&self, id: &str, labels: &BTreeMap<String, String>) -> Option<Mark> {
        Mark::read(labels, self.layout.instance()).or_else(|| self.adopted().get(id).cloned())
    }

    /// Reads what is noted, which an earlier life of the agent may have done.
    pub(super) async fn read_adopted(self: &Arc<Self>, deadline: Instant) -> Result<Vec<String>, Fault> {
        let all = self.files(deadline, all).await?;
        let all = all.map_err(|error| Fault::transient(format!("containers that were adopted: {}", plain(&error))))?;
        let ids = all.keys().cloned().collect();
        *self.adopted() = all;
        Ok(ids)
    }

    /// Takes a container that another agent has made as a node.
    pub(super) async fn adopt_node(
        self: Arc<Self>,
        order: NodeOrder,
        id: String,
        key: Key,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let there = self.inspect(&id, deadline).await?;
        let there = there.ok_or_else(|| Fault::permanent(format!("its container {id} is gone")))?;
        if !there.state.running {
            return Err(Fault::permanent(format!("its container {} does not run any more", there.plain_name())));
        }
        if Mark::read(&there.config.labels, self.layout.instance()).is_some() {
            // It is ours by its labels.
            return Ok(());
        }
        let (of, container) = (key.clone(), there.id.clone());
        let mut record = self.files(deadline, move |layout| Record::read(layout, &of, &container)).await?;
        if !record.adopted || record.fingerprint.as_ref() != Some(&order.fingerprint) {
            record.adopted = true;
            record.apply(&order);
            let (of, written) = (key.clone(), record.clone());
            let written = self.files(deadline, move |layout| written.write(layout, &of)).await?;
            written
                .map_err(|error| Fault::transient(format!("that it is adopted cannot be noted: {}", plain(&error))))?;
            point!("container.adopted.noted");
        }
        let mark = mark(&key, &record).ok_or_else(|| Fault::permanent("what is noted of it cannot be read".into()))?;
        self.adopted().insert(there.id.clone(), mark.clone());
        self.take_over((&key, Occasion::Seen), &there, mark, deadline).await
    }

    /// Removes a container that was adopted and has ended: the next plan makes the node as ours.
    pub(super) async fn make_ours(self: &Arc<Self>, key: &Key, known: &Known, deadline: Instant) -> Result<(), Fault> {
        self.docker.remove_container(&known.id, Remove::ALL, deadline).await.map_err(refused)?;
        let of = key.clone();
        let forgotten = self.files(deadline, move |layout| record::forget(layout, &of)).await?;
        forgotten.map_err(|error| Fault::transient(plain(&error)))?;
        self.adopted().remove(&known.id);
        self.forget(key);
        Err(Fault::transient("another agent made its container, which has ended; it is made anew".into()))
    }

    /// The containers that carry the marks of another agent of the contract, each with its network namespace.
    pub(super) async fn inherited(
        self: &Arc<Self>,
        deadline: Instant,
    ) -> Result<Vec<(InheritedNode, Option<Netns>)>, Fault> {
        let filter = Filters::new().label(INHERITED_LAB);
        let listed = self.docker.list_containers(&filter, deadline).await.map_err(refused)?;
        let made_here = |labels: &BTreeMap<String, String>| Mark::read(labels, self.layout.instance()).is_some();
        let listed = listed.into_iter().filter(|container| !made_here(&container.labels));
        let looks = listed.map(|container| async move { self.inspect(&container.id, deadline).await });
        let looks = stream::iter(looks).buffered(READS).collect::<Vec<_>>().await;
        let mut all = Vec::new();
        for looked in looks {
            // One that is gone meanwhile is none.
            let Some(container) = looked? else { continue };
            all.extend(self.inherit(&container, deadline).await?);
        }
        Ok(all)
    }

    async fn inherit(
        self: &Arc<Self>,
        container: &Container,
        deadline: Instant,
    ) -> Result<Option<(InheritedNode, Option<Netns>)>, Fault> {
        let Some((lab, name)) = inherited(&container.config.labels) else { return Ok(None) };
        let owner = self.adopted().get(&container.id).map(|mark| (mark.lab.clone(), mark.node.clone()));
        let (ends, netns) = if container.state.running {
            let pid = container.state.pid;
            match self.files(deadline, move |_| attach::open(pid)).await? {
                Ok(Some((_, netns))) => (Ok(Vec::new()), Some(netns)),
                Ok(None) => (Err("it has ended just now".to_owned()), None),
                Err(error) => (Err(format!("its network namespace cannot be opened: {}", plain(&error))), None),
            }
        } else {
            let why = format!(
                "it does not run (`{}`): `docker rm {}` removes it, or the controller's next start of the node does",
                container.state.status,
                container.plain_name()
            );
            (Err(why), None)
        };
        let node = InheritedNode {
            lab: lab.to_owned(),
            name: name.to_owned(),
            id: container.id.clone(),
            container: container.plain_name().to_owned(),
            spec: spec(container, name),
            ends,
            owner,
        };
        Ok(Some((node, netns)))
    }

    /// Says whether there are networks that hang on such an agent, of all that there are.
    pub(super) fn tell_hung(&self, networks: &[Network]) {
        let hung = Some(networks.iter().any(|network| network.driver == NETWORKS));
        self.hung.send_if_modified(|known| std::mem::replace(known, hung) != hung);
    }

    /// Removes what another agent of the contract has left of a lab: containers that do not run, and its networks.
    pub(super) async fn clear_inherited(self: &Arc<Self>, lab: &LabName, deadline: Instant) -> Result<(), Fault> {
        let filter = || Filters::new().label(format!("{INHERITED_LAB}={lab}"));
        let containers = self.docker.list_containers(&filter(), deadline).await.map_err(refused)?;
        for container in containers.iter().filter(|container| container.state != "running") {
            let _place = self.work(deadline).await?;
            gone(self.docker.remove_container(&container.id, Remove::ALL, deadline).await)?;
            point!("inherited.container-removed");
        }
        let networks = self.docker.list_networks(&filter(), deadline).await.map_err(refused)?;
        for network in networks.iter().filter(|network| network.driver == NETWORKS) {
            let _place = self.work(deadline).await?;
            gone(self.docker.remove_network(&network.id, deadline).await)?;
        }
        if !networks.is_empty() {
            self.tell_hung(&self.docker.list_networks(&Filters::new(), deadline).await.map_err(refused)?);
        }
        Ok(())
    }
}

/// Whether a container is what the agent before this one has left of the node that its name is of, and has ended: that agent
/// would have removed it when the node was made again, and so is it here.
pub(super) fn makes_way(container: &Container) -> bool {
    let of = inherited(&container.config.labels).and_then(|(lab, node)| Some((lab.parse().ok()?, node.parse().ok()?)));
    let name = of.map(|(lab, node)| controlled_container(&lab, &node));
    container.state.status != "running" && name.as_deref() == Some(container.plain_name())
}

/// What is gone already is as good as removed.
fn gone(removed: Result<(), netloom_docker::Error>) -> Result<(), Fault> {
    match removed {
        Err(error) if !error.is_not_found() => Err(refused(error)),
        _ => Ok(()),
    }
}

fn all(layout: &Layout) -> io::Result<Adopted> {
    let records = keys_in(&layout.state().join("containers"))?.into_iter().filter_map(|key| {
        // Its file has an ending that is no part of the name.
        let node: NodeName = key.1.as_str().strip_suffix(".json")?.parse().ok()?;
        let key = (key.0, node);
        let record = Record::find(layout, &key).filter(|record| record.adopted)?;
        Some((record.id.clone(), mark(&key, &record)?))
    });
    Ok(records.collect())
}

fn mark((lab, node): &Key, record: &Record) -> Option<Mark> {
    let (fingerprint, applied) = (record.fingerprint.clone()?, record.applied.clone());
    Some(Mark { lab: lab.clone(), node: node.clone(), fingerprint, applied })
}

/// What a container was made from, as far as it says: enough for the node to be made anew.
fn spec(container: &Container, name: &str) -> Node {
    let (config, host) = (&container.config, &container.host_config);
    let mut node = Node::new(Kind::linux(), if config.hostname.is_empty() { name } else { &config.hostname });
    node.runtime = Some(RuntimeKind::Docker);
    node.image = Some(config.image.clone());
    node.network_mode = NetworkMode::None;
    node.restart_policy = RestartPolicy::No;
    let pair = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    node.env = config.env.iter().filter_map(pair).collect();
    node.labels = config.labels.clone();
    node.entrypoint.clone_from(&config.entrypoint);
    node.cmd.clone_from(&config.cmd);
    node.binds = host.binds.iter().filter_map(|bind| read_bind(bind)).collect();
    let bare = |capability: &String| capability.strip_prefix("CAP_").unwrap_or(capability).to_owned();
    node.container = Made {
        pull_policy: PullPolicy::Never,
        capabilities: host.cap_add.iter().map(bare).collect(),
        privilege: if host.privileged { Privilege::Full } else { Privilege::Confined },
        cgroup_namespace: Some(CgroupNamespace::Host),
        ..Made::default()
    }
    .into();
    node
}

/// `host:container[:options]`; what has no such source is no bind.
fn read_bind(text: &str) -> Option<Bind> {
    let mut parts = text.split(':');
    let (source, target) = (parts.next()?, parts.next()?);
    let is_read_only = parts.next().is_some_and(|options| options.split(',').any(|option| option == "ro"));
    let access = if is_read_only { Access::ReadOnly } else { Access::ReadWrite };
    source.starts_with('/').then(|| Bind { source: source.to_owned(), target: target.to_owned(), access })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_adopted_is_found_again_by_its_record() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path()).unwrap();
        let key = |node: &str| -> Key { ("lab".parse().unwrap(), node.parse().unwrap()) };
        let record = |id: &str| Record { fingerprint: Some("1.2.3".parse().unwrap()), ..Record::new(id) };
        Record { adopted: true, ..record("c1") }.write(&layout, &key("r1")).unwrap();
        record("c2").write(&layout, &key("r2")).unwrap();
        let found = all(&layout).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["c1"]);
        assert_eq!(found["c1"].node.as_str(), "r1");
    }

    #[test]
    fn a_container_says_what_it_was_made_from() {
        let json = serde_json::json!({ "Id": "c1", "Name": "/archetype-lab-r1", "State": { "Status": "running" },
            "Config": { "Hostname": "r1", "Image": "frr:9", "Env": ["A=b=c"], "Cmd": ["sleep", "infinity"],
                "Labels": { "archetype.lab_id": "lab", "archetype.node_name": "r1" } },
            "HostConfig": { "Binds": ["/a:/b:ro", "volume:/c"], "CapAdd": ["CAP_NET_ADMIN", "SYS_ADMIN"] } });
        let container: Container = serde_json::from_value(json).unwrap();
        let node = spec(&container, "r1");
        assert_eq!((node.image.as_deref(), node.env["A"].as_str()), (Some("frr:9"), "b=c"));
        assert_eq!(node.cmd, ["sleep", "infinity"]);
        assert_eq!(node.binds, [Bind { source: "/a".into(), target: "/b".into(), access: Access::ReadOnly }]);
        assert_eq!(node.container.capabilities, ["NET_ADMIN", "SYS_ADMIN"]);
        assert_eq!(inherited(&container.config.labels), Some(("lab", "r1")));
    }
}
