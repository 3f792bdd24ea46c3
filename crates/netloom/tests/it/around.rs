//! What people rely on around a lab: its directory, forms that other tools read, saved configurations, variables.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::{node, pair};
use crate::sandbox::{Ended, NETLOOM, Sandbox};

/// Runs the program with one more variable.
fn with(host: &Sandbox, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let mut command = host.command(NETLOOM);
    Ended::from(&command.args(arguments).envs(variables.iter().copied()).output().unwrap())
}

/// Runs the program where the topologies are.
fn here(host: &Sandbox, words: &str) -> Ended {
    host.sh(&format!("cd {} && {NETLOOM} {words}", host.labs.path().display()))
}

fn directory(host: &Sandbox, lab: &str) -> PathBuf {
    host.labs.path().join(format!("clab-{lab}"))
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

#[test]
fn a_lab_has_a_directory_beside_its_topology_until_that_is_removed_too() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", "    sw: { kind: bridge }\n"));
    let directory = directory(&host, "x");
    host.netloom(&["deploy", "-t", &file, "--dry-run"]).code(0);
    assert!(!directory.exists(), "a dry run writes nothing");
    host.netloom(&["deploy", "-t", &file]).code(0);
    assert_eq!(names(&directory), ["ansible-inventory.yml", "topology-data.json"]);

    let data: Value = serde_json::from_str(&read(directory.join("topology-data.json"))).unwrap();
    assert_eq!((&data["name"], &data["type"]), (&json!("x"), &json!("clab")));
    assert_eq!(data["nodes"].as_object().unwrap().len(), 3);
    assert_eq!(data["nodes"]["a"]["longname"], json!("clab-x-a"));
    assert_eq!(data["nodes"]["a"]["labels"]["clab-topo-file"], json!(file));
    // The link as the kernel has it.
    let lab = host.lab("x");
    let mac = |at: usize| lab["links"][0]["ends"][at]["mac"].clone();
    let ends = json!({
        "a": { "node": "a", "interface": "eth1", "mac": mac(0), "peer": "z" },
        "z": { "node": "b", "interface": "eth1", "mac": mac(1), "peer": "a" }
    });
    assert_eq!(data["links"][0]["endpoints"], ends);

    let inventory = read(directory.join("ansible-inventory.yml"));
    let hosts = "    linux:\n      hosts:\n        clab-x-a:\n          ansible_host: clab-x-a\n        clab-x-b:\n";
    assert!(inventory.contains(hosts) && !inventory.contains("sw"), "{inventory}");

    // A deploy that changes nothing repairs what is missing, and leaves alone what is right.
    let inode = || fs::metadata(directory.join("topology-data.json")).unwrap().ino();
    let before = inode();
    fs::remove_file(directory.join("ansible-inventory.yml")).unwrap();
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    assert_eq!((inode(), read(directory.join("ansible-inventory.yml"))), (before, inventory));

    fs::write(directory.join("notes"), "mine").unwrap();
    host.netloom(&["destroy", "x"]).code(0);
    assert_eq!(names(&directory), ["ansible-inventory.yml", "notes", "topology-data.json"], "kept unless asked for");
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.netloom(&["destroy", "-t", &file, "--cleanup"]).code(0).says("lab x: destroyed");
    assert_eq!(names(host.labs.path()), ["x.clab.yml"]);
    // Of a lab without a directory there is nothing to remove.
    host.netloom(&["deploy", "-t", &file]).code(0);
    fs::remove_dir_all(&directory).unwrap();
    host.netloom(&["destroy", "--all", "--cleanup"]).code(0);
}

#[test]
fn a_node_looks_at_what_is_written_of_its_own_lab() {
    let Some(host) = Sandbox::with_agent() else { return };
    let look = "    look: { binds: [\"__clabDir__/topology-data.json:/data.json:ro\"] }\n";
    let file = host.topology("x", &pair("x", look));
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 nodes running");
    let seen = |host: &Sandbox| host.netloom(&["exec", "x/look", "--", "cat", "/data.json"]).code(0).out;
    assert!(seen(&host).contains("clab-x-look"), "{}", seen(&host));
    let file = host.topology("x", &pair("x", &format!("{look}    more:\n")));
    host.netloom(&["deploy", "-t", &file]).code(0);
    assert!(seen(&host).contains("clab-x-more"), "it is the same file: {}", seen(&host));
    let file = host.topology("x", &pair("x", look));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let data: Value = serde_json::from_str(&seen(&host)).unwrap();
    assert!(data["nodes"]["more"].is_null(), "{data}");
    host.netloom(&["destroy", "-t", &file, "--cleanup"]).code(0);
    assert_eq!(names(host.labs.path()), ["x.clab.yml"]);
}

