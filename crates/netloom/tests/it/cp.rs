//! Files from nodes, to nodes and between them.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::Signal;

use crate::lab::pair;
use crate::sandbox::{Ended, NETLOOM, Sandbox, signal};

/// A host with the lab `x` of the nodes `a` and `b`.
fn host() -> Option<Sandbox> {
    let host = Sandbox::with_agent()?;
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    Some(host)
}

impl Sandbox {
    fn here(&self, path: &str) -> PathBuf {
        self.labs.path().join(path)
    }

    fn write(&self, path: &str, text: &str) -> String {
        let path = self.here(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn cp(&self, from: &str, to: &str) -> Ended {
        // A path here is below the test's own directory.
        let place = |path: &str| {
            if path.contains(':') || path == "-" {
                path.to_owned()
            } else {
                format!("{}/{path}", self.labs.path().display())
            }
        };
        self.netloom(&["cp", &place(from), &place(to)])
    }

    /// The output of a script in a node.
    fn inside(&self, node: &str, script: &str) -> String {
        self.netloom(&["exec", node, "--", "sh", "-c", script]).code(0).out
    }

    /// Waits until nothing copies in any node, and nothing half done is left in `a`.
    fn nothing_copies(&self) {
        self.until("the copying has ended", |host| !host.sh("ps -eo args").out.contains("netloom-init copy"));
        assert_eq!(self.inside("x/a", "find /tmp /var/tmp -name '.netloom-*'"), "");
    }

    fn copies(&self) {
        self.until("it is copied", |host| host.sh("ps -eo args").out.contains("netloom-init copy"));
    }
}

#[test]
fn files_go_both_ways_as_with_cp() {
    let Some(host) = host() else { return };
    let file = host.write("f", "content");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o751)).unwrap();
    chown(&file, Some(1234), Some(2345)).unwrap();
    host.cp("f", "x/a:/tmp").code(0);
    host.cp("f", "x/a:tmp/g").code(0);
    host.cp("f", "x/a:/tmp/g").code(0);
    assert_eq!(host.inside("x/a", "cat /tmp/f; stat -c ' %a %u %g' /tmp/f"), "content 751 0 0\n");
    assert_eq!(host.inside("x/a", "cat /tmp/g"), "content");
    host.netloom(&["cp", "-a", &file, "x/a:/tmp/kept"]).code(0);
    assert_eq!(host.inside("x/a", "stat -c '%a %u %g' /tmp/kept"), "751 1234 2345\n");

    host.cp("x/a:/tmp/kept", "back").code(0);
    let back = fs::metadata(host.here("back")).unwrap();
    assert_eq!((back.mode() & 0o7777, back.uid(), back.gid()), (0o751, 0, 0));
    assert_eq!(back.mtime(), fs::metadata(&file).unwrap().mtime());
    host.netloom(&["cp", "-a", "x/a:/tmp/kept", host.here("back").to_str().unwrap()]).code(0);
    assert_eq!(fs::metadata(host.here("back")).unwrap().uid(), 1234);

    host.write("d/sub/one", "1");
    symlink("sub/one", host.here("d/link")).unwrap();
    symlink("/nowhere", host.here("d/dangling")).unwrap();
    host.cp("d", "x/a:/tmp/new").code(0);
    host.cp("d", "x/a:/tmp/new").code(0);
    host.cp("d/.", "x/a:/tmp/content/").code(0);
    let tree = "dangling\nlink\nsub\nsub/one\n";
    for copy in ["/tmp/new/d", "/tmp/content"] {
        assert_eq!(host.inside("x/a", &format!("cd {copy} && find . | sort | sed -n 's/^..//p'")), tree);
    }
    assert_eq!(host.inside("x/a", "readlink /tmp/content/link /tmp/content/dangling"), "sub/one\n/nowhere\n");
    host.cp("x/a:/tmp/content/link", "link").code(0);
    assert!(host.here("link").is_symlink());
    host.netloom(&["cp", "-L", "x/a:/tmp/content/link", host.here("followed").to_str().unwrap()]).code(0);
    assert_eq!(fs::read_to_string(host.here("followed")).unwrap(), "1");
    host.cp("x/a:/tmp/new/.", "all").code(0);
    assert_eq!(fs::read_link(host.here("all/d/link")).unwrap().to_str(), Some("sub/one"));
    host.cp("x/a:/proc/net/dev", "dev").code(0);
    assert!(fs::read_to_string(host.here("dev")).unwrap().contains("eth1"));

    host.cp("x/a:/tmp/new", "x/b:/tmp").code(0);
    assert_eq!(host.inside("x/b", "cat /tmp/new/d/sub/one"), "1");
    host.nothing_copies();
}

