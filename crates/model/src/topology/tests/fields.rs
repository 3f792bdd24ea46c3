//! Every field of the format: what it becomes, and where its value comes from.

use serde_json::json;

use super::*;
use crate::lab::{
    CertificateAuthority, CgroupNamespace, Document, ExecPhase, ExecTarget, Family, LinkApplyMode, NetworkMode,
    PidMode, Privilege, PullPolicy, RestartPolicy, Stage, VolumeContent,
};

pub(super) const FULL: &str = include_str!("full.clab.yml");

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_with_every_field_is_read_without_an_error() {
    let said: Vec<(Code, String)> = diagnostics(FULL).into_iter().map(|found| (found.code, found.path)).collect();
    let expected = [
        (Code::IgnoredField, "settings.certificate-authority"),
        (Code::IgnoredField, "topology.nodes.all.license"),
        (Code::IgnoredField, "topology.nodes.all.certificate"),
        (Code::IgnoredField, "topology.nodes.old.startup-config"),
        (Code::IgnoredField, "topology.nodes.peer.startup-config"),
        (Code::OldName, "topology.links[8].udp-port"),
    ];
    assert_eq!(said, expected.map(|(code, path)| (code, path.to_owned())));
}

#[test]
fn fields_of_containers_are_merged_each_by_its_rule() {
    let lab = lab(FULL);
    let all = &node(&lab, "all").container;
    assert_eq!(all.pull_policy, PullPolicy::Never);
    assert!(all.auto_remove);
    let ports = ["127.0.0.1:8080:80", "5353:53/udp", "22:22", "[::1]:8000-8005:9000-9005", "443"];
    assert_eq!(texts(&all.ports), ports);
    assert_eq!(json!(all.tmpfs), json!({ "/scratch": "size=32m", "/far": "" }));
    let [data, own] = all.volumes.as_slice() else { panic!("{:?}", all.volumes) };
    assert_eq!((data.name.as_deref(), data.target.as_str()), (Some("all-data"), "/data"));
    assert_eq!(data.content, VolumeContent::Empty);
    assert_eq!((&own.name, own.target.as_str()), (&None, "/own"));
    assert_eq!(all.devices, ["/dev/net/tun", "/dev/kvm:/dev/kvm:rw", "vendor.com/gpu=0"]);
    assert_eq!(all.capabilities, ["NET_ADMIN", "SYS_ADMIN"]);
    assert_eq!(all.security_options, ["seccomp=unconfined", "apparmor=unconfined"]);
    assert_eq!(all.privilege, Privilege::Confined);
    assert_eq!(all.cgroup_namespace, Some(CgroupNamespace::Private));
    assert_eq!(all.cgroup_parent.as_deref(), Some("labs.slice"));
    assert_eq!(all.pid_mode, PidMode::Container("db".to_owned()));
    assert_eq!(all.cpu_set.as_deref(), Some("0-3,6"));
    assert_eq!(all.shm_bytes, Some(256_000_000));
    assert_eq!(texts(&all.dns.servers), ["9.9.9.9", "2001:db8::53"]);
    assert_eq!((all.dns.search.concat(), all.dns.options.concat()), ("lab.example".into(), "rotate".into()));
    assert_eq!(node(&lab, "all").network_mode, NetworkMode::Container("db".to_owned()));

    let db = &node(&lab, "db").container;
    assert_eq!(texts(&db.ports), ["9000:9000"]);
    assert_eq!(db.volumes[0].name.as_deref(), Some("far"));
    assert_eq!((db.privilege, db.pull_policy), (Privilege::Full, PullPolicy::IfNotPresent));
    let peer = node(&lab, "peer");
    assert_eq!((&peer.network_mode, &peer.container.pid_mode), (&NetworkMode::Host, &PidMode::Host));
    assert_eq!(node(&lab, "quiet").container.pull_policy, PullPolicy::Always);
    assert_eq!(node(&lab, "quiet").restart_policy, RestartPolicy::OnFailure);
}

#[test]
fn variables_of_files_stand_under_those_of_the_node() {
    let lab = lab(FULL);
    assert_eq!(json!(node(&lab, "db").env), json!({ "REGION": "eu", "TARGET": "10.0.0.1" }));
    assert_eq!(json!(node(&lab, "all").env), json!({ "REGION": "eu", "TARGET": "near", "NEW": "{" }));
}

