//! The fields of a node.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::{flow, join, list, map, map_of, quoted, some, some_list, some_map};
use crate::kind::Shape;
use crate::lab::{
    Access, Bind, CgroupNamespace, Config, Container, Document, ExecPhase, ExecTarget, Healthcheck, LinkApplyMode,
    NetworkMode, Node, PidMode, Privilege, PullPolicy, RestartPolicy, RuntimeKind, Stage, StageRule, Stages, Volume,
    VolumeContent,
};
use crate::name::NodeName;

pub(super) fn fields(name: &NodeName, node: &Node, directory: Option<&Path>) -> Vec<(&'static str, String)> {
    let mut fields = vec![("kind", node.kind.to_string())];
    let mut put = |field, value: Option<String>| fields.extend(value.map(|value| (field, value)));
    let words = |words: &[String]| (!words.is_empty()).then(|| quoted(&join(words)));
    let text = |text: &Option<String>| text.as_deref().map(quoted);
    // What runs nothing of ours says so by its kind.
    let own = node.runtime.filter(|_| node.kind.shape() == Shape::Runs);
    put(
        "runtime",
        own.map(|runtime| {
            let word = match runtime {
                RuntimeKind::Namespace => "namespace",
                RuntimeKind::Docker => "docker",
                RuntimeKind::Libvirt => "libvirt",
            };
            word.to_owned()
        }),
    );
    put("image", text(&node.image));
    put("group", text(&node.group));
    put("type", text(&node.variant));
    put("position", text(&node.position));
    put("labels", map(&node.labels));
    put("exec", list(node.exec.iter().map(|words| join(words))));
    let network = match &node.network_mode {
        NetworkMode::Default => None,
        NetworkMode::None => Some("none".to_owned()),
        NetworkMode::Host => Some("host".to_owned()),
        NetworkMode::Container(other) => Some(quoted(&format!("container:{other}"))),
    };
    put("network-mode", network);
    if own.is_none() {
        return fields;
    }
    put("entrypoint", words(&node.entrypoint));
    put("cmd", words(&node.cmd));
    put("env", map(&node.env));
    put("binds", list(node.binds.iter().map(|bind| bind_text(bind, directory))));
    put("hostname", (node.hostname != name.as_str()).then(|| quoted(&node.hostname)));
    put("user", text(&node.user));
    put("sysctls", map(&node.sysctls));
    put("cpu", node.cpu_millis.map(|millis| format!("{}.{:03}", millis / 1000, millis % 1000)));
    put("memory", node.memory_bytes.map(|bytes| bytes.to_string()));
    put("startup-delay", (node.startup_delay > 0).then(|| node.startup_delay.to_string()));
    let policy = match node.restart_policy {
        RestartPolicy::Always => None,
        RestartPolicy::No => Some("\"no\""),
        RestartPolicy::OnFailure => Some("on-failure"),
        RestartPolicy::UnlessStopped => Some("unless-stopped"),
    };
    put("restart-policy", policy.map(str::to_owned));
    for (field, value) in container(&node.container) {
        put(field, value.as_ref().map(flow));
    }
    let management = &node.management;
    put("mgmt-ipv4", management.ipv4.map(|address| address.to_string()));
    put("mgmt-ipv6", management.ipv6.map(|address| quoted(&address.to_string())));
    put("aliases", list(management.aliases.iter().cloned()));
    for (field, value) in config(&node.config) {
        put(field, value.as_ref().map(flow));
    }
    put("stages", stages(&node.stages).as_ref().map(flow));
    put("healthcheck", node.healthcheck.as_ref().map(healthcheck).as_ref().map(flow));
    let mode = node.link_apply_mode.map(|mode| match mode {
        LinkApplyMode::Live => "live",
        LinkApplyMode::Restart => "restart",
        LinkApplyMode::Recreate => "recreate",
    });
    put("link-apply-mode", mode.map(str::to_owned));
    fields
}

