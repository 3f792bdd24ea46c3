//! Nodes: the fields that `defaults`, `kinds.X`, `groups.X` and `nodes.X` share, their inheritance, and what
//! becomes of them.
//!
//! To add a field: one line in [`node_fields!`] (its type says how it is read and merged), and what it becomes in
//! [`Levels::finish`], or for fields of containers and devices in [`super::complete`].

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::addresses::Addresses;
use super::bind::BindSpec;
use super::complete::Completion;
use super::diagnostic::{Code, Path, Span, cut};
use super::facts::{AllFacts, Facts};
use super::farther::{Behind, Farther};
use super::kinds::{self, KindSpec, Named};
use super::nearest::edits;
use super::order::Waits;
use super::reader::{Appended, At, ByTarget, Cx, Field, First, Merged, Own, Table, list};
use super::tree::{Entry, Value};
use super::value::container::{Capability, CpuSet, Device, ShmBytes, VolumeSpec};
use super::value::device::{CertificateSpec, ConfigSpec, CredentialsSpec, ExtrasSpec};
use super::value::document::DocumentSpec;
use super::value::stage::StagesSpec;
use super::value::{Command, CpuMillis, EnvFile, EnvValue, HostName, Image, MemoryBytes, Seconds, Sysctl, User, Words};
use crate::check::{RESERVED_NODES, bridge_name};
use crate::kind::{Lacking, Shape};
use crate::lab::{
    CgroupNamespace, Component, Dns, Healthcheck, LinkApplyMode, NetworkMode, Node, PidMode, PortMapping, Privilege,
    PullPolicy, RestartPolicy, RuntimeKind,
};
use crate::name::{Kind, NodeName};

macro_rules! node_fields {
    ($($field:ident: $type:ty = $key:literal, $sort:ident;)*) => {
        /// What one level says about a node.
        #[derive(Debug, Clone, Default)]
        pub(super) struct Spec {
            $(pub(super) $field: $type,)*
        }

        pub(super) const FIELDS: Table = Table { what: "node", acted: &[$($key),*], later: &[] };

        impl Spec {
            fn set(&mut self, key: &str, value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) {
                match key {
                    $($key => self.$field = Field::read(value, at, cx),)*
                    _ => {}
                }
            }

            /// Takes what every node needs as given wrongly somewhere else: it is not missed where it is not given.
            pub(super) fn give_up(&mut self, span: Span) {
                self.kind.give_up(span);
                self.image.give_up(span);
            }

            /// Takes over from a farther level what each field's rule says.
            pub(super) fn inherit(&mut self, farther: &Self) {
                $(self.$field.inherit(&farther.$field);)*
            }

            /// The fields that are set here and mean something only for a node that runs.
            fn running(&self) -> Vec<(&'static str, Span)> {
                let mut found = Vec::new();
                $(if let (false, Some(span)) = (Sort::$sort == Sort::Is, self.$field.span()) {
                    found.push(($key, span));
                })*
                found
            }

            /// The fields that are set here and mean nothing to a node in namespaces, with what they need.
            pub(super) fn beyond_namespaces(&self) -> Vec<(&'static str, Span, &'static str)> {
                let mut found = Vec::new();
                $(if let (Some(needs), Some(span)) = (Sort::$sort.needs(), self.$field.span()) {
                    found.push(($key, span, needs));
                })*
                // What the kind itself says stands nowhere in the file.
                found.retain(|(_, span, _)| span.line > 0);
                found
            }

            /// The fields that are set here and that only a node itself can have.
            fn of_nodes_only(&self) -> Vec<(&'static str, Span)> {
                let mut found = Vec::new();
                $(if let (Sort::Address, Some(span)) = (Sort::$sort, self.$field.span()) {
                    found.push(($key, span));
                })*
                found
            }
        }
    };
}

/// The sysctl that containers of every kind set to 0, and Docker to 1.
const IPV6_OFF: &str = "net.ipv6.conf.all.disable_ipv6";

/// What a field is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// What the node is.
    Is,
    /// How it runs, whatever it runs on.
    Runs,
    /// How its container is made.
    Container,
    /// How the device in its image is set up.
    Device,
    /// How its health is told.
    Health,
    /// What it has on the management network; nothing that could be inherited.
    Address,
}