#[test]
fn the_directory_belongs_to_the_one_who_called_sudo() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    with(&host, &[("SUDO_UID", "4711"), ("SUDO_GID", "4712")], &["deploy", "-t", &file]).code(0);
    let directory = directory(&host, "x");
    for path in [&directory, &directory.join("topology-data.json"), &directory.join("ansible-inventory.yml")] {
        let there = fs::metadata(path).unwrap();
        assert_eq!((there.uid(), there.gid()), (4711, 4712), "{}", path.display());
    }
    let owner = host.netloom(&["inspect", "x", "--format", "clab-json"]).code(0).json();
    assert_eq!(owner["x"][0]["owner"], json!("4711"));
}

#[test]
fn a_directory_that_cannot_be_written_fails_no_deploy() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    let (directory, other) = (directory(&host, "x"), host.root.path().join("other"));
    fs::create_dir(&other).unwrap();
    std::os::unix::fs::symlink(&other, &directory).unwrap();
    let said = "clab-x: this is no directory; the files for other tools are not written";
    host.netloom(&["deploy", "-t", &file]).code(0).says("warning: ").says(said);
    assert!(names(&other).is_empty(), "nothing is written where a link leads");
    fs::remove_file(&directory).unwrap();
    fs::write(&directory, "a file").unwrap();
    host.netloom(&["deploy", "-t", &file]).code(0).says(said);
    assert_eq!(read(&directory), "a file");
    fs::remove_file(&directory).unwrap();
    host.sh(&format!("mount --bind {0} {0} && mount -o remount,ro,bind {0}", host.labs.path().display())).code(0);
    host.netloom(&["deploy", "-t", &file]).code(0).says("clab-x: read-only file system;");
}

#[test]
fn labs_and_commands_are_shown_in_the_form_that_other_tools_read() {
    let Some(host) = Sandbox::with_agent() else { return };
    assert_eq!(host.netloom(&["inspect", "--all", "--format", "clab-json"]).code(0).json(), json!({}));
    let more =
        "    ended: { cmd: \"sh -c 'exit 3'\", restart-policy: \"no\", group: edge }\n    sw: { kind: bridge }\n";
    let file = host.topology("x", &pair("x", more));
    host.netloom(&["deploy", "-t", &file]).code(1);
    let second = host.topology("y", &pair("y", ""));
    host.netloom(&["deploy", "-t", &second]).code(0);

    let all = here(&host, "inspect -a -f clab-json").code(0).json();
    assert_eq!(all.as_object().unwrap().keys().collect::<Vec<_>>(), ["x", "y"]);
    let one = host.netloom(&["inspect", "x", "--format", "clab-json"]).code(0).json();
    assert_eq!(one["x"].as_array().unwrap().len(), 3, "{one}");
    let a = json!({
        "lab_name": "x", "labPath": "x.clab.yml", "absLabPath": file, "name": "clab-x-a",
        "container_id": node(&host.lab("x"), "a")["id"], "image": "", "kind": "linux", "group": "", "state": "running",
        "status": "Up", "ipv4_address": "N/A", "ipv6_address": "N/A", "owner": "root"
    });
    assert_eq!(all["x"][0], a);
    assert!(a["container_id"].as_str().is_some_and(|id| !id.is_empty()));
    let ended = &all["x"][2];
    assert_eq!(
        (&ended["name"], &ended["state"], &ended["status"], &ended["group"]),
        (&json!("clab-x-ended"), &json!("exited"), &json!("Exited (3)"), &json!("edge"))
    );
    host.netloom(&["inspect", "x", "--watch", "--format", "clab-json"]).code(2).says("--watch");
    let wire = host.netloom(&["inspect", "x", "--format", "json"]).code(0).json();
    assert_eq!(node(&wire, "a")["id"], a["container_id"], "the wire type, as --json has it");

    // One that fails in one node, in all that run and in one.
    let script = "echo out; echo err >&2; test $(hostname) = a || exit 5";
    let words = ["--", "sh", "-c", script];
    let of_all = host.netloom(&[&["exec", "--name", "x", "-f", "clab-json"], &words[..]].concat()).code(5);
    let entry =
        |code: i32| json!([{ "cmd": ["sh", "-c", script], "return-code": code, "stdout": "out\n", "stderr": "err\n" }]);
    assert_eq!(of_all.json(), json!({ "clab-x-a": entry(0), "clab-x-b": entry(5) }));
    assert_eq!(of_all.err, "");
    let of_one = host.netloom(&[&["exec", "--format", "clab-json", "x/b"], &words[..]].concat()).code(5);
    assert_eq!(of_one.json(), json!({ "clab-x-b": entry(5) }));
    host.netloom(&["exec", "-f", "clab-json", "x/a", "--", "true"]).code(0);

    // As fingers have it: `-t` is the file, commands are texts, nodes are chosen by label.
    let file = host.labs.path().join("x.clab.yml");
    let file = file.to_str().unwrap();
    let one = ["exec", "-t", file, "--label", "clab-node-name=a", "--format", "json"];
    let both = host.netloom(&[&one[..], &["--cmd", "sh -c 'echo \"[1]\"'", "--cmd", "hostname"]].concat()).code(0);
    assert_eq!(
        (&both.json()["clab-x-a"][0]["stdout"], &both.json()["clab-x-a"][1]["stdout"]),
        (&json!([1]), &json!("a\n"))
    );
    assert_eq!(both.json().as_object().unwrap().len(), 1);
    let every = host.netloom(&["exec", "-t", file, "--cmd", "hostname"]).code(0);
    assert!(every.out.contains("a| a\n") && every.out.contains("b| b\n"), "{}", every.out);
    host.netloom(&["exec", "-t", file, "--label", "team=none", "--cmd", "true"])
        .code(125)
        .says("has the label `team=none`");

    let gone = host.netloom(&["exec", "-f", "clab-json", "x/none", "--", "true"]).code(125);
    assert_eq!(gone.out, "");
    host.netloom(&["exec", "-f", "clab-json", "-t", "x/a", "--", "true"]).code(2).says("do not go with");
}

