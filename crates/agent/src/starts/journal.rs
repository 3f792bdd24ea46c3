//! The file: one line of JSON for each thing that is noted, the lives one after the other.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use netloom_model::LabName;
use serde::{Deserialize, Serialize};

use super::loops::{ENDS, Life, Moment, Paused};

/// How many lives are kept: as many as it takes to see that pausing labs has not helped.
const KEPT: usize = ENDS * 2;
/// The file is written anew, with just that, when it is larger.
const MOST: usize = 64 << 10;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    /// A life begins.
    Begins(Moment, Paused),
    /// Something is under way for these labs.
    Works(BTreeSet<LabName>),
    /// It ends as it should.
    Ends,
}

/// The lives that a file tells of, the oldest first. What cannot be read is passed over: the line that was being written
/// when the process died, and those of other versions.
pub(super) fn read(path: &Path) -> Vec<Life> {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let mut lives: Vec<Life> = Vec::new();
    for line in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
        match (line, lives.last_mut()) {
            (Line::Begins(began, paused), _) => lives.push(Life::begun(began, paused)),
            (Line::Works(labs), Some(life)) => life.works_for(labs),
            (Line::Ends, Some(life)) => life.ended = true,
            (Line::Works(_) | Line::Ends, None) => {}
        }
    }
    lives
}

/// The file of the life that goes on.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    size: usize,
    /// All that are kept; the last one is this one.
    lives: Vec<Life>,
    life: Life,
    is_failing: bool,
}

impl Journal {
    /// Begins a life after those that were.
    pub(super) fn begin(path: &Path, mut lives: Vec<Life>, life: Life) -> io::Result<Self> {
        lives.drain(..lives.len().saturating_sub(KEPT));
        let (file, size) = write_anew(path, &lives, &life)?;
        Ok(Self { path: path.to_owned(), file, size, lives, life, is_failing: false })
    }

    /// The labs for which something is under way, as it was noted.
    pub(super) fn works(&self) -> &BTreeSet<LabName> {
        &self.life.works
    }

    /// Notes one thing more of this life. What finds no room is said once, and noted with what comes next.
    pub(super) fn add(&mut self, line: Line) {
        let text = text_of(&line);
        match line {
            Line::Works(labs) => self.life.works_for(labs),
            Line::Ends => self.life.ended = true,
            Line::Begins(..) => {}
        }
        // Also when the last line may be there in part.
        let written = if self.is_failing || self.size > MOST {
            write_anew(&self.path, &self.lives, &self.life).map(|(file, size)| (self.file, self.size) = (file, size))
        } else {
            self.size += text.len();
            self.file.write_all(text.as_bytes())
        };
        if let (Err(error), false) = (&written, self.is_failing) {
            tracing::warn!(%error, path = %self.path.display(), "what the agent is at is not noted");
        }
        self.is_failing = written.is_err();
    }
}

fn write_anew(path: &Path, lives: &[Life], life: &Life) -> io::Result<(File, usize)> {
    let text: String = lives.iter().chain([life]).flat_map(lines_of).map(|line| text_of(&line)).collect();
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&new, path)?;
    Ok((file, text.len()))
}

fn lines_of(life: &Life) -> Vec<Line> {
    let mut lines = vec![Line::Begins(life.began.clone(), life.paused.clone())];
    // What has come to an end was under way before.
    if !life.rested.is_empty() {
        lines.extend([Line::Works(life.rested.clone()), Line::Works(BTreeSet::new())]);
    }
    if !life.works.is_empty() {
        lines.push(Line::Works(life.works.clone()));
    }
    if life.ended {
        lines.push(Line::Ends);
    }
    lines
}

fn text_of(line: &Line) -> String {
    serde_json::to_string(line).expect("plain values serialise") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(second: u64) -> Life {
        Life::begun(Moment { boot: "boot".into(), second }, Paused::None)
    }

    fn labs(names: &[&str]) -> BTreeSet<LabName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn what_was_noted_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("starts.jsonl");
        let mut journal = Journal::begin(&path, read(&path), begun(1)).unwrap();
        journal.add(Line::Works(labs(&["x", "y"])));
        journal.add(Line::Works(labs(&["y"])));
        let first = Life { works: labs(&["y"]), rested: labs(&["x"]), ..begun(1) };
        assert_eq!(read(&path), std::slice::from_ref(&first));
        let mut journal = Journal::begin(&path, read(&path), begun(2)).unwrap();
        journal.add(Line::Ends);
        assert_eq!(read(&path), [first, Life { ended: true, ..begun(2) }]);
    }

    #[test]
    fn the_file_stays_small() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("starts.jsonl");
        for second in 0..40 {
            Journal::begin(&path, read(&path), begun(second)).unwrap();
        }
        assert_eq!(read(&path).len(), KEPT + 1);
        let mut journal = Journal::begin(&path, Vec::new(), begun(1)).unwrap();
        for turn in 0..10_000 {
            journal.add(Line::Works(labs(&[["x", "y"][turn % 2]])));
        }
        assert!(fs::metadata(&path).unwrap().len() <= MOST as u64 + 100);
        assert_eq!(read(&path), [Life { works: labs(&["y"]), rested: labs(&["x", "y"]), ..begun(1) }]);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }
}
