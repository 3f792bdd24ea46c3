//! What is said of mistakes that other readers of the format accept in silence, put badly, or end over.

use super::*;

#[test]
fn addresses_files_and_counts() {
    let text = r#"
name: t
topology:
  defaults: { kind: linux, image: x }
  nodes:
    a:
      env-files: [./missing.env]
      memory: 1GGB
      restart-policy: on-failre
      image-pull-policy: sometimes
      link-apply-mode: hot
      privileged: maybe
      startup-config: ./missing.cfg
    b:
      env-files: [./broken.env, ./secret.env]
      ports: [80:80/icmp, "70000:80"]
      cap-add: [NET_ADMN]
      volumes: ["./data:/data"]
      devices: [kvm]
      cpu-set: 3-1
      dns: { servers: [dns.example] }
      healthcheck: { test: "curl localhost" }
      certificate: { validity-duration: 365d }
      components: [{ type: cpm-1 }]
  links:
    - endpoints: ["a:eth1", "b:eth1"]
      ipv4: [10.0.0.1/24, 10.0.0.2/24, 10.0.0.3/24]
"#;
    insta::assert_snapshot!(said(text), @r#"
    lab.clab.yml:7:19: error[missing-file]: this file of variables does not exist
       |
     7 |       env-files: [./missing.env]
       |                   ^^^^^^^^^^^^^
       = at: topology.nodes.a.env-files
       = help: `./missing.env` is `/labs/missing.env`; paths are relative to the topology file

    lab.clab.yml:8:15: error[invalid-value]: `1GGB` is not an amount of memory
       |
     8 |       memory: 1GGB
       |               ^^^^
       = at: topology.nodes.a.memory
       = help: write for example `512MB`, `1G` or `256MiB` (1 KB is 1000 bytes, 1 KiB 1024)

    lab.clab.yml:9:23: warning[invalid-value]: `restart-policy` cannot be `on-failre`
       |
     9 |       restart-policy: on-failre
       |                       ^^^^^^^^^ taken as if it were not there
       = at: topology.nodes.a.restart-policy
       = help: did you mean `on-failure`?

    lab.clab.yml:10:26: warning[invalid-value]: `image-pull-policy` cannot be `sometimes`
        |
     10 |       image-pull-policy: sometimes
        |                          ^^^^^^^^^ taken as if it were not there
        = at: topology.nodes.a.image-pull-policy
        = help: possible: `IfNotPresent`, `Always` or `Never`

    lab.clab.yml:11:24: error[invalid-value]: `link-apply-mode` cannot be `hot`
        |
     11 |       link-apply-mode: hot
        |                        ^^^
        = at: topology.nodes.a.link-apply-mode
        = help: possible: `live`, `restart` or `recreate`

    lab.clab.yml:12:19: error[invalid-value]: `privileged` cannot be `maybe`
        |
     12 |       privileged: maybe
        |                   ^^^^^
        = at: topology.nodes.a.privileged
        = help: possible: `true` or `false`

    lab.clab.yml:13:23: error[missing-file]: the file of `startup-config` does not exist
        |
     13 |       startup-config: ./missing.cfg
        |                       ^^^^^^^^^^^^^
        = at: topology.nodes.a.startup-config
        = help: `./missing.cfg` is `/labs/missing.cfg`; paths are relative to the topology file

    lab.clab.yml:13:23: warning[ignored-field]: kind `linux` has no place for a `startup-config`
        |
     13 |       startup-config: ./missing.cfg
        |                       ^^^^^^^^^^^^^ is not put into the container
        = at: topology.nodes.a.startup-config
        = help: put it where it is read with `binds`, or name the place in a file of the kind

    lab.clab.yml:15:19: error[invalid-value]: line 1 of `/labs/broken.env` is not `NAME=value`: `two words`
        |
     15 |       env-files: [./broken.env, ./secret.env]
        |                   ^^^^^^^^^^^^
        = at: topology.nodes.b.env-files

    lab.clab.yml:15:33: error[missing-file]: `/labs/secret.env` cannot be read: permission denied
        |
     15 |       env-files: [./broken.env, ./secret.env]
        |                                 ^^^^^^^^^^^^
        = at: topology.nodes.b.env-files

    lab.clab.yml:16:15: error[invalid-value]: port `80:80/icmp` has the protocol `icmp`; possible are `tcp`, `udp` and `sctp`
        |
     16 |       ports: [80:80/icmp, "70000:80"]
        |               ^^^^^^^^^^
        = at: topology.nodes.b.ports[0]
        = help: write `host:node`, for example `8080:80`, `127.0.0.1:8080:80/tcp` or `8000-8005:80-85/udp`

    lab.clab.yml:16:27: error[invalid-value]: port `70000:80` has the port `70000`; a port is 1 to 65535
        |
     16 |       ports: [80:80/icmp, "70000:80"]
        |                           ^^^^^^^^^^
        = at: topology.nodes.b.ports[1]
        = help: write `host:node`, for example `8080:80`, `127.0.0.1:8080:80/tcp` or `8000-8005:80-85/udp`

    lab.clab.yml:17:17: error[invalid-value]: there is no capability `NET_ADMN`
        |
     17 |       cap-add: [NET_ADMN]
        |                 ^^^^^^^^
        = at: topology.nodes.b.cap-add[0]
        = help: did you mean `NET_ADMIN`?

    lab.clab.yml:18:17: error[invalid-value]: `./data` is a path of the host, not the name of a volume
        |
     18 |       volumes: ["./data:/data"]
        |                 ^^^^^^^^^^^^^^
        = at: topology.nodes.b.volumes[0]
        = help: files and directories of the host belong under `binds`

    lab.clab.yml:19:17: error[invalid-value]: `kvm` is not a device
        |
     19 |       devices: [kvm]
        |                 ^^^
        = at: topology.nodes.b.devices[0]
        = help: write for example `/dev/kvm`, `/dev/sda:/dev/xvda:rwm` or a CDI name such as `vendor.com/gpu=0`

    lab.clab.yml:20:16: error[invalid-value]: `3-1` is not a set of processors
        |
     20 |       cpu-set: 3-1
        |                ^^^
        = at: topology.nodes.b.cpu-set
        = help: write numbers and ranges, such as `0-3,6`

    lab.clab.yml:21:24: error[invalid-value]: `dns.example` is not an address
        |
     21 |       dns: { servers: [dns.example] }
        |                        ^^^^^^^^^^^
        = at: topology.nodes.b.dns.servers[0]
        = help: write an address without a prefix length, such as `9.9.9.9`

    lab.clab.yml:22:28: error[wrong-type]: `test` must be a list, and this is a text
        |
     22 |       healthcheck: { test: "curl localhost" }
        |                            ^^^^^^^^^^^^^^^^
        = at: topology.nodes.b.healthcheck.test
        = help: write one entry per line, each after `- `, or put them in `[` and `]`

    lab.clab.yml:23:41: error[invalid-value]: duration `365d` is not a number with a unit, such as `24h`, `90m` or `1h30m`
        |
     23 |       certificate: { validity-duration: 365d }
        |                                         ^^^^
        = at: topology.nodes.b.certificate.validity-duration
        = help: write for example `24h`, `90m` or `1h30m`

    lab.clab.yml:27:13: error[invalid-value]: here are 3 addresses, and the link takes 2
        |
     27 |       ipv4: [10.0.0.1/24, 10.0.0.2/24, 10.0.0.3/24]
        |             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        = at: topology.links[0].ipv4
        = help: one address per end, in their order; `""` for an end without

    lab.clab.yml: 17 errors, 3 warnings
    "#);
}

#[test]
fn what_others_end_over_is_a_mistake_with_a_place() {
    for (text, code, path) in [
        (file("{ a: }", "[{ type: host, host-interface: x }]"), Code::Missing, "topology.links[0].endpoint"),
        (file("{ a: }", "[{ type: macvlan, host-interface: x }]"), Code::Missing, "topology.links[0].endpoint"),
        (file("{ a: }", "[{ type: mgmt-net, host-interface: x }]"), Code::Missing, "topology.links[0].endpoint"),
        (file("{ a: }", "[{ type: dummy }]"), Code::Missing, "topology.links[0].endpoint"),
        (
            file("{ a: }", "[{ type: veth, endpoints: [{ node: a, interface: eth1 }] }]"),
            Code::EndpointCount,
            "topology.links[0].endpoints",
        ),
        ("name: t\ntopology:\n".to_owned(), Code::Missing, "topology.nodes"),
        (
            "name: t\ntopology: { defaults: , kinds: , groups: , nodes: , links: }\n".to_owned(),
            Code::Missing,
            "topology.nodes",
        ),
    ] {
        let (found, at, what) = only(&text);
        assert_eq!((found, at.as_str()), (code, path), "{text}: {what}");
    }
    assert_eq!(diagnostics("name: t\ntopology: { defaults: , nodes: { a: { kind: linux, image: x } } }"), []);
    assert_eq!(
        diagnostics("name: t\nmgmt:\nsettings:\ndebug:\ntopology: { nodes: { a: { kind: linux, image: x } } }"),
        []
    );
}

#[test]
fn podman_runs_on_docker_and_is_said() {
    let text = "name: t\ntopology: { nodes: { a: { kind: linux, image: x, runtime: podman } } }";
    insta::assert_snapshot!(said(text), @r#"
    lab.clab.yml:2:59: warning[ignored-field]: there is no runtime `podman`; taken as `docker`
       |
     2 | topology: { nodes: { a: { kind: linux, image: x, runtime: podman } } }
       |                                                           ^^^^^^
       = at: topology.nodes.a.runtime
       = help: write `runtime: docker`, or leave it out: an image runs on docker

    lab.clab.yml: 1 warning
    "#);
    assert_eq!(node(&lab(text), "a").runtime, Some(crate::RuntimeKind::Docker));
}

#[test]
fn scalars_of_new_fields_keep_their_text() {
    let text = "
name: t
topology:
  nodes:
    0xA: &one
      kind: LINUX
      image: 1.10
      type: 1.10
      position: no
      ports: [22:22, 80]
      tmpfs: { /a: , /b: 007 }
      auto-remove: On
      privileged: NO
      credentials: { username: 0123, password: 1e3 }
      security-opts: [no]
      cpu-set: 0
      config: { vars: { a: 1.10, b: '1.10', c: no, d: 22:22, e: , f: 2026-11-26 } }
    TWO:
      <<: *one
      type: ~
";
    for text in [text.to_owned(), text.replace('\n', "\r\n"), format!("\u{feff}{text}")] {
        let lab = lab(&text);
        let one = node(&lab, "0xA");
        assert_eq!((one.variant.as_deref(), one.position.as_deref()), (Some("1.10"), Some("no")));
        assert_eq!(one.container.ports.iter().map(ToString::to_string).collect::<Vec<_>>(), ["22:22", "80"]);
        assert_eq!(one.container.tmpfs.values().collect::<Vec<_>>(), ["", "007"]);
        assert!(one.container.auto_remove && one.container.privilege == crate::Privilege::Confined);
        assert_eq!(one.config.credentials.username.as_deref(), Some("0123"));
        assert_eq!(one.config.credentials.password.as_deref(), Some("1e3"));
        assert_eq!(one.container.security_options, ["no"]);
        assert_eq!(one.container.cpu_set.as_deref(), Some("0"));
        let vars = serde_json::json!({
            "a": 1.1, "b": "1.10", "c": false, "d": "22:22", "e": null, "f": "2026-11-26",
        });
        assert_eq!(serde_json::json!(one.config.vars), vars);
        let two = node(&lab, "TWO");
        assert_eq!((&two.variant, two.container.auto_remove), (&None, true));
    }
}
