//! Whatever the template, the answer comes soon, and it is an answer.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

use std::fmt::Write;
use std::time::Instant;

use netloom_template::{Error, MAX_OUTPUT, Source, Value, render};
use proptest::prelude::*;

fn refused(text: &str) -> Error {
    let begun = Instant::now();
    let error = render(&[Source { name: "main", text }], &Value::Missing).unwrap_err().remove(0);
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    error
}

fn said(text: &str) -> String {
    refused(text).to_string()
}

#[test]
fn what_would_never_end_is_refused() {
    assert!(said("{{ range 9000000000000000000 }}{{ end }}").contains("takes too long"));
    assert!(said("{{ define \"t\" }}{{ template \"t\" }}{{ end }}{{ template \"t\" }}").contains("deep"));
    let both = "{{ define \"t\" }}{{ template \"t\" }}{{ template \"t\" }}{{ end }}{{ template \"t\" }}";
    assert!(said(both).contains("deep"));
    let doubling = "{{ define \"t\" }}{{ if lt . 90 }}{{ template \"t\" (add . 1) }}{{ template \"t\" (add . 1) }}{{ end }}{{ end }}{{ template \"t\" 1 }}";
    assert!(said(doubling).contains("takes too long"), "{}", said(doubling));
}

#[test]
fn what_would_be_too_large_is_refused() {
    assert!(said("{{ seq 1 1000000000000 }}").contains("1000000000000 numbers"));
    assert!(said("{{ repeat 1000000000 \"abc\" }}").contains("more than"));
    assert!(said("{{ range seq 1 100000 }}{{ repeat 1000 \"abc\" }}{{ end }}").contains("more than"));
    assert!(said("{{ $x := \"abc\" }}{{ range 60 }}{{ $x = print $x $x }}{{ end }}").contains("too large"));
    assert!(
        said("{{ $x := \"abc\" }}{{ range 60 }}{{ $x = coll.Slice $x $x }}{{ end }}{{ $x }}").contains("too large")
    );
    assert!(said("{{ $x := \"abc\" }}{{ range 1000000 }}{{ $x = coll.Slice $x }}{{ end }}").contains("too large"));
    assert!(
        said("{{ $x := repeat 1000000 \"ab\" }}{{ range 1000 }}{{ $x = replaceAll \"a\" \"aa\" $x }}{{ end }}")
            .contains("of more than")
    );
    assert!(
        said("{{ $x := coll.Slice }}{{ range 1000 }}{{ $x = append (repeat 9000000 \"a\") $x }}{{ end }}")
            .contains("too large")
    );
    assert!(said("{{ printf \"%1000000d%1000000d\" 1 2 | repeat 100 }}").contains("more than"));
    assert!(said(&"{{ printf \"%999999d\" 1 }}".repeat(20)).contains("makes more than"));
    assert!(said(&"{{ . }}".repeat(400_000)).contains("words"));
}

#[test]
fn what_is_nested_too_deep_is_refused() {
    let parentheses = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(said(&parentheses).contains("nested"));
    assert!(said(&"{{ if true }}".repeat(50_000)).contains("nested"));
    let chain = format!("{{{{ if false }}}}{}{{{{ end }}}}", "{{ else if false }}".repeat(10_000));
    assert_eq!(render(&[Source { name: "main", text: &chain }], &Value::Missing).unwrap().text, "");
    let body = format!("{}{{{{ template \"t\" }}}}{}", "{{ if true }}".repeat(50), "{{ end }}".repeat(50));
    let recursive = format!("{{{{ define \"t\" }}}}{body}{{{{ end }}}}{{{{ template \"t\" }}}}");
    assert!(said(&recursive).contains("deep"));
    let inside = format!(
        "{{{{ define \"t\" }}}}{{{{ range 1 }}}}{{{{ with {}1{} }}}}{{{{ template \"t\" }}}}{{{{ end }}}}{{{{ end }}}}{{{{ end }}}}{{{{ template \"t\" }}}}",
        "(".repeat(50),
        ")".repeat(50)
    );
    assert!(said(&inside).contains("deep"));
}

#[test]
fn long_texts_and_many_names_are_answered_soon() {
    let variables = (0..50_000).map(|n| format!("{{{{ $v{n} := 1 }}}}")).collect::<Vec<_>>().concat();
    assert!(said(&variables).contains("variables"));
    let compared = "{{ $a := repeat 15000000 \"ab\" | print }}{{ range 1000000 }}{{ if lt $a $a }}{{ end }}{{ end }}";
    assert!(said(compared).contains("more than"));
    let compared = compared.replace("15000000", "5000000");
    assert!(said(&compared).contains("takes too long"), "{}", said(&compared));
    assert!(said("{{ range 1000000 }}a{{ . }}{{ end }}").contains("pieces"));
}

#[test]
fn regular_expressions_are_bounded() {
    assert!(said("{{ regexp.Match `(a{1000}){1000}` \"a\" }}").contains("it is too large"));
    let slow = "{{ regexp.Match `(a*)*b` (repeat 10000 \"a\") }}";
    assert_eq!(render(&[Source { name: "main", text: slow }], &Value::Missing).unwrap().text, "false");
    assert!(said("{{ regexp.Match `(` \"a\" }}").contains("not a regular expression: unclosed group"));
}

