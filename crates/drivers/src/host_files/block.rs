//! Blocks of lines in `/etc/hosts`, one for each lab, marked as ours. Pure: bytes in, bytes out.
//!
//! ```text
//! ###### CLAB-campus-START ######
//! # of netloom 0123456789ab; what is changed here is lost
//! 172.20.20.2 clab-campus-r1
//! ###### CLAB-campus-END ######
//! ```
//!
//! The lines around a block are those that other tools for labs write and look for; the second line says whose it is. A
//! block without it is another's, whatever its lab is called. All bytes outside of our blocks stay as they are, and when
//! the last block is gone the file is again what it was.

use std::collections::{BTreeMap, BTreeSet};

use netloom_engine::Keeps;
use netloom_model::LabName;

/// What is to be said, and by whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The instance whose blocks these are.
    pub(super) instance: &'a str,
    /// The lines of each lab.
    pub(super) labs: &'a BTreeMap<LabName, String>,
    /// Whose blocks stay, of others.
    pub(super) keeps: &'a Keeps,
}

/// A file with just the blocks that are wanted, and the labs whose blocks were kept.
pub(super) fn with_blocks(file: &[u8], wanted: Wanted<'_>) -> (Vec<u8>, BTreeSet<LabName>) {
    let lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
    let (mut made, mut there, mut kept) = (Vec::with_capacity(file.len()), BTreeSet::new(), BTreeSet::new());
    // Where a block was taken out whose line above had no end: what comes there has it in its stead.
    let mut open = None;
    let mut at = 0;
    while at < lines.len() {
        let Some(block) = Block::at(&lines[at..], wanted.instance) else {
            made.extend_from_slice(lines[at]);
            at += 1;
            continue;
        };
        let inside = &lines[at + 2..at + block.length];
        at += block.length;
        let above = if open == Some(made.len()) { Above::Open } else { block.above };
        match wanted.labs.get(&block.lab) {
            // Of two for one lab the first is it.
            Some(text) if there.insert(block.lab.clone()) => {
                made.extend_from_slice(head_of(&block.lab, wanted.instance, above).as_bytes());
                made.extend_from_slice(format!("{text}{}\n", end_of(&block.lab)).as_bytes());
            }
            None if wanted.keeps.has(&block.lab) => {
                made.extend_from_slice(head_of(&block.lab, wanted.instance, above).as_bytes());
                made.extend_from_slice(&inside.concat());
                kept.insert(block.lab);
            }
            Some(_) | None if above == Above::Open => open = Some(made.len()),
            Some(_) | None => {}
        }
    }
    if open == Some(made.len()) {
        made.pop();
    }
    for (lab, text) in wanted.labs.iter().filter(|(lab, _)| !there.contains(*lab)) {
        let above = if made.last().is_none_or(|last| *last == b'\n') { Above::Ended } else { Above::Open };
        if above == Above::Open {
            made.push(b'\n');
        }
        made.extend_from_slice(head_of(lab, wanted.instance, above).as_bytes());
        made.extend_from_slice(format!("{text}{}\n", end_of(lab)).as_bytes());
    }
    (made, kept)
}

/// Whether the line above a block had an end before the block came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    Ended,
    /// The end of it is ours.
    Open,
}

/// A block of ours.
#[derive(Debug)]
struct Block {
    lab: LabName,
    above: Above,
    /// In lines.
    length: usize,
}

impl Block {
    /// The one that begins here, if one does. One whose end was taken away has only the lines that say what it is.
    fn at(lines: &[&[u8]], instance: &str) -> Option<Self> {
        let text = |line: &[u8]| std::str::from_utf8(line).ok().map(|line| line.trim_end().to_owned());
        let lab = text(lines.first()?)?.strip_prefix("###### CLAB-")?.strip_suffix("-START ######")?.parse().ok()?;
        let mark = text(lines.get(1)?)?;
        let above = [Above::Ended, Above::Open].into_iter().find(|above| mark == mark_of(instance, *above))?;
        let ends = |line: &&[u8]| text(line).is_some_and(|line| line == end_of(&lab));
        let begins = |line: &&[u8]| line.starts_with(b"###### CLAB-") && !ends(line);
        let inside = lines[2..].iter().take_while(|line| !ends(line) && !begins(line)).count();
        let is_closed = lines.get(2 + inside).is_some_and(ends);
        Some(Self { lab, above, length: if is_closed { inside + 3 } else { 2 } })
    }
}

