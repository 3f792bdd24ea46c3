//! Packets that go on while something is done.

use std::fs::{self, File};
use std::process::Child;

use super::rig::Machine;

/// A ping from a container each 10 ms.
pub(crate) struct Traffic<'a> {
    machine: &'a Machine,
    name: String,
    ping: Child,
    pid: String,
}

impl<'a> Traffic<'a> {
    /// Begins, and waits until the first has come back.
    pub(crate) fn start(machine: &'a Machine, container: &str, to: &str) -> Self {
        machine.until("a packet comes back", |_| machine.reaches(container, to, 56));
        let target = machine.pid_of(container);
        let script = format!("echo $$; exec nsenter --target {target} --net ping -n -i 0.01 {to}");
        let name = format!("traffic-{container}-{to}");
        let said = File::create(machine.labs.path().join(&name)).unwrap();
        let ping = machine.command("sh").args(["-c", &script]).stdout(said).spawn().unwrap();
        let mut traffic = Self { machine, name, ping, pid: String::new() };
        machine.until("it has begun", |_| traffic.back().len() > 10);
        let said = traffic.said();
        said.lines().next().unwrap().clone_into(&mut traffic.pid);
        traffic
    }

    fn said(&self) -> String {
        fs::read_to_string(self.machine.labs.path().join(&self.name)).unwrap()
    }

    /// The numbers of those that came back.
    fn back(&self) -> Vec<usize> {
        let said = self.said();
        said.lines().filter_map(|line| line.split_once("icmp_seq=")?.1.split_once(' ')?.0.parse().ok()).collect()
    }

    /// Fails the test if half a second passed without one. A switch in user space forwards in the thread that makes and
    /// removes ports, so that some may be lost whosever those are.
    #[track_caller]
    pub(crate) fn went_on(mut self) {
        self.machine.sh(&format!("kill -INT {}", self.pid)).code(0);
        self.ping.wait().unwrap();
        let back = self.back();
        let gap = back.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        assert!(gap <= 50, "{gap} of 10 ms each without one: {}", self.said().lines().last().unwrap_or_default());
    }

    /// Fails the test if one of them did not come back, or went twice. The last may be on their way, as many as ever were at once.
    #[track_caller]
    pub(crate) fn lost_nothing(mut self) {
        self.machine.sh(&format!("kill -INT {}", self.pid)).code(0);
        self.ping.wait().unwrap();
        let (said, back) = (self.said(), self.back());
        let sent = said.split_once(" packets transmitted").and_then(|(before, _)| before.lines().last()?.parse().ok());
        let at_once = said.rsplit_once(", pipe ").and_then(|(_, count)| count.trim().parse().ok()).unwrap_or(1);
        let is_whole =
            (1..=back.len()).eq(back.iter().copied()) && sent.is_some_and(|sent: usize| sent <= back.len() + at_once);
        assert!(is_whole, "sent {sent:?}, back {}: {}", back.len(), said.lines().last().unwrap_or_default());
    }
}
