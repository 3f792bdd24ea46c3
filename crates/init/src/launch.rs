//! From words to a running command: which file, as which user, in which session.
//!
//! A command of root without a terminal is started directly. Any other goes through `netloom-init launch`, a short
//! life of this same program between fork and exec: there it can set groups, user and controlling terminal with
//! plain system calls, where the standard library would need an `unsafe` hook or drops the groups.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Gid, Uid, ioctl_tiocsctty, setsid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use crate::{complain, plain};

/// Where commands are looked for when the environment does not say.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a command cannot run, with the code that a shell would exit with.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: i32,
    pub(crate) message: String,
    /// What the kernel said (errno(3)); 0 where it was not asked, or said it to another process.
    pub(crate) errno: i32,
}

impl Failure {
    fn not_found(name: &str) -> Self {
        Self { code: 127, message: format!("command `{name}` does not exist in the node"), errno: 0 }
    }

    pub(crate) fn of(name: &str, program: &str, error: &std::io::Error) -> Self {
        match error.kind() {
            // The file was there a moment ago, so it is the interpreter or the loader that is missing.
            std::io::ErrorKind::NotFound if fs::exists(program).unwrap_or(false) => Self {
                code: 127,
                message: format!("command `{name}`: the interpreter that it asks for does not exist"),
                errno: 0,
            },
            std::io::ErrorKind::NotFound => Self::not_found(name),
            _ => Self {
                code: 126,
                message: format!("command `{name}` cannot be run: {}", plain(error)),
                errno: error.raw_os_error().unwrap_or_default(),
            },
        }
    }
}

/// Who a command runs as.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Its name, or its number if it has none.
    pub(crate) name: String,
    /// Its home directory.
    pub(crate) home: String,
}

impl User {
    /// The user that `user[:group]` names, each by name or number; an empty text is root.
    /// Names are those of the node, so call this once its root is in place.
    pub(crate) fn find(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self { uid: 0, gid: 0, groups: Vec::new(), name: "root".into(), home: "/root".into() });
        }
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self::find_in(text, &read("/etc/passwd"), &read("/etc/group"))
    }

    fn find_in(text: &str, passwd: &str, group: &str) -> Result<Self, String> {
        let (user, wanted_group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let number = user.parse::<u32>().ok();
        let entry = lines(passwd).find(|fields| {
            fields.first() == Some(&user) || (number.is_some() && fields.get(2).and_then(|f| f.parse().ok()) == number)
        });
        let field = |at: usize| entry.as_ref().and_then(|fields| fields.get(at)).copied();
        let uid = field(2)
            .and_then(|uid| uid.parse().ok())
            .or(number)
            .ok_or_else(|| format!("user `{user}` does not exist in the node"))?;
        let name = field(0).unwrap_or(user).to_owned();
        let home = field(5).filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
        if let Some(wanted) = wanted_group {
            let gid = lines(group)
                .find(|fields| fields.first() == Some(&wanted))
                .and_then(|fields| fields.get(2)?.parse().ok())
                .or_else(|| wanted.parse().ok())
                .ok_or_else(|| format!("group `{wanted}` does not exist in the node"))?;
            return Ok(Self { uid, gid, groups: Vec::new(), name, home });
        }
        let gid = field(3).and_then(|gid| gid.parse().ok()).unwrap_or(0);
        let login = field(0).unwrap_or_default();
        let groups = lines(group)
            .filter(|fields| fields.get(3).is_some_and(|members| members.split(',').any(|member| member == login)))
            .filter_map(|fields| fields.get(2)?.parse().ok())
            .collect();
        Ok(Self { uid, gid, groups, name, home })
    }

    fn is_root(&self) -> bool {
        self.uid == 0 && self.gid == 0 && self.groups.is_empty()
    }
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

/// A command that is ready to be started.
pub(crate) struct Launch<'a> {
    /// Its words; the first is looked up.
    pub(crate) argv: &'a [String],
    /// Its whole environment as `NAME=value`.
    pub(crate) env: &'a [String],
    /// Who it runs as.
    pub(crate) user: &'a User,
    /// This program, as a path that works where the command starts.
    pub(crate) own_program: &'a str,
}