#[test]
fn ten_thousand_nodes_are_rendered() {
    let text = "{{ range $i := seq 1 10000 }}\n  r{{ $i }}: {}\n{{ end }}{{ range $i := seq 1 20000 }}\n    - endpoints: [\"r{{ add (rem $i 10000) 1 }}:a{{ $i }}\", \"r{{ add (rem (mul $i 7) 10000) 1 }}:b{{ $i }}\"]{{ end }}";
    let made = render(&[Source { name: "main", text }], &Value::Missing).unwrap();
    assert!(made.text.len() < MAX_OUTPUT && made.text.lines().count() > 30_000);
}

/// Pieces that templates are made of, right and wrong.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{{",
        "}}",
        "{{-",
        "-}}",
        " ",
        "\n",
        ".",
        ".a",
        "$",
        "$x",
        ":=",
        "=",
        "|",
        "(",
        ")",
        ",",
        "\"a\"",
        "`b`",
        "'c'",
        "1",
        "-2",
        "1.5",
        "0x1f",
        "true",
        "nil",
        "if",
        "else",
        "end",
        "range",
        "with",
        "define",
        "template",
        "block",
        "break",
        "continue",
        "len",
        "index",
        "slice",
        "printf",
        "\"%d %s %[3]*.[2]*[1]f\"",
        "eq",
        "and",
        "seq",
        "dict",
        "strings.",
        "strings.Split",
        "conv.ToInt",
        "é",
        "/*",
        "*/",
        "\\",
        "%",
        "text",
        "{{ . }}",
        "{{ end }}",
        "{{ range . }}",
        "{{ if .a }}",
        "{{ else }}",
        "{{ $x := 1 }}",
        "regexp.Replace",
        "net.CIDRHost",
        "\"10.0.0.0/8\"",
        "coll.Flatten",
        "ToJSON",
        "indent",
        "html",
    ])
}

proptest! {
    #[test]
    fn any_pieces_are_answered(pieces in prop::collection::vec(piece(), 0..30)) {
        let text = pieces.concat();
        let data = Value::map([("a".to_owned(), Value::list(vec![Value::from(1), Value::from("é")]))].into());
        match render(&[Source { name: "main", text: &text }], &data) {
            Ok(made) => prop_assert!(made.runs.iter().map(|run| run.len).sum::<usize>() == made.text.len()),
            Err(errors) => {
                prop_assert!(!errors.is_empty() && errors.is_sorted_by_key(|error| error.range.start));
                let inside = errors.iter().all(|error| text.get(error.range.clone()).is_some());
                prop_assert!(inside, "{:?} in {:?}", errors, text);
            }
        }
    }

    #[test]
    fn any_arguments_are_answered(
        name in prop::sample::select(NAMES.to_vec()),
        arguments in prop::collection::vec(prop::sample::select(ARGUMENTS.to_vec()), 0..5),
    ) {
        let mut text = format!("{{{{ {name}");
        for argument in arguments {
            let _ = write!(text, " {argument}");
        }
        text.push_str(" }}");
        let _ = render(&[Source { name: "main", text: &text }], &Value::Missing);
    }

    #[test]
    fn any_text_without_actions_stays_as_it_is(text in "[^{]{0,200}") {
        let made = render(&[Source { name: "main", text: &text }], &Value::Missing).unwrap();
        prop_assert_eq!(made.text, text);
    }
}

const NAMES: [&str; 60] = [
    "add",
    "subtract",
    "mul",
    "div",
    "idiv",
    "rem",
    "pow",
    "seq",
    "slice",
    "index",
    "len",
    "printf",
    "print",
    "html",
    "js",
    "urlquery",
    "eq",
    "lt",
    "ToJSON",
    "ToJSONPretty",
    "strings.Indent",
    "strings.Repeat",
    "strings.SplitN",
    "strings.Trunc",
    "strings.SkipLines",
    "strings.ReplaceAll",
    "strings.Trim",
    "strings.CamelCase",
    "strings.ShellQuote",
    "conv.ToInt",
    "conv.ParseInt",
    "conv.ToBool",
    "conv.Join",
    "conv.ToStrings",
    "coll.Dict",
    "coll.Has",
    "coll.Index",
    "coll.Keys",
    "coll.Append",
    "coll.Uniq",
    "coll.Sort",
    "coll.Merge",
    "coll.Flatten",
    "coll.Set",
    "coll.Pick",
    "regexp.Find",
    "regexp.FindAll",
    "regexp.Replace",
    "regexp.Split",
    "net.CIDRHost",
    "net.CIDRNetmask",
    "net.CIDRSubnets",
    "net.CIDRSubnetSizes",
    "net.ParseAddr",
    "math.Max",
    "math.Abs",
    "math.Ceil",
    "default",
    "ternary",
    "required",
];

const ARGUMENTS: [&str; 22] = [
    "0",
    "1",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "1.5",
    "1e300",
    "true",
    "nil",
    "\"\"",
    "\"a,b\"",
    "\"世界\"",
    "\"%s%d%-5v\"",
    "\"10.0.0.0/24\"",
    "\"2001:db8::/32\"",
    "\"0.0.0.0/0\"",
    "\"::/0\"",
    "\"(a|b)*\"",
    "(seq 5)",
    "(dict \"a\" 1)",
    "(coll.Slice 1 \"x\" (seq 2))",
    "(repeat 100 \"ab\\n\")",
];