/// A folder of kinds beside the topologies, and a lab of nodes of them.
fn routers(host: &Sandbox) -> String {
    let kinds = host.labs.path().join("kinds");
    fs::create_dir(&kinds).unwrap();
    let kind = |name: &str, extract: &str, more: &str| {
        let text = format!("name = \"{name}\"\nabout = \"{name}\"\n[config]\nextract = \"{extract}\"\n{more}");
        fs::write(kinds.join(format!("{name}.toml")), text).unwrap();
    };
    kind("acme", "cat /etc/acme.conf", "path = \"/etc/startup.conf\"\n[ansible]\nnetwork-os = \"acme.acme.acme\"\n");
    kind("named", "sh -c 'echo hostname $(hostname)'", "save-as = \"router.cfg\"\n");
    kind("broken", "sh -c 'echo half; echo no licence >&2; exit 7'", "");
    kind("silent", "true", "");
    host.topology(
        "r",
        "name: r\ntopology:\n  defaults: { runtime: namespace }\n  nodes:\n    \
         a1: { kind: acme, exec: [\"sh -c 'echo one > /etc/acme.conf'\"] }\n    \
         b1: { kind: broken }\n    h1: { kind: linux }\n    n1: { kind: named }\n    s1: { kind: silent }\n    \
         sw: { kind: bridge }\n    z1: { kind: acme }\n",
    )
}

