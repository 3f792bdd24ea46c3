//! The parts of a node that need more than the values of its fields: files of the host, placeholders, and what its
//! runtime cannot do.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use super::bind::BindSpec;
use super::diagnostic::{Code, Path, Span};
use super::env_file;
use super::node::Spec;
use super::path;
use super::placeholder::{fill, has_placeholder, in_lab_directory, is_written_by_deploy};
use super::reader::{At, Cx, Field};
use super::value::document::{at_span, document, exists, is_url};
use crate::check::clean_path;
use crate::lab::{
    Bind, Config, Container, ExecPhase, ExecTarget, Extras, LinkApplyMode, NetworkMode, Node, NodeManagement,
    Privilege, RuntimeKind, Stage, StageExec, StageRule, Stages, Volume, WaitFor,
};
use crate::name::NodeName;

/// Variables of files that all nodes may have together, in bytes; guards against a large file under many nodes.
const MAX_FILE_ENV: usize = 64 << 20;

/// What is remembered from node to node, so that what they share is looked at and said once.
#[derive(Default)]
pub(super) struct Completion {
    /// Files that were looked for, by their place in the topology.
    looked_for: HashSet<(u32, String)>,
    env_files: HashMap<String, Rc<BTreeMap<String, String>>>,
    /// Bytes of variables that came from files.
    env_bytes: usize,
    /// Places whose field was said to mean nothing for a node in namespaces.
    said: HashSet<u32>,
}

/// One node that is completed.
struct Part<'a> {
    name: &'a NodeName,
    spec: &'a Spec,
    at: &'a Path<'a>,
}

impl Completion {
    /// Gives a node what its fields say beside what is in it.
    pub(super) fn complete(
        &mut self,
        mut node: Node,
        name: &NodeName,
        spec: &Spec,
        at: &Path<'_>,
        cx: &mut Cx<'_>,
    ) -> Node {
        let part = Part { name, spec, at };
        node.env = self.env(&part, cx);
        node.exec = exec(&part, cx);
        node.binds = self.binds(&part, cx);
        node.container = container(&part, cx).into();
        node.management = management(spec);
        node.config = config(&part, cx).into();
        node.stages = stages(&part, cx);
        self.say_commands_left_out(&part, cx);
        self.say_without_place(&node, &part, cx);
        if node.runtime == Some(RuntimeKind::Namespace) {
            self.say_beyond_namespaces(&part, cx);
        }
        node
    }