fn mark_of(instance: &str, above: Above) -> String {
    let open = match above {
        Above::Ended => "",
        Above::Open => " (the line above had no end)",
    };
    format!("# of netloom {instance}; what is changed here is lost{open}")
}

fn end_of(lab: &LabName) -> String {
    format!("###### CLAB-{lab}-END ######")
}

fn head_of(lab: &LabName, instance: &str, above: Above) -> String {
    format!("###### CLAB-{lab}-START ######\n{}\n", mark_of(instance, above))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: &str = "0123456789ab";

    fn edit(file: &str, labs: &[(&str, &str)], keeps: &Keeps) -> (String, Vec<String>) {
        let labs = labs.iter().map(|(lab, text)| (lab.parse().unwrap(), format!("{text}\n"))).collect();
        let (made, kept) = with_blocks(file.as_bytes(), Wanted { instance: INSTANCE, labs: &labs, keeps });
        (String::from_utf8(made).unwrap(), kept.iter().map(ToString::to_string).collect())
    }

    fn with(file: &str, labs: &[(&str, &str)]) -> String {
        edit(file, labs, &Keeps::Only(BTreeSet::new())).0
    }

    #[test]
    fn blocks_come_change_and_go_and_nothing_else_does() {
        for before in
            ["", "127.0.0.1 localhost\n", "127.0.0.1 localhost", "\n\n", "a\r\n# b", "###### CLAB-z-START ######\n"]
        {
            let one = with(before, &[("x", "10.0.0.1\tr1")]);
            assert!(one.starts_with(before), "{one}");
            assert!(one.contains("\n10.0.0.1\tr1\n###### CLAB-x-END ######\n"), "{one}");
            assert_eq!(with(&one, &[("x", "10.0.0.1\tr1")]), one);
            let two = with(&one, &[("w", "10.0.0.3\tr3"), ("x", "10.0.0.2\tr1")]);
            assert!(
                two.contains("10.0.0.2\tr1") && two.contains("10.0.0.3\tr3") && !two.contains("10.0.0.1\t"),
                "{two}"
            );
            assert_eq!(with(&two, &[]), before, "{two}");
        }
    }

    #[test]
    fn what_others_write_beside_or_behind_a_block_stays() {
        let ours = with("# a", &[("x", "10.0.0.1\tr1")]);
        let more = format!("{ours}10.9.9.9 theirs\n");
        assert_eq!(with(&more, &[]), "# a\n10.9.9.9 theirs\n");
        let theirs = "###### CLAB-x-START ######\n10.1.1.1\tclab-x-r1\n###### CLAB-x-END ######\n";
        let both = with(theirs, &[("x", "10.0.0.1\tr1")]);
        assert!(both.starts_with(theirs));
        assert_eq!(with(&both, &[]), theirs);
        let other = ours.replace(INSTANCE, "ba9876543210");
        assert_eq!(with(&other, &[]), other);
    }

    #[test]
    fn a_block_without_its_end_takes_nothing_with_it() {
        let whole = with("", &[("x", "10.0.0.1\tr1")]);
        let cut = whole.replace("###### CLAB-x-END ######\n", "10.9.9.9 theirs\n");
        assert_eq!(with(&cut, &[]), "10.0.0.1\tr1\n10.9.9.9 theirs\n");
        let next = with(&cut, &[("y", "10.0.0.2\tr2")]);
        assert_eq!(with(&next, &[]), "10.0.0.1\tr1\n10.9.9.9 theirs\n");
    }

    #[test]
    fn blocks_of_labs_that_are_there_still_or_may_be_are_kept() {
        let both = with("", &[("x", "10.0.0.1\tr1"), ("y", "10.0.0.2\tr2")]);
        let y: LabName = "y".parse().unwrap();
        let (made, kept) = edit(&both, &[], &Keeps::AllBut(BTreeSet::from([y.clone()])));
        assert_eq!((made.contains("r1"), made.contains("r2"), kept), (true, false, vec!["x".to_owned()]));
        let (made, kept) = edit(&both, &[], &Keeps::Only(BTreeSet::from([y])));
        assert_eq!((made.contains("r1"), made.contains("r2"), kept), (false, true, vec!["y".to_owned()]));
    }
}