impl Sort {
    /// What a node needs for it that runs in namespaces.
    fn needs(self) -> Option<&'static str> {
        match self {
            Self::Is | Self::Runs => None,
            Self::Container => Some("`runtime: docker`"),
            Self::Device => Some("a device that reads it, in an image with `runtime: docker`"),
            Self::Health => Some("a runtime with health checks: `runtime: docker`"),
            Self::Address => Some("the management network: `runtime: docker`"),
        }
    }
}

node_fields! {
    kind: First<Named> = "kind", Is;
    runtime: First<RuntimeKind> = "runtime", Runs;
    image: First<Image> = "image", Runs;
    group: First<String> = "group", Is;
    entrypoint: First<Words> = "entrypoint", Runs;
    cmd: First<Words> = "cmd", Runs;
    exec: Appended<Command> = "exec", Runs;
    env: Merged<EnvValue> = "env", Runs;
    env_files: Appended<EnvFile> = "env-files", Runs;
    binds: ByTarget<BindSpec> = "binds", Runs;
    hostname: First<HostName> = "hostname", Runs;
    user: First<User> = "user", Runs;
    sysctls: Merged<Sysctl> = "sysctls", Runs;
    labels: Merged<String> = "labels", Is;
    cpu: First<CpuMillis> = "cpu", Runs;
    memory: First<MemoryBytes> = "memory", Runs;
    startup_delay: First<Seconds> = "startup-delay", Runs;
    restart_policy: First<RestartPolicy> = "restart-policy", Runs;
    network_mode: First<NetworkMode> = "network-mode", Runs;
    variant: First<String> = "type", Is;
    position: First<String> = "position", Is;
    image_pull_policy: First<PullPolicy> = "image-pull-policy", Container;
    auto_remove: First<bool> = "auto-remove", Container;
    volumes: ByTarget<VolumeSpec> = "volumes", Container;
    tmpfs: Merged<String> = "tmpfs", Container;
    devices: Appended<Device> = "devices", Container;
    cap_add: Appended<Capability> = "cap-add", Container;
    security_opts: Appended<String> = "security-opts", Container;
    privileged: First<Privilege> = "privileged", Container;
    cgroupns_mode: First<CgroupNamespace> = "cgroupns-mode", Container;
    cgroup_parent: First<String> = "cgroup-parent", Container;
    pid_mode: First<PidMode> = "pid-mode", Container;
    ports: First<Vec<PortMapping>> = "ports", Container;
    cpu_set: First<CpuSet> = "cpu-set", Container;
    shm_size: First<ShmBytes> = "shm-size", Container;
    dns: First<Dns> = "dns", Container;
    mgmt_ipv4: Own<Ipv4Addr> = "mgmt-ipv4", Address;
    mgmt_ipv6: Own<Ipv6Addr> = "mgmt-ipv6", Address;
    old_mgmt_ipv4: Own<Ipv4Addr> = "mgmt_ipv4", Address;
    old_mgmt_ipv6: Own<Ipv6Addr> = "mgmt_ipv6", Address;
    aliases: Own<Vec<String>> = "aliases", Address;
    startup_config: First<DocumentSpec> = "startup-config", Device;
    enforce_startup_config: First<bool> = "enforce-startup-config", Device;
    suppress_startup_config: First<bool> = "suppress-startup-config", Device;
    license: First<DocumentSpec> = "license", Device;
    credentials: CredentialsSpec = "credentials", Device;
    username: First<String> = "username", Device;
    password: First<String> = "password", Device;
    certificate: CertificateSpec = "certificate", Device;
    config: ConfigSpec = "config", Device;
    components: First<Vec<Component>> = "components", Device;
    extras: First<ExtrasSpec> = "extras", Device;
    stages: StagesSpec = "stages", Runs;
    healthcheck: First<Healthcheck> = "healthcheck", Health;
    link_apply_mode: First<LinkApplyMode> = "link-apply-mode", Container;
}

/// The names of all fields of a node.
#[cfg(test)]
pub(super) fn field_names() -> impl Iterator<Item = &'static str> {
    FIELDS.acted.iter().copied()
}

