//! All that is wrong with templates is found at once, and nothing that only follows from it.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

use netloom_template::{Source, Value, render};

/// What is said of a text: the marked part and the message of each error.
fn said(text: &str) -> Vec<(String, String)> {
    let errors = render(&[Source { name: "main", text }], &Value::Missing).unwrap_err();
    errors.iter().map(|error| (text[error.range.clone()].to_owned(), error.message.clone())).collect()
}

#[track_caller]
fn marks(text: &str, wanted: &[&str]) {
    let said = said(text);
    let marked: Vec<&str> = said.iter().map(|(marked, _)| marked.as_str()).collect();
    assert_eq!(marked, wanted, "{text}\n{said:#?}");
}

#[test]
fn every_wrong_action_is_said() {
    marks(
        "{{ ad 1 2 }}\n{{ range $i := sq 3 }}{{ $j }}{{ toUpr \"a\" }}{{ end }}\n{{ 1 2 | nil }}",
        &["ad", "sq", "$j", "toUpr", "nil"],
    );
    marks("{{ if fo }}{{ else if ba }}{{ else }}{{ qu }}{{ end }}{{ with }}{{ end }}", &["fo", "ba", "qu", "}}"]);
    marks(
        "{{ define \"a\" }}{{ fo }}{{ end }}{{ define b }}{{ ba }}{{ end }}{{ template c }}",
        &["fo", "b", "ba", "c"],
    );
    marks("{{ block \"a\" fo }}{{ ba }}{{ end x }}{{ break }}", &["fo", "ba", "x", "{{ break }}"]);
}

#[test]
fn what_is_no_sequence_of_words_ends_one_action_only() {
    marks("{{ .a-b }}{{ fo }}", &["-", "fo"]);
    marks("{{ if .a-b }}{{ fo }}{{ end }}", &["-", "fo"]);
    marks("{{ \"a }}\n{{ fo }}", &["\"", "fo"]);
    marks("{{ (1 }}{{ fo }}", &["(1 ", "fo"]);
    marks("{{ 12ab }}{{ : }}{{ fo }}", &["12ab", ":", "fo"]);
    marks("{{/* a */ b }}{{ fo }}", &["{{/* a */", "fo"]);
}

#[test]
fn an_action_that_is_not_closed_ends_where_the_next_one_begins() {
    marks("{{ if .a }}b: {{ .b\nc: {{ fo }}\n{{ end }}", &["{{", "fo"]);
    marks("a: {{ .a\nb: c\n", &["{{"]);
}

#[test]
fn what_follows_from_a_mistake_is_not_said() {
    // The blocks that the wrong actions would have opened or closed.
    marks("{{ fi .a }}b{{ else if .c }}d{{ else }}e{{ end }}{{ fo }}", &["fi", "fo"]);
    marks("{{ if .a }}b{{ ends }}", &["ends"]);
    marks("{{ $x := fo }}{{ $x }}", &["fo"]);
    // Without such a mistake they are mistakes themselves.
    marks("{{ end }}{{ fo }}", &["{{ end }}", "fo"]);
    marks("{{ fo }}{{ if .a }}", &["fo"]);
}

#[test]
fn mistakes_in_several_sources_are_said_together_and_none_is_executed() {
    let sources = [
        Source { name: "main", text: "{{ fo }}{{ template \"nothing\" }}{{ index 1 2 3 }}" },
        Source { name: "more", text: "{{ ba }}" },
        Source { name: "right", text: "a" },
        Source { name: "last", text: "{{ if }}" },
    ];
    let errors = render(&sources, &Value::Missing).unwrap_err();
    assert_eq!(errors.iter().map(|error| error.source).collect::<Vec<_>>(), [0, 1, 3]);
}

#[test]
fn mistakes_without_end_are_bounded() {
    let text = "{{ fo }}{{ .a-b }}{{ $x }}".repeat(10_000);
    let sources: Vec<Source<'_>> = (0..20).map(|_| Source { name: "main", text: &text }).collect();
    let errors = render(&sources, &Value::Missing).unwrap_err();
    assert!((100..500).contains(&errors.len()), "{}", errors.len());
}
