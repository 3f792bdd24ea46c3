//! What the command line does without an agent.

use std::fs;
use std::process::Command;

use crate::sandbox::{Ended, example, netloom};
use serde_json::json;
use tempfile::TempDir;

fn file(text: impl AsRef<[u8]>) -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("lab.clab.yml");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

#[test]
fn the_examples_are_valid() {
    for (name, said) in [
        ("minimal", "2 nodes, 1 link: valid\n"),
        ("ospf", "5 nodes, 5 links: valid\n"),
        ("bgp", "10 nodes, 12 links: valid\n"),
    ] {
        let ended = netloom(&["validate", example(name).to_str().unwrap()]).code(0).says(said);
        assert_eq!(ended.err, "", "{name}");
    }
}

#[test]
fn every_mistake_of_a_file_is_shown_at_once_and_where_it_is() {
    let (_directory, path) = file(
        "name: bad\ntopology:\n  nodes:\n    r1: { kind: linux, runtime: namespace, memmory: 1G }\n    r2: { kind: linx }\n  \
         links:\n    - endpoints: [\"r1:eth1\", \"r9:eth1\"]\n",
    );
    let ended = netloom(&["validate", &path]).code(2);
    assert_eq!(ended.out, "");
    for said in ["lab.clab.yml:4:", "did you mean `memory`", "lab.clab.yml:5:", "lab.clab.yml:7:", "`r9`", ": 3 errors"]
    {
        assert!(ended.err.contains(said), "{said} is not in\n{}", ended.err);
    }
    let diagnostics = netloom(&["validate", &path, "--json"]).code(2).json();
    assert_eq!(diagnostics.as_array().map(Vec::len), Some(3), "{diagnostics}");
    let first = &diagnostics[0];
    assert_eq!(
        (&first["file"], &first["severity"], &first["code"]),
        (&json!(path), &json!("error"), &json!("unknown-field"))
    );
    let range = json!({ "start": { "line": 3, "character": 43 }, "end": { "line": 3, "character": 50 } });
    assert_eq!((&first["range"], &first["path"]), (&range, &json!("topology.nodes.r1.memmory")));
    assert_eq!((&first["suggestion"], &first["help"]), (&json!("memory"), &json!("did you mean `memory`?")));
}

#[test]
fn strict_takes_warnings_for_errors() {
    let (_directory, path) = file(
        "name: warned\ntopology:\n  nodes:\n    r1: { kind: linux, runtime: namespace }\n    br: { kind: bridge, cmd: ls }\n",
    );
    netloom(&["validate", &path]).code(0).says("valid, 1 warning\n").says("warning[no-effect]");
    let ended = netloom(&["validate", &path, "--strict"]).code(2).says("error[no-effect]").says(": 1 error\n");
    assert_eq!(ended.out, "");
    let diagnostics = netloom(&["validate", &path, "--strict", "--json"]).code(2).json();
    assert_eq!(diagnostics[0]["severity"], json!("error"));
    let good = example("minimal");
    netloom(&["validate", "--strict", good.to_str().unwrap()]).code(0).says("valid");
}

#[test]
fn a_topology_may_come_in_on_standard_input() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("motd"), "hello\n").unwrap();
    let text =
        "name: piped\ntopology:\n  nodes:\n    r1: { kind: linux, runtime: namespace, binds: [\"motd:/etc/motd\"] }\n";
    let validate = |script: &str| {
        let mut command = Command::new("bash");
        command.args(["-c", script, crate::sandbox::NETLOOM, text]).current_dir(directory.path()).env("NO_COLOR", "1");
        Ended::from(&command.output().unwrap())
    };
    for script in ["printf %s \"$1\" | \"$0\" validate -", "\"$0\" validate <(printf %s \"$1\")"] {
        validate(script).code(0).says("lab piped: 1 node, 0 links: valid\n");
    }
    validate("printf '%s\\n    r2: {}' \"$1\" | \"$0\" validate -").code(2).says("<stdin>:6:5: error[missing]");
    validate("\"$0\" validate - </dev/null").code(2).says("<stdin>:1:1: error[empty-file]");
}

