//! Commands in nodes as people and scripts use them: terminals, pipes, signals, and what goes wrong.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use rustix::process::Signal;

use crate::lab::pair;
use crate::sandbox::{NETLOOM, Sandbox, signal};
use crate::terminal::Terminal;

fn lab(host: &Sandbox) {
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
}

fn ends_in_the_node(host: &Sandbox, words: &str) {
    let count = format!("ps -eo args | grep -cx '{words}'");
    host.until("the command has ended", |host| host.sh(&count).out.trim() == "0");
}

fn runs_in_the_node(host: &Sandbox, words: &str) {
    let count = format!("ps -eo args | grep -cx '{words}'");
    host.until("the command runs", |host| host.sh(&count).out.trim() == "1");
}

fn agent(host: &Sandbox, signal: &str) {
    let agent = host.agent();
    host.sh(&format!("kill -{signal} {agent}")).code(0);
}

#[test]
fn a_shell_has_a_terminal_like_any_other() {
    let Some(host) = Sandbox::with_agent() else { return };
    lab(&host);
    let mut terminal = Terminal::with(&host, &["shell", "x/a"]);
    // What is waited for is not what was typed, which is shown too.
    terminal.types("bind 'set enable-bracketed-paste off'; echo up $((1 + 1))\r");
    terminal.shows("up 2");
    terminal.types("stty size; echo $TERM $USER $HOME $PWD $(hostname) $SHELL $0\r");
    terminal.shows("30 100\r\nvt220 root /root /root a ");
    terminal.shows("bash");

    terminal.types("trap 'stty size' WINCH; echo ready $((1 + 1))\r");
    terminal.shows("ready 2");
    terminal.resize(132, 43);
    terminal.shows("43 132");

    for (key, said) in [("\x03", "code 130"), ("\x1c", "code 131"), ("\x1a", "code 148")] {
        terminal.types("sh -c 'echo going $((1 + 1)); exec sleep 4711'\r");
        terminal.shows("going 2");
        terminal.types(key);
        terminal.types("echo code $?\r");
        terminal.shows(said);
    }
    terminal.types("kill -KILL %1; disown -a; exit 7\r");
    assert_eq!(terminal.ends().0, 7);
    ends_in_the_node(&host, "sleep 4711");
}

#[test]
fn a_node_is_opened_with_the_shell_of_its_kind_unless_a_plain_one_is_asked_for() {
    let Some(host) = Sandbox::with_agent() else { return };
    let kinds = host.labs.path().join("kinds");
    fs::create_dir(&kinds).unwrap();
    for (name, shell) in
        [("acme", "sh -c 'while read line; do echo acme $line $PWD; done; exit 7'"), ("ghost", "ghostsh")]
    {
        let text = format!("name = \"{name}\"\nabout = \"{name}\"\nshell = \"{shell}\"\n");
        fs::write(kinds.join(format!("{name}.toml")), text).unwrap();
    }
    let file = host.topology("x", &pair("x", "    r: { kind: acme }\n    g: { kind: ghost }\n"));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let shell = |words: &str| host.sh(&format!("echo hostname | {NETLOOM} shell {words}"));

    assert_eq!(shell("x/r").code(7).out, "acme hostname /root\n");
    assert_eq!(shell("--plain x/r").code(0).out, "r\n");
    assert_eq!(shell("x/a").code(0).out, "a\n");
    shell("x/g").code(127).says("there is no `ghostsh` in x/g").says("`netloom shell --plain x/g`");
    shell("x/nobody").code(125).says("there is no node `nobody`");
    shell("y/r").code(125).says("there is no lab `y`");

    let mut terminal = Terminal::with(&host, &["shell", "x/r"]);
    terminal.types("show version\r");
    terminal.shows("acme show version /root");
    terminal.types("\x04");
    assert_eq!(terminal.ends().0, 7);
}

