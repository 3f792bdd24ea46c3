//! `hold`: waits for the interfaces of a container, then becomes the command of its image.
//!
//! Some programs look for their interfaces once, when they start. A container has its links only after its namespace is
//! there, so this program is its entrypoint, on a read-only mount; user, directory, terminal and environment are those that
//! the container was made with, and the command takes the place of this very process. That happens at each start of the
//! container, whoever starts it.
//!
//! ```text
//!   --wait <seconds>    how long at most; then it is said what is missing, and the command is run all the same
//!   --interface <name>  an interface to wait for, by the name that the kernel has for it; may be given several times
//! ```
//!
//! Interfaces may have been added and taken away since the container was made. Who knows says so by the alias of `lo`:
//!
//! ```text
//!   netloom: awaits <name>…    these are to be waited for, and not those of the arguments
//!   netloom: wired             there is nothing to wait for any more
//! ```

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::complain;
use crate::launch::{DEFAULT_PATH, Failure, find_program};
use crate::signals::Signals;
use crate::trouble::Because;

/// Where the kernel shows the interfaces of a namespace.
const INTERFACES: &str = "/sys/class/net";
/// The first word of what is said of them.
const WHO: &str = "netloom:";
/// How often they are looked at. Only a netlink socket would tell of them.
const LOOK: Duration = Duration::from_millis(10);
/// How long interfaces that are there have to come up. An end that a person switched off stays down across a restart.
const UP: Duration = Duration::from_secs(5);
/// IFF_UP of linux/if.h.
const IFF_UP: u32 = 1;

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    wait: Duration,
    interfaces: Vec<String>,
    argv: Vec<String>,
}

/// How a wait ended.
#[derive(Debug, PartialEq, Eq)]
enum Waited {
    /// All interfaces are there and up.
    Whole,
    /// The time is over; what was missing.
    Missing(String),
    /// Somebody wants it to end, by this signal.
    Ended(i32),
}

/// Runs what the arguments describe; returns only when that cannot be: the exit code.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> i32 {
    let options = match parse(arguments) {
        Ok(options) => options,
        Err(why) => {
            complain(&why);
            return 125;
        }
    };
    match Signals::catch().because(|| "catching signals".into()) {
        Ok(mut signals) => match wait(&options, Path::new(INTERFACES), &mut signals) {
            Waited::Whole => {}
            Waited::Missing(what) => complain(&format!("{what}; the command is run without")),
            Waited::Ended(signal) => return 128 + signal,
        },
        Err(trouble) => complain(&String::from(trouble)),
    }
    let failure = become_command(&options.argv);
    complain(&failure.message);
    failure.code
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(name) = arguments.next() {
        if name == "--" {
            options.argv = arguments.collect();
            break;
        }
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--wait" => {
                let seconds = value.parse().map_err(|_| format!("--wait cannot be `{value}`"))?;
                options.wait = Duration::from_secs(seconds);
            }
            "--interface" => options.interfaces.push(value),
            _ => return Err(format!("unknown option {name}")),
        }
    }
    if options.argv.is_empty() {
        return Err("the image has no command, and the node none either".into());
    }
    Ok(options)
}

fn wait(options: &Options, interfaces: &Path, signals: &mut Signals) -> Waited {
    let give_up = Instant::now() + options.wait;
    let mut here_since = None;
    loop {
        let awaited = awaited(options, interfaces);
        let missing = without(&awaited, |name| interfaces.join(name).exists());
        let now = Instant::now();
        if missing.is_empty() {
            let down = without(&awaited, |name| is_up(&interfaces.join(name)));
            if down.is_empty() {
                return Waited::Whole;
            }
            if *here_since.get_or_insert(now) + UP <= now {
                return Waited::Missing(format!("{} stayed down", down.join(", ")));
            }
        }
        if give_up <= now {
            let patience = options.wait.as_secs();
            let what = if missing.is_empty() { "up".into() } else { missing.join(", ") };
            return Waited::Missing(format!("after {patience} s there is still no interface {what}"));
        }
        // The first process of a namespace is ended by no signal that it does not catch.
        if let Some(signal) = signals.take().into_iter().find(|signal| ends(*signal)) {
            return Waited::Ended(signal);
        }
        let pause = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
        // EINTR is as good as a byte on the pipe.
        let _ = poll(&mut [PollFd::from_borrowed_fd(std::os::fd::AsFd::as_fd(signals), PollFlags::IN)], Some(&pause));
    }
}

