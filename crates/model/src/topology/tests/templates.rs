//! Templates and variables: what they make, and that mistakes are shown where they are written.

use std::collections::BTreeMap;

use super::*;
use crate::topology::{Files, GitHead, Rendered, TemplateFile, TemplateValue, read_vars, render_files, rendered};

/// A host with an environment.
struct Environment(BTreeMap<String, String>);

impl Host for Environment {
    fn exists(&self, path: &Path) -> bool {
        path.starts_with("/labs")
    }

    fn home(&self) -> Option<PathBuf> {
        None
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    fn variables(&self) -> BTreeMap<String, String> {
        self.0.clone()
    }

    fn git(&self, directory: &Path) -> Option<GitHead> {
        let branch = self.0.get("BRANCH").cloned();
        (directory == Path::new("/labs")).then(|| GitHead { branch, hash: "1a2b3c4".to_owned() })
    }
}

/// A topology with what belongs to it.
#[derive(Default)]
pub(super) struct Case {
    pub(super) text: String,
    data: Option<TemplateValue>,
    files: Vec<TemplateFile>,
    variables: Vec<(String, String)>,
}

impl Case {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    pub(super) fn data(mut self, yaml: &str) -> Self {
        self.data = Some(read_vars(yaml.as_bytes()).unwrap());
        self
    }

    pub(super) fn file(mut self, name: &str, text: &str) -> Self {
        let path = format!("clab_templates/{name}");
        self.files.push(TemplateFile { name: name.to_owned(), path, text: text.to_owned() });
        self
    }