/// Reads one level.
pub(super) fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Spec {
    let mut spec = Spec::default();
    let entries = cx.fields(value, at, &FIELDS);
    for entry in entries.unwrap_or_default() {
        spec.set(entry.key, &entry.value, &at.key(entry.key), cx);
    }
    // What stands there in a way that cannot be read is not missed as well.
    let meant = |field| entries.is_none() || cx.is_misspelt(value, field);
    if meant("kind") {
        spec.kind.give_up(value.span);
    }
    if meant("image") {
        spec.image.give_up(value.span);
    }
    if meant("runtime") {
        spec.runtime.give_up(value.span);
    }
    spec.credentials.take_over(&spec.username, &spec.password);
    spec.mgmt_ipv4.take_over(&mut spec.old_mgmt_ipv4, ("mgmt_ipv4", "mgmt-ipv4"), at, cx);
    spec.mgmt_ipv6.take_over(&mut spec.old_mgmt_ipv6, ("mgmt_ipv6", "mgmt-ipv6"), at, cx);
    spec
}

/// Reads a level that nodes inherit from.
pub(super) fn read_level(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Spec {
    let spec = read(value, at, cx);
    for (field, span) in spec.of_nodes_only() {
        let message = format!("`{field}` has no effect here: only a node itself can have it");
        cx.report.warning(Code::NoEffect, span, &at.key(field), message);
    }
    spec
}

/// All nodes of a file.
#[derive(Default)]
#[expect(clippy::struct_field_names, reason = "the nodes among what is known of them")]
pub(super) struct Nodes {
    /// The nodes that are right, in the order of the file. Each is large, and maps move what they hold.
    pub(super) nodes: Vec<(NodeName, Node)>,
    /// All names, right or wrong.
    pub(super) facts: AllFacts,
    /// Who waits for whom.
    pub(super) waits: Waits,
    /// Addresses on the management network.
    pub(super) addresses: Addresses,
}

/// The levels that nodes inherit from.
#[derive(Default)]
pub(super) struct Levels {
    pub(super) defaults: Spec,
    pub(super) kinds: BTreeMap<String, Spec>,
    pub(super) groups: BTreeMap<String, Spec>,
    completion: Completion,
    /// The levels behind nodes, merged; the farthest is what a kind itself says.
    farther: Farther,
    /// Where the names of groups stand.
    pub(super) group_keys: BTreeMap<String, Span>,
    /// Groups that are not defined, with the defined one that each looks like.
    unknown_groups: HashMap<String, Option<String>>,
}

impl Levels {
    /// Reads and completes one node. It has no name if that is wrong.
    pub(super) fn node(
        &mut self,
        entry: &Entry<'_>,
        name: Option<NodeName>,
        at: &Path<'_>,
        cx: &mut Cx<'_>,
        nodes: &mut Nodes,
    ) {
        let mut spec = read(&entry.value, at, cx);
        let name = name.map_or_else(|| entry.key.parse(), Ok).map_err(|invalid| {
            cx.report.error(Code::InvalidName, entry.key_span, at, invalid.to_string());
        });
        self.choose_levels(&mut spec, cx);
        let name = name.map(|name| with_owner(name, &spec));
        // A node that runs nothing is asked what it says itself: defaults are meant for the nodes that run.
        let runs = spec.kind.get().is_none_or(|named| named.kind.shape() == Shape::Runs);
        let own = (!runs).then(|| Box::new(spec.clone()));
        let takes_no_image = spec.runtime.get() == Some(&RuntimeKind::Namespace) && spec.image.span().is_none();
        self.inherit(&mut spec, cx);
        if takes_no_image {
            // The image that its level gives is for the others.
            spec.image = First::default();
        }
        self.check_group(&spec, at, cx);
        let kind = spec.kind.get().map(|named| named.kind.clone());
        if let Some(other) = name.as_ref().ok().and_then(|name| nodes.facts.get(name.as_str())) {
            let message = format!("`{}` is there already", cut(entry.key));
            cx.report.error(Code::DuplicateKey, entry.key_span, at, message).note(other.key, "it is defined here");
        }
        nodes.facts.insert(entry.key, facts(name.as_ref().ok(), &spec, entry.key_span, cx));
        if spec.kind.get().is_none() && !spec.kind.is_broken() {
            cx.report
                .error(Code::Missing, entry.key_span, at, format!("node `{}` has no kind", cut(entry.key)))
                .help("add `kind: linux` to the node or to `topology.defaults`");
        }
        let (Ok(name), Some(kind)) = (name, kind) else { return };
        let place = Place { name: &name, kind: &kind, key: entry.key_span, at };
        if let Err(why) = bridge_name(&name, &kind) {
            cx.report.error(Code::InvalidName, place.key, at, why);
        }
        let finished = match own {
            None => self.finish(&place, &spec, cx),
            Some(own) => Some(finish_still(&place, &own, &spec, cx)),
        };
        if finished.as_ref().is_some_and(|node| node.runtime.is_some()) {
            nodes.waits.note(&name, &spec, at);
        }
        nodes.addresses.note(&spec, at, cx);
        say_left_out(&place, cx);
        check_reserved(&place, cx);
        if let Some(node) = finished {
            nodes.nodes.push((name, node));
        }
    }

    fn group_of(&self, spec: &Spec) -> Option<&Spec> {
        spec.group.get().and_then(|name| self.groups.get(name))
    }

    /// By the name that the node has for its kind, then by another: `srl` is `nokia_srlinux`.
    fn of_kind(&self, spec: &Spec, cx: &Cx<'_>) -> Option<&Spec> {
        let named = spec.kind.get().filter(|_| !self.kinds.is_empty())?;
        let kind = cx.input.kinds.get(&named.kind)?;
        let names = [named.written.as_str(), kind.name.as_str()];
        let mut names = names.into_iter().chain(kind.aliases.iter().map(Kind::as_str));
        names.find_map(|name| self.kinds.get(name))
    }

    /// node → group → kind → defaults (section 4 of the format): kind and group first, for they say which levels.
    fn choose_levels(&self, spec: &mut Spec, cx: &Cx<'_>) {
        if let Some(group) = self.group_of(spec) {
            spec.kind.inherit(&group.kind);
        }
        if let Some(group) = self.group_of(&self.defaults) {
            spec.kind.inherit(&group.kind);
        }
        spec.kind.inherit(&self.defaults.kind);
        if let Some(of_kind) = self.of_kind(spec, cx) {
            spec.group.inherit(&of_kind.group);
        }
        spec.group.inherit(&self.defaults.group);
    }

    /// Takes over from the levels that were chosen, then from what the kind itself says.
    fn inherit(&mut self, spec: &mut Spec, cx: &Cx<'_>) {
        let mut farther = std::mem::take(&mut self.farther);
        let behind = Behind {
            group: spec.group.get().map(String::as_str).filter(|group| self.groups.contains_key(*group)),
            kind: spec.kind.get().map(|named| named.written.as_str()),
        };
        let merged = farther.of(behind, || {
            let mut merged = self.group_of(spec).cloned().unwrap_or_default();
            if let Some(of_kind) = self.of_kind(spec, cx) {
                merged.inherit(of_kind);
            }
            merged.inherit(&self.defaults);
            let kind = spec.kind.get().and_then(|named| cx.input.kinds.get(&named.kind));
            if let Some(kind) = kind.filter(|kind| kind.name.shape() == Shape::Runs) {
                merged.inherit(&kinds::level(kind, cx.input));
            }
            merged
        });
        self.farther = farther;
        spec.inherit(&merged);
        // That runtime sets it by itself; what is from no line of the file is from the kind.
        if spec.runtime.get() == Some(&RuntimeKind::Namespace)
            && spec.sysctls.0.get(IPV6_OFF).is_some_and(|found| found.span.line == 0)
        {
            spec.sysctls.0.remove(IPV6_OFF);
        }
    }

    /// A group that is not defined is a label; one that looks like a defined one is a slip.
    fn check_group(&mut self, spec: &Spec, at: &Path<'_>, cx: &mut Cx<'_>) {
        let (Some(group), Some(span)) = (spec.group.get(), spec.group.span()) else { return };
        if self.groups.contains_key(group) {
            return;
        }
        let near = self.unknown_groups.entry(group.clone()).or_insert_with(|| {
            let names = self.groups.keys().map(String::as_str);
            cx.report.nearest(group, names).filter(|near| is_slip(group, near))
        });
        if let Some(near) = near {
            let warning = cx
                .report
                .warning(Code::UnknownGroup, span, &at.key("group"), format!("group `{}` is not defined", cut(group)))
                .label("taken as a label only")
                .suggest(Some(near.clone()));
            if let Some(key) = self.group_keys.get(near) {
                warning.note(*key, format!("`{}` is defined here", cut(near)));
            }
        }
    }

    /// A node that runs.
    fn finish(&mut self, place: &Place<'_>, spec: &Spec, cx: &mut Cx<'_>) -> Option<Node> {
        let Place { name, kind, at, .. } = *place;
        let known = cx.input.kinds.get(kind);
        let (runtime, image) = runtime_and_image(place, spec, cx)?;
        let words = |field: &First<Words>| field.get().map(|words| words.0.clone()).unwrap_or_default();
        let node = Node {
            runtime: Some(runtime),
            image,
            group: spec.group.get().cloned(),
            entrypoint: words(&spec.entrypoint),
            cmd: words(&spec.cmd),
            hostname: spec.hostname.get().map_or_else(|| name.to_string(), |host| host.0.clone()),
            user: spec.user.get().map(|user| user.0.clone()),
            sysctls: spec.sysctls.0.iter().map(|(key, found)| (key.clone(), found.value.0.clone())).collect(),
            labels: spec.labels.values(),
            cpu_millis: spec.cpu.get().map(|cpu| cpu.0),
            memory_bytes: spec.memory.get().map(|memory| memory.0),
            startup_delay: spec.startup_delay.get().map_or(0, |delay| delay.0),
            restart_policy: spec.restart_policy.get().copied().unwrap_or_default(),
            network_mode: spec.network_mode.get().cloned().unwrap_or_default(),
            variant: spec.variant.get().cloned(),
            position: spec.position.get().cloned(),
            healthcheck: spec.healthcheck.get().cloned(),
            link_apply_mode: spec.link_apply_mode.get().copied(),
            device: known.map(KindSpec::device).unwrap_or_default().into(),
            ..Node::new(kind.clone(), "")
        };
        Some(self.completion.complete(node, name, spec, at, cx))
    }
}

/// Whether a group may be a misspelling of another. `leaf1` and `leaf2` are names of their own.
fn is_slip(group: &str, defined: &str) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let letters = |text: &str| text.chars().collect::<Vec<char>>();
    digits(group) == digits(defined) && edits(&letters(group), &letters(defined)) <= 2
}

