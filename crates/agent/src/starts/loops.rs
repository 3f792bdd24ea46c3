//! When the lives of an agent make a crash loop, and which lab is at fault. Pure.
//!
//! A life is part of a loop if it ended without a word, in this boot of the host, the next one began soon after it, and what
//! it was at is not what it had done once already: a loop does not get on. [`ENDS`] of them in a row are a loop. At fault is what all of them were at; a lab that was paused in one of them stays a
//! suspect, as it would have been worked for. If nothing was common to them, or pausing what was has not helped as many
//! times, all labs are paused.

use std::collections::{BTreeMap, BTreeSet};

use netloom_engine::Safe;
use netloom_model::LabName;
use serde::{Deserialize, Serialize};

/// So many lives in a row that end without a word make a loop: one more than a person who tries things out kills.
pub(super) const ENDS: usize = 4;
/// A life of so many seconds, to the next start, is none of a loop. A process that ends itself because it is stuck lives
/// for 72 s.
pub(super) const SHORT: u64 = 120;

/// A moment in a boot of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moment {
    /// Which boot.
    pub(super) boot: String,
    /// Seconds since it began.
    pub(super) second: u64,
}

/// Which labs an agent had paused from its start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Paused {
    #[default]
    None,
    Labs(BTreeSet<LabName>),
    All,
}

impl Paused {
    pub(super) fn of(safe: &Safe) -> Self {
        match safe {
            Safe::No => Self::None,
            Safe::Labs(labs) => Self::Labs(labs.keys().cloned().collect()),
            Safe::All(_) => Self::All,
        }
    }
}

/// One life of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    /// When it began.
    pub(super) began: Moment,
    /// What was paused.
    pub(super) paused: Paused,
    /// For which labs something was under way at last.
    pub(super) works: BTreeSet<LabName>,
    /// The labs for which all that was under way has come to an end once.
    pub(super) rested: BTreeSet<LabName>,
    /// Whether it ended as it should.
    pub(super) ended: bool,
}

impl Life {
    pub(super) fn begun(began: Moment, paused: Paused) -> Self {
        Self { began, paused, works: BTreeSet::new(), rested: BTreeSet::new(), ended: false }
    }

    /// From now on something is under way for these labs.
    pub(super) fn works_for(&mut self, labs: BTreeSet<LabName>) {
        self.rested.extend(self.works.difference(&labs).cloned());
        self.works = labs;
    }

    /// Whether it has not got on with any of what it was at.
    fn is_stuck(&self) -> bool {
        self.works.is_empty() || !self.works.is_subset(&self.rested)
    }

    fn suspects(&self) -> BTreeSet<LabName> {
        let works = &self.works - &self.rested;
        match &self.paused {
            Paused::Labs(labs) => &works | labs,
            Paused::None | Paused::All => works,
        }
    }
}