fn container(container: &Container) -> [(&'static str, Option<Json>); 15] {
    let policy = match container.pull_policy {
        PullPolicy::IfNotPresent => None,
        PullPolicy::Always => Some("always"),
        PullPolicy::Never => Some("never"),
    };
    let cgroups = container.cgroup_namespace.map(|namespace| match namespace {
        CgroupNamespace::Host => "host",
        CgroupNamespace::Private => "private",
    });
    let pid = match &container.pid_mode {
        PidMode::Own => None,
        PidMode::Host => Some("host".to_owned()),
        PidMode::Container(other) => Some(format!("container:{other}")),
    };
    let dns = &container.dns;
    let dns = map_of([
        ("servers", some_list(&dns.servers)),
        ("search", some_list(&dns.search)),
        ("options", some_list(&dns.options)),
    ]);
    [
        ("image-pull-policy", policy.map(|policy| json!(policy))),
        ("auto-remove", container.auto_remove.then_some(json!(true))),
        ("volumes", some_list(&container.volumes.iter().map(volume).collect::<Vec<_>>())),
        ("tmpfs", some_map(&container.tmpfs)),
        ("devices", some_list(&container.devices)),
        ("cap-add", some_list(&container.capabilities)),
        ("security-opts", some_list(&container.security_options)),
        ("privileged", (container.privilege == Privilege::Confined).then_some(json!(false))),
        ("cgroupns-mode", cgroups.map(|mode| json!(mode))),
        ("cgroup-parent", some(container.cgroup_parent.as_ref())),
        ("pid-mode", pid.map(|mode| json!(mode))),
        ("ports", some_list(&container.ports)),
        ("cpu-set", some(container.cpu_set.as_ref())),
        ("shm-size", container.shm_bytes.map(|bytes| json!(bytes))),
        ("dns", Some(dns).filter(|dns| dns.as_object().is_some_and(|fields| !fields.is_empty()))),
    ]
}

fn volume(volume: &Volume) -> String {
    let Volume { name, target, access, content } = volume;
    let mut options: Vec<&str> = Vec::new();
    if *access == Access::ReadOnly {
        options.push("ro");
    }
    if *content == VolumeContent::Empty {
        options.push("nocopy");
    }
    match name {
        None => target.clone(),
        Some(name) if options.is_empty() => format!("{name}:{target}"),
        Some(name) => format!("{name}:{target}:{}", options.join(",")),
    }
}

fn config(config: &Config) -> [(&'static str, Option<Json>); 9] {
    let document = |document: &Document| match document {
        Document::Path(text) | Document::Url(text) | Document::Text(text) => json!(text),
    };
    let credentials = &config.credentials;
    let credentials = map_of([
        ("username", some(credentials.username.as_ref())),
        ("password", some(credentials.password.as_ref())),
        ("identity-file", some(credentials.identity_file.as_ref())),
    ]);
    let certificate = &config.certificate;
    let certificate = map_of([
        ("issue", certificate.issue.map(|issue| json!(issue))),
        ("key-size", certificate.key_size.map(|size| json!(size))),
        ("validity-duration", some(certificate.validity.as_ref())),
        ("sans", some_list(&certificate.sans)),
    ]);
    let extras = &config.extras;
    let k8s = extras.k8s_kind.as_ref().map(|deploy| {
        let deploy = [("kubeconfig", some(deploy.kubeconfig.as_ref())), ("wait", some(deploy.wait.as_ref()))];
        json!({ "deploy": map_of(deploy) })
    });
    let extras = map_of([
        ("srl-agents", some_list(&extras.srl_agents)),
        ("mysocket-proxy", some(extras.mysocket_proxy.as_ref())),
        ("ceos-copy-to-flash", some_list(&extras.ceos_copy_to_flash)),
        ("k8s_kind", k8s),
    ]);
    let filled = |map: Json| Some(map).filter(|map| map.as_object().is_some_and(|fields| !fields.is_empty()));
    [
        ("startup-config", config.startup.as_ref().map(document)),
        ("enforce-startup-config", config.enforce_startup.then_some(json!(true))),
        ("suppress-startup-config", config.suppress_startup.then_some(json!(true))),
        ("license", config.license.as_ref().map(document)),
        ("credentials", filled(credentials)),
        ("certificate", filled(certificate)),
        ("config", (!config.vars.is_empty()).then(|| json!({ "vars": config.vars }))),
        ("components", (!config.components.is_empty()).then(|| json!(config.components))),
        ("extras", filled(extras)),
    ]
}

fn stages(stages: &Stages) -> Option<Json> {
    let rule = |(stage, rule): (&Stage, &StageRule)| {
        let waits = rule.wait_for.iter().map(|wait| json!({ "node": wait.node, "stage": wait.stage.as_str() }));
        let execs = rule.exec.iter().map(|exec| {
            let target = (exec.target == ExecTarget::Host).then(|| json!("host"));
            let phase = (exec.phase == ExecPhase::OnExit).then(|| json!("on-exit"));
            map_of([("command", Some(json!(join(&exec.command)))), ("target", target), ("phase", phase)])
        });
        let rule = map_of([
            ("wait-for", (!rule.wait_for.is_empty()).then(|| waits.collect())),
            ("exec", (!rule.exec.is_empty()).then(|| execs.collect())),
        ]);
        (stage.as_str().to_owned(), rule)
    };
    (!stages.is_empty()).then(|| Json::Object(stages.iter().map(rule).collect()))
}

fn healthcheck(check: &Healthcheck) -> Json {
    let number = |number: Option<u32>| number.map(|number| json!(number));
    map_of([
        ("test", some_list(&check.test)),
        ("interval", number(check.interval)),
        ("timeout", number(check.timeout)),
        ("retries", number(check.retries)),
        ("start-period", number(check.start_period)),
    ])
}

fn bind_text(bind: &Bind, directory: Option<&Path>) -> String {
    let below = directory.and_then(|directory| Path::new(&bind.source).strip_prefix(directory).ok());
    let source = match below.and_then(Path::to_str) {
        Some("") => ".".to_owned(),
        // Neither the home directory nor a placeholder is meant.
        Some(below) => format!("./{below}"),
        None => bind.source.clone(),
    };
    let access = if bind.access == Access::ReadOnly { ":ro" } else { "" };
    format!("{source}:{}{access}", bind.target)
}
