//! Disks that run full in the middle of what is written to them, and directories that cannot be written at all.

use crate::bad_days::ring;
use crate::lab::pair;
use crate::sandbox::{NETLOOM, Sandbox};

/// A small file system in memory where the agent keeps something.
fn mount(host: &Sandbox, at: &str, options: &str) {
    host.sh(&format!("mkdir -p $NETLOOM_ROOT/{at} && mount -t tmpfs -o {options} none $NETLOOM_ROOT/{at}")).code(0);
}

fn grow(host: &Sandbox, at: &str, options: &str) {
    host.sh(&format!("mount -o remount,{options} $NETLOOM_ROOT/{at}")).code(0);
}

/// Of 80 nodes some have room and the others do not.
fn runs_full_in_the_middle(at: &str, options: &str, more: &str) {
    let Some(host) = Sandbox::new() else { return };
    mount(&host, at, options);
    host.netloom(&["agent", "--background"]).code(0);
    let file = host.topology("big", &ring("big", 80));
    for goes_on in [false, true] {
        host.netloom(&["deploy", "-t", &file]).code(1).says("no space left");
        let lab = host.lab("big");
        let ready = lab["nodes"].as_array().unwrap().iter().filter(|node| node["ready"] == true).count();
        assert!((1..80).contains(&ready), "{at}: {ready} of them are there");
        assert_eq!(host.answers("/livez"), 200);
        if goes_on {
            grow(&host, at, more);
            host.netloom(&["deploy", "-t", &file]);
            // One whose init found no room for its root has failed until somebody starts it again.
            for node in host.lab("big")["nodes"].as_array().unwrap() {
                if node["state"]["phase"] == "failed" {
                    host.netloom(&["node", "restart", &format!("big/{}", node["name"].as_str().unwrap())]).code(0);
                }
            }
            host.until("the rest is made", |host| host.netloom(&["inspect"]).out.contains("big  ready  80/80  80/80"));
            host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
        }
        host.netloom(&["destroy", "--name", "big"]).code(0);
        assert_eq!(host.sh(&format!("find $NETLOOM_ROOT/{at} -path '*big*'")).out, "");
    }
}

#[test]
fn a_run_directory_that_runs_full_in_the_middle_of_a_deploy_loses_nothing() {
    runs_full_in_the_middle("run/netloom", "nr_inodes=400", "nr_inodes=4000");
}

#[test]
fn layers_that_run_full_in_the_middle_of_a_deploy_lose_nothing() {
    runs_full_in_the_middle("var/lib/netloom/layers", "nr_inodes=150", "nr_inodes=4000");
}

#[test]
fn a_state_file_that_finds_no_room_to_grow_loses_nothing() {
    let Some(host) = Sandbox::new() else { return };
    mount(&host, "var/lib/netloom", "size=4m");
    mount(&host, "var/lib/netloom/layers", "size=8m");
    host.netloom(&["agent", "--background"]).code(0);
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    // Each wish is larger than the one before, until one does not fit.
    let refused = (1..200).find_map(|n| {
        let nodes = format!("    c: {{ labels: {{ text: {} }} }}\n", "x".repeat(100_000 * n));
        let ended = host.netloom(&["deploy", "-t", &host.topology("x", &pair("x", &nodes))]);
        (ended.code != 0).then_some(ended)
    });
    let refused = refused.unwrap();
    assert!(refused.err.contains("nothing was changed"), "{}", refused.err);
    let labels = |host: &Sandbox| host.netloom(&["export", "x"]).code(0).out.len();
    let kept = labels(&host);
    assert_eq!(host.answers("/livez"), 200);
    grow(&host, "var/lib/netloom", "size=64m");
    host.until("the store works", |host| host.answers("/readyz") == 200);
    host.kill_agent();
    host.netloom(&["agent", "--background"]).code(0);
    host.until("all is seen", |host| host.netloom(&["inspect"]).out.contains("x    ready"));
    assert_eq!(labels(&host), kept, "what was accepted is there, what was refused is not");
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.netloom(&["destroy", "--all"]).code(0);
}

