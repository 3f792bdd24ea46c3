//! Fields of a topology, and what Docker has of them.

use std::fs;

use serde_json::{Value, json};

use super::host::{DockerHost, IMAGE};

const LAB: &str = r#"
name: x
topology:
  defaults: { kind: linux, image: IMAGE, network-mode: none }
  nodes:
    all:
      entrypoint: env
      cmd: sleep 100000
      user: nobody
      hostname: router
      env-files: [one.env, two.env]
      env: { OWN: node }
      labels: { team.name: net }
      privileged: false
      cap-add: [NET_ADMIN]
      security-opts: [no-new-privileges]
      devices: ["/dev/null:/dev/nothing:r"]
      tmpfs: { /scratch: "size=1m" }
      volumes: ["/anonymous", "__clabLabName__-data:/data:ro"]
      shm-size: 32MiB
      cpu: 0.5
      cpu-set: "0"
      memory: 64MiB
      cgroup-parent: /GROUP/deep
      cgroupns-mode: host
      restart-policy: on-failure
      sysctls: { net.ipv4.ip_forward: 1 }
      dns: { servers: [192.0.2.53], search: [lab.example], options: [rotate] }
      healthcheck: { test: [CMD-SHELL, "true"], interval: 2, timeout: 1, retries: 3, start-period: 1 }
    shared: { pid-mode: "container:all" }
    hosted: { pid-mode: host }
    brief: { auto-remove: true }
  links:
    - endpoints: ["all:eth1", "shared:eth1"]
"#;

#[test]
fn each_field_is_what_docker_says_of_the_container() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    for (file, text) in [("one.env", "FIRST=one\nOWN=file\n"), ("two.env", "# a comment\nSECOND=\"two words\"\n")] {
        fs::write(host.labs.path().join(file), text).unwrap();
    }
    let group = host.daemon.group();
    let file = host.topology("x", &LAB.replace("IMAGE", IMAGE).replace("GROUP", group));
    host.netloom(&["deploy", "-t", &file]).code(0).says("4 of 4 nodes running");

    let all = |node: &str| -> Value {
        serde_json::from_str(&host.docker(&format!("inspect -f '{{{{json .}}}}' clab-x-{node}"))).unwrap()
    };
    let said = all("all");
    let is = [
        ("/Config/Entrypoint", json!(["env"])),
        ("/Config/Cmd", json!(["sleep", "100000"])),
        ("/Config/User", json!("nobody")),
        ("/Config/Hostname", json!("router")),
        ("/Config/Tty", json!(true)),
        ("/Config/OpenStdin", json!(true)),
        ("/Config/Healthcheck/Test", json!(["CMD-SHELL", "true"])),
        ("/Config/Healthcheck/Interval", json!(2_000_000_000_u64)),
        ("/Config/Healthcheck/Retries", json!(3)),
        ("/Config/Labels/clab-node-kind", json!("linux")),
        ("/Config/Labels/team.name", json!("net")),
        ("/HostConfig/NetworkMode", json!("none")),
        ("/HostConfig/Privileged", json!(false)),
        ("/HostConfig/CapAdd", json!(["NET_ADMIN"])),
        ("/HostConfig/SecurityOpt", json!(["no-new-privileges"])),
        ("/HostConfig/Devices/0/PathOnHost", json!("/dev/null")),
        ("/HostConfig/Devices/0/PathInContainer", json!("/dev/nothing")),
        ("/HostConfig/Devices/0/CgroupPermissions", json!("r")),
        ("/HostConfig/Tmpfs", json!({ "/scratch": "size=1m" })),
        ("/HostConfig/ShmSize", json!(32 << 20)),
        ("/HostConfig/CpuQuota", json!(50_000)),
        ("/HostConfig/CpuPeriod", json!(100_000)),
        ("/HostConfig/CpusetCpus", json!("0")),
        ("/HostConfig/Memory", json!(64 << 20)),
        ("/HostConfig/CgroupParent", json!(format!("/{group}/deep"))),
        ("/HostConfig/CgroupnsMode", json!("host")),
        ("/HostConfig/RestartPolicy/Name", json!("on-failure")),
        ("/HostConfig/Sysctls/net.ipv4.ip_forward", json!("1")),
        ("/HostConfig/Sysctls/net.ipv6.conf.all.disable_ipv6", json!("0")),
        ("/HostConfig/Dns", json!(["192.0.2.53"])),
        ("/HostConfig/DnsSearch", json!(["lab.example"])),
        ("/HostConfig/DnsOptions", json!(["rotate"])),
    ];
    for (path, wanted) in is {
        assert_eq!(said.pointer(path), Some(&wanted), "{path}");
    }
    let env = said["Config"]["Env"].as_array().unwrap();
    for wanted in [
        "FIRST=one",
        "SECOND=two words",
        "OWN=node",
        "CLAB_INTFS=1",
        "CLAB_LABEL_TEAM_NAME=net",
        "CLAB_LABEL_CLAB_NODE_NAME=all",
        "CLAB_LABEL_CONTAINERLAB=x",
    ] {
        assert!(env.contains(&json!(wanted)), "{wanted}: {env:?}");
    }
    let mounts = said["Mounts"].as_array().unwrap();
    let mount = |target: &str| mounts.iter().find(|mount| mount["Destination"] == target).unwrap();
    assert_eq!((&mount("/data")["Name"], &mount("/data")["RW"]), (&json!("x-data"), &json!(false)));
    assert_eq!(mount("/anonymous")["Type"], "volume");

    // And so it is inside.
    let inside = "id -un; test -c /dev/nothing && df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2; \
                  grep -c ' /scratch ' /proc/mounts; touch /data/x 2>/dev/null || echo read-only";
    assert_eq!(host.inside("all", inside), "nobody\n32768\n1\nread-only\n");
    assert_eq!(host.inside("shared", "tr '\\0' ' ' </proc/1/cmdline"), "sleep 100000 ");
    assert_eq!(host.inside("hosted", "readlink /proc/self/ns/pid"), host.sh("readlink /proc/self/ns/pid").out);
    assert_eq!(all("brief").pointer("/HostConfig/AutoRemove"), Some(&json!(true)));
    host.wait("it is healthy", |host| host.netloom(&["inspect", "--name", "x"]).out.contains("healthy"));

    host.netloom(&["destroy", "--name", "x"]).code(0);
    // Named volumes and the control group that the user named are the user's.
    host.docker("volume rm x-data");
    host.sh(&format!("find /sys/fs/cgroup -path '*/{group}/deep' -type d -prune -exec rmdir {{}} +"));
    before.are_all(&host);
}