#[test]
fn files_that_are_no_topology_are_wrong_input_and_nothing_worse() {
    let bomb = (0..60).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
        text + &format!("a{}: &a{} [*a{n}, *a{n}, *a{n}, *a{n}, *a{n}, *a{n}, *a{n}, *a{n}, *a{n}]\n", n + 1, n + 1)
    });
    let files: [Vec<u8>; 6] = [
        Vec::new(),
        vec![0, 159, 146, 150, 0, 255],
        b"name: x\ntopology:\n  nodes:\n    r1: { kind: linux, runti".to_vec(),
        bomb.into_bytes(),
        vec![b'['; 10 << 20],
        b"topology: { nodes: { r1: { kind: linux, runtime: namespace } } }".to_vec(),
    ];
    for text in files {
        let (_directory, path) = file(&text);
        let ended = netloom(&["validate", &path]).code(2);
        assert!(ended.err.contains("error["), "{}", ended.err);
        // A deploy looks at the file first: there is no agent, and that does not matter.
        netloom(&["deploy", "-t", &path]).code(2);
    }
}

#[test]
fn templates_are_rendered_with_the_data_that_belongs_to_them() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let text = "name: ring\ntopology:\n  nodes:\n{{- range seq 1 .n }}\n    r{{ . }}: {{ template \"node.gotmpl\" }}\n{{- end }}\n";
    fs::write(at("lab.clab.gotmpl"), text).unwrap();
    fs::write(at("lab.clab_vars.yml"), "n: 2\n").unwrap();
    fs::write(at("more.json"), "{\"n\": 3}").unwrap();
    fs::create_dir(at("clab_templates")).unwrap();
    fs::write(at("clab_templates/node.gotmpl"), "{ kind: linux, runtime: namespace }").unwrap();
    let here = directory.path().to_str().unwrap();

    netloom(&["validate", here]).code(0).says("2 nodes, 0 links: valid");
    netloom(&["validate", here, "--vars", &at("more.json")]).code(0).says("3 nodes");
    netloom(&["validate", here, "--vars", &at("none.yml")]).code(2).says("none.yml: no such file");
    let rendered = netloom(&["render", here]).code(0);
    assert_eq!((rendered.out.lines().count(), rendered.err.as_str()), (5, ""), "{}", rendered.out);
    assert!(rendered.out.ends_with("    r2: { kind: linux, runtime: namespace }\n"), "{}", rendered.out);

    fs::write(at("clab_templates/node.gotmpl"), "{ kind: linux,\n runtime: {{ nosuch }} }").unwrap();
    for command in ["validate", "render"] {
        let ended = netloom(&[command, here]).code(2);
        assert!(ended.err.contains("clab_templates/node.gotmpl:2:14: error[template]"), "{}", ended.err);
    }
    netloom(&["deploy", "-t", here, "--vars", &at("more.json")]).code(2).says("error[template]");
}

#[test]
fn a_file_that_is_not_there_is_wrong_input() {
    netloom(&["validate", "/nowhere/lab.clab.yml"]).code(2).says("no such file or directory");
    let empty = TempDir::new().unwrap();
    netloom(&["deploy", "-t", empty.path().to_str().unwrap()]).code(2).says("there is no *.clab.yml in");
}

#[test]
fn without_an_agent_commands_say_how_to_start_one() {
    let minimal = example("minimal");
    let minimal = minimal.to_str().unwrap();
    let commands: [&[&str]; 10] = [
        &["inspect"],
        &["inspect", "--name", "x", "--json"],
        &["destroy", "--all"],
        &["destroy", "-t", minimal],
        &["deploy", "-t", minimal, "--dry-run"],
        &["logs", "x/r1"],
        &["events"],
        &["link", "down", "x", "r1:eth1"],
        &["operation", "list"],
        &["agent", "status"],
    ];
    for command in commands {
        let ended = netloom(command).code(3).says("netloom agent --background");
        assert_eq!(ended.out, "", "{command:?}");
    }
    // `exec` has a code of its own, so that it is not taken for the command's.
    netloom(&["exec", "--name", "x", "--node", "r1", "--", "true"]).code(125).says("netloom agent --background");
    netloom(&["agent", "stop"]).code(0).says("no agent runs");
    netloom(&["version"]).code(0).says("does not answer");
}

