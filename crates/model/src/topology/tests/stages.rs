//! Who waits for whom.

use std::fmt::Write;

use super::*;

fn waits(pairs: &[(&str, &str, &str, &str)]) -> String {
    let names = ["a", "b", "c"];
    let mut text = "name: t\ntopology:\n  defaults: { kind: linux, image: x }\n  nodes:\n".to_owned();
    for name in names {
        let _ = write!(text, "    {name}:\n      healthcheck: {{ test: [NONE] }}\n      stages:\n");
        for (_, stage, node, of) in pairs.iter().filter(|(who, ..)| *who == name) {
            let _ = writeln!(text, "        {stage}: {{ wait-for: [{{ node: {node}, stage: {of} }}] }}");
        }
    }
    text
}

#[test]
fn nodes_that_wait_for_each_other_without_end_are_shown_the_way() {
    let text =
        waits(&[("a", "create", "b", "healthy"), ("b", "configure", "c", "create"), ("c", "create", "a", "create")]);
    insta::assert_snapshot!(said(&text), @r#"
    lab.clab.yml:8:30: error[wait-cycle]: nodes wait for each other without end: a → b → c → a
        |
      8 |         create: { wait-for: [{ node: b, stage: healthy }] }
        |                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^
      …
     12 |         configure: { wait-for: [{ node: c, stage: create }] }
        |                                 -------------------------- `b` waits for `c` here
      …
     16 |         create: { wait-for: [{ node: a, stage: create }] }
        |                              -------------------------- `c` waits for `a` here
        = at: topology.nodes.a.stages.create.wait-for[0]
        = help: remove one of these `wait-for`

    lab.clab.yml: 1 error
    "#);
    for (pairs, fine) in [
        (vec![("a", "create", "a", "create")], false),
        (vec![("a", "create", "a", "healthy")], false),
        (vec![("a", "exit", "a", "create")], true),
        (vec![("a", "create", "b", "create"), ("b", "create", "c", "exit")], true),
        // Each waits for what the other has behind it.
        (vec![("a", "configure", "b", "create"), ("b", "configure", "a", "create")], true),
        (vec![("a", "create", "b", "create"), ("b", "configure", "a", "create")], true),
        (vec![("a", "create", "b", "configure"), ("b", "create-links", "a", "create")], false),
    ] {
        let found = diagnostics(&waits(&pairs));
        let codes: Vec<Code> = found.iter().map(|found| found.code).collect();
        assert_eq!(codes, if fine { vec![] } else { vec![Code::WaitCycle] }, "{pairs:?}");
    }
}

#[test]
fn a_long_ring_of_waits_is_said_once_and_shortened() {
    let count = 5000;
    let nodes: Vec<String> = (0..count)
        .map(|n| {
            let next = (n + 1) % count;
            format!("    n{n}: {{ stages: {{ create: {{ wait-for: [{{ node: n{next}, stage: create }}] }} }} }}\n")
        })
        .collect();
    let text = format!("name: t\ntopology:\n  defaults: {{ kind: linux, image: x }}\n  nodes:\n{}", nodes.concat());
    let (code, _, what) = only(&text);
    assert_eq!(code, Code::WaitCycle);
    assert!(what.len() < 300, "{what}");
}

#[test]
fn who_is_waited_for_must_be_there() {
    insta::assert_snapshot!(said(&waits(&[("a", "create", "bb", "healthy")])), @r#"
    lab.clab.yml:8:30: error[unknown-node]: `a` waits for `bb`, and there is no such node
       |
     8 |         create: { wait-for: [{ node: bb, stage: healthy }] }
       |                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       = at: topology.nodes.a.stages.create.wait-for[0]

    lab.clab.yml: 1 error
    "#);
    insta::assert_snapshot!(said(&waits(&[("a", "create", "b", "helthy")])), @r#"
    lab.clab.yml:8:48: error[invalid-value]: `stage` cannot be `helthy`
       |
     8 |         create: { wait-for: [{ node: b, stage: helthy }] }
       |                                                ^^^^^^
       = at: topology.nodes.a.stages.create.wait-for[0].stage
       = help: did you mean `healthy`?

    lab.clab.yml: 1 error
    "#);
    let text = "name: t\ntopology: { defaults: { kind: linux, image: x }, nodes: { db: , app: { stages: { create: { wait-for: [{ node: db, stage: healthy }] } } } } }";
    insta::assert_snapshot!(said(text), @r#"
    lab.clab.yml:2:103: warning[no-effect]: `app` waits until `db` is healthy, and the file gives it no health check
       |
     2 | …p: { stages: { create: { wait-for: [{ node: db, stage: healthy }] } } } } }
       |                                      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       = at: topology.nodes.app.stages.create.wait-for[0]
       = help: add a `healthcheck` to `db`, unless its image has one

    lab.clab.yml: 1 warning
    "#);
    let own = "name: t\ntopology: { defaults: { kind: linux, image: x }, nodes: { app: { stages: { healthy: { exec: [{ command: ls }] } } } } }";
    assert_eq!((only(own).0, only(own).1.as_str()), (Code::NoEffect, "topology.nodes.app.stages.healthy"));
}

#[test]
fn commands_of_stages_are_a_list() {
    let text = "
name: t
topology:
  nodes:
    a:
      kind: linux
      image: x
      stages:
        configure:
          exec:
            on-exit: [ip route show]
        create:
          exec: [ls]
          wait-for: [b]
        exit:
          exec: [{ command: ls, target: hots, phase: on-exit }, { target: host }]
        built: {}
";
    insta::assert_snapshot!(said(text), @r#"
    lab.clab.yml:11:13: error[wrong-type]: the commands of a stage are a list, and this is a map
        |
     11 |             on-exit: [ip route show]
        |             ^^^^^^^^^^^^^^^^^^^^^^^^
        = at: topology.nodes.a.stages.configure.exec
        = help: write `exec: [{ command: ip route show, phase: on-exit }]`

    lab.clab.yml:13:18: error[wrong-type]: a command of a stage is a map, and this is a text
        |
     13 |           exec: [ls]
        |                  ^^
        = at: topology.nodes.a.stages.create.exec[0]
        = help: write `{ command: ls }`

    lab.clab.yml:14:22: error[wrong-type]: an entry of `wait-for` is a map, and this is a text
        |
     14 |           wait-for: [b]
        |                      ^
        = at: topology.nodes.a.stages.create.wait-for[0]
        = help: write `{ node: b, stage: healthy }`

    lab.clab.yml:16:18: warning[ignored-field]: when a node leaves the stage `exit` nothing can be run in it
        |
     16 |           exec: [{ command: ls, target: hots, phase: on-exit }, { target: host }]
        |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ is not run
        = at: topology.nodes.a.stages.exit

    lab.clab.yml:16:41: error[invalid-value]: `target` cannot be `hots`
        |
     16 |           exec: [{ command: ls, target: hots, phase: on-exit }, { target: host }]
        |                                         ^^^^
        = at: topology.nodes.a.stages.exit.exec[0].target
        = help: did you mean `host`?

    lab.clab.yml:16:65: error[missing]: `command` is missing in `exec[1]`
        |
     16 |           exec: [{ command: ls, target: hots, phase: on-exit }, { target: host }]
        |                                                                 ^^^^^^^^^^^^^^^^
        = at: topology.nodes.a.stages.exit.exec[1]

    lab.clab.yml:17:9: error[unknown-field]: `stages` has no field `built`
        |
     17 |         built: {}
        |         ^^^^^
        = at: topology.nodes.a.stages.built

    lab.clab.yml: 6 errors, 1 warning
    "#);
}

#[test]
fn a_part_of_a_lab_waits_for_nobody_outside() {
    let text = waits(&[("a", "create", "b", "healthy"), ("a", "configure", "c", "create")]);
    let lab = lab(&text);
    let part = lab.restrict(&["a", "c"].map(|name| name.parse().unwrap()).into()).unwrap();
    assert_eq!(Lab::new(part.clone().into_parts()).unwrap(), part);
    let stages = &node(&part, "a").stages;
    assert_eq!(stages.keys().map(|stage| stage.as_str()).collect::<Vec<_>>(), ["configure"]);
}

#[test]
fn what_of_stages_cannot_be_acted_on_is_said() {
    let text = "
name: t
topology:
  defaults:
    kind: linux
    stages: { exit: { exec: [{ command: logger up, target: host, phase: on-exit }] } }
  nodes:
    a: { image: x, stages: { exit: { exec: [{ command: ls, phase: on-exit }, { command: ls }] } } }
    b: { image: x }
    c: { runtime: namespace, healthcheck: { test: [CMD, ls] } }
    d: { runtime: namespace, stages: { create: { wait-for: [{ node: c, stage: healthy }, { node: b, stage: exit }] } } }
";
    insta::assert_snapshot!(said(text), @r#"
    lab.clab.yml:6:30: warning[ignored-field]: nothing is run on the host when a node leaves the stage `exit`
       |
     6 |     stages: { exit: { exec: [{ command: logger up, target: host, phase: on-exit }] } }
       |                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ is not run
       = at: topology.nodes.a.stages.exit

    lab.clab.yml:8:45: warning[ignored-field]: when a node leaves the stage `exit` nothing can be run in it
       |
     8 |     a: { image: x, stages: { exit: { exec: [{ command: ls, phase: on-exit }, { command: ls }] } } }
       |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ is not run
       = at: topology.nodes.a.stages.exit

    lab.clab.yml:10:43: warning[ignored-field]: `healthcheck` of node `c` needs a runtime with health checks: `runtime: docker`
        |
     10 |     c: { runtime: namespace, healthcheck: { test: [CMD, ls] } }
        |                                           ^^^^^^^^^^^^^^^^^^^ has no effect with `runtime: namespace`
        = at: topology.nodes.c.healthcheck

    lab.clab.yml:11:61: warning[no-effect]: `d` waits until `c` is healthy, and a namespace node has no health check
        |
     11 | …ace, stages: { create: { wait-for: [{ node: c, stage: healthy }, { node: b, stage: exit }] } } }
        |                                      ^^^^^^^^^^^^^^^^^^^^^^^^^^^
        = at: topology.nodes.d.stages.create.wait-for[0]
        = help: give `c` the `runtime: docker`, or wait for its stage `configure`

    lab.clab.yml: 4 warnings
    "#);
}
