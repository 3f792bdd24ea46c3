//! What can be done to a process from outside.

use std::fs;
use std::io;
use std::path::PathBuf;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

fn pid(of: u32) -> io::Result<Pid> {
    i32::try_from(of).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other(format!("{of} is no process")))
}

/// A process that is stopped (SIGSTOP) until this is dropped.
#[derive(Debug)]
pub struct Stopped(Pid);

impl Stopped {
    /// Stops it.
    ///
    /// # Errors
    /// Where it is not there.
    pub fn new(process: u32) -> io::Result<Self> {
        let process = pid(process)?;
        kill_process(process, Signal::STOP)?;
        Ok(Self(process))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// A process that may open no more than a few descriptors beside those it has, until this is dropped.
#[derive(Debug)]
pub struct Descriptors {
    process: Pid,
    before: Rlimit,
}

impl Descriptors {
    /// Leaves it so many.
    ///
    /// # Errors
    /// Where it is not there, or the limit may not be set.
    pub fn leave(process: u32, few: u64) -> io::Result<Self> {
        let open = fs::read_dir(format!("/proc/{process}/fd"))?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        // The limit is on the number of the next one, not on how many there are.
        let highest = open.max().unwrap_or(0_u64);
        let limits = fs::read_to_string(format!("/proc/{process}/limits"))?;
        let hard = limits.lines().find(|line| line.starts_with("Max open files"));
        let hard = hard.and_then(|line| line.split_ascii_whitespace().nth(4)?.parse().ok());
        let process = pid(process)?;
        let limit = Rlimit { current: Some(highest + 1 + few), maximum: hard };
        let before = prlimit(Some(process), Resource::Nofile, limit)?;
        Ok(Self { process, before })
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        let _ = prlimit(Some(self.process), Resource::Nofile, self.before);
    }
}

/// A process in a control group with little memory, until this is dropped. Needs the memory controller of cgroup v1, or that of
/// v2 given to the children of the root.
#[derive(Debug)]
pub struct Memory {
    process: u32,
    group: PathBuf,
    /// Where it was.
    home: PathBuf,
}

impl Memory {
    /// Allows it so many bytes, its page cache with it.
    ///
    /// # Errors
    /// Where there is no such controller, or the process is not there.
    pub fn limit(process: u32, bytes: u64) -> io::Result<Self> {
        let v1 = PathBuf::from("/sys/fs/cgroup/memory");
        let (root, file, controller) = if v1.is_dir() {
            (v1, "memory.limit_in_bytes", "memory")
        } else {
            (PathBuf::from("/sys/fs/cgroup"), "memory.max", "")
        };
        let groups = fs::read_to_string(format!("/proc/{process}/cgroup"))?;
        // `4:memory:/path`, `0::/path`
        let home = groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|of| of == controller).then(|| root.join(path.trim_start_matches('/')))
        });
        let home = home.ok_or_else(|| io::Error::other("there is no memory controller"))?;
        let group = root.join(format!("netloom-fault-{process}"));
        fs::create_dir(&group)?;
        let memory = Self { process, group, home };
        fs::write(memory.group.join(file), bytes.to_string())?;
        fs::write(memory.group.join("cgroup.procs"), process.to_string())?;
        Ok(memory)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = fs::write(self.home.join("cgroup.procs"), self.process.to_string());
        // What it has started meanwhile is in the group too.
        for process in fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = fs::write(self.home.join("cgroup.procs"), process);
        }
        let _ = fs::remove_dir(&self.group);
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// A process that does nothing, and ends with this.
    struct Sleeper(Child);

    impl Sleeper {
        fn new() -> Self {
            Self(Command::new("sleep").arg("1000").spawn().unwrap())
        }

        fn says(&self, file: &str, line: &str) -> String {
            let text = fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap();
            text.lines().find(|said| said.starts_with(line)).unwrap().to_owned()
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_process_is_stopped_for_as_long_as_the_fault_lasts() {
        let sleeper = Sleeper::new();
        let stopped = Stopped::new(sleeper.0.id()).unwrap();
        while !sleeper.says("status", "State").contains("stopped") {}
        drop(stopped);
        while sleeper.says("status", "State").contains("stopped") {}
    }

    #[test]
    fn limits_of_descriptors_are_as_before_when_the_fault_ends() {
        let sleeper = Sleeper::new();
        let before = sleeper.says("limits", "Max open files");
        let few = Descriptors::leave(sleeper.0.id(), 5).unwrap();
        assert_ne!(sleeper.says("limits", "Max open files"), before);
        drop(few);
        assert_eq!(sleeper.says("limits", "Max open files"), before);
    }

    #[test]
    fn what_is_no_process_is_said() {
        assert!(Stopped::new(0).is_err());
        assert!(Descriptors::leave(u32::MAX, 5).is_err());
    }
}