#[test]
fn what_a_device_is_configured_with_is_kept() {
    let lab = lab(FULL);
    let node_all = node(&lab, "all");
    assert_eq!((node_all.variant.as_deref(), node_all.position.as_deref()), (Some("ixr-d3l"), Some("left")));
    assert_eq!(node_all.link_apply_mode, Some(LinkApplyMode::Restart));
    let all = &node_all.config;
    let text = "set / system name host-name __clabNodeName__\n$1\n";
    assert_eq!(all.startup, Some(Document::Text(text.to_owned())));
    assert_eq!(all.license, Some(Document::Path("/labs/r1.lic".to_owned())));
    assert!(all.enforce_startup && all.suppress_startup);
    // Name and password come together from the closest level that has either; the key on its own.
    assert_eq!((&all.credentials.username, all.credentials.password.as_deref()), (&None, Some("near")));
    assert_eq!(all.credentials.identity_file.as_deref(), Some("/home/ada/keys"));
    let certificate = &all.certificate;
    assert_eq!((certificate.issue, certificate.key_size), (Some(true), Some(2048)));
    assert_eq!(certificate.validity.unwrap().to_string(), "24h");
    assert_eq!(certificate.sans, ["far.example"]);
    let vars = json!({ "area": 1, "ratio": 1.5, "name": "7", "far": [1, { "deep": true }] });
    assert_eq!(json!(all.vars), vars);
    let components = json!([
        { "slot": "A", "type": "cpm-1", "env": { "X": "1" }, "sfm": "sfm-s" },
        { "slot": "1", "xiom": [{ "slot": "1", "type": "x", "mda": [{ "slot": "1", "type": "m" }] }],
          "mda": [{ "slot": "2" }] },
    ]);
    assert_eq!(json!(all.components), components);
    let extras = json!({
        "srl_agents": ["/labs/agent.yml", "https://example.net/agent.yml"],
        "mysocket_proxy": "http://proxy:8080",
        "ceos_copy_to_flash": ["/labs/r1.cfg"],
        "k8s_kind": { "kubeconfig": "/labs/kube", "wait": "5m" },
    });
    assert_eq!(json!(all.extras), extras);

    let old = &node(&lab, "old").config;
    let login = (old.credentials.username.as_deref(), old.credentials.password.as_deref());
    assert_eq!(login, (Some("admin"), Some("secret")));
    assert_eq!(old.startup, Some(Document::Path("/labs/r1.cfg".to_owned())));
    assert_eq!(node(&lab, "peer").config.startup, Some(Document::Url("s3://bucket/peer.cfg".to_owned())));
}

#[test]
fn stages_are_appended_and_keep_their_defaults() {
    let lab = lab(FULL);
    let stages = &node(&lab, "all").stages;
    let waits: Vec<(&str, Stage)> =
        stages[&Stage::Create].wait_for.iter().map(|wait| (wait.node.as_str(), wait.stage)).collect();
    assert_eq!(waits, [("db", Stage::Configure), ("old", Stage::CreateLinks)]);
    let [far, near] = stages[&Stage::Configure].exec.as_slice() else { panic!() };
    assert_eq!(
        (far.command.concat().as_str(), far.target, far.phase),
        ("echofar", ExecTarget::Container, ExecPhase::OnEnter)
    );
    assert_eq!(near.command, ["echo", "all near"]);
    assert_eq!((near.target, near.phase), (ExecTarget::Host, ExecPhase::OnExit));
    assert_eq!(stages.keys().copied().collect::<Vec<_>>(), [Stage::Create, Stage::Configure, Stage::Exit]);
    let check = node(&lab, "all").healthcheck.clone().unwrap();
    assert_eq!(check.test, ["CMD-SHELL", "test -e /tmp/ready"]);
    let numbers = (check.interval, check.timeout, check.retries, check.start_period);
    assert_eq!(numbers, (Some(2), Some(1), Some(10), Some(1)));
}

