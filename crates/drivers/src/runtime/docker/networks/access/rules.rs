//! The rules of Docker's chain for the host, and what has to be changed in it. Pure.
//!
//! Read from what iptables-save(8) prints: a `*` begins a table, `:chain policy` is a chain, `-A chain …` a rule.

use std::collections::BTreeSet;

use netloom_model::InterfaceName;

use super::iptables::IpTables;

/// Docker's chain for rules of the host; what it has for itself, and where both are called.
const USER: &str = "DOCKER-USER";
const OWN: &str = "DOCKER";
const FORWARD: &str = "FORWARD";

/// What matters of the table `filter`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// The rules of Docker's chain for the host, each as its words; none: there is no such chain.
    user: Option<Vec<Vec<String>>>,
    /// Whether Docker has a chain of its own.
    is_dockers: bool,
    /// Whether the host drops what no rule lets through.
    drops: bool,
}

impl Filter {
    pub(super) fn read(saved: &str) -> Self {
        let mut filter = Self::default();
        let lines =
            saved.lines().skip_while(|line| *line != "*filter").skip(1).take_while(|line| !line.starts_with('*'));
        for line in lines {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some(":FORWARD"), Some(policy)) => filter.drops = policy != "ACCEPT",
                (Some(chain), _) if chain.strip_prefix(':') == Some(OWN) => filter.is_dockers = true,
                (Some(chain), _) if chain.strip_prefix(':') == Some(USER) => filter.user = Some(Vec::new()),
                (Some("-A"), Some(USER)) => {
                    let rule = words.map(|word| word.trim_matches('"').to_owned()).collect();
                    filter.user.get_or_insert_default().push(rule);
                }
                _ => {}
            }
        }
        filter
    }

    /// Why a network cannot be opened though it would have to be, and what to do.
    pub(super) fn in_the_way_of(&self, bridge: &InterfaceName, family: IpTables) -> Option<String> {
        if bridge.as_str().ends_with('+') {
            return Some(format!(
                "others may not reach its nodes: the firewall takes the name of its bridge, {bridge}, for all that begin \
                 like that; set another `mgmt.bridge`"
            ));
        }
        (self.user.is_none() && self.is_dockers && self.drops).then(|| {
            let program = family.program();
            format!(
                "others do not reach its nodes by {family}: Docker has a firewall without the chain {USER}, and the host \
                 forwards nothing by itself; `{program} -I {FORWARD} -o {bridge} -j ACCEPT` lets them through"
            )
        })
    }

    /// The changes, in their order, after which the rules with this mark are those that a network wants, and stand where
    /// they are asked: before the rule that ends the chain, if there is one, and behind those of others.
    pub(super) fn changes(&self, mark: &str, bridge: Option<&InterfaceName>) -> Vec<Vec<String>> {
        let Some(user) = &self.user else { return Vec::new() };
        let end = user.iter().position(|rule| *rule == ["-j", "RETURN"]);
        let ways = bridge.into_iter().flat_map(|bridge| ["-i", "-o"].map(|way| rule(way, bridge, mark)));
        let wanted: Vec<Vec<String>> = ways.collect();
        let marked: Vec<_> = user.iter().enumerate().filter(|(_, rule)| is_marked(rule, mark)).collect();
        let is_right = |(at, rule): &&(usize, &Vec<String>)| end.is_none_or(|end| *at < end) && wanted.contains(rule);
        let right: BTreeSet<_> = marked.iter().filter(is_right).map(|(_, rule)| *rule).collect();
        if right.len() == marked.len() {
            let missing = wanted.iter().filter(|rule| !right.contains(rule));
            return missing.map(|rule| addition(rule, end)).collect();
        }
        // A rule is removed by its words, and of two that are alike the first goes, whichever is meant: so all are made anew.
        let end = end.map(|end| end - marked.iter().filter(|(at, _)| *at < end).count());
        let removed = marked.iter().map(|(_, rule)| [&words(&["-D", USER]), rule.as_slice()].concat());
        removed.chain(wanted.iter().map(|rule| addition(rule, end))).collect()
    }
}

/// Puts a rule before the one that ends the chain, which stands at this place counted from 0; or else behind all others.
fn addition(rule: &[String], end: Option<usize>) -> Vec<String> {
    let place = match end {
        Some(end) => words(&["-I", USER, &(end + 1).to_string()]),
        None => words(&["-A", USER]),
    };
    [&place, rule].concat()
}

fn rule(way: &str, bridge: &InterfaceName, mark: &str) -> Vec<String> {
    words(&[way, bridge.as_str(), "-m", "comment", "--comment", mark, "-j", "ACCEPT"])
}

fn is_marked(rule: &[String], mark: &str) -> bool {
    rule.windows(2).any(|pair| pair == ["--comment", mark])
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests;
