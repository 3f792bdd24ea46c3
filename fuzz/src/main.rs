//! `netloom-fuzz TARGET SECONDS [SEED]`: mutates the corpus of a target for some time. One thread; the same seed makes the
//! same inputs, so that one which ends the process can be found again.
//!
//! What a target panics at, or takes too long for, is written to `artifacts/TARGET/`; exit code 1.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use netloom_fuzz::{TARGETS, Target};

mod mutate;

use mutate::Mutator;

/// No input may take longer. Half a megabyte of the worst is read in a hundredth of it.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (name, seconds, seed) = match words.as_slice() {
        [name, seconds] => (name, seconds.parse::<u64>(), Ok(now())),
        [name, seconds, seed] => (name, seconds.parse(), seed.parse()),
        _ => return usage(),
    };
    let target = TARGETS.iter().find(|(known, _)| known == name);
    let (Some((name, target)), Ok(seconds), Ok(seed)) = (target, seconds, seed) else { return usage() };
    match run(name, *target, Duration::from_secs(seconds), seed) {
        Ok(inputs) => {
            println!("{name}: {inputs} inputs, nothing found (seed {seed})");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{name}: {why} (seed {seed})");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    eprintln!("usage: netloom-fuzz TARGET SECONDS [SEED]; targets: {}", names.join(", "));
    ExitCode::from(2)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() ^ u64::from(since.subsec_nanos())
}

/// Returns how many inputs were tried.
fn run(name: &str, target: Target, time: Duration, seed: u64) -> Result<u64, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = corpus(&here.join("corpus").join(name))?;
    // The corpus itself comes first: what was found once is never found again.
    let mut mutator = Mutator::new(&corpus, seed);
    let mut inputs = corpus.clone().into_iter();
    let begun = Instant::now();
    let mut tried = 0;
    while begun.elapsed() < time || inputs.len() > 0 {
        let input = inputs.next().unwrap_or_else(|| mutator.input());
        let started = Instant::now();
        let panicked = catch_unwind(AssertUnwindSafe(|| target(&input))).is_err();
        let why = match started.elapsed() {
            _ if panicked => "an input that it panics at".to_owned(),
            took if took > PATIENCE => format!("an input that takes {took:?}"),
            _ => {
                tried += 1;
                continue;
            }
        };
        let kept = keep(&here.join("artifacts").join(name), tried, &input)?;
        return Err(format!("{why} is in {}", kept.display()));
    }
    Ok(tried)
}

fn corpus(directory: &Path) -> Result<Vec<Vec<u8>>, String> {
    let said = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory).map_err(said)? {
        paths.push(entry.map_err(said)?.path());
    }
    paths.sort();
    paths.iter().map(|path| fs::read(path).map_err(said)).collect()
}

fn keep(directory: &Path, number: u64, input: &[u8]) -> Result<PathBuf, String> {
    let path = directory.join(format!("input-{number}"));
    let written = fs::create_dir_all(directory).and_then(|()| fs::write(&path, input));
    written.map(|()| path).map_err(|error| format!("an input was found, and cannot be written: {error}"))
}