/// What the next life, which begins now, has to pause.
pub(super) fn safe(lives: &[Life], now: &Moment) -> Safe {
    let mut next = now;
    let in_a_row = lives.iter().rev().take_while(|life| {
        let soon = life.began.boot == next.boot && next.second.saturating_sub(life.began.second) < SHORT;
        next = &life.began;
        soon && !life.ended && life.is_stuck()
    });
    let last: Vec<&Life> = in_a_row.take(ENDS).collect();
    if last.len() < ENDS {
        return Safe::No;
    }
    let ended =
        format!("the agent crashed or was killed {ENDS} times in a row, each time within {SHORT} s of its start");
    let has_not_helped = last.iter().all(|life| life.paused != Paused::None);
    if last[0].paused == Paused::All || has_not_helped {
        return Safe::All(format!("{ended}, also while the labs that it worked for were paused"));
    }
    let common = last.iter().map(|life| life.suspects()).reduce(|all, some| &all & &some).unwrap_or_default();
    if common.is_empty() {
        return Safe::All(format!("{ended}, and it worked for no lab each time"));
    }
    let why = |lab| (lab, format!("{ended}, while it worked for this lab"));
    Safe::Labs(common.into_iter().map(why).collect::<BTreeMap<_, _>>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: u64) -> Moment {
        Moment { boot: "a".into(), second }
    }

    fn life(second: u64, works: &[&str]) -> Life {
        let works = works.iter().map(|lab| lab.parse().unwrap()).collect();
        Life { works, ..Life::begun(at(second), Paused::None) }
    }

    /// What the fifth life pauses.
    fn fifth(lives: &[Life; 4]) -> Safe {
        safe(lives, &at(40))
    }

    fn labs(safe: &Safe) -> Vec<&str> {
        let Safe::Labs(labs) = safe else { panic!("{safe:?}") };
        labs.keys().map(LabName::as_str).collect()
    }

    #[test]
    fn the_lab_that_all_of_them_worked_for_is_at_fault() {
        let four = [life(0, &["x", "y"]), life(10, &["x"]), life(20, &["x", "y"]), life(30, &["x", "y"])];
        assert_eq!(labs(&fifth(&four)), ["x"]);
        assert_eq!(safe(&four[1..], &at(40)), Safe::No, "three are no loop");
    }

    #[test]
    fn a_life_that_got_done_what_it_was_at_is_none_of_a_loop() {
        let four = [life(0, &["x"]), life(10, &["x"]), life(20, &["x"]), life(30, &["x"])];
        for done in 0..4 {
            let mut lives = four.clone();
            lives[done].works_for(BTreeSet::new());
            lives[done].works_for(four[done].works.clone());
            assert_eq!(fifth(&lives), Safe::No);
            lives[done].works_for(["x", "y"].map(|lab| lab.parse().unwrap()).into());
            assert!(matches!(fifth(&lives), Safe::All(_)), "not with the rest");
        }
    }

    #[test]
    fn if_none_is_at_fault_all_are_paused() {
        let none = [life(0, &["x"]), life(10, &["y"]), life(20, &[]), life(30, &["x"])];
        assert!(matches!(fifth(&none), Safe::All(_)));
    }

    #[test]
    fn an_orderly_end_a_long_life_and_another_boot_are_none_of_a_loop() {
        let four = || [life(0, &["x"]), life(10, &["x"]), life(20, &["x"]), life(30, &["x"])];
        for broken in 0..4 {
            let mut lives = four();
            lives[broken].ended = true;
            assert_eq!(fifth(&lives), Safe::No);
            let mut lives = four();
            lives[broken].began.boot = "b".into();
            assert_eq!(fifth(&lives), Safe::No);
            let mut lives = four();
            lives.iter_mut().take(broken + 1).for_each(|life| life.began.second = 0);
            lives.iter_mut().skip(broken + 1).for_each(|life| life.began.second += SHORT);
            assert_eq!(safe(&lives, &at(SHORT + 40)), Safe::No);
        }
        assert_eq!(safe(&four(), &at(30 + SHORT)), Safe::No);
    }

    #[test]
    fn a_lab_stays_paused_while_the_loop_goes_on_and_all_are_when_that_does_not_help() {
        let mut lives: Vec<Life> = (0..4).map(|at| life(at * 10, &["x"])).collect();
        for turn in 4..8 {
            let now = at(turn * 10);
            let found = safe(&lives, &now);
            assert_eq!(labs(&found), ["x"], "{turn}");
            lives.push(Life::begun(now, Paused::of(&found)));
        }
        for turn in 8..12 {
            let now = at(turn * 10);
            let found = safe(&lives, &now);
            assert!(matches!(found, Safe::All(_)), "{turn}");
            lives.push(Life::begun(now, Paused::of(&found)));
        }
        assert_eq!(safe(&lives, &at(110 + SHORT)), Safe::No, "a life of two minutes ends it");
    }

    /// A life: how long it lasts, whether it ends as it should, in the same boot as the next one, and its labs.
    fn any_life() -> impl Strategy<Value = (u64, bool, bool, BTreeSet<LabName>)> {
        let lab = prop::sample::select(vec!["x", "y", "z"]).prop_map(|lab| lab.parse().unwrap());
        (1..200_u64, prop::bool::weighted(0.1), prop::bool::weighted(0.1), prop::collection::btree_set(lab, 0..3))
    }

    proptest! {
        /// Nothing is paused unless the last four lives were short, without a word, and in this boot; what is paused then is
        /// what all of them were at.
        #[test]
        fn only_what_four_short_lives_in_a_row_were_at_is_paused(all in prop::collection::vec(any_life(), 0..12)) {
            let (mut second, mut boot, mut lives) = (0, 0, Vec::new());
            for (lasts, ended, reboots, works) in &all {
                let began = Moment { boot: boot.to_string(), second };
                lives.push(Life { works: works.clone(), ended: *ended, ..Life::begun(began, Paused::None) });
                second += lasts;
                boot += u32::from(*reboots);
            }
            let found = safe(&lives, &Moment { boot: boot.to_string(), second });
            let last = &all[all.len().saturating_sub(ENDS)..];
            let is_loop = last.len() == ENDS
                && last.iter().all(|(lasts, ended, reboots, _)| *lasts < SHORT && !ended && !reboots);
            prop_assert_eq!(found != Safe::No, is_loop);
            if let Safe::Labs(labs) = found {
                prop_assert!(labs.keys().all(|lab| last.iter().all(|(.., works)| works.contains(lab))));
            }
        }
    }
}
