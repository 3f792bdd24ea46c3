//! The list and the code say the same. That a name in the code is in the list is seen to by the compiler.
#![expect(clippy::unwrap_used, reason = "what all tests share is no test function to clippy")]

use std::fs;
use std::path::{Path, PathBuf};

use netloom_failpoint::ALL;

/// All sources of the product but this crate's own.
fn sources() -> Vec<PathBuf> {
    fn below(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for one in fs::read_dir(crates).unwrap() {
        let source = one.unwrap().path().join("src");
        if source.is_dir() && !source.starts_with(env!("CARGO_MANIFEST_DIR")) {
            below(&source, &mut found);
        }
    }
    found
}

#[test]
fn each_name_of_the_list_stands_at_one_place_of_the_code() {
    let texts: Vec<String> = sources().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for name in ALL {
        let uses = |macro_name: &str| -> usize {
            let call = format!("{macro_name}!(\"{name}\")");
            texts.iter().map(|text| text.matches(&call).count()).sum()
        };
        assert_eq!(uses("point") + uses("fallible"), 1, "uses of {name}");
    }
}

#[test]
fn no_name_is_in_the_list_twice() {
    for (at, name) in ALL.iter().enumerate() {
        assert!(!ALL[..at].contains(name), "{name}");
    }
}

#[cfg(not(feature = "enabled"))]
#[test]
fn without_the_feature_a_point_does_nothing() {
    netloom_failpoint::point!("store.after-commit");
    let passed: std::io::Result<()> = netloom_failpoint::fallible!("store.before-commit");
    passed.unwrap();
}
