//! The part of the command line that goes into nodes: `exec`, `shell`, `console`, `cp`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use netloom_model::{LabName, NodeName};

use super::LabNode;

/// `netloom exec`.
#[derive(Debug, Args)]
#[command(override_usage = "netloom exec [OPTIONS] <LAB/NODE> [--] <CMD>...\n       \
    netloom exec [OPTIONS] --name <LAB> [--node <NODE>] -- <CMD>...\n       \
    netloom exec [OPTIONS] --topo <FILE|DIR> [--node <NODE>] -- <CMD>...\n       \
    netloom exec [OPTIONS] -t <FILE|DIR> [--label <NAME[=VALUE]>] --cmd <TEXT>...")]
pub(crate) struct Exec {
    /// The lab's name, when it is not said as LAB/NODE
    #[arg(long, value_name = "LAB")]
    pub(crate) name: Option<LabName>,
    /// The file, or its directory, that the lab was deployed from (`-t` is the terminal here)
    #[arg(long = "topo", value_name = "FILE|DIR", conflicts_with = "name")]
    pub(crate) topology: Option<PathBuf>,
    /// The node of that lab; all running nodes when nothing is said
    #[arg(long)]
    pub(crate) node: Option<NodeName>,
    /// Only nodes with this label, NAME or NAME=VALUE; of several, with all of them
    #[arg(long, value_name = "NAME[=VALUE]", conflicts_with = "node")]
    pub(crate) label: Vec<String>,
    /// A command as one text, split into words as a shell does, no shell; several run one after the other
    #[arg(long, value_name = "TEXT")]
    cmd: Vec<String>,
    /// Pass standard input on to the command
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long, short_alias = 'T')]
    pub(crate) tty: bool,
    /// Set a variable of the command's environment; without a value: as it is here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// In which form
    #[arg(short, long, value_enum, default_value_t = ExecFormat::Text)]
    pub(crate) format: ExecFormat,
    /// The node, unless --name or --topo says the lab
    #[arg(value_name = "LAB/NODE")]
    first: Option<String>,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    rest: Vec<String>,
}

/// The form of what commands write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExecFormat {
    /// As it comes; of several nodes each line begins with its node
    #[value(alias = "plain")]
    Text,
    /// As `containerlab exec --format json`, when all have ended: exit code and output by container
    #[value(alias = "json")]
    ClabJson,
}

/// `netloom shell`.
#[derive(Debug, Args)]
pub(crate) struct OpenShell {
    /// The node, as LAB/NODE
    #[arg(value_name = "LAB/NODE")]
    pub(crate) node: LabNode,
    /// bash or sh, also where the node's kind has a shell of its own
    #[arg(short, long)]
    pub(crate) plain: bool,
}

/// `netloom console`.
#[derive(Debug, Args)]
pub(crate) struct OpenConsole {
    /// The node, as LAB/NODE
    #[arg(value_name = "LAB/NODE")]
    pub(crate) node: LabNode,
}

/// `netloom cp`.
#[derive(Debug, Args)]
#[command(override_usage = "netloom cp [OPTIONS] <LAB/NODE:PATH> <PATH|->\n       \
    netloom cp [OPTIONS] <PATH|-> <LAB/NODE:PATH>\n       \
    netloom cp [OPTIONS] <LAB/NODE:PATH> <LAB/NODE:PATH>")]
pub(crate) struct Cp {
    /// Keep owners, by number; without it files belong to root in a node and to the caller here
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// Copy what symbolic links lead to instead of the links
    #[arg(short = 'L', long = "follow-link")]
    pub(crate) follow_links: bool,
    /// Accepted and without effect: directories are copied with what is in them
    #[arg(short, long, hide = true)]
    pub(crate) recursive: bool,
    /// What is copied; with `/.` at its end the content of a directory; `-` is a tar archive on standard input
    #[arg(value_name = "SRC")]
    pub(crate) from: OsString,
    /// A directory that it goes into, or its new name; `-` is a tar archive on standard output
    #[arg(value_name = "DEST")]
    pub(crate) to: OsString,
}

/// Where, and the words of each command.
pub(crate) type Asked = (Target, Vec<Vec<String>>);

/// Where `netloom exec` runs its command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// In one node.
    Node(LabNode),
    /// In one or all nodes of a lab that options name.
    Lab(Option<NodeName>),
}