#[test]
fn placeholders_stand_for_the_lab_and_the_node() {
    let lab = lab(FULL);
    assert_eq!(node(&lab, "all").exec, [["ls", "/labs/clab-full/all"], ["echo", "full"]]);
    let text = file("{ a: { binds: ['__clabDir__/x:/x', '__clabNodeDir__:/__clabNodeName__'] } }", "[]");
    let found = diagnostics(&text);
    assert!(found.iter().all(|found| (found.code, found.severity) == (Code::BindSource, Severity::Warning)));
    let written = file("{ a: { binds: ['__clabDir__/topology-data.json:/x'] } }", "[]");
    assert_eq!(diagnostics(&written), [], "each deploy writes it");
    let lab = super::lab(&text);
    let binds: Vec<(&str, &str)> =
        node(&lab, "a").binds.iter().map(|bind| (bind.source.as_str(), bind.target.as_str())).collect();
    assert_eq!(binds, [("/labs/clab-t/a", "/a"), ("/labs/clab-t/x", "/x")]);
}

#[test]
fn a_configuration_may_be_made_in_the_directory_of_the_lab() {
    let text = "
name: t
topology:
  nodes:
    a: { kind: linux, image: x, startup-config: '__clabDir__/__clabNodeName__.cfg' }
";
    let found = diagnostics(text);
    assert_eq!((found[0].code, found[0].severity), (Code::MissingFile, Severity::Warning));
    let startup = node(&lab(text), "a").config.startup.clone();
    assert_eq!(startup, Some(Document::Path("/labs/clab-t/a.cfg".to_owned())));
}

#[test]
fn a_node_alone_has_no_lab_for_placeholders() {
    let host = Paths(BTreeSet::new());
    let read = |text: &str| {
        let input = Input {
            text: text.as_bytes(),
            directory: Path::new("/labs"),
            source: None,
            host: &host,
            kinds: Kinds::builtin(),
            templates: Templates::default(),
        };
        crate::topology::read_node(&input, &"a".parse().unwrap())
    };
    let found = read("{ kind: linux, runtime: namespace, exec: ['ls __clabDir__'] }");
    assert_eq!((found.node.is_none(), found.diagnostics[0].code), (true, Code::Unsupported));
    let found = read("{ kind: linux, runtime: namespace, exec: ['echo __clabNodeName__'] }");
    assert_eq!(found.node.unwrap().exec, [["echo", "a"]]);
}

#[test]
fn the_management_network_and_the_settings_are_kept() {
    let lab = lab(FULL);
    let management = json!({
        "network": "oob", "bridge": "br-oob",
        "ipv4": { "subnet": { "net": "10.77.0.0/24", "gateway": "10.77.0.1", "range": "10.77.0.128/25" } },
        "ipv6": { "subnet": { "net": "3fff:77::/64", "gateway": "3fff:77::1", "range": "3fff:77::8000/113" } },
        "mtu": 1400, "external_access": false, "skip_when_unused": true,
        "driver_options": { "com.docker.network.bridge.gateway_mode_ipv4": "nat" },
    });
    assert_eq!(json!(lab.management()), management);
    let Some(CertificateAuthority::Made { key_size, validity }) = &lab.settings().certificate_authority else {
        panic!()
    };
    assert_eq!((*key_size, validity.unwrap().to_string()), (Some(4096), "720h".to_owned()));
    assert_eq!(
        json!(node(&lab, "all").management),
        json!({
            "ipv4": "10.77.0.10", "ipv6": "3fff:77::10", "aliases": ["probe.lab.example"],
        })
    );
    let none = super::lab(&file("{ a: }", "[]"));
    assert_eq!(none.management().network, "clab");
    assert_eq!(none.management().ipv4, Family::of("172.20.20.0/24".parse().unwrap()));
    assert_eq!(none.management().ipv6, Family::of("3fff:172:20:20::/64".parse().unwrap()));
}

#[test]
fn labs_that_use_none_of_it_are_on_the_wire_as_before() {
    let lab = lab(&file("{ a: , b: }", "[{ endpoints: ['a:eth1', 'b:eth1'] }]"));
    let wire = json!(lab);
    assert_eq!(wire.as_object().unwrap().keys().collect::<Vec<_>>(), ["links", "name", "nodes", "prefix", "source"]);
    let node = &wire["nodes"]["a"];
    assert_eq!(
        *node,
        json!({
            "kind": "linux", "runtime": "namespace", "hostname": "a", "startup_delay": 0, "restart_policy": "always",
            "network_mode": "default",
        })
    );
    assert_eq!(wire["links"][0].as_object().unwrap().keys().collect::<Vec<_>>(), ["a", "b", "mtu"]);
}