#[test]
fn a_file_that_is_mounted_by_itself_keeps_its_place() {
    let Some(host) = Sandbox::with_agent() else { return };
    let bound = host.write("bound", "before");
    let node = format!("    c: {{ binds: ['{bound}:/etc/bound', '{bound}:/etc/fixed:ro'] }}\n");
    let file = host.topology("x", &pair("x", &node));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let after = host.write("f", "after");
    fs::set_permissions(after, fs::Permissions::from_mode(0o750)).unwrap();
    host.cp("f", "x/c:/etc/bound").code(0);
    assert_eq!(host.inside("x/c", "stat -c %a /etc/bound"), "750\n");
    assert_eq!(host.inside("x/c", "cat /etc/bound; grep -c ' /etc/bound ' /proc/self/mounts"), "after1\n");
    assert_eq!(fs::read_to_string(bound).unwrap(), "after");
    host.cp("f", "x/c:/etc/fixed").code(1).says("/etc/fixed: read-only file system");
    // One that has no room for it keeps what it has.
    let small =
        "mount -t tmpfs -o size=1m none /mnt && echo before >/mnt/f && touch /etc/f && mount --bind /mnt/f /etc/f";
    host.inside("x/c", small);
    host.write("big", &"0123456789".repeat(800_000));
    host.cp("big", "x/c:/etc/f").code(1).says("/etc/f: no space left on device");
    assert_eq!(host.inside("x/c", "cat /etc/f"), "before\n");
    assert_eq!(host.inside("x/c", "ls -A /etc | grep netloom || true"), "");
}

#[test]
fn an_archive_passes_through_standard_input_and_output() {
    let Some(host) = host() else { return };
    host.write("d/one", "1");
    let root = host.labs.path().display().to_string();
    let script = format!(
        "cd {root} && tar c d | {NETLOOM} cp - x/a:/tmp && \
         {NETLOOM} cp x/a:/tmp/d - | tar t && {NETLOOM} cp x/a:/tmp/d - | {NETLOOM} cp - x/b:/tmp"
    );
    assert_eq!(host.sh(&script).code(0).out.lines().collect::<Vec<_>>(), ["d/", "d/one"]);
    assert_eq!(host.inside("x/b", "cat /tmp/d/one"), "1");
    let cut = format!("cd {root} && tar c d | head -c 700 | {NETLOOM} cp - x/a:/var/tmp");
    host.sh(&cut).code(1).says("copy files to node a (namespace): the archive ends too early");
    host.sh(&format!("seq 1000 | {NETLOOM} cp - x/a:/tmp")).code(1).says("the archive: ");
    host.sh(&format!("cd {root} && tar c d | {NETLOOM} cp - x/a:/tmp/d/one")).code(2).says("not a directory");
    // A reader that goes ends it.
    let gone = format!("{NETLOOM} cp x/a:/usr/share - | head -c 10 | wc -c");
    assert_eq!(host.sh(&gone).code(0).out.trim(), "10");
    host.nothing_copies();
}

