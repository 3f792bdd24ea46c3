//! Laws of inheritance: levels may be merged in any grouping, and each field follows its rule.

use std::collections::BTreeMap;
use std::fmt::Write;

use proptest::prelude::*;

use super::*;
use crate::topology::diagnostic::Path as Way;
use crate::topology::node::{self, Spec, field_names};
use crate::topology::reader::Cx;
use crate::topology::tree::{self, Data};

/// What levels may say in each field: right, empty and wrong.
const SAMPLES: &[(&str, &[&str])] = &[
    ("kind", &["linux", "bridge", "no such kind", "~"]),
    ("runtime", &["namespace", "docker", "moon", "~"]),
    ("image", &["a", "b:1", "\"\""]),
    ("group", &["g", "h"]),
    ("entrypoint", &["a b", "c", "\"\""]),
    ("cmd", &["a b", "c", "[]"]),
    ("exec", &["[a, b]", "[b, c, b]", "[]", "[[]]"]),
    ("env", &["{ A: 1 }", "{ A: 2, B: 3 }", "{ C: }", "{}"]),
    ("env-files", &["[probe.env]", "[secret.env, probe.env]"]),
    ("binds", &["[\"/etc/hosts:/a\"]", "[\"/x:/a:ro\", \"/y:/b\"]", "[\"/z:/b\", nothing]"]),
    ("hostname", &["a", "b.example", "a b"]),
    ("user", &["1000", "a:b"]),
    ("sysctls", &["{ net.ipv4.ip_forward: 1 }", "{ net.ipv4.ip_forward: 0, net.ipv4.tcp_sack: 1 }"]),
    ("labels", &["{ a: b }", "{ a: c, d: }"]),
    ("cpu", &["1", "0.5", "none"]),
    ("memory", &["1G", "256MB", "1GGB"]),
    ("startup-delay", &["1", "2", "soon"]),
    ("restart-policy", &["no", "always", "sometimes"]),
    ("network-mode", &["none", "container:a", "moon"]),
    ("type", &["a", "b"]),
    ("position", &["a", "b"]),
    ("image-pull-policy", &["never", "always", "x"]),
    ("auto-remove", &["yes", "no", "x"]),
    ("volumes", &["[\"a:/a\", /b]", "[\"b:/a:ro\", \"c:/b\"]"]),
    ("tmpfs", &["{ /a: size=1m }", "{ /a: size=2m, /b: }"]),
    ("devices", &["[/dev/a]", "[/dev/b, /dev/a]"]),
    ("cap-add", &["[NET_ADMIN]", "[SYS_ADMIN, NET_ADMIN]"]),
    ("security-opts", &["[a=b]", "[c=d, a=b]"]),
    ("privileged", &["yes", "no"]),
    ("cgroupns-mode", &["host", "private"]),
    ("cgroup-parent", &["a", "b"]),
    ("pid-mode", &["host", "container:a"]),
    ("ports", &["[\"80:80\"]", "[\"81:80\", \"82:80\"]", "[]"]),
    ("cpu-set", &["0", "0-1"]),
    ("shm-size", &["64M", "1G"]),
    ("dns", &["{ servers: [9.9.9.9] }", "{ search: [example] }"]),
    ("mgmt-ipv4", &["172.20.20.11", "172.20.20.12"]),
    ("mgmt-ipv6", &["3fff::1", "3fff::2"]),
    ("mgmt_ipv4", &["172.20.20.13"]),
    ("mgmt_ipv6", &["3fff::3"]),
    ("aliases", &["[a]", "[b]"]),
    ("startup-config", &["r1.cfg", "eos.cfg"]),
    ("enforce-startup-config", &["yes", "no"]),
    ("suppress-startup-config", &["yes", "no"]),
    ("license", &["r1.lic", "crpd.lic"]),
    (
        "credentials",
        &["{ username: a }", "{ password: b }", "{ identity-file: r1.cfg }", "{ username: c, password: d }"],
    ),
    ("username", &["e", "f"]),
    ("password", &["g", "h"]),
    ("certificate", &["{ issue: yes }", "{ key-size: 2048, sans: [a] }", "{ sans: [], validity-duration: 1h }"]),
    ("config", &["{ vars: { a: 1 } }", "{ vars: { a: 2, b: [3] } }"]),
    ("components", &["[{ slot: A }]", "[{ slot: B }, { slot: C }]"]),
    ("extras", &["{ mysocket-proxy: a }", "{ srl-agents: [agent.yml] }"]),
    (
        "stages",
        &[
            "{ create: { wait-for: [{ node: a, stage: healthy }] } }",
            "{ create: { exec: [{ command: a }] }, exit: { exec: [{ command: b }] } }",
            "{ create: { wait-for: [{ node: b, stage: create }], exec: [{ command: c }, { command: a }] } }",
        ],
    ),
    ("healthcheck", &["{ retries: 1 }", "{ interval: 2, test: [CMD, a] }"]),
    ("link-apply-mode", &["live", "restart"]),
];