/// What is waited for: what was said in this life of the container, or else what was known when it was made.
fn awaited(options: &Options, interfaces: &Path) -> Vec<String> {
    let said = fs::read_to_string(interfaces.join("lo/ifalias")).unwrap_or_default();
    let mut words = said.split_whitespace();
    match (words.next(), words.next()) {
        (Some(WHO), Some("wired")) => Vec::new(),
        (Some(WHO), Some("awaits")) => words.map(str::to_owned).collect(),
        _ => options.interfaces.clone(),
    }
}

fn without(awaited: &[String], is: impl Fn(&str) -> bool) -> Vec<&str> {
    awaited.iter().map(String::as_str).filter(|name| !is(name)).collect()
}

fn is_up(interface: &Path) -> bool {
    let flags = fs::read_to_string(interface.join("flags")).unwrap_or_default();
    let flags = flags.trim().strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok());
    flags.is_some_and(|flags| flags & IFF_UP != 0)
}

fn ends(signal: i32) -> bool {
    [SIGTERM, SIGINT, SIGQUIT, SIGHUP].contains(&signal)
}

/// Puts the command in the place of this process. Signals that were caught are as they were for it.
fn become_command(argv: &[String]) -> Failure {
    let name = &argv[0];
    let path = std::env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.to_owned());
    match find_program(name, &path) {
        Ok(program) => Failure::of(name, &program, &Command::new(&program).arg0(name).args(&argv[1..]).exec()),
        Err(failure) => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> impl Iterator<Item = String> {
        text.split(' ').map(str::to_owned).collect::<Vec<_>>().into_iter()
    }

    fn options(wait: Duration) -> Options {
        Options { wait, interfaces: vec!["eth1".into(), "eth2".into()], argv: vec!["true".into()] }
    }

    /// A directory like the one in which the kernel shows interfaces.
    struct Shown(std::path::PathBuf);

    impl Shown {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("netloom-hold-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn show(&self, name: &str, flags: &str) {
            fs::create_dir_all(self.0.join(name)).unwrap();
            fs::write(self.0.join(name).join("flags"), flags).unwrap();
        }
    }

    impl Drop for Shown {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn options_are_read_up_to_the_command() {
        let read = parse(words("--wait 60 --interface eth1 --interface eth2 -- sh -c --wait")).unwrap();
        assert_eq!((read.wait, read.interfaces.len()), (Duration::from_mins(1), 2));
        assert_eq!(read.argv, ["sh", "-c", "--wait"]);
        assert!(parse(words("--wait x -- sh")).is_err());
        assert!(parse(words("--wait 1 --")).unwrap_err().contains("no command"));
    }

    #[test]
    fn it_waits_until_the_last_interface_is_up() {
        let shown = Shown::new("comes");
        shown.show("eth1", "0x1003\n");
        let mut signals = Signals::catch().unwrap();
        let waited = std::thread::scope(|scope| {
            let later = scope.spawn(|| {
                shown.show("eth2", "0x1002\n");
                shown.show("eth2", "0x1043\n");
            });
            let waited = wait(&options(Duration::from_secs(30)), &shown.0, &mut signals);
            later.join().unwrap();
            waited
        });
        assert_eq!(waited, Waited::Whole);
    }

    #[test]
    fn what_is_said_of_a_life_counts_more_than_what_was_known_before() {
        let shown = Shown::new("said");
        shown.show("eth3", "0x1003\n");
        shown.show("lo", "0x9\n");
        let said = |text: &str| fs::write(shown.0.join("lo/ifalias"), text).unwrap();
        let waited = || wait(&options(Duration::ZERO), &shown.0, &mut Signals::catch().unwrap());
        let missing = |what: &str| Waited::Missing(format!("after 0 s there is still no interface {what}"));
        said("netloom: awaits eth3 eth4\n");
        assert_eq!(waited(), missing("eth4"));
        said("netloom: awaits eth3\n");
        assert_eq!(waited(), Waited::Whole);
        said("netloom: wired\n");
        assert_eq!(waited(), Waited::Whole);
        said("somebody's own\n");
        assert_eq!(waited(), missing("eth1, eth2"));
    }

    #[test]
    fn when_the_time_is_over_it_says_what_is_missing() {
        let shown = Shown::new("missing");
        shown.show("eth1", "0x1003\n");
        let waited = wait(&options(Duration::ZERO), &shown.0, &mut Signals::catch().unwrap());
        assert_eq!(waited, Waited::Missing("after 0 s there is still no interface eth2".into()));
    }
}