/// Where a command's input and output go.
pub(crate) enum Streams {
    /// Nothing comes in; both outputs go to one pipe.
    Captured(OwnedFd),
    /// Those of this process.
    Inherited,
    /// A terminal, which becomes the controlling one.
    Terminal(OwnedFd),
}

/// Starts a command. `Ok` means that it runs, except that with a terminal or as a user over inherited streams the
/// last step happens later: then a failure is said on its standard error and its exit code is 126 or 127.
pub(crate) fn spawn(launch: &Launch<'_>, streams: Streams) -> Result<Child, Failure> {
    let name = &launch.argv[0];
    let path = launch.env.iter().rev().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let program = find_program(name, path)?;
    let direct = launch.user.is_root() && !matches!(streams, Streams::Terminal(_));
    let mut command = if direct {
        let mut command = Command::new(&program);
        command.arg0(name).args(&launch.argv[1..]);
        command
    } else {
        let mut command = Command::new(launch.own_program);
        let groups: Vec<String> = launch.user.groups.iter().map(u32::to_string).collect();
        let kind = match streams {
            Streams::Captured(_) => "report",
            Streams::Inherited => "plain",
            Streams::Terminal(_) => "terminal",
        };
        command.arg0("netloom-init").args([
            "launch",
            kind,
            &launch.user.uid.to_string(),
            &launch.user.gid.to_string(),
            &groups.join(","),
            &program,
        ]);
        command.args(launch.argv);
        command
    };
    command.env_clear().envs(launch.env.iter().filter_map(|pair| pair.split_once('=')));
    if direct {
        command.process_group(0);
    }
    let failed = |error: std::io::Error| Failure::of(name, &program, &error);
    let mut reported = None;
    match streams {
        Streams::Inherited => {}
        Streams::Captured(pipe) => {
            if direct {
                command.stdin(Stdio::null());
            } else {
                // Its standard input is how the last step says that it failed.
                let (read, write) = std::io::pipe().map_err(failed)?;
                command.stdin(write);
                reported = Some(read);
            }
            command.stdout(pipe.try_clone().map_err(failed)?).stderr(pipe);
        }
        Streams::Terminal(terminal) => {
            command.stdin(terminal.try_clone().map_err(failed)?);
            command.stdout(terminal.try_clone().map_err(failed)?).stderr(terminal);
        }
    }
    let mut child = command.spawn().map_err(failed)?;
    // The command holds the other end of the pipe too; without this the read below would not end.
    drop(command);
    if let Some(mut pipe) = reported {
        let mut message = String::new();
        let read = std::io::Read::read_to_string(&mut pipe, &mut message);
        if read.is_err() || !message.is_empty() {
            let code = child.wait().ok().and_then(|status| status.code()).unwrap_or(126);
            return Err(Failure { code, message, errno: 0 });
        }
    }
    Ok(child)
}

/// Starts this program once more, with other words and over the streams of this process.
pub(crate) fn spawn_own(own_program: &str, words: &[String]) -> Result<Child, Failure> {
    let mut command = Command::new(own_program);
    command.arg0("netloom-init").args(words).env_clear().process_group(0);
    command.spawn().map_err(|error| Failure::of("netloom-init", own_program, &error))
}

/// `launch <kind> <uid> <gid> <groups> <program> <words…>`: the last step, in the process that becomes the command.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> i32 {
    let kind = arguments.next().unwrap_or_default();
    let mut report = None;
    if kind == "report" {
        report = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).ok().map(File::from);
        let null = File::open("/dev/null").and_then(|null| Ok(rustix::stdio::dup2_stdin(null)?));
        if let Err(error) = null {
            return fail(report, &Failure { code: 126, message: format!("/dev/null: {}", plain(&error)), errno: 0 });
        }
    }
    if let Err(errno) = become_user(&kind, &mut arguments) {
        let message = format!("the user cannot be set: {}", plain(&errno.into()));
        return fail(report, &Failure { code: 126, message, errno: errno.raw_os_error() });
    }
    let program = arguments.next().unwrap_or_default();
    let name = arguments.next().unwrap_or_default();
    let error = Command::new(&program).arg0(&name).args(arguments).exec();
    fail(report, &Failure::of(&name, &program, &error))
}

