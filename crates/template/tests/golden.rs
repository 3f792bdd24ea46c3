//! What Go's own text/template renders and refuses, we render and refuse. The expectations are made by
//! `golden/generate`; Go is not needed here.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use netloom_template::{Made, Source, Value, render};

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cases");
    let mut found: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "tmpl"))
        .collect();
    found.sort();
    found
}

fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::from(*value),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::from(number),
            None => Value::from(number.as_f64().unwrap()),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => Value::list(items.iter().map(value).collect()),
        serde_json::Value::Object(entries) => {
            Value::map(entries.iter().map(|(key, item)| (key.clone(), value(item))).collect::<BTreeMap<_, _>>())
        }
    }
}

/// The data beside a case, else that of all cases.
fn data(case: &Path) -> Value {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/data.json");
    let text = fs::read(case.with_extension("json")).or_else(|_| fs::read(all)).unwrap();
    value(&serde_json::from_slice(&text).unwrap())
}

#[test]
fn every_case_is_as_go_renders_it() {
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 60, "{}", cases.len());
    for case in &cases {
        let text = fs::read_to_string(case).unwrap();
        let wanted = fs::read_to_string(case.with_extension("out"));
        let refused = case.with_extension("err").exists();
        assert!(wanted.is_ok() != refused, "{}: run golden/generate", case.display());
        let made = render(&[Source { name: "case", text: &text }], &data(case));
        match (wanted, made) {
            (Ok(wanted), Ok(made)) if made.text == wanted => {}
            (Err(_), Err(_)) => {}
            (wanted, made) => {
                let wanted = wanted.unwrap_or_else(|_| {
                    format!("refused: {}", fs::read_to_string(case.with_extension("err")).unwrap())
                });
                let made = made.map_or_else(|errors| format!("refused: {}", errors[0]), |made| made.text);
                wrong.push(format!("{}\n  Go: {wanted:?}\n  we: {made:?}", case.file_stem().unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn runs_cover_the_output_and_copied_ones_are_what_stands_in_the_source() {
    for case in cases() {
        let text = fs::read_to_string(&case).unwrap();
        let Ok(made) = render(&[Source { name: "case", text: &text }], &data(&case)) else { continue };
        let mut end = 0;
        for run in &made.runs {
            assert_eq!(run.start, end, "{}", case.display());
            end += run.len;
            let from = &text[run.from.clone()];
            match run.made {
                Made::Copied => assert_eq!(from, &made.text[run.start..end], "{}", case.display()),
                Made::Produced => assert!(from.starts_with("{{") && from.ends_with("}}"), "{from}"),
            }
        }
        assert_eq!(end, made.text.len(), "{}", case.display());
    }
}

#[test]
fn errors_point_into_the_source() {
    for case in cases() {
        let text = fs::read_to_string(&case).unwrap();
        let Err(errors) = render(&[Source { name: "case", text: &text }], &data(&case)) else { continue };
        // Each case has one mistake: nothing that follows from it is said as well.
        assert_eq!(errors.len(), 1, "{}: {errors:?}", case.display());
        for error in errors {
            assert!(text.get(error.range.clone()).is_some(), "{}: {error:?}", case.display());
            assert!(!error.message.is_empty() && !error.message.ends_with('.'), "{error}");
        }
    }
}
