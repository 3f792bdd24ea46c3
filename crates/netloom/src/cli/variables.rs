//! A variable of the environment for every flag: `NETLOOM_`, the words of the command and the flag, joined by `_`, in
//! capital letters: `NETLOOM_DEPLOY_TIMEOUT`.
//!
//! A variable is the flag as if it were written, so what excludes a flag excludes its variable; the flag itself wins over it.
//! An empty variable is none, as for the keys of the configuration, whose names have no command and so cannot be those
//! of a flag.

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command};

/// What all names begin with.
const PREFIX: &str = "NETLOOM";

/// The same command line, with a variable for each flag that is shown.
pub(super) fn with_variables(command: Command) -> Command {
    below(command, PREFIX, &|variable| std::env::var_os(variable).is_some_and(|value| value.is_empty()))
}

fn below(command: Command, prefix: &str, is_empty: &dyn Fn(&str) -> bool) -> Command {
    let command = command.mut_args(|flag| with_variable(flag, prefix, is_empty));
    command.mut_subcommands(|sub| {
        let prefix = format!("{prefix}_{}", capitals(sub.get_name()));
        below(sub, &prefix, is_empty)
    })
}

fn with_variable(flag: Arg, prefix: &str, is_empty: &dyn Fn(&str) -> bool) -> Arg {
    // What is hidden is for ourselves, or does nothing.
    let Some(long) = flag.get_long().filter(|_| !flag.is_hide_set()) else { return flag };
    let variable = format!("{prefix}_{}", capitals(long));
    if is_empty(&variable) {
        return flag;
    }
    let is_switch = matches!(flag.get_action(), ArgAction::SetTrue);
    let flag = if is_switch { flag.value_parser(BoolishValueParser::new()) } else { flag };
    flag.env(variable)
}

/// The flags, as `--flag`, whose variables are set, with the variable of each.
pub(super) fn that_are_set(command: &Command) -> Vec<(String, String)> {
    let own = command.get_arguments().filter_map(|flag| {
        let variable = flag.get_env()?.to_str().filter(|name| std::env::var_os(name).is_some())?;
        Some((format!("--{}", flag.get_long()?), variable.to_owned()))
    });
    own.chain(command.get_subcommands().flat_map(that_are_set)).collect()
}

fn capitals(word: &str) -> String {
    word.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::super::Cli;
    use super::*;
    use crate::config;

    /// Each flag that is shown, as `command --flag`, and its variable.
    fn flags(command: &Command, path: &str) -> Vec<(String, Option<String>)> {
        let mut found: Vec<(String, Option<String>)> = command
            .get_arguments()
            .filter(|flag| !flag.is_hide_set())
            .filter_map(|flag| {
                let variable = flag.get_env().map(|name| name.to_string_lossy().into_owned());
                Some((format!("{path} --{}", flag.get_long()?), variable))
            })
            .collect();
        for sub in command.get_subcommands() {
            found.extend(flags(sub, &format!("{path} {}", sub.get_name())));
        }
        found
    }

    #[test]
    fn no_flag_lacks_a_variable_and_no_two_share_one() {
        let all = flags(&with_variables(Cli::command()), "netloom");
        assert!(all.len() > 60, "{all:?}");
        let mut taken: BTreeSet<String> = config::variables().collect();
        taken.extend(["NETLOOM_ROOT", "NETLOOM_INIT"].map(str::to_owned));
        for (flag, variable) in all {
            let variable = variable.unwrap_or_else(|| panic!("{flag} has no variable"));
            let wanted = capitals(&flag.replace(" --", "_").replace(' ', "_"));
            assert_eq!(variable, wanted, "{flag}");
            assert!(taken.insert(variable.clone()), "{variable} of {flag} is taken");
        }
        let find =
            |wanted: &str| flags(&with_variables(Cli::command()), "netloom").iter().any(|(flag, _)| flag == wanted);
        assert!(find("netloom link add --mtu") && find("netloom agent status --json"));
    }

    #[test]
    fn an_empty_variable_is_none() {
        let command = below(Cli::command(), PREFIX, &|variable| variable == "NETLOOM_DEPLOY_NAME");
        let lacking: Vec<String> = flags(&command, "netloom")
            .into_iter()
            .filter(|(_, variable)| variable.is_none())
            .map(|(flag, _)| flag)
            .collect();
        assert_eq!(lacking, ["netloom deploy --name"]);
    }

    #[test]
    fn help_names_the_variables() {
        let mut command = with_variables(Cli::command());
        let deploy = command.find_subcommand_mut("deploy").unwrap();
        let help = deploy.render_long_help().to_string();
        assert!(help.contains("[env: NETLOOM_DEPLOY_TIMEOUT="), "{help}");
        assert!(help.contains("[env: NETLOOM_DEPLOY_DRY_RUN="), "{help}");
    }
}