/// Four levels, the closest first, each with some of the fields.
fn levels() -> impl Strategy<Value = Vec<String>> {
    let field = prop::option::of(0_usize..12);
    let level = prop::collection::vec(field, SAMPLES.len()).prop_map(|chosen| {
        let fields = SAMPLES
            .iter()
            .zip(chosen)
            .filter_map(|((field, samples), chosen)| Some(format!("{field}: {}", samples[chosen? % samples.len()])));
        format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
    });
    prop::collection::vec(level, 4)
}

/// The levels of a file, as they are read.
fn specs(levels: &[String]) -> Vec<Spec> {
    let lines: Vec<String> = levels.iter().enumerate().map(|(index, level)| format!("l{index}: {level}\n")).collect();
    let text = lines.concat();
    let (host, kinds) = (everything(), Kinds::builtin());
    let (directory, templates) = (Path::new("/labs"), Templates::default());
    let input = Input { text: text.as_bytes(), directory, source: None, host: &host, kinds, templates };
    let mut cx = Cx::new(&input);
    let text = crate::topology::text::prepare(&input, &mut cx.report).unwrap();
    let specs = tree::parse(&text, &mut cx, |root, cx| {
        let Data::Map(entries) = &root.data else { panic!("a map") };
        entries.iter().map(|entry| node::read(&entry.value, &Way::Root.key(entry.key), cx)).collect()
    });
    specs.unwrap()
}

fn merged(closer: &Spec, farther: &Spec) -> Spec {
    let mut merged = closer.clone();
    merged.inherit(farther);
    merged
}

#[test]
fn the_laws_are_about_every_field() {
    let sampled: Vec<&str> = SAMPLES.iter().map(|(field, _)| *field).collect();
    let mut fields: Vec<&str> = field_names().collect();
    fields.retain(|field| !sampled.contains(field));
    assert_eq!(fields, [""; 0]);
}

/// What a level says in one field of each rule.
#[derive(Debug, Clone)]
struct Level {
    hostname: Option<u8>,
    env: BTreeMap<u8, u8>,
    exec: Vec<u8>,
    /// Source by destination, in the order of the file.
    binds: Vec<(u8, u8)>,
}

fn level() -> impl Strategy<Value = Level> {
    let env = prop::collection::btree_map(0_u8..4, 0_u8..4, 0..3);
    let (exec, binds) = (prop::collection::vec(0_u8..4, 0..4), prop::collection::vec((0_u8..4, 0_u8..4), 0..4));
    (prop::option::of(0_u8..4), env, exec, binds).prop_map(|(hostname, env, exec, binds)| Level {
        hostname,
        env,
        exec,
        binds,
    })
}

impl Level {
    /// As it stands in a file, with what else the level has.
    fn written(&self, more: &str) -> String {
        let hostname = self.hostname.map(|name| format!("hostname: h{name}, ")).unwrap_or_default();
        let env: Vec<String> = self.env.iter().map(|(key, value)| format!("K{key}: v{value}")).collect();
        let exec: Vec<String> = self.exec.iter().map(|command| format!("c{command}")).collect();
        let binds: Vec<String> = self.binds.iter().map(|(to, from)| format!("\"/s{from}:/d{to}\"")).collect();
        let (env, exec, binds) = (env.join(", "), exec.join(", "), binds.join(", "));
        format!("{{ {more}{hostname}env: {{ {env} }}, exec: [{exec}], binds: [{binds}] }}")
    }
}

/// A host that has everything.
struct Full;

impl Host for Full {
    fn exists(&self, _path: &Path) -> bool {
        true
    }

    fn home(&self) -> Option<PathBuf> {
        None
    }
}

