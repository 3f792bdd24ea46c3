//! Hosts that cannot do what is asked: no space, a kernel without a feature, a runtime that is not there.

use crate::sandbox::{NETLOOM, Sandbox};

fn lab(name: &str, nodes: &str, links: &str) -> String {
    format!("name: {name}\ntopology:\n  defaults: {{ kind: linux }}\n  nodes:\n{nodes}  links:\n{links}")
}

#[test]
fn with_no_space_left_a_deploy_says_so_and_a_destroy_still_works() {
    let Some(host) = Sandbox::new() else { return };
    // As small as the agent's own state allows, so that the rest is filled in a moment.
    host.sh("mkdir -p $NETLOOM_ROOT/var/lib && mount -t tmpfs -o size=8m none $NETLOOM_ROOT/var/lib").code(0);
    host.netloom(&["agent", "--background"]).code(0);
    let two = "    a: { runtime: namespace }\n    b: { runtime: namespace }\n";
    let link = "    - endpoints: [\"a:eth1\", \"b:eth1\"]\n";
    let file = host.topology("x", &lab("x", two, link));
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.sh("dd if=/dev/zero of=$NETLOOM_ROOT/var/lib/netloom/filler bs=4k 2>/dev/null; true").code(0);

    let many: Vec<String> = (0..40).map(|n| format!("    n{n}: {{ runtime: namespace }}\n")).collect();
    let other = host.topology("y", &lab("y", &many.concat(), "    []\n"));
    let refused = host.netloom(&["deploy", "-t", &other]);
    assert_ne!(refused.code, 0, "{}", refused.err);
    assert!(refused.err.to_lowercase().contains("no space left"), "{}", refused.err);

    host.netloom(&["destroy", "--name", "x"]);
    host.sh("test ! -e $NETLOOM_ROOT/run/netloom/nodes/x && test ! -e $NETLOOM_ROOT/run/netloom/netns/x").code(0);
    host.netloom(&["destroy", "--name", "y"]);
    host.sh("rm $NETLOOM_ROOT/var/lib/netloom/filler").code(0);
    host.until("nothing of the labs is left", |host| host.netloom(&["destroy", "--all"]).code == 0);
    host.sh("ls $NETLOOM_ROOT/run/netloom/nodes $NETLOOM_ROOT/run/netloom/netns | grep -c '^[xy]$'; true").says("0");
    host.netloom(&["agent", "stop"]).code(0);
    host.sh("umount $NETLOOM_ROOT/var/lib").code(0);
}

#[test]
fn an_image_without_a_daemon_is_refused_with_a_way_out() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let file = host.topology("x", &lab("x", "    a: { image: \"alpine:3\" }\n", "    []\n"));
    host.netloom(&["deploy", "-t", &file]).code(2).says("Docker daemon").says("systemctl start docker");
    before.are_all(&host);
}

#[test]
fn a_dummy_is_made_or_refused_with_the_reason_and_goes_without_a_trace() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let link = "    - { type: dummy, endpoint: { node: a, interface: lo9 } }\n";
    let file = host.topology("x", &lab("x", "    a: { runtime: namespace }\n", link));
    let deployed = host.netloom(&["deploy", "-t", &file]);
    assert!(deployed.code == 0 || deployed.err.contains("dummy"), "{}", deployed.err);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

#[test]
fn a_kernel_without_overlay_is_said_before_anything_is_touched() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let hide = "grep -v overlay /proc/filesystems > $NETLOOM_ROOT/filesystems; \
                mount --bind $NETLOOM_ROOT/filesystems /proc/filesystems; \
                if [ -d /lib/modules ]; then mount -t tmpfs none /lib/modules; fi";
    host.sh(hide).code(0);
    let file = host.topology("x", &lab("x", "    a: { runtime: namespace }\n", "    []\n"));
    host.netloom(&["deploy", "-t", &file]).code(2).says("overlay").says("CONFIG_OVERLAY_FS");
    host.sh("umount /proc/filesystems; umount /lib/modules 2>/dev/null; rm $NETLOOM_ROOT/filesystems").code(0);
    before.are_all(&host);
}

#[test]
fn a_name_that_is_too_long_for_the_kernel_is_kept_as_an_altname() {
    let Some(host) = Sandbox::with_agent() else { return };
    let two = "    a: { runtime: namespace }\n    b: { runtime: namespace }\n";
    let link = "    - endpoints: [\"a:uplink-to-the-core-router\", \"b:eth1\"]\n";
    let file = host.topology("x", &lab("x", two, link));
    host.netloom(&["deploy", "-t", &file]).code(0).says("uplink-to-the-core-router");
    let show = ["exec", "--name", "x", "--node", "a", "--", "ip", "link", "show", "dev", "uplink-to-the-core-router"];
    host.netloom(&show).code(0).says("altname uplink-to-the-core-router");
}

#[test]
fn what_the_agent_has_too_few_descriptors_for_is_refused_before_anything_is_touched() {
    let Some(host) = Sandbox::new() else { return };
    host.sh(&format!("ulimit -n 64; exec {NETLOOM} agent --background")).code(0);
    let before = host.traces();
    let nodes =
        |count| (0..count).map(|n| format!("    n{n}: {{ runtime: namespace }}\n")).collect::<Vec<_>>().concat();
    // With what the agent has open itself, halfway between what it may have and what is to be written.
    let many = host.topology("x", &lab("x", &nodes(40), "    []\n"));
    let hint = "LimitNOFILE=128";
    host.netloom(&["deploy", "-t", &many, "--dry-run"]).code(2).says("create node n0").says("RLIMIT_NOFILE").says(hint);
    host.netloom(&["deploy", "-t", &many]).code(2).says("this host allows 64 descriptors of the agent").says(hint);
    let json = host.netloom(&["deploy", "-t", &many, "--dry-run", "--json"]).json();
    assert_eq!(json["shortages"][0]["limit"], "descriptors");
    assert_eq!(json["shortages"][0]["severity"], "refused");
    // No sysctl ends this one.
    host.netloom(&["deploy", "-t", &many, "--raise-limits"]).code(2).says(hint);
    before.are_all(&host);
    let few = host.topology("x", &lab("x", &nodes(2), "    []\n"));
    host.netloom(&["deploy", "-t", &few]).code(0);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

#[test]
fn the_agent_takes_the_descriptors_it_may_have_and_nodes_have_the_usual_ones() {
    let Some(host) = Sandbox::new() else { return };
    host.sh(&format!("ulimit -Sn 200; ulimit -Hn 2000; exec {NETLOOM} agent --background")).code(0);
    let pid = host.agent();
    let limits = host.sh(&format!("grep 'Max open files' /proc/{pid}/limits")).code(0).out;
    assert_eq!(limits.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["2000", "2000"], "{limits}");
    let file = host.topology("x", &lab("x", "    a: { runtime: namespace }\n", "    []\n"));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let inside = ["exec", "--name", "x", "--node", "a", "--", "sh", "-c", "echo $(ulimit -Sn) $(ulimit -Hn)"];
    host.netloom(&inside).code(0).says("1024 2000");
    host.netloom(&["destroy", "--name", "x"]).code(0);
}