/// The name of a bridge that says with its `network-mode` alone which node it is in: that of one whose name says it too.
fn with_owner(name: NodeName, spec: &Spec) -> NodeName {
    let is_bridge = spec.kind.get().is_some_and(|named| named.kind.shape() == Shape::Bridge);
    match spec.network_mode.get() {
        Some(NetworkMode::Container(owner)) if is_bridge && name.inner_bridge().is_none() => {
            format!("{name}|{owner}").parse().unwrap_or(name)
        }
        _ => name,
    }
}

fn facts(name: Option<&NodeName>, spec: &Spec, key: Span, cx: &Cx<'_>) -> Facts {
    let image = spec.image.get().map(|_| RuntimeKind::Docker);
    let kind = spec.kind.get().map(|named| &named.kind);
    Facts {
        name: name.cloned(),
        shape: kind.map(Kind::shape),
        known: kind.and_then(|kind| cx.input.kinds.shared(kind)),
        runtime: spec.runtime.get().copied().or(image),
        network_mode: spec.network_mode.get().filter(|mode| **mode != NetworkMode::Default).cloned().map(Box::new),
        key,
    }
}

/// A node and where it stands.
struct Place<'a> {
    name: &'a NodeName,
    kind: &'a Kind,
    key: Span,
    at: &'a Path<'a>,
}