    /// The variables of its files, and over them its own.
    fn env(&mut self, part: &Part<'_>, cx: &mut Cx<'_>) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let at = part.at.key("env-files");
        for At { value: file, span } in &part.spec.env_files.0 {
            let read = if let Some(known) = self.env_files.get(&file.path) {
                Rc::clone(known)
            } else {
                let written = At { value: file.written.as_str(), span: *span };
                let read = Rc::new(env_file::read(&file.path, written, &at, cx));
                self.env_files.insert(file.path.clone(), Rc::clone(&read));
                read
            };
            self.env_bytes += read.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
            if self.env_bytes > MAX_FILE_ENV {
                let message = "the nodes of this lab get too many variables from files";
                cx.report.error(Code::TooLarge, *span, &at, message);
                break;
            }
            env.extend(read.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        env.extend(part.spec.env.0.iter().map(|(key, found)| (key.clone(), found.value.0.clone())));
        env
    }

    fn binds(&mut self, part: &Part<'_>, cx: &mut Cx<'_>) -> Vec<Bind> {
        let at = part.at.key("binds");
        let mut binds = BTreeMap::new();
        for At { value, span } in part.spec.binds.0.values() {
            let BindSpec { written, source, target, access } = value;
            let (source, target) = if has_placeholder(source) || has_placeholder(target) {
                let (Some(source), Some(target)) = (filled(source, *span, part, cx), filled(target, *span, part, cx))
                else {
                    continue;
                };
                let Some(source) = path::resolve_at(&source, *span, &at, cx) else { continue };
                (source, clean_path(&target))
            } else {
                (source.clone(), target.clone())
            };
            let is_expected = || cx.input.host.exists(source.as_ref()) || is_written_by_deploy(&source, cx);
            if self.looked_for.insert((span.start, source.clone())) && !is_expected() {
                if in_lab_directory(&source, cx) {
                    let message = "the source of this bind does not exist yet";
                    cx.report
                        .warning(Code::BindSource, *span, &at, message)
                        .help(format!("it is `{source}`; make it before the lab is deployed"));
                } else {
                    let written = written.split(':').next().unwrap_or(written);
                    cx.report
                        .error(Code::BindSource, *span, &at, "the source of this bind does not exist")
                        .help(path::advice(written, &source));
                }
            }
            binds.insert(target.clone(), Bind { source, target, access: *access });
        }
        binds.into_values().collect()
    }

    /// The commands of stages that are never run.
    fn say_commands_left_out(&mut self, part: &Part<'_>, cx: &mut Cx<'_>) {
        for (stage, spec) in &part.spec.stages.stages {
            for At { value, span } in &spec.exec {
                let why = match (value.target, value.phase, stage) {
                    (ExecTarget::Host, ExecPhase::OnExit, Stage::Exit) => {
                        "nothing is run on the host when a node leaves the stage `exit`"
                    }
                    (ExecTarget::Container, ExecPhase::OnExit, Stage::Exit) => {
                        "when a node leaves the stage `exit` nothing can be run in it"
                    }
                    _ => continue,
                };
                if self.said.insert(span.start) {
                    let at = part.at.key("stages");
                    cx.report.warning(Code::IgnoredField, *span, &at.key(stage.as_str()), why).label("is not run");
                }
            }
        }
    }

    /// The files that its kind has no place for, and those that nobody makes.
    fn say_without_place(&mut self, node: &Node, part: &Part<'_>, cx: &mut Cx<'_>) {
        if node.runtime != Some(RuntimeKind::Docker) {
            return;
        }
        let of = node.device.config.as_ref();
        let spec = part.spec;
        let startup = spec.startup_config.span().filter(|_| !node.config.suppress_startup);
        let fields = [
            ("startup-config", startup, of.and_then(|config| config.path.as_ref())),
            ("license", spec.license.span(), of.and_then(|config| config.license.as_ref())),
        ];
        for (field, span, place) in fields {
            let Some(span) = span.filter(|_| place.is_none()) else { continue };
            if self.said.insert(span.start) {
                let message = format!("kind `{}` has no place for a `{field}`", node.kind);
                cx.report
                    .warning(Code::IgnoredField, span, &part.at.key(field), message)
                    .label("is not put into the container")
                    .help("put it where it is read with `binds`, or name the place in a file of the kind");
            }
        }
        if let (Some(true), Some(span)) = (node.config.certificate.issue, spec.certificate.span())
            && self.said.insert(span.start)
        {
            let message = "certificates are not issued yet";
            cx.report
                .warning(Code::IgnoredField, span, &part.at.key("certificate"), message)
                .label("the node gets none")
                .help("make one yourself and put it where it is read with `binds`");
        }
    }

    /// Says which fields mean nothing for a node in namespaces: once for each place, however many nodes share it.
    fn say_beyond_namespaces(&mut self, part: &Part<'_>, cx: &mut Cx<'_>) {
        let Part { name, spec, at } = part;
        let off = |field: &super::reader::First<bool>| field.get() == Some(&false);
        let mut found = spec.beyond_namespaces();
        found.retain(|(field, ..)| match *field {
            // What is asked for is what it has.
            "privileged" => spec.privileged.get() != Some(&Privilege::Full),
            "link-apply-mode" => spec.link_apply_mode.get() != Some(&LinkApplyMode::Live),
            "auto-remove" => !off(&spec.auto_remove),
            "enforce-startup-config" => !off(&spec.enforce_startup_config),
            "suppress-startup-config" => !off(&spec.suppress_startup_config),
            _ => true,
        });
        if let (Some(NetworkMode::Host | NetworkMode::Container(_)), Some(span)) =
            (spec.network_mode.get(), spec.network_mode.span())
        {
            found.push(("network-mode", span, "`runtime: docker`; it has a network namespace of its own"));
        }
        for (field, span, needs) in found {
            if self.said.insert(span.start) {
                let message = format!("`{field}` of node `{name}` needs {needs}");
                cx.report
                    .warning(Code::IgnoredField, span, &at.key(field), message)
                    .label("has no effect with `runtime: namespace`");
            }
        }
    }
}

/// A text without placeholders. Says it if that cannot be.
fn filled(text: &str, span: Span, part: &Part<'_>, cx: &mut Cx<'_>) -> Option<String> {
    fill(At { value: text, span }, part.name, part.at, cx)
}

fn words(words: &[String], span: Span, part: &Part<'_>, cx: &mut Cx<'_>) -> Vec<String> {
    words.iter().filter_map(|word| filled(word, span, part, cx)).collect()
}

fn exec(part: &Part<'_>, cx: &mut Cx<'_>) -> Vec<Vec<String>> {
    part.spec.exec.0.iter().map(|command| words(&command.value.0, command.span, part, cx)).collect()
}

fn container(part: &Part<'_>, cx: &mut Cx<'_>) -> Container {
    let spec = part.spec;
    let volumes = spec.volumes.0.values().filter_map(|At { value, span }| {
        let name = match &value.0.name {
            Some(name) => Some(filled(name, *span, part, cx)?),
            None => None,
        };
        Some(Volume { name, ..value.0.clone() })
    });
    let volumes = volumes.collect();
    Container {
        pull_policy: spec.image_pull_policy.get().copied().unwrap_or_default(),
        auto_remove: spec.auto_remove.get().copied().unwrap_or_default(),
        volumes,
        tmpfs: spec.tmpfs.values(),
        devices: spec.devices.0.iter().map(|device| device.value.0.clone()).collect(),
        capabilities: spec.cap_add.0.iter().map(|capability| capability.value.0.clone()).collect(),
        security_options: spec.security_opts.0.iter().map(|option| option.value.clone()).collect(),
        privilege: spec.privileged.get().copied().unwrap_or_default(),
        cgroup_namespace: spec.cgroupns_mode.get().copied(),
        cgroup_parent: spec.cgroup_parent.get().cloned(),
        pid_mode: spec.pid_mode.get().cloned().unwrap_or_default(),
        ports: spec.ports.get().cloned().unwrap_or_default(),
        cpu_set: spec.cpu_set.get().map(|set| set.0.clone()),
        shm_bytes: spec.shm_size.get().map(|size| size.0),
        dns: spec.dns.get().cloned().unwrap_or_default(),
    }
}

fn management(spec: &Spec) -> NodeManagement {
    NodeManagement {
        ipv4: spec.mgmt_ipv4.0.get().copied(),
        ipv6: spec.mgmt_ipv6.0.get().copied(),
        aliases: spec.aliases.0.get().cloned().unwrap_or_default(),
    }
}

fn config(part: &Part<'_>, cx: &mut Cx<'_>) -> Config {
    let Part { name, spec, at } = part;
    let startup = at_span(spec.startup_config.get(), spec.startup_config.span());
    let license = at_span(spec.license.get(), spec.license.span());
    Config {
        startup: startup.and_then(|found| document(found, name, &at.key("startup-config"), cx)),
        enforce_startup: spec.enforce_startup_config.get().copied().unwrap_or_default(),
        suppress_startup: spec.suppress_startup_config.get().copied().unwrap_or_default(),
        license: license.and_then(|found| document(found, name, &at.key("license"), cx)),
        credentials: spec.credentials.credentials(),
        certificate: spec.certificate.certificate(),
        vars: spec.config.vars(),
        components: spec.components.get().cloned().unwrap_or_default(),
        extras: extras(part, cx),
    }
}

fn extras(part: &Part<'_>, cx: &mut Cx<'_>) -> Extras {
    let found = at_span(part.spec.extras.get(), part.spec.extras.span());
    let Some(At { value: extras, span }) = found else { return Extras::default() };
    let at = part.at.key("extras");
    let mut files = |field: &str, texts: &[String]| -> Vec<String> {
        let at = at.key(field);
        let mut paths = Vec::new();
        for text in texts {
            if is_url(text) {
                paths.push(text.clone());
            } else if let Some(full) =
                filled(text, span, part, cx).and_then(|text| path::resolve_at(&text, span, &at, cx))
            {
                exists(&full, At { value: text, span }, &at, cx);
                paths.push(full);
            }
        }
        paths
    };
    let srl_agents = files("srl-agents", &extras.srl_agents);
    let ceos_copy_to_flash = files("ceos-copy-to-flash", &extras.ceos_copy_to_flash);
    let mut k8s_kind = extras.k8s_kind.clone();
    if let Some(kubeconfig) = k8s_kind.as_mut().and_then(|deploy| deploy.kubeconfig.as_mut())
        && let Some(text) = filled(kubeconfig, span, part, cx)
        && let Some(full) = path::resolve_at(&text, span, &at, cx)
    {
        *kubeconfig = full;
    }
    Extras { srl_agents, mysocket_proxy: extras.mysocket_proxy.clone(), ceos_copy_to_flash, k8s_kind }
}

/// The stages, as far as the nodes that are waited for have names that can be; whether they are there is asked later.
fn stages(part: &Part<'_>, cx: &mut Cx<'_>) -> Stages {
    let mut stages = Stages::new();
    for (stage, spec) in &part.spec.stages.stages {
        let mut rule = StageRule::default();
        for wait in &spec.wait_for {
            let Ok(node) = wait.value.node.parse() else { continue };
            let wait = WaitFor { node, stage: wait.value.stage };
            if !rule.wait_for.contains(&wait) {
                rule.wait_for.push(wait);
            }
        }
        for At { value, span } in &spec.exec {
            let command = words(&value.command, *span, part, cx);
            rule.exec.push(StageExec { command, target: value.target, phase: value.phase });
        }
        if rule != StageRule::default() {
            stages.insert(*stage, rule);
        }
    }
    stages
}