#[test]
fn the_terminal_is_as_it_was_after_every_end() {
    let Some(host) = Sandbox::with_agent() else { return };
    lab(&host);
    let on = |words: &str| {
        let mut terminal = Terminal::with(&host, &["exec", "-it", "x/a", "--", "sh", "-c", words]);
        terminal.shows("ready\r\n");
        terminal
    };
    let terminal = on("echo ready; read line; exit 5");
    let raw = terminal.modes();
    terminal.types("\r");
    let (code, _, cooked) = terminal.ends();
    assert_eq!(code, 5);
    assert_ne!(raw, cooked, "ctrl-C has to go to the command while it runs");

    let terminal = on("echo ready; exec sleep 4712");
    signal(&terminal.program, Signal::TERM);
    let (code, _, modes) = terminal.ends();
    assert_eq!((code, modes), (143, cooked));
    ends_in_the_node(&host, "sleep 4712");

    // The agent is gone from one moment to the next.
    let terminal = on("trap '' HUP; echo ready; sleep 4713; sleep 4713");
    agent(&host, "KILL");
    let (code, shown, modes) = terminal.ends();
    assert_eq!((code, modes), (125, cooked));
    assert!(shown.contains("connection to the agent was lost"), "{shown}");
    ends_in_the_node(&host, "sleep 4713");
}

#[test]
fn pasting_a_lot_loses_nothing() {
    let Some(host) = Sandbox::with_agent() else { return };
    lab(&host);
    let mut terminal =
        Terminal::with(&host, &["exec", "-it", "x/a", "--", "sh", "-c", "stty -echo; echo ready; md5sum"]);
    terminal.shows("ready\r\n");
    let lines = "a line of a configuration that is pasted, as long as such lines are\n".repeat(5000);
    terminal.types(&lines);
    terminal.types("\x04");
    let sum = host.command("md5sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    sum.stdin.as_ref().unwrap().write_all(lines.as_bytes()).unwrap();
    let sum = sum.wait_with_output().unwrap();
    terminal.shows(String::from_utf8_lossy(&sum.stdout).trim_end());
    assert_eq!(terminal.ends().0, 0);
}

#[test]
fn bytes_pass_through_pipes_unchanged_however_many_and_slowly() {
    let Some(host) = Sandbox::with_agent() else { return };
    lab(&host);
    // Every byte, 24 MB of it, through a reader that pauses: more than all buffers on the way.
    let script = format!(
        "head -c 24000000 /dev/urandom >$NETLOOM_ROOT/sent; \
         {NETLOOM} exec -i x/a cat <$NETLOOM_ROOT/sent | (sleep 0.5; cat) >$NETLOOM_ROOT/came; \
         cmp $NETLOOM_ROOT/sent $NETLOOM_ROOT/came && rm $NETLOOM_ROOT/sent $NETLOOM_ROOT/came"
    );
    host.sh(&script).code(0);
    // A reader that goes ends the command, quietly.
    let script = format!("{{ {NETLOOM} exec x/a -- yes 4714; echo $? >&2; }} | head -1");
    let ended = host.sh(&script).code(0);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("4714\n", "141\n"));
    ends_in_the_node(&host, "yes 4714");
}