/// What a node runs on, and its image where that has images.
fn runtime_and_image(place: &Place<'_>, spec: &Spec, cx: &mut Cx<'_>) -> Option<(RuntimeKind, Option<String>)> {
    let Place { name, kind, key, at } = *place;
    if spec.runtime.is_broken() || spec.image.is_broken() {
        return None;
    }
    let image = spec.image.get().map(|image| image.0.clone());
    match (spec.runtime.get(), image) {
        (Some(RuntimeKind::Namespace), image) => {
            if let (Some(_), Some(span)) = (image, spec.image.span()) {
                cx.report
                    .warning(Code::NoEffect, span, &at.key("image"), "this image is not used")
                    .help("nodes with `runtime: namespace` run over the host's file system; remove one of the two");
            }
            Some((RuntimeKind::Namespace, None))
        }
        (Some(runtime), Some(image)) => Some((*runtime, Some(image))),
        (None, Some(image)) => Some((RuntimeKind::Docker, Some(image))),
        (runtime, None) if cx.input.kinds.get(kind).is_some_and(|kind| !kind.needs_image()) => {
            Some((runtime.copied().unwrap_or(RuntimeKind::Docker), None))
        }
        (runtime, None) => {
            let help = match runtime {
                None => "add `image: NAME`, or `runtime: namespace` to run it over the host's file system",
                Some(_) => "add `image: NAME`",
            };
            cx.report.error(Code::Missing, key, at, format!("node `{name}` has no image")).help(help);
            None
        }
    }
}

