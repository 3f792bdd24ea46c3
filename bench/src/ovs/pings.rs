//! Traffic over links: what is sent, and what of it is lost.

use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};

use super::{Host, ends};
use crate::host::in_namespace;
use crate::ring;

/// Pings in a steady rhythm, one process for each link, from one end to the other; each ends by itself.
pub(super) struct Pings(Vec<Child>);

/// What came of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Loss {
    pub(super) sent: u64,
    pub(super) lost: u64,
}

impl Loss {
    pub(super) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.lost += other.lost;
    }
}

impl Pings {
    /// Begins over the first links of a lab, so many times.
    pub(super) fn start(host: &Host, lab: &str, links: usize, times: usize, pause: &str) -> Result<Self> {
        let mut pings = Self(Vec::new());
        for link in 0..links {
            let address = ring::addresses(link)[1].clone();
            let address = address.split('/').next().context("an address")?.to_owned();
            let mut command = in_namespace(&host.agent.pin(lab, &ring::node(ends(link)[0])));
            command.args(["ping", "-q", "-W", "2", "-i", pause, "-c", &times.to_string(), &address]);
            pings.0.push(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("ping")?);
        }
        Ok(pings)
    }

    /// Whether they all still send.
    pub(super) fn go_on(&mut self) -> Result<bool> {
        for ping in &mut self.0 {
            if ping.try_wait()?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until they have ended.
    pub(super) fn end(mut self) -> Result<Loss> {
        let mut loss = Loss::default();
        for ping in std::mem::take(&mut self.0) {
            let said = String::from_utf8(ping.wait_with_output()?.stdout)?;
            // "1000 packets transmitted, 1000 received, 0% packet loss, time 4995ms"
            let line = said.lines().find(|line| line.contains("packets transmitted")).context("what ping says")?;
            let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
            let [sent, received, ..] = numbers[..] else { bail!("ping says `{line}`") };
            loss.sent += sent;
            loss.lost += sent - received;
        }
        Ok(loss)
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        for ping in &mut self.0 {
            let _ = ping.kill();
            let _ = ping.wait();
        }
    }
}
