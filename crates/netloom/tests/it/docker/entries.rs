//! What a host knows of labs of containers: its names and how one logs in to them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::host::{DockerHost, IMAGE};
use crate::lab::node;
use crate::sandbox::NETLOOM;

fn lab(name: &str) -> String {
    format!(
        "name: {name}\ntopology:\n  defaults: {{ kind: linux, image: \"{IMAGE}\" }}\n  nodes:\n    a: {{ credentials: {{ username: admin }} }}\n    b:\n"
    )
}

#[test]
fn containers_are_found_by_name_from_their_host_as_long_as_they_are_wanted() {
    let Some(host) = DockerHost::with_agent() else { return };
    let etc = host.root.path().join("etc");
    let (hosts, ssh) = (etc.join("hosts"), etc.join("ssh/ssh_config.d"));
    fs::create_dir_all(&ssh).unwrap();
    let theirs = "127.0.0.1 localhost\n# the last line has no end";
    fs::write(&hosts, theirs).unwrap();
    let before = host.all_traces();
    let text = || fs::read_to_string(&hosts).unwrap();

    let [x, y] = ["x", "y"].map(|name| host.topology(name, &lab(name)));
    host.netloom(&["deploy", "-t", &x, "--dry-run"]).code(0).says("write entries for /etc/hosts and ssh");
    assert_eq!(text(), theirs);
    host.netloom(&["deploy", "-t", &x]).code(0);
    let address = node(&host.lab("x"), "a")["management"]["ipv4"].as_str().unwrap().to_owned();
    let address = address.split('/').next().unwrap();
    assert!(text().contains(&format!("\n{address}\tclab-x-a\n")), "{}", text());
    host.sh(&format!("ping -c 1 -W 5 {address}")).code(0);
    let part = fs::read_to_string(ssh.join("clab-x.conf")).unwrap();
    assert!(part.contains(&format!("Host clab-x-a\n\tHostName {address}\n\tUser admin\n")), "{part}");

    // In a container the file is a mount, which nothing can take the place of.
    host.sh(&format!("mount --bind {0} {0}", hosts.display())).code(0);
    let inode = fs::metadata(&hosts).unwrap().ino();
    host.netloom(&["deploy", "-t", &y]).code(0);
    assert!(text().contains("clab-x-b\n") && text().contains("clab-y-b\n"), "{}", text());
    assert_eq!(fs::metadata(&hosts).unwrap().ino(), inode);

    // An agent that is started finds what is missing, also when the last one was killed.
    let both = text();
    fs::write(&hosts, theirs).unwrap();
    fs::remove_file(ssh.join("clab-y.conf")).unwrap();
    // All processes that are seen are those of the sandbox.
    let kill = "for one in /proc/[0-9]*; do [ $(readlink $one/exe) != NETLOOM ] || kill -9 ${one#/proc/}; done";
    host.sh(&kill.replace("NETLOOM", NETLOOM)).code(0);
    host.netloom(&["agent", "--background"]).code(0);
    host.wait("the host is told again", |_| text() == both && ssh.join("clab-y.conf").exists());
    host.wait("all is seen", |host| host.netloom(&["deploy", "-t", &y]).out.contains("nothing to change"));

    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert!(!text().contains("clab-x-") && text().contains("clab-y-a\n"), "{}", text());
    host.netloom(&["destroy", "--name", "y"]).code(0);
    assert_eq!(text(), theirs);
    host.sh(&format!("umount {}", hosts.display())).code(0);
    before.are_all(&host);
}

#[test]
fn a_file_that_cannot_be_written_is_said_once_and_fails_no_lab() {
    let Some(host) = DockerHost::with_agent() else { return };
    let hosts = host.root.path().join("etc/hosts");
    fs::create_dir_all(&hosts).unwrap();
    let x = host.topology("x", &lab("x"));
    for _ in 0..2 {
        host.netloom(&["deploy", "-t", &x]).code(0).says("2 of 2 nodes running");
        host.netloom(&["destroy", "--name", "x"]).code(0);
    }
    let log = host.log();
    assert_eq!(log.lines().filter(|line| line.contains("no regular file")).count(), 1, "{log}");
}