/// A node that runs nothing of ours: a bridge, the host itself, a container that is there.
fn finish_still(place: &Place<'_>, own: &Spec, spec: &Spec, cx: &mut Cx<'_>) -> Node {
    let Place { name, kind, at, .. } = *place;
    let shape = kind.shape();
    let is_inner = shape == Shape::Bridge && name.inner_bridge().is_some();
    // Only what the node itself says: defaults are meant for the nodes that run.
    for (field, span) in own.running() {
        let is_run = field == "exec" && matches!(shape, Shape::External | Shape::Host);
        if is_inner && field == "network-mode" || is_run {
            continue;
        }
        let message = match (field, shape) {
            (_, Shape::External) => {
                format!("`{field}` has no effect: a node of kind `{kind}` was made by something else")
            }
            _ => format!("`{field}` has no effect: a node of kind `{kind}` runs nothing"),
        };
        cx.report.warning(Code::NoEffect, span, &at.key(field), message);
    }
    let runs = |command: &At<Command>| command.value.0.clone();
    let exec = match shape {
        Shape::Host | Shape::External => spec.exec.0.iter().map(runs).collect(),
        Shape::Runs | Shape::Bridge | Shape::OvsBridge => Vec::new(),
    };
    Node {
        exec,
        // Links are put into it by who reaches such containers.
        runtime: (shape == Shape::External).then_some(RuntimeKind::Docker),
        group: spec.group.get().cloned(),
        labels: spec.labels.values(),
        restart_policy: RestartPolicy::No,
        network_mode: own.network_mode.get().filter(|_| is_inner).cloned().unwrap_or_default(),
        variant: spec.variant.get().cloned(),
        position: spec.position.get().cloned(),
        ..Node::new(kind.clone(), name.as_str())
    }
}

/// Says of a node that no plan can make it yet.
fn say_left_out(place: &Place<'_>, cx: &mut Cx<'_>) {
    let Place { name, kind, key, at } = *place;
    if let Some(lacking) = Lacking::of(name, kind) {
        cx.report
            .warning(Code::LeftOut, key, at, format!("`{name}` and its links are left out: this needs {lacking}"))
            .label("is not made yet");
    }
}

/// Names that stand for something else in the endpoints of links.
fn check_reserved(place: &Place<'_>, cx: &mut Cx<'_>) {
    let Place { name, kind, key, at } = *place;
    let means_itself = name.as_str() == "host" && kind.shape() == Shape::Host;
    if RESERVED_NODES.contains(&name.as_str()) && !means_itself {
        cx.report
            .error(
                Code::InvalidName,
                key,
                at,
                format!("no node can be named `{name}`: links mean something else by it"),
            )
            .help(format!("choose a name other than {}", list(&RESERVED_NODES)));
    }
}