fn lab_of(text: &str) -> Lab {
    let (kinds, templates) = (Kinds::builtin(), Templates::default());
    let directory = Path::new("/labs");
    let outcome = read(&Input { text: text.as_bytes(), directory, source: None, host: &Full, kinds, templates });
    outcome.lab.unwrap_or_else(|| panic!("{}", shown(text.as_bytes(), &outcome.diagnostics)))
}

/// A file with defaults, two kinds, two groups, and nodes, each with its own level, kind and group.
fn file_of(levels: &[Level], nodes: &[(usize, &Level, &str, &str)]) -> String {
    let mut text = format!(
        "name: t\ntopology:\n  defaults: {}\n  kinds: {{ linux: {}, alpine: {} }}\n  groups: {{ g: {}, h: {} }}\n  nodes:\n",
        levels[0].written("kind: linux, runtime: namespace, "),
        levels[1].written(""),
        levels[2].written(""),
        levels[3].written(""),
        levels[4].written(""),
    );
    for (number, level, kind, group) in nodes {
        let _ = writeln!(text, "    n{number}: {}", level.written(&format!("kind: {kind}, group: {group}, ")));
    }
    text
}

proptest! {
    #[test]
    fn levels_are_merged_in_any_grouping_with_one_result(levels in levels()) {
        let [node, group, kind, defaults] = &specs(&levels)[..] else { panic!("four levels") };
        let one_by_one = merged(&merged(&merged(node, group), kind), defaults);
        for other in [
            merged(node, &merged(&merged(group, kind), defaults)),
            merged(node, &merged(group, &merged(kind, defaults))),
            merged(&merged(node, group), &merged(kind, defaults)),
            merged(&merged(node, &merged(group, kind)), defaults),
        ] {
            prop_assert_eq!(format!("{:#?}", one_by_one), format!("{:#?}", other));
        }
    }

    #[test]
    fn a_level_that_says_nothing_changes_nothing(levels in levels()) {
        for spec in specs(&levels) {
            prop_assert_eq!(format!("{:#?}", merged(&spec, &Spec::default())), format!("{spec:#?}"));
        }
    }

    #[test]
    fn each_rule_takes_what_the_format_says(levels in prop::collection::vec(level(), 6)) {
        let text = file_of(&levels, &[(0, &levels[5], "linux", "g")]);
        let lab = lab_of(&text);
        let node = node(&lab, "n0");
        // The farthest first.
        let levels = [&levels[0], &levels[1], &levels[3], &levels[5]];

        let hostname = levels.iter().rev().find_map(|level| level.hostname);
        prop_assert_eq!(&node.hostname, &hostname.map_or("n0".to_owned(), |name| format!("h{name}")));

        let env: BTreeMap<u8, u8> = levels.iter().flat_map(|level| level.env.clone()).collect();
        let env: BTreeMap<String, String> = env.iter().map(|(key, value)| (format!("K{key}"), format!("v{value}"))).collect();
        prop_assert_eq!(&node.env, &env);

        let mut exec: Vec<String> = Vec::new();
        for command in levels.iter().flat_map(|level| &level.exec).map(|command| format!("c{command}")) {
            if !exec.contains(&command) {
                exec.push(command);
            }
        }
        prop_assert_eq!(node.exec.concat(), exec);

        let binds: BTreeMap<u8, u8> = levels.iter().flat_map(|level| level.binds.clone()).collect();
        let binds: Vec<(String, String)> = binds.iter().map(|(to, from)| (format!("/s{from}"), format!("/d{to}"))).collect();
        let found: Vec<(String, String)> =
            node.binds.iter().map(|bind| (bind.source.clone(), bind.target.clone())).collect();
        prop_assert_eq!(found, binds);
    }

    #[test]
    fn a_node_among_others_is_what_it_is_alone(
        levels in prop::collection::vec(level(), 5),
        owns in prop::collection::vec((level(), 0..2_usize, 0..3_usize), 1..8),
    ) {
        let nodes: Vec<(usize, &Level, &str, &str)> = owns
            .iter()
            .enumerate()
            .map(|(number, (own, kind, group))| (number, own, ["linux", "alpine"][*kind], ["g", "h", "a-label"][*group]))
            .collect();
        let together = lab_of(&file_of(&levels, &nodes));
        for (number, ..) in &nodes {
            let alone = lab_of(&file_of(&levels, &nodes[*number..=*number]));
            let name = format!("n{number}");
            prop_assert_eq!(node(&together, &name), node(&alone, &name));
        }
    }
}