#[test]
fn what_does_not_fit_is_refused_and_touches_nothing() {
    let Some(host) = host() else { return };
    host.write("f", "");
    host.write("d/f", "");
    let refused = |from: &str, to: &str, why: &str| drop(host.cp(from, to).code(2).says(why));
    refused("x/a:/missing", "new", "x/a:/missing: no such file or directory");
    refused("missing", "x/a:/tmp", "missing: no such file or directory");
    refused("f", "x/a:/missing/f", "x/a:/missing/f: its directory /missing: no such file or directory");
    refused("f", "x/a:/tmp/f/", "x/a:/tmp/f/: no such directory");
    refused("d", "x/a:/etc/passwd", "a directory cannot replace");
    refused("x/a:/etc/passwd", "missing/f", "no such file or directory");
    refused("x/a:/etc", "f", "a directory cannot replace");
    refused("x/a:/dev/null", "new", "x/a:/dev/null: a device cannot be copied");
    refused("x/a:/missing", "x/b:/tmp", "x/a:/missing");
    refused("x/a:/etc/passwd", "x/b:/missing/f", "x/b:/missing/f");
    refused("f", "d", "neither");
    refused("f", "x/a:", "x/a:PATH");
    refused("f", "x/c:/tmp", "no node `c`");
    refused("f", "y/a:/tmp", "no lab `y`");
    assert!(!host.here("new").exists());
    assert_eq!(host.inside("x/a", "ls /tmp"), "");

    let file = host.topology("z", &pair("z", "    gone: { cmd: 'true', restart-policy: 'no' }\n"));
    host.netloom(&["deploy", "-t", &file]);
    host.until("it has exited", |host| host.netloom(&["inspect", "--name", "z"]).out.contains("exited"));
    refused("f", "z/gone:/tmp", "node `gone` of lab `z` is exited");
    refused("z/gone:/etc", "new", "this needs a running node");
    host.nothing_copies();
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_copied() {
    let Some(host) = host() else { return };
    host.write("d/f", "1");
    symlink("/proc/self/mem", host.here("d/mem")).unwrap();
    let awkward = "d/mem: input/output error";
    let to_node = host.netloom(&["cp", "-L", host.here("d").to_str().unwrap(), "x/a:/tmp"]);
    to_node.code(1).says(awkward);
    assert_eq!(host.inside("x/a", "ls /tmp/d; ln -s /proc/self/mem /tmp/d/mem"), "f\n");
    host.netloom(&["cp", "-L", "x/a:/tmp/d", host.here("e").to_str().unwrap()]).code(1).says(awkward);
    assert_eq!(fs::read_to_string(host.here("e/f")).unwrap(), "1");
    host.netloom(&["cp", "-L", "x/a:/tmp/d", "x/b:/tmp"]).code(1).says(awkward);
    assert_eq!(host.inside("x/b", "ls /tmp/d"), "f\n");
    let archive = host.sh(&format!("{NETLOOM} cp -L x/a:/tmp/d - | tar t")).says(awkward);
    assert_eq!(archive.out, "d/\nd/f\n");
    host.cp("x/a:/sys/class/net/eth1/mtu", "mtu").code(0);
    assert!(fs::read_to_string(host.here("mtu")).unwrap().trim().parse::<u32>().is_ok());
}

#[test]
fn a_full_disk_is_said_and_nothing_half_done_is_left() {
    let Some(host) = host() else { return };
    host.inside("x/a", "mount -t tmpfs -o size=1m,nr_inodes=100 none /mnt && echo before >/mnt/there");
    host.write("big", &"0123456789".repeat(800_000));
    host.write("d/big", &"0123456789".repeat(800_000));
    let full = "no space left on device";
    host.cp("big", "x/a:/mnt").code(1).says(&format!("/mnt/big: {full}"));
    host.cp("big", "x/a:/mnt/there").code(1).says(full);
    host.cp("d", "x/a:/mnt/d").code(1).says(&format!("/mnt/d/big: {full}"));
    assert_eq!(host.inside("x/a", "cd /mnt && find . -mindepth 1 && cat there"), "./there\nbefore\n");

    // On this side; the agent and the node are left in peace.
    host.sh("mkdir -p $NETLOOM_ROOT/small && mount -t tmpfs -o size=1m none $NETLOOM_ROOT/small").code(0);
    host.cp("big", "x/a:/var/tmp/big").code(0);
    host.sh(&format!("{NETLOOM} cp x/a:/var/tmp/big $NETLOOM_ROOT/small")).code(1).says(full);
    assert_eq!(host.sh("ls -A $NETLOOM_ROOT/small").out, "");
    host.nothing_copies();
}

#[test]
fn a_large_file_costs_the_agent_no_memory() {
    let Some(host) = host() else { return };
    let agent = host.agent();
    let peak = || {
        let status = host.sh(&format!("grep VmHWM /proc/{agent}/status")).out;
        status.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    host.sh(&format!("head -c 200000000 /dev/urandom >{}/big", host.labs.path().display())).code(0);
    // The first one warms it up.
    host.write("small", "");
    host.cp("small", "x/a:/var/tmp").code(0);
    host.sh(&format!("echo 5 >/proc/{agent}/clear_refs")).code(0);
    let before = peak();
    host.cp("big", "x/a:/var/tmp").code(0);
    host.cp("x/a:/var/tmp/big", "back").code(0);
    let grown = peak() - before;
    assert!(grown < 8 * 1024, "{grown} KiB");
    host.sh(&format!("cd {} && cmp big back", host.labs.path().display())).code(0);
}

#[test]
fn a_copy_that_is_broken_off_leaves_nothing() {
    let Some(host) = host() else { return };
    host.write("d/f", &"text".repeat(10_000));
    let archive = host.sh(&format!("cd {} && tar c d", host.labs.path().display())).code(0).out;
    // Half an archive has gone in, and no more comes.
    let copying = || {
        let mut command = host.command(NETLOOM);
        command.args(["cp", "-", "x/a:/tmp"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut copying = command.spawn().unwrap();
        let mut stdin = copying.stdin.take().unwrap();
        stdin.write_all(&archive.as_bytes()[..20_000]).unwrap();
        host.copies();
        (copying, stdin)
    };
    let (mut killed, _stdin) = copying();
    signal(&killed, Signal::KILL);
    killed.wait().unwrap();
    host.nothing_copies();

    let (ended, _stdin) = copying();
    signal(&ended, Signal::INT);
    let ended = ended.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(4), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    host.nothing_copies();

    let (mut orphan, _stdin) = copying();
    let agent = host.agent();
    host.sh(&format!("kill -KILL {agent}")).code(0);
    let mut said = String::new();
    orphan.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(orphan.wait().unwrap().code(), Some(3), "{said}");
    host.netloom(&["agent", "--background"]).code(0);
    host.until("the node is seen", |host| host.netloom(&["exec", "x/a", "true"]).code == 0);
    host.nothing_copies();

    // The other way: nobody takes what comes.
    host.inside("x/a", "head -c 3000000 /dev/zero >/var/tmp/big");
    let mut killed = host.start(&["cp", "x/a:/var/tmp/big", "-"]);
    host.copies();
    signal(&killed, Signal::KILL);
    killed.wait().unwrap();
    host.nothing_copies();

    // The node goes while files go into it.
    let (gone, _stdin) = copying();
    host.netloom(&["destroy", "--name", "x"]).code(0);
    let gone = gone.wait_with_output().unwrap();
    assert_eq!(gone.status.code(), Some(1), "{}", String::from_utf8_lossy(&gone.stderr));
}
