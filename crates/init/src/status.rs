//! What the init says of itself: the status file, and one line on standard output when it is set up.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags, openat, renameat};

use crate::spec::STATUS_FILE;

/// What a node's command is doing.
pub(crate) enum Phase<'a> {
    /// The root is made and, if there is a command, it runs as this process (as the node numbers it).
    Running { pid: Option<i32>, notes: &'a [String] },
    /// The command ended; 128 + n after signal n.
    Exited { code: i32 },
    /// The node could not be set up or the command could not be started.
    Failed { cause: &'a str },
}

/// Writes the status file into the run directory, which stays reachable after the root has changed.
///
/// Every status says which process wrote it, as the host numbers it, so that a node whose agent died in the moment
/// of starting it is still found.
pub(crate) struct Status {
    directory: OwnedFd,
    pid: u32,
    start_time: u64,
}

impl Status {
    /// Call it while /proc is the host's.
    pub(crate) fn new(directory: OwnedFd) -> std::io::Result<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let (pid, start_time) = identity(&stat).ok_or(std::io::ErrorKind::InvalidData)?;
        Ok(Self { directory, pid, start_time })
    }

    /// The run directory.
    pub(crate) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Replaces the status file; a reader sees the old one or the new one, never half of one.
    pub(crate) fn write(&self, phase: &Phase<'_>) -> std::io::Result<()> {
        const NEW: &str = "status.json.new";
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
        let phase = match phase {
            Phase::Running { pid, notes } => {
                let pid = pid.map_or("null".into(), |pid| pid.to_string());
                let notes: Vec<String> = notes.iter().map(|note| quoted(note)).collect();
                format!(r#""running","pid":{pid},"notes":[{}]"#, notes.join(","))
            }
            Phase::Exited { code } => format!(r#""exited","code":{code}"#),
            Phase::Failed { cause } => format!(r#""failed","cause":{}"#, quoted(cause)),
        };
        let (pid, start_time) = (self.pid, self.start_time);
        let text =
            format!("{{\"phase\":{phase},\"at_ms\":{at},\"init\":{{\"pid\":{pid},\"start_time\":{start_time}}}}}\n");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = File::from(openat(&self.directory, NEW, flags, Mode::from_raw_mode(0o644))?);
        file.write_all(text.as_bytes())?;
        renameat(&self.directory, NEW, &self.directory, STATUS_FILE)?;
        Ok(())
    }
}

/// Tells whoever started us how it went, then closes the pipe for good.
pub(crate) fn report(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    // Nobody may be there to read it any more; the status file says the same.
    let _ = out.write_all(line.replace('\n', " ").as_bytes()).and_then(|()| out.write_all(b"\n"));
    let _ = out.flush();
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}

/// Number and start time (fields 1 and 22) out of /proc/<pid>/stat; the name in brackets may hold anything.
pub(crate) fn identity(stat: &str) -> Option<(u32, u64)> {
    let (before, after) = stat.rsplit_once(')')?;
    let pid = before.split(' ').next()?.parse().ok()?;
    Some((pid, after.split_whitespace().nth(19)?.parse().ok()?))
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_start_time_are_found_around_any_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        assert_eq!(identity(stat), Some((7, 4711)));
    }

    #[test]
    fn quotes_and_control_characters_are_escaped() {
        assert_eq!(quoted("a\"b\\c\nd"), r#""a\"b\\c\u000ad""#);
    }
}