#[test]
fn wrong_command_lines_are_wrong_input() {
    let commands: [&[&str]; 11] = [
        &[],
        &["destory"],
        &["destroy"],
        &["deploy", "--timeout", "soon"],
        &["deploy", "--name", "not a name"],
        &["inspect", "--name", "a", "--all"],
        &["exec", "--", "true"],
        &["exec", "--name", "x", "-i", "--", "cat"],
        &["exec", "-it", "x/r1"],
        &["exec", "-t", "/etc/hostname", "--", "true"],
        &["shell", "lab-without-node"],
    ];
    for command in commands {
        netloom(command).code(2);
    }
    netloom(&["destory"]).says("destroy");
}

#[test]
fn completions_are_written_for_each_shell() {
    for (shell, text) in [("bash", "complete -F"), ("zsh", "#compdef netloom"), ("fish", "complete -c netloom")] {
        netloom(&["completions", shell]).code(0).says(text);
    }
}

#[test]
fn help_is_a_result() {
    let help = netloom(&["--help"]).code(0);
    assert!(help.out.contains("Exit codes:") && help.err.is_empty());
}

/// A way to kill the agent is for tests; `make test-crash` builds a program of its own with it.
#[test]
fn the_program_has_no_fail_points() {
    let has = |text: &str| {
        let search = Command::new("grep").args(["-qaF", text, crate::sandbox::NETLOOM]).status().unwrap();
        search.success()
    };
    assert!(has("NETLOOM_ROOT"), "names of variables can be found in it");
    assert!(!has("NETLOOM_FAILPOINT") && !has("store.before-commit"));
}

#[test]
fn a_topology_is_drawn_in_three_languages() {
    let minimal = example("minimal");
    let minimal = minimal.to_str().unwrap();
    netloom(&["graph", minimal]).code(0).says("\"h1\" -- \"h2\" [taillabel=\"eth1\", headlabel=\"eth1\"]");
    netloom(&["graph", "-t", minimal]).code(0).says("\"h1\" -- \"h2\"");
    netloom(&["graph", minimal, "--format", "mermaid"]).code(0).says("n0 ---|\"eth1 - eth1\"| n1");
    let json = netloom(&["graph", minimal, "--format", "json"]).code(0).json();
    assert_eq!((&json["name"], &json["nodes"][0]["name"]), (&json!("minimal"), &json!("h1")));
    let (_directory, path) = file("name: x\n");
    let ended = netloom(&["graph", &path]).code(2).says("error[missing]");
    assert_eq!(ended.out, "");
    netloom(&["graph", "--name", "x"]).code(3).says("netloom agent --background");
    netloom(&["graph", minimal, "--name", "x"]).code(2);
}

#[test]
fn a_generated_topology_is_valid_and_overwrites_nothing() {
    let directory = TempDir::new().unwrap();
    let to = directory.path().join("made.clab.yml");
    let to = to.to_str().unwrap();
    for (words, said) in [
        (["ring", "10"].as_slice(), "lab ring: 10 nodes, 10 links: valid\n"),
        (&["line", "3"], "lab line: 3 nodes, 2 links: valid\n"),
        (&["star", "4", "--name", "sun"], "lab sun: 5 nodes, 4 links: valid\n"),
        (&["mesh", "4", "--prefix", ""], "lab mesh: 4 nodes, 6 links: valid\n"),
        (
            &["clos", "--spines", "2", "--leaves", "4", "--hosts", "2", "--addresses"],
            "lab clos: 14 nodes, 16 links: valid\n",
        ),
        (&["ring", "3", "--image", "alpine:3"], "lab ring: 3 nodes, 3 links: valid\n"),
    ] {
        let words = [&["generate"], words].concat();
        let text = netloom(&words).code(0).out;
        netloom(&[&words[..], &["-o", to, "--force"]].concat()).code(0);
        assert_eq!(fs::read_to_string(to).unwrap(), text, "{words:?}");
        netloom(&["validate", "--strict", to]).code(0).says(said);
    }
    let before = fs::read_to_string(to).unwrap();
    netloom(&["generate", "ring", "4", "-o", to]).code(2).says("is there already").says("--force");
    assert_eq!(fs::read_to_string(to).unwrap(), before);
}