    pub(super) fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn with<T>(&self, run: impl FnOnce(&Input<'_>) -> T) -> T {
        let host = Environment(self.variables.iter().cloned().collect());
        run(&Input {
            text: self.text.as_bytes(),
            directory: Path::new("/labs"),
            source: Some(Path::new("/labs/lab.clab.yml")),
            host: &host,
            kinds: Kinds::builtin(),
            templates: Templates { data: self.data.as_ref(), files: &self.files },
        })
    }

    fn shown(&self, diagnostics: &[Diagnostic]) -> String {
        let files = Files { name: "lab.clab.yml", text: self.text.as_bytes(), templates: &self.files };
        render_files(diagnostics, &files, Colour::Never)
    }

    fn said(&self) -> String {
        let outcome = self.with(read);
        self.shown(&outcome.diagnostics)
    }

    pub(super) fn lab(&self) -> Lab {
        let outcome = self.with(read);
        outcome.lab.unwrap_or_else(|| panic!("{}", self.shown(&outcome.diagnostics)))
    }

    pub(super) fn text(&self) -> String {
        let Rendered { text, diagnostics } = self.with(rendered);
        text.unwrap_or_else(|| panic!("{}", self.shown(&diagnostics)))
    }
}

const ENVLAB: &str = r#"
name: ${LAB:-envlab}        # E5: environment substitution on raw text
mgmt:
  network: ${LAB:-envlab}-oob
topology:
  nodes:
    probe:
      kind: linux
      image: ${PROBE_IMAGE:=alpine:3}
      cmd: sh -c 'echo "$$HOME" ; sleep 1d'
      env: { __IMPORT_ENVS: "true", OWN: "1", LANG: own }
      user: "1000:1000"
      sysctls: { net.ipv4.ip_forward: 1 }
"#;

#[test]
fn e5_takes_its_variables_from_the_environment() {
    let default = Case::new(ENVLAB).set("HOME", "/root").lab();
    assert_eq!(default.name().as_str(), "envlab");
    let probe = node(&default, "probe");
    assert_eq!(probe.image.as_deref(), Some("alpine:3"));
    assert_eq!(probe.cmd, ["sh", "-c", "echo \"$HOME\" ; sleep 1d"]);
    assert_eq!(probe.sysctls["net.ipv4.ip_forward"], "1");
    assert_eq!(probe.user.as_deref(), Some("1000:1000"));

    let set = Case::new(ENVLAB).set("LAB", "mine").set("PROBE_IMAGE", "alpine:4").lab();
    assert_eq!((set.name().as_str(), node(&set, "probe").image.as_deref()), ("mine", Some("alpine:4")));
    let text = Case::new(ENVLAB).set("LAB", "mine").text();
    assert!(text.contains("name: mine  ") && text.contains("network: mine-oob"), "{text}");
}

#[test]
fn an_imported_environment_is_under_what_the_level_says_itself() {
    let lab = Case::new(ENVLAB).set("LANG", "C").set("PATH", "/bin").lab();
    let env: Vec<(&str, &str)> = node(&lab, "probe").env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(env, [("LANG", "own"), ("OWN", "1"), ("PATH", "/bin")]);
    let off = Case::new(ENVLAB.replace("\"true\"", "\"false\"")).set("PATH", "/bin").lab();
    assert_eq!(node(&off, "probe").env.len(), 2);
}

#[test]
fn e9_is_a_ring_of_as_many_routers_as_its_data_says() {
    let lab = Case::new(E9).data("n: 4\n").lab();
    assert_eq!(lab.name().as_str(), "grid");
    let names: Vec<&str> = lab.nodes().keys().map(crate::NodeName::as_str).collect();
    assert_eq!(names, ["r1", "r2", "r3", "r4"]);
    assert!(lab.nodes().values().all(|node| node.image.as_deref() == Some("quay.io/frrouting/frr:10.5.1")));
    let ids: Vec<String> = lab.links().iter().map(|link| link.id().to_string()).collect();
    assert_eq!(ids, ["r1:eth1-r2:eth2", "r1:eth2-r4:eth1", "r2:eth1-r3:eth2", "r3:eth1-r4:eth2"]);
    assert_eq!(Case::new(E9).data("n: 300\n").lab().links().len(), 300);
}

#[test]
fn templates_in_files_of_their_own_are_called_by_name() {
    let text = "name: t\ntopology:\n  nodes:\n{{ template \"leaf.gotmpl\" (dict \"name\" \"l1\") }}\n{{ template \"spine\" . }}\n";
    let case = Case::new(text)
        .file("leaf.gotmpl", "    {{ .name }}: { kind: linux, runtime: namespace }")
        .file("more.gotmpl", "{{ define \"spine\" }}    s1: { kind: linux, runtime: namespace }{{ end }}");
    assert_eq!(case.lab().nodes().len(), 2);
}

#[test]
fn the_name_of_a_lab_may_hold_branch_and_commit() {
    let text = "name: lab-__gitBranch__-__gitHash__\ntopology: { nodes: { a: { kind: linux, runtime: namespace } } }\n";
    assert_eq!(Case::new(text).set("BRANCH", "feature/New").lab().name().as_str(), "lab-feature-new-1a2b3c4");
    assert_eq!(Case::new(text).lab().name().as_str(), "lab-head-1a2b3c4");
    assert_eq!(lab(text).name().as_str(), "lab-none-none");
}

#[test]
fn what_is_wrong_with_a_template_is_shown_where_it_stands() {
    insta::assert_snapshot!(Case::new(E9.replace("add (rem", "ad (rem")).data("n: 4").said(), @r#"
    lab.clab.yml:10:42: error[template]: there is no function `ad`
        |
     10 |     - endpoints: ["r{{ $i }}:eth1", "r{{ ad (rem $i $.n) 1 }}:eth2"]
        |                                          ^^
        = help: did you mean `add`?

    lab.clab.yml: 1 error
    "#);
    insta::assert_snapshot!(Case::new(E9).said(), @r#"
    lab.clab.yml:5:17: error[template]: a number is needed, and this is nothing
       |
     5 | {{- range $i := seq 1 .n }}
       |                 ^^^
       = help: `.n` has no value; is it in the data?

    lab.clab.yml: 1 error
    "#);
    insta::assert_snapshot!(Case::new(E9.replacen("{{- end }}", "", 1)).data("n: 4").said(), @r#"
    lab.clab.yml:5:1: error[template]: this `range` is not closed
       |
     5 | {{- range $i := seq 1 .n }}
       | ^^
       = help: write `{{ end }}` where it ends

    lab.clab.yml: 1 error
    "#);
    insta::assert_snapshot!(Case::new("name: {{ .lab.name }}\n").data("lab: grid").said(), @r#"
    lab.clab.yml:1:10: error[template]: there is no `name` in a text: only maps have fields
       |
     1 | name: {{ .lab.name }}
       |          ^^^^^^^^^

    lab.clab.yml: 1 error
    "#);
    insta::assert_snapshot!(Case::new("name: t\ntopology:\n{{ template \"leaf\" }}").file("leaf.gotmpl", "x").said(), @r#"
    lab.clab.yml:3:1: error[template]: there is no template `leaf`
       |
     3 | {{ template "leaf" }}
       | ^^^^^^^^^^^^^^^^^^^^^
       = help: a template has the whole name of its file: `leaf.gotmpl`

    lab.clab.yml: 1 error
    "#);
    insta::assert_snapshot!(Case::new("name: t\n{{ template \"leaf.gotmpl\" 3 }}").file("leaf.gotmpl", "# a leaf\n{{ .name }}: {}\n").said(), @r#"
    clab_templates/leaf.gotmpl:2:4: error[template]: there is no `name` in a whole number: only maps have fields
       |
     2 | {{ .name }}: {}
       |    ^^^^^
       = note: called here: lab.clab.yml:2:1

    lab.clab.yml: 1 error
    "#);
}

#[test]
fn what_is_wrong_with_what_a_template_makes_points_at_the_action() {
    let wrong = E9.replace(":eth2\"]", ":eth2\"]\n      mtuu: 1500").replace("rem $i $.n", "mul $i 3");
    insta::assert_snapshot!(Case::new(wrong).data("n: 2").said(), @r#"
    lab.clab.yml:10:37: error[unknown-node]: there is no node `r4`
        |
      6 |     r{{ $i }}: {}
        |     --------- `r1` is defined here
      …
     10 |     - endpoints: ["r{{ $i }}:eth1", "r{{ add (mul $i 3) 1 }}:eth2"]
        |                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ produces `- endpoints: ["r1:eth1", "r4:eth2"]`
        = at: topology.links[0].endpoints[1]
        = help: did you mean `r1`?

    lab.clab.yml:10:37: error[unknown-node]: there is no node `r7`
        |
      6 |     r{{ $i }}: {}
        |     --------- `r1` is defined here
      …
     10 |     - endpoints: ["r{{ $i }}:eth1", "r{{ add (mul $i 3) 1 }}:eth2"]
        |                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ produces `- endpoints: ["r2:eth1", "r7:eth2"]`
        = at: topology.links[1].endpoints[1]
        = help: did you mean `r1`?

    lab.clab.yml:11:7: error[unknown-field]: link has no field `mtuu`
        |
     11 |       mtuu: 1500
        |       ^^^^
        = at: topology.links[0].mtuu
        = help: did you mean `mtu`?

    lab.clab.yml: 3 errors
    "#);
    insta::assert_snapshot!(Case::new("name: t\ntopology:\n  nodes:\n{{ .nodes }}\n").data("nodes: \"    r1: { kind: linus }\"").said(), @r#"
    lab.clab.yml:4:1: error[unknown-kind]: there is no kind `linus`
       |
     4 | {{ .nodes }}
       | ^^^^^^^^^^^^ produces `r1: { kind: linus }`
       = at: topology.nodes.r1.kind
       = help: did you mean `linux`? `netloom kinds` lists all; a file in `/etc/netloom/kinds.d`, or in `kinds/` beside the topology, adds one

    lab.clab.yml: 1 error
    "#);
    let kind = "name: t\ntopology:\n  nodes:\n    r1: { kind: {{ .kind }}, image: {{ .image }} }\n";
    insta::assert_snapshot!(Case::new(kind).data("kind: linus").said(), @r#"
    lab.clab.yml:4:17: error[unknown-kind]: there is no kind `linus`
       |
     4 |     r1: { kind: {{ .kind }}, image: {{ .image }} }
       |                 ^^^^^^^^^^^ produces `r1: { kind: linus, image: <no value> }`
       = at: topology.nodes.r1.kind
       = help: did you mean `linux`? `netloom kinds` lists all; a file in `/etc/netloom/kinds.d`, or in `kinds/` beside the topology, adds one

    lab.clab.yml:4:37: error[invalid-value]: image `<no value>` is not a name of an image
       |
     4 |     r1: { kind: {{ .kind }}, image: {{ .image }} }
       |                                     ^^^^^^^^^^^^ produces `r1: { kind: linus, image: <no value> }`
       = at: topology.nodes.r1.image
       = help: a template writes `<no value>` for what its data does not have

    lab.clab.yml: 2 errors
    "#);
    insta::assert_snapshot!(Case::new("name: t\ntopology: {{ .open }}\n  nodes: []\n").data("open: \"[\"").said(), @r#"
    lab.clab.yml:2:11: error[syntax]: this is not valid YAML: unclosed bracket '['
       |
     2 | topology: {{ .open }}
       |           ^^^^^^^^^^^ produces `topology: [`
       = at: topology[0]

    lab.clab.yml: 1 error
    "#);
}

#[test]
fn what_is_wrong_in_a_called_template_is_shown_in_its_file() {
    let text =
        "name: t\ntopology:\n  nodes:\n    r1: { kind: linux, runtime: namespace }\n{{ template \"leaf.gotmpl\" 7 }}\n";
    let leaf =
        "    # a leaf\n    r1: { kind: linux }\n    leaf{{ . }}: { kind: linux, runtime: namespace, memmory: 1G }\n";
    let case = Case::new(text).file("leaf.gotmpl", leaf);
    insta::assert_snapshot!(case.said(), @r#"
    clab_templates/leaf.gotmpl:2:5: error[duplicate-key]: `r1` is already in this map
       |
     2 |     r1: { kind: linux }
       |     ^^ the second one
       = at: topology.nodes.r1
       = note: the first one: lab.clab.yml:4:5

    clab_templates/leaf.gotmpl:3:53: error[unknown-field]: node has no field `memmory`
       |
     3 |     leaf{{ . }}: { kind: linux, runtime: namespace, memmory: 1G }
       |                                                     ^^^^^^^
       = at: topology.nodes.leaf7.memmory
       = help: did you mean `memory`?

    lab.clab.yml: 2 errors
    "#);
    let found = case.with(read).diagnostics;
    assert_eq!(found[0].file.as_deref(), Some("clab_templates/leaf.gotmpl"));
    let files = Files { name: "lab.clab.yml", text: case.text.as_bytes(), templates: &case.files };
    let marked = crate::topology::marked(&found, &files);
    let place = |range: crate::topology::Range| (range.start.line, range.start.character);
    assert_eq!((marked[0].file.as_str(), place(marked[0].range)), ("clab_templates/leaf.gotmpl", (1, 4)));
    assert_eq!((marked[0].related[0].file.as_str(), place(marked[0].related[0].range)), ("lab.clab.yml", (3, 4)));
}

#[test]
fn what_is_wrong_with_the_value_of_a_variable_is_shown_where_the_variable_is_written() {
    let text =
        "name: t # $LONG\ntopology:\n  nodes:\n    r1: { kind: $KIND, image: \"${IMG:-}\", memory: ${MEM}, cpu: x }\n";
    let case = Case::new(text).set("KIND", "linus").set("LONG", "a very long value");
    insta::assert_snapshot!(case.said(), @r#"
    lab.clab.yml:4:17: error[unknown-kind]: there is no kind `linus`
       |
     4 |     r1: { kind: $KIND, image: "${IMG:-}", memory: ${MEM}, cpu: x }
       |                 ^^^^^ produces `r1: { kind: linus, image: "", memory: $MEM, cpu: x }`
       = at: topology.nodes.r1.kind
       = help: did you mean `linux`? `netloom kinds` lists all; a file in `/etc/netloom/kinds.d`, or in `kinds/` beside the topology, adds one

    lab.clab.yml:4:51: error[invalid-value]: `$MEM` is not an amount of memory
       |
     4 |     r1: { kind: $KIND, image: "${IMG:-}", memory: ${MEM}, cpu: x }
       |                                                   ^^^^^^ produces `r1: { kind: linus, image: "", memory: $MEM, cpu: x }`
       = at: topology.nodes.r1.memory
       = help: write for example `512MB`, `1G` or `256MiB` (1 KB is 1000 bytes, 1 KiB 1024)

    lab.clab.yml:4:51: warning[substitution]: the variable `MEM` is not set
       |
     4 |     r1: { kind: $KIND, image: "${IMG:-}", memory: ${MEM}, cpu: x }
       |                                                   ^^^^^^ stays as `$MEM`
       = help: set it, or write a default: `${MEM:-text}`

    lab.clab.yml:4:64: error[invalid-value]: `x` is not a number of cores
       |
     4 |     r1: { kind: $KIND, image: "${IMG:-}", memory: ${MEM}, cpu: x }
       |                                                                ^
       = at: topology.nodes.r1.cpu
       = help: write how many cores it may use, such as `0.5` or `2`

    lab.clab.yml: 3 errors, 1 warning
    "#);
    insta::assert_snapshot!(Case::new("name: lab-$LAB\ntopology: { nodes: { a: { kind: linux, runtime: namespace } } }\n").said(), @r#"
    lab.clab.yml:1:7: error[invalid-name]: lab name `lab-$LAB` contains `$`; letters, digits, `-`, `.` and `_` are possible
       |
     1 | name: lab-$LAB
       |       ^^^^^^^^
       = at: name
       = help: `$LAB` stays when the variable is not set; set it, or write `${LAB:-text}`

    lab.clab.yml: 1 error
    "#);
    insta::assert_snapshot!(Case::new("name: ${LAB\ntopology: {}\n").said(), @r#"
    lab.clab.yml:1:7: error[substitution]: this `${` is not closed on its line
       |
     1 | name: ${LAB
       |       ^^^^^
       = help: write `}` behind it, or `$${` if no variable is meant

    lab.clab.yml: 1 error
    "#);
    insta::assert_snapshot!(Case::new("name: t\nprefix: ${A?no}\ntopology: { nodes: { {{ .x }}: { kind: linux, image: ${IMG} } } }\n").data("x: a").said(), @r#"
    lab.clab.yml:2:9: error[invalid-value]: prefix `${A?no}` cannot begin the name of a container
       |
     2 | prefix: ${A?no}
       |         ^^^^^^^
       = at: prefix
       = help: letters, digits, `-`, `.` and `_` are possible; `""` and `__lab-name` are special

    lab.clab.yml:2:9: warning[substitution]: this is no form of a variable that is replaced
       |
     2 | prefix: ${A?no}
       |         ^^^^^^^ stays as it is
       = help: `${NAME}`, `${NAME:-default}` and the like with `-`, `=` and `+` are; `$${` says that none is meant

    lab.clab.yml:3:54: warning[substitution]: the variable `IMG` is not set
       |
     3 | topology: { nodes: { {{ .x }}: { kind: linux, image: ${IMG} } } }
       |                                                      ^^^^^^ stays as `$IMG`
       = help: set it, or write a default: `${IMG:-text}`

    lab.clab.yml: 1 error, 2 warnings
    "#);
}

#[test]
fn a_text_that_a_template_makes_is_checked_as_a_file_is() {
    assert!(Case::new("name: \"{{ \"\\x00\" }}\"\n").said().contains("produces a NUL character"));
    assert!(Case::new("{{ if false }}x{{ end }}").said().contains("the file is empty"));
    let large = Case::new("x: $LARGE$LARGE").data("a: 1");
    assert!(
        large.set("LARGE", &"v".repeat(9 << 20)).said().contains("with its variables replaced the file has more than")
    );
}

#[test]
fn a_file_without_templates_and_variables_costs_nothing_more() {
    let text = "name: t\n# nothing $ here, $1, and { { } }\n";
    Case::new(text).with(|input| {
        let made = crate::topology::text::prepare(input, &mut crate::topology::diagnostic::Report::new());
        assert!(matches!(made, Some(std::borrow::Cow::Borrowed(_))));
    });
}

proptest::proptest! {
    #[test]
    fn spans_stay_inside_of_the_files(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES.to_vec()), 0..20),
        called in proptest::collection::vec(proptest::sample::select(PIECES.to_vec()), 0..8),
    ) {
        let case = Case::new(pieces.concat()).data("n: 3\nx: \"a: {\\nb: [\"\nl: [1, a]").file("c", &called.concat()).set("A", "x: [\n").set("B", "");
        let found = case.with(read).diagnostics;
        for diagnostic in &found {
            let text = if diagnostic.file.is_some() { &case.files[0].text } else { &case.text };
            proptest::prop_assert!(diagnostic.span.range().end <= text.len() + 1, "{diagnostic:?}");
            proptest::prop_assert!(diagnostic.span.line >= 1 && diagnostic.span.column >= 1, "{diagnostic:?}");
        }
        let _ = case.shown(&found);
    }
}

const PIECES: [&str; 30] = [
    "name: t\n",
    "topology:\n",
    "  nodes:\n",
    "    a: { kind: linux }\n",
    "    b: { kind: linus }\n",
    "{{ .n }}",
    "{{ .x }}",
    "{{ range .l }}",
    "{{ range $i := seq 1 .n }}",
    "{{ end }}",
    "{{- end -}}\n",
    "{{ if .n }}",
    "{{ else }}",
    "{{ $i }}",
    "{{ template \"c\" . }}",
    "$A",
    "${A}",
    "${B:-",
    "}",
    "${NO:-$A}",
    "$$",
    "é",
    ": ",
    "\n",
    "- ",
    "[",
    "\"",
    "&a ",
    "*a",
    "  links:\n",
];

#[test]
fn all_that_is_wrong_with_templates_is_said_at_once() {
    let text = E9.replace("add (rem", "ad (rem").replacen("seq 1", "sequ 1", 1);
    let found = Case::new(text).file("leaf.gotmpl", "{{ $spine }}").said();
    for said in ["no function `sequ`", "no function `ad`", "leaf.gotmpl:1:4: error[template]: there is no variable"] {
        assert!(found.contains(said), "{found}");
    }
    assert_eq!(found.matches("error[").count(), 3, "{found}");
}

#[test]
fn templates_of_jinja_are_recognised() {
    let (head, tag) = ("name: t\ntopology:\n  nodes:\n", "tag of Jinja, and the templates of topology files are Go's");
    for (nodes, all) in [
        (
            "    a: { kind: linux, image: {{ image }} }\n",
            ["4:33: error[template]", "no function `image`", "written `.image`", "of Jinja"],
        ),
        (
            "  {% for n in nodes %}\n    {{ n.name }}: {}\n  {% endfor %}\n",
            ["4:3: error[template]", tag, "this looks like Jinja: render", "2 errors"],
        ),
        (
            "{% if x %}\n    a: {}\n{% endif %}\n",
            ["4:2: error[syntax]", "not valid YAML", "this looks like Jinja: render", "1 error"],
        ),
    ] {
        let found = Case::new(format!("{head}{nodes}")).said();
        for said in all {
            assert!(found.contains(said), "{said}:\n{found}");
        }
    }
    // In the middle of a text it is that text's own.
    let text = "name: t\ntopology:\n  nodes:\n    a:\n      kind: linux\n      runtime: namespace\n      env:\n        T: |\n          {% if x %}\n";
    assert_eq!(node(&lab(text), "a").env["T"], "{% if x %}\n");
}