impl Exec {
    /// The same when its commands are texts. `exec -t FILE --cmd TEXT` is what fingers have from another program: no terminal is
    /// meant then, and no command can stand where the lab is said.
    pub(crate) fn settled(mut self) -> Self {
        if self.cmd.is_empty() || self.name.is_some() || self.topology.is_some() {
            return self;
        }
        match self.first.take() {
            None => self.topology = Some(".".into()),
            Some(word) if Path::new(&word).exists() => (self.topology, self.tty) = (Some(word.into()), false),
            Some(word) => match word.parse() {
                Ok(name) => self.name = Some(name),
                Err(_) => self.first = Some(word),
            },
        }
        self
    }

    /// The commands that are texts, as words.
    fn texts(&self) -> Result<Vec<Vec<String>>, String> {
        let words = |text: &String| match shlex::split(text) {
            Some(words) if !words.is_empty() => Ok(words),
            Some(_) => Err("`--cmd` is an empty command".to_owned()),
            None => Err(format!("--cmd `{text}`: a quote is not closed")),
        };
        self.cmd.iter().map(words).collect()
    }

    /// Where, and what: one command after the other. The first word is the node, unless options say the lab: then it belongs to
    /// the command.
    pub(crate) fn target(&self) -> Result<Asked, String> {
        let (target, words) = self.read()?;
        match (self.texts()?, words) {
            (texts, words) if texts.is_empty() => Ok((target, vec![words])),
            (texts, words) if words.is_empty() => Ok((target, texts)),
            (_, words) => Err(format!("say the command once: `--cmd`, or `{}`", words.join(" "))),
        }
    }