#[test]
fn running_configurations_are_saved_by_the_commands_of_the_kinds() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = routers(&host);
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.netloom(&["node", "stop", "r/z1"]).code(0);
    let directory = directory(&host, "r");
    let inventory = read(directory.join("ansible-inventory.yml"));
    let group =
        "    acme:\n      vars:\n        ansible_network_os: acme.acme.acme\n      hosts:\n        clab-r-a1:\n";
    assert!(inventory.contains(group), "{inventory}");
    fs::create_dir(directory.join("b1")).unwrap();
    fs::write(directory.join("b1/running.cfg"), "the last good one").unwrap();

    let (a1, n1) = (directory.join("a1/startup.conf"), directory.join("n1/router.cfg"));
    let would = host.netloom(&["save", "r", "--dry-run"]).code(0);
    assert!(would.out.contains(&format!("would be saved  {}", a1.display())), "{}", would.out);
    assert!(!a1.exists());

    let saved = host.netloom(&["save", "r"]).code(1);
    let wanted = format!(
        "NODE  RESULT\n\
         a1    saved    {}\n\
         b1    failed   `sh -c echo half; echo no licence >&2; exit 7` ended with 7: no licence\n\
         h1    skipped  kind `linux` has no command that writes its configuration\n\
         n1    saved    {}\n\
         s1    failed   `true` wrote nothing\n\
         z1    skipped  it is stopped\n",
        a1.display(),
        n1.display()
    );
    assert_eq!((saved.out.as_str(), saved.err.as_str()), (wanted.as_str(), ""));
    assert_eq!((read(&a1), read(&n1)), ("one\n".to_owned(), "hostname n1\n".to_owned()));
    assert_eq!(fs::metadata(&a1).unwrap().permissions().mode() & 0o777, 0o600, "it may hold secrets");
    assert_eq!(read(directory.join("b1/running.cfg")), "the last good one");
    assert_eq!(
        (names(&directory.join("a1")), names(&directory.join("b1"))),
        (vec!["startup.conf".into()], vec!["running.cfg".into()])
    );

    // One of them, as the caller behind sudo, and from the directory of the topology.
    host.netloom(&["exec", "r/a1", "--", "sh", "-c", "echo two > /etc/acme.conf"]).code(0);
    let one = with(&host, &[("SUDO_UID", "4711"), ("SUDO_GID", "4712")], &["save", "r/a1", "--json"]).code(0);
    assert_eq!(one.json(), json!([{ "node": "a1", "result": "saved", "file": a1 }]));
    assert_eq!((read(&a1), fs::metadata(&a1).unwrap().uid()), ("two\n".to_owned(), 4711));
    here(&host, "save").code(1).says("a1    saved");
    host.netloom(&["save", "-t", &file, "--dry-run"]).code(0);
    host.netloom(&["save", "r/none"]).code(2).says("there is no node `none` in lab `r`");
    host.netloom(&["save", "none"]).code(2).says("there is no lab `none`");

    host.netloom(&["exec", "r/n1", "--", "true"]).code(0);
    fs::remove_dir_all(directory.join("n1")).unwrap();
    std::os::unix::fs::symlink(host.root.path(), directory.join("n1")).unwrap();
    host.netloom(&["save", "r/n1"]).code(1).says("this is no directory");
    assert!(!host.root.path().join("router.cfg").exists());
}

#[test]
fn a_variable_counts_as_its_flag_and_the_flag_wins() {
    let root = TempDir::new().unwrap();
    let run = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = Command::new(NETLOOM);
        command.args(arguments).env("NETLOOM_ROOT", root.path()).envs(variables.iter().copied());
        Ended::from(&command.output().unwrap())
    };
    let ring = |variables: &[(&str, &str)], more: &[&str]| {
        run(variables, &[&["generate", "ring", "3"], more].concat()).code(0).out
    };
    let plain = ring(&[], &[]);
    assert_eq!(ring(&[("NETLOOM_GENERATE_NAME", "other")], &[]), plain.replace("name: ring", "name: other"));
    assert_eq!(ring(&[("NETLOOM_GENERATE_NAME", "other")], &["--name", "ring"]), plain);
    assert_eq!(ring(&[("NETLOOM_GENERATE_NAME", "")], &[]), plain, "an empty one is none");
    for (value, is_on) in [("1", true), ("yes", true), ("true", true), ("0", false), ("no", false), ("", false)] {
        assert_eq!(ring(&[("NETLOOM_GENERATE_ADDRESSES", value)], &[]) != plain, is_on, "{value}");
    }
    let wrong = run(&[("NETLOOM_GENERATE_ADDRESSES", "maybe")], &["generate", "ring", "3"]).code(2);
    wrong.says("note: NETLOOM_GENERATE_ADDRESSES is set and counts as --addresses");
    // A list is a list, and what cannot be said together cannot be set together.
    let filter = [("NETLOOM_DEPLOY_NODE_FILTER", "a,zz"), ("NETLOOM_DEPLOY_TOPO", "x.clab.yml")];
    fs::write(root.path().join("x.clab.yml"), pair("x", "")).unwrap();
    let mut command = Command::new(NETLOOM);
    command.arg("deploy").env("NETLOOM_ROOT", root.path()).envs(filter).current_dir(root.path());
    Ended::from(&command.output().unwrap()).code(2).says("--node-filter: there is no node `zz`");
    let both = run(&[("NETLOOM_DESTROY_ALL", "1")], &["destroy", "x"]).code(2);
    both.says("cannot be used with '--all'").says("NETLOOM_DESTROY_ALL is set");
    // One for an option that only means something with another is no mistake.
    run(&[("NETLOOM_INSPECT_EVERY", "5s")], &["inspect"]).code(3);
}

#[test]
fn an_agent_starts_whatever_variables_say_of_starting_it() {
    let Some(host) = Sandbox::new() else { return };
    with(&host, &[("NETLOOM_AGENT_BACKGROUND", "1")], &["agent"]).code(0);
    host.netloom(&["agent", "status"]).code(0);
}