#[test]
fn what_a_namespace_node_cannot_do_is_said_once_for_each_place() {
    let text = "
name: t
topology:
  defaults: { kind: linux, runtime: namespace, ports: [80:80], privileged: true, auto-remove: no }
  nodes:
    a: { mgmt-ipv4: 172.20.20.5, cap-add: [NET_RAW] }
    b: { startup-config: ./r1.cfg, network-mode: host }
    c: { stages: { configure: { exec: [{ command: ls }] } } }
";
    insta::assert_snapshot!(said(text), @r#"
    lab.clab.yml:4:55: warning[ignored-field]: `ports` of node `a` needs `runtime: docker`
       |
     4 |   defaults: { kind: linux, runtime: namespace, ports: [80:80], privileged: true, auto-remove: no }
       |                                                       ^^^^^^^ has no effect with `runtime: namespace`
       = at: topology.nodes.a.ports

    lab.clab.yml:6:21: warning[ignored-field]: `mgmt-ipv4` of node `a` needs the management network: `runtime: docker`
       |
     6 |     a: { mgmt-ipv4: 172.20.20.5, cap-add: [NET_RAW] }
       |                     ^^^^^^^^^^^ has no effect with `runtime: namespace`
       = at: topology.nodes.a.mgmt-ipv4

    lab.clab.yml:6:44: warning[ignored-field]: `cap-add` of node `a` needs `runtime: docker`
       |
     6 |     a: { mgmt-ipv4: 172.20.20.5, cap-add: [NET_RAW] }
       |                                            ^^^^^^^ has no effect with `runtime: namespace`
       = at: topology.nodes.a.cap-add

    lab.clab.yml:7:26: warning[ignored-field]: `startup-config` of node `b` needs a device that reads it, in an image with `runtime: docker`
       |
     7 |     b: { startup-config: ./r1.cfg, network-mode: host }
       |                          ^^^^^^^^ has no effect with `runtime: namespace`
       = at: topology.nodes.b.startup-config

    lab.clab.yml:7:50: warning[ignored-field]: `network-mode` of node `b` needs `runtime: docker`; it has a network namespace of its own
       |
     7 |     b: { startup-config: ./r1.cfg, network-mode: host }
       |                                                  ^^^^ has no effect with `runtime: namespace`
       = at: topology.nodes.b.network-mode

    lab.clab.yml: 5 warnings
    "#);
}

#[test]
fn files_that_do_not_come_into_a_container_are_said() {
    let text = "
name: t
topology:
  defaults: { image: x, startup-config: ./r1.cfg }
  nodes:
    a: { kind: linux, certificate: { issue: true } }
    b: { kind: linux, certificate: { issue: false } }
    c: { kind: linux, suppress-startup-config: true }
    d: { kind: ceos }
    e: { kind: ceos, license: ./r1.lic }
";
    insta::assert_snapshot!(said(text), @"
    lab.clab.yml:4:41: warning[ignored-field]: kind `linux` has no place for a `startup-config`
       |
     4 |   defaults: { image: x, startup-config: ./r1.cfg }
       |                                         ^^^^^^^^ is not put into the container
       = at: topology.nodes.a.startup-config
       = help: put it where it is read with `binds`, or name the place in a file of the kind

    lab.clab.yml:6:36: warning[ignored-field]: certificates are not issued yet
       |
     6 |     a: { kind: linux, certificate: { issue: true } }
       |                                    ^^^^^^^^^^^^^^^ the node gets none
       = at: topology.nodes.a.certificate
       = help: make one yourself and put it where it is read with `binds`

    lab.clab.yml:10:31: warning[ignored-field]: kind `arista_ceos` has no place for a `license`
        |
     10 |     e: { kind: ceos, license: ./r1.lic }
        |                               ^^^^^^^^ is not put into the container
        = at: topology.nodes.e.license
        = help: put it where it is read with `binds`, or name the place in a file of the kind

    lab.clab.yml: 3 warnings
    ");
}

#[test]
fn what_only_nodes_can_have_is_said_elsewhere() {
    let text = "name: t\ntopology:\n  defaults: { kind: linux, image: x, aliases: [b] }\n  nodes: { a: }\n";
    assert_eq!(only(text).0, Code::NoEffect);
    assert_eq!(node(&lab(text), "a").management.aliases, Vec::<String>::new());
}