    fn read(&self) -> Result<(Target, Vec<String>), String> {
        let named = self.name.is_some() || self.topology.is_some();
        if !named && self.node.is_some() {
            return Err("--node needs its lab: --name LAB, or write LAB/NODE instead".into());
        }
        if (named && self.node.is_none()) && (self.interactive || self.tty) {
            return Err("-i and -t need one node: add --node NODE, or write LAB/NODE instead of the lab".into());
        }
        if self.format == ExecFormat::ClabJson && (self.interactive || self.tty) {
            return Err("-i and -t do not go with --format clab-json: what is written is shown at the end".into());
        }
        let (target, words): (_, Vec<String>) = match &self.first {
            _ if named => (Target::Lab(self.node.clone()), self.first.iter().chain(&self.rest).cloned().collect()),
            Some(first) => {
                let node = first.parse().map_err(|why| {
                    let is_file = self.tty && !first.contains(' ') && Path::new(first).exists();
                    let hint =
                        if is_file { "; `-t` is the terminal here, a topology file is `--topo FILE`" } else { "" };
                    format!("`{first}` is no node: {why}, or say the lab with --name LAB{hint}")
                })?;
                (Target::Node(node), self.rest.clone())
            }
            None => return Err("say which node: LAB/NODE, for example ospf/r1, or --name LAB for all of a lab".into()),
        };
        if matches!(target, Target::Node(_)) && !self.label.is_empty() {
            return Err("--label chooses among the nodes of a lab: say it with --name LAB".into());
        }
        match (&target, words.is_empty() && self.cmd.is_empty()) {
            (_, false) => Ok((target, words)),
            (Target::Node(LabNode { lab, node }), true) => {
                Err(format!("say what to run in {lab}/{node}; `netloom shell {lab}/{node}` opens a shell"))
            }
            (Target::Lab(_), true) => Err("say what to run, after `--`".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn exec(words: &[&str]) -> (Exec, Result<(Target, Vec<String>), String>) {
        let (exec, target) = commands(words);
        (exec, target.map(|(target, commands)| (target, commands.concat())))
    }

    fn commands(words: &[&str]) -> (Exec, Result<Asked, String>) {
        let cli = Cli::try_parse_from(["netloom", "exec"].iter().chain(words));
        let Ok(Cli { command: Command::Exec(exec) }) = cli else { panic!("{cli:?}") };
        let exec = exec.settled();
        let target = exec.target();
        (exec, target)
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let ping: Vec<String> = ["ping", "-c", "1", "-t", "h2"].map(str::to_owned).to_vec();
        let at = Target::Node("x/r1".parse().unwrap());
        for words in [
            ["x/r1", "--", "ping", "-c", "1", "-t", "h2"].as_slice(),
            &["x/r1", "ping", "-c", "1", "-t", "h2"],
            &["-i", "x/r1", "ping", "-c", "1", "-t", "h2"],
        ] {
            let (exec, target) = exec(words);
            assert_eq!((target.unwrap(), exec.tty), ((at.clone(), ping.clone()), false), "{words:?}");
        }
        let (_, target) = exec(&["--name", "x", "--node", "r1", "--", "ping", "-c", "1", "-t", "h2"]);
        assert_eq!(target.unwrap(), (Target::Lab(Some("r1".parse().unwrap())), ping.clone()));
        let (_, target) = exec(&["--topo", "x.clab.yml", "--", "ping", "-c", "1", "-t", "h2"]);
        assert_eq!(target.unwrap(), (Target::Lab(None), ping));
    }

    #[test]
    fn a_terminal_is_asked_for_as_fingers_do_it() {
        for words in [
            ["-it", "x/r1", "--", "bash"].as_slice(),
            &["-ti", "x/r1", "bash"],
            &["-i", "-T", "x/r1", "bash"],
            &["x/r1", "-it", "--", "bash"],
            &["-it", "--name", "x", "--node", "r1", "--", "bash"],
        ] {
            let (exec, target) = exec(words);
            assert!(exec.interactive && exec.tty && target.unwrap().1 == ["bash"], "{words:?}");
        }
    }

    #[test]
    fn commands_that_are_texts_are_taken_as_another_program_takes_them() {
        let file = tempfile::NamedTempFile::with_suffix(".clab.yml").unwrap();
        let path = file.path().to_str().unwrap();
        let words =
            ["-t", path, "--label", "clab-node-name=r1", "--cmd", "sh -c 'echo $A'", "--cmd", "ls", "-f", "json"];
        let (exec, target) = commands(&words);
        assert_eq!((exec.tty, exec.topology.as_deref(), exec.format), (false, Some(file.path()), ExecFormat::ClabJson));
        assert_eq!(exec.label, ["clab-node-name=r1"]);
        let ran = vec![["sh", "-c", "echo $A"].map(str::to_owned).to_vec(), vec!["ls".to_owned()]];
        assert_eq!(target.unwrap(), (Target::Lab(None), ran));

        let (exec, target) = commands(&["--cmd", "ls"]);
        assert_eq!((exec.topology, target.unwrap().0), (Some(".".into()), Target::Lab(None)));
        let (exec, target) = commands(&["x", "--cmd", "ls"]);
        assert_eq!((exec.name.unwrap().as_str(), target.unwrap().0), ("x", Target::Lab(None)));
        let (_, target) = commands(&["x/r1", "--cmd", "ls -l"]);
        assert_eq!(target.unwrap(), (Target::Node("x/r1".parse().unwrap()), vec![vec!["ls".into(), "-l".into()]]));

        let why = |words: &[&str]| commands(words).1.unwrap_err();
        assert!(why(&["x/r1", "--cmd", "ls", "--", "pwd"]).contains("say the command once"));
        assert!(why(&["x", "--cmd", "a 'b"]).contains("a quote is not closed"));
        assert!(why(&["x", "--cmd", " "]).contains("empty command"));
        assert!(why(&["x/r1", "--label", "a", "--", "ls"]).contains("--name LAB"));
    }

    #[test]
    fn an_exec_that_is_not_understood_says_what_to_write() {
        let why = |words: &[&str]| exec(words).1.unwrap_err();
        assert!(why(&["--", "true"]).contains("`true` is no node: write LAB/NODE"), "{}", why(&["--", "true"]));
        assert!(why(&[]).contains("say which node"));
        assert!(why(&["-it", "x/r1"]).contains("netloom shell x/r1"));
        assert!(why(&["--name", "x"]).contains("say what to run"));
        assert!(why(&["--name", "x", "-i", "--", "cat"]).contains("need one node"));
        assert!(why(&["-f", "clab-json", "-i", "x/r1", "cat"]).contains("clab-json"));
        assert!(why(&["--node", "r1", "--", "cat"]).contains("--name LAB"));
        assert!(why(&["-t", "/etc/hostname", "--", "cat"]).contains("--topo FILE"));
    }
}