#[test]
fn the_schema_is_json_that_says_which_draft_it_is() {
    let schema = netloom(&["schema"]).code(0).json();
    assert_eq!(schema["$schema"], json!("https://json-schema.org/draft/2020-12/schema"));
    assert!(schema["$defs"]["node"]["properties"]["image"]["description"].is_string());
}

#[test]
fn the_schema_has_the_kinds_of_the_host_and_those_beside_a_file() {
    let (root, labs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folders = [("acme", root.path().join("etc/netloom/kinds.d")), ("lab_router", labs.path().join("kinds"))];
    for (name, folder) in folders {
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("x.toml"), format!("name = \"{name}\"\nabout = \"{name}\"\n")).unwrap();
    }
    let file = labs.path().join("x.clab.yml");
    fs::write(&file, "").unwrap();
    let kinds = |arguments: &[&str]| {
        let mut command = Command::new(crate::sandbox::NETLOOM);
        command.args(arguments).current_dir(root.path()).env("NETLOOM_ROOT", root.path());
        let schema = Ended::from(&command.output().unwrap()).code(0).json();
        let words = &schema["$defs"]["node"]["properties"]["kind"]["anyOf"][0]["enum"];
        ["linux", "acme", "lab_router"].map(|kind| words.as_array().unwrap().contains(&json!(kind)))
    };
    assert_eq!(kinds(&["schema"]), [true, true, false]);
    assert_eq!(kinds(&["schema", file.to_str().unwrap()]), [true, true, true]);
    assert_eq!(kinds(&["schema", labs.path().to_str().unwrap()]), [true, true, true]);
    netloom(&["schema", "no-such.clab.yml"]).code(2).says("no-such.clab.yml: no such file");
}

#[test]
fn the_fields_of_a_node_come_in_as_a_topology_does() {
    let run = |script: &str| {
        let mut bash = Command::new("bash");
        bash.args(["-c", script, crate::sandbox::NETLOOM]).env("NETLOOM_ROOT", "/nonexistent").env("NO_COLOR", "1");
        Ended::from(&bash.output().unwrap())
    };
    let fields = "printf 'kind: linux\\nmemmory: 1G\\n'";
    run(&format!("{fields} | \"$0\" node add x/d --from -")).code(2).says("<stdin>:2:1: error").says("`memory`?");
    run(&format!("\"$0\" node add x/d --from <({fields})")).code(2).says("/dev/fd/").says("`memory`?");
    netloom(&["node", "add", "x/d", "--from", "/"]).code(2).says("/ is a directory; name the file");
    netloom(&["node", "add", "x/d", "--from", "no-such.yml"]).code(2).says("no-such.yml: no such file");
}

#[test]
fn what_cannot_be_deployed_is_not_generated() {
    netloom(&["generate", "ring", "2"]).code(2).says("a ring needs at least 3 nodes");
    netloom(&["generate", "mesh", "4000000000"]).code(2).says("at most 100000 of each");
    let ended = netloom(&["generate", "ring", "3", "--kind", "linus"]).code(2).says("did you mean `linux`?");
    assert_eq!(ended.out, "");
    netloom(&["generate", "ring", "3", "--force"]).code(2);
}

#[test]
fn what_the_page_about_tools_shows_is_what_is_printed() {
    let page = include_str!("../../../../docs/topology/tools.md");
    let mut shown = 0;
    for block in page.split("```console\n$ ").skip(1) {
        let (command, output) = block.split_once("```").unwrap().0.split_once('\n').unwrap();
        // Without output, it is one that writes files.
        if output.is_empty() {
            continue;
        }
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("netloom() {{ \"$0\" \"$@\"; }}\n{command}"), crate::sandbox::NETLOOM]);
        assert_eq!(Ended::from(&bash.output().unwrap()).code(0).out, output, "{command}");
        shown += 1;
    }
    assert_eq!(shown, 2);
}