#[test]
fn an_agent_whose_log_and_token_find_no_room_says_so_or_goes_on() {
    let Some(host) = Sandbox::new() else { return };
    mount(&host, "var/lib/netloom", "size=8m");
    let fill = || host.sh("cat /dev/zero > $NETLOOM_ROOT/var/lib/netloom/filler; true").code(0);
    let empty = || host.sh("rm $NETLOOM_ROOT/var/lib/netloom/filler").code(0);
    fill();
    let why = "/var/lib/netloom/token cannot be made: No space left on device";
    host.netloom(&["agent", "--background"]).code(1).says(why);
    host.netloom(&["agent"]).code(1).says(why);
    empty();
    host.netloom(&["agent", "--background"]).code(0);
    let token = host.sh("cat $NETLOOM_ROOT/var/lib/netloom/token").code(0).out;
    assert!(token.trim().len() >= 32, "half a token: {token:?}");

    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let size = || host.sh("stat -c %s $NETLOOM_ROOT/var/lib/netloom/agent.log").code(0).out;
    fill();
    let before = size();
    host.netloom(&["exec", "x/a", "--", "ping", "-c", "1", "-W", "5", "b"]).code(0);
    host.netloom(&["destroy", "--all"]);
    assert_eq!(host.answers("/livez"), 200);
    empty();
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.netloom(&["agent", "stop"]).code(0);
    assert_ne!(size(), before, "it is written to again");
}

#[test]
fn an_agent_that_is_killed_while_its_disk_is_full_starts_again_and_says_so() {
    let Some(host) = Sandbox::new() else { return };
    let state = "var/lib/netloom";
    mount(&host, state, "size=8m,nr_inodes=200");
    host.netloom(&["agent", "--background"]).code(0);
    host.netloom(&["deploy", "-t", &host.topology("x", &pair("x", ""))]).code(0);
    // Not for an empty file either.
    let fill = "cd $NETLOOM_ROOT/STATE && mkdir full; dd if=/dev/zero of=full/data bs=4k; n=0; while : >full/$n; do n=$((n+1)); done";
    host.sh(&format!("({}) 2>/dev/null; true", fill.replace("STATE", state)));
    host.kill_agent();
    host.netloom(&["agent", "--background"]).code(0);
    assert_eq!(host.answers("/livez"), 200);
    host.until("the lab is seen", |host| host.netloom(&["inspect"]).out.contains("x    ready  2/2"));
    host.netloom(&["exec", "x/a", "--", "ping", "-c", "1", "-W", "5", "b"]).code(0);
    let large = format!("    c: {{ labels: {{ text: {} }} }}\n", "x".repeat(1 << 20));
    let refused = host.netloom(&["deploy", "-t", &host.topology("y", &pair("y", &large))]).code(1);
    refused.says("nothing was changed").says("os error 28");
    host.sh(&format!("rm -r $NETLOOM_ROOT/{state}/full")).code(0);
    host.netloom(&["deploy", "-t", &host.topology("y", &pair("y", ""))]).code(0);
    host.netloom(&["destroy", "--all"]).code(0);
}

#[test]
fn directories_that_cannot_be_written_are_said() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    // The agent has nothing open there for long but its socket and its lock.
    let run = "$NETLOOM_ROOT/run/netloom";
    host.sh(&format!("mount --rbind {run} {run} && mount -o remount,bind,ro {run}")).code(0);
    let edits: [&[&str]; 2] = [&["node", "add", "x/c"], &["node", "restart", "x/a"]];
    for edit in edits {
        host.netloom(edit).code(1).says("read-only file system");
    }
    // These write nothing there.
    host.netloom(&["link", "add", "x", "a:p", "b:p"]);
    host.netloom(&["cp", "/etc/hostname", "x/b:/tmp"]).code(0);
    host.sh(&format!("umount -l {run}")).code(0);
    host.netloom(&["node", "restart", "x/a"]).code(0);
    host.netloom(&["node", "start", "x/c"]).code(0);
    host.netloom(&["inspect"]).says("x    ready  3/3");
    host.netloom(&["destroy", "--all"]).code(0);
}

#[test]
fn who_may_not_speak_to_the_agent_is_told_what_to_do() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.sh("chmod 755 $NETLOOM_ROOT").code(0);
    let words = [
        "cp /etc/hostname x/a:/tmp",
        "cp x/a:/etc/hostname /tmp/hostname",
        "link add x a:p b:p",
        "adopt x",
        "adopt --all",
    ];
    for words in words {
        let ended = host.sh(&format!("setpriv --reuid 65534 --regid 65534 --clear-groups {NETLOOM} {words}"));
        ended.code(3).says("is not open to you; run this as root (sudo)");
    }
    assert_eq!(host.lab("x")["links"].as_array().unwrap().len(), 1);
    host.netloom(&["destroy", "--all"]).code(0);
}