fn become_user(kind: &str, arguments: &mut impl Iterator<Item = String>) -> rustix::io::Result<()> {
    setsid()?;
    if kind == "terminal" {
        ioctl_tiocsctty(rustix::stdio::stdin())?;
    }
    let mut number = || arguments.next().and_then(|text| text.parse::<u32>().ok()).ok_or(rustix::io::Errno::INVAL);
    let (uid, gid) = (number()?, number()?);
    let groups: Vec<Gid> =
        arguments.next().unwrap_or_default().split(',').filter_map(|gid| gid.parse().ok()).map(Gid::from_raw).collect();
    // "thread" is the whole process here: it has one thread.
    set_thread_groups(&groups)?;
    set_thread_gid(Gid::from_raw(gid))?;
    set_thread_uid(Uid::from_raw(uid))
}

fn fail(report: Option<File>, failure: &Failure) -> i32 {
    match report {
        Some(mut pipe) => drop(pipe.write_all(failure.message.as_bytes())),
        None => complain(&failure.message),
    }
    failure.code
}

pub(crate) fn find_program(name: &str, path: &str) -> Result<String, Failure> {
    let mut found_but = None;
    let candidates: Vec<String> = if name.contains('/') {
        vec![name.to_owned()]
    } else {
        path.split(':').map(|directory| format!("{directory}/{name}")).collect()
    };
    for candidate in candidates.iter().filter(|_| !name.is_empty()) {
        match fs::metadata(candidate) {
            Ok(found) if found.is_dir() => found_but = found_but.or(Some("is a directory")),
            Ok(found) if found.permissions().mode() & 0o111 == 0 => {
                found_but = found_but.or(Some("is not executable"));
            }
            Ok(_) => return Ok(candidate.clone()),
            Err(_) => {}
        }
    }
    match found_but {
        Some(why) => Err(Failure { code: 126, message: format!("command `{name}` {why}"), errno: 0 }),
        None => Err(Failure::not_found(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nfrr:x:110:118::/nonexistent:/bin/false\n";
    const GROUP: &str = "root:x:0:\nfrrvty:x:117:frr\nfrr:x:118:\nnet:x:200:a,frr\n";

    #[test]
    fn a_user_by_name_gets_its_groups_and_home() {
        let user = User::find_in("frr", PASSWD, GROUP).unwrap();
        let expected =
            User { uid: 110, gid: 118, groups: vec![117, 200], name: "frr".into(), home: "/nonexistent".into() };
        assert_eq!(user, expected);
    }

    #[test]
    fn numbers_need_no_entry_and_a_given_group_replaces_the_others() {
        let nobody_knows = User::find_in("1000:1000", PASSWD, GROUP).unwrap();
        assert_eq!(nobody_knows, User { uid: 1000, gid: 1000, groups: vec![], name: "1000".into(), home: "/".into() });
        assert_eq!(User::find_in("frr:net", PASSWD, GROUP).unwrap().gid, 200);
    }

    #[test]
    fn an_unknown_name_is_said() {
        assert_eq!(User::find_in("who", PASSWD, GROUP).unwrap_err(), "user `who` does not exist in the node");
        assert_eq!(User::find_in("frr:who", PASSWD, GROUP).unwrap_err(), "group `who` does not exist in the node");
    }

    #[test]
    fn a_command_is_looked_up_as_a_shell_does_it() {
        assert_eq!(find_program("sh", "/nowhere:/bin").unwrap(), "/bin/sh");
        assert_eq!(find_program("no-such-thing", "/bin").unwrap_err().code, 127);
        assert_eq!(find_program("/etc/passwd", "").unwrap_err().code, 126);
        assert_eq!(find_program("/etc", "").unwrap_err().message, "command `/etc` is a directory");
        assert_eq!(find_program("", "/bin").unwrap_err().code, 127);
    }
}