#[test]
fn a_signal_to_the_command_line_ends_the_command() {
    let Some(host) = Sandbox::with_agent() else { return };
    lab(&host);
    for (by, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        // One is there when the signal comes, one is born after it, and one does not want to end.
        let script = "trap 'sleep 4715 & echo last words; exit 3' TERM; echo ready; \
                      sleep 4715 & sh -c \"trap '' TERM; exec sleep 4715\" & wait; wait";
        let mut exec = host.start(&["exec", "x/a", "--", "sh", "-c", script]);
        let mut out = BufReader::new(exec.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        signal(&exec, by);
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!((exec.wait().unwrap().code(), rest.as_str()), (Some(code), "last words\n"));
    }
    ends_in_the_node(&host, "sleep 4715");
}

#[test]
fn a_command_ends_with_its_client_or_its_agent() {
    let Some(host) = Sandbox::with_agent() else { return };
    lab(&host);
    // Its input is full, it writes nothing, and it does not want to end.
    let mut exec = host.command(NETLOOM);
    exec.args(["exec", "-i", "x/a", "--", "sh", "-c", "trap '' TERM; sleep 4716; sleep 4716"]);
    let mut exec = exec.stdin(fs::File::open("/dev/zero").unwrap()).stdout(Stdio::null()).spawn().unwrap();
    runs_in_the_node(&host, "sleep 4716");
    signal(&exec, Signal::KILL);
    exec.wait().unwrap();
    ends_in_the_node(&host, "sleep 4716");

    let exec = host.start(&["exec", "x/a", "--", "sh", "-c", "trap '' TERM; sleep 4717; sleep 4717"]);
    runs_in_the_node(&host, "sleep 4717");
    agent(&host, "KILL");
    let ended = exec.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(125), "{said}");
    assert!(said.contains("connection to the agent was lost"), "{said}");
    ends_in_the_node(&host, "sleep 4717");
}

#[test]
fn a_command_gets_the_environment_that_is_given() {
    let Some(host) = Sandbox::with_agent() else { return };
    lab(&host);
    let shown = host.netloom(&["exec", "-e", "A=one two", "-e", "NETLOOM_ROOT", "-e", "NOT_SET", "x/a", "--", "env"]);
    let root = format!("NETLOOM_ROOT={}\n", host.root.path().display());
    for variable in ["A=one two\n", &root, "USER=root\n", "LOGNAME=root\n", "HOME=/root\n"] {
        assert!(shown.out.contains(variable), "{variable}: {}", shown.out);
    }
    assert!(!shown.out.contains("NOT_SET") && !shown.out.contains("TERM="), "{}", shown.out);
}

#[test]
fn the_output_of_nodes_that_have_ended_or_were_restarted_stays() {
    let Some(host) = Sandbox::with_agent() else { return };
    let more = "    ended: { cmd: \"sh -c 'echo last words; exit 3'\", restart-policy: \"no\" }\n    \
                missing: { cmd: /no/such/program, restart-policy: \"no\" }\n    \
                again: { cmd: \"sh -c 'echo a life; exec sleep 4718'\" }\n";
    let file = host.topology("x", &pair("x", more));
    host.netloom(&["deploy", "-t", &file]).code(1).says("last words");
    assert_eq!(host.netloom(&["logs", "x/ended"]).code(0).out, "last words\n");
    host.netloom(&["logs", "x/missing"]).code(0).says("/no/such/program");
    // Nothing more can come until it is started again.
    let mut ended = host.start(&["logs", "x/ended", "-f"]);
    let mut following = host.start(&["logs", "x/again", "-f"]);
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "a life");
    // The node ends with its command, and with the node what killed it.
    host.netloom(&["exec", "x/again", "--", "pkill", "-KILL", "-x", "sleep"]);
    assert_eq!(lines.next().unwrap().unwrap(), "a life");
    assert_eq!(host.netloom(&["logs", "x/again"]).code(0).out, "a life\na life\n");

    // Another agent shows it too.
    host.netloom(&["agent", "stop"]).code(0);
    following.wait().unwrap();
    host.netloom(&["agent", "--background"]).code(0);
    host.until("the lab is seen", |host| host.netloom(&["logs", "x/ended"]).code == 0);
    assert_eq!(host.netloom(&["logs", "x/ended"]).code(0).out, "last words\n");
    let mut text = String::new();
    ended.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), ended.wait().unwrap().success()), ("last words\n", true));
    host.netloom(&["destroy", "--name", "x"]).code(0);
    host.netloom(&["logs", "x/ended"]).code(2).says("no lab `x`");
}
