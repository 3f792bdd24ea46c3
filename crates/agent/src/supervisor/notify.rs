//! What systemd is told (`sd_notify(3)`): that the agent is ready, that it stops, and, while it is vouched for, that it
//! lives. Without systemd nothing is sent.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to systemd, if it is there.
#[derive(Debug)]
pub(crate) struct Systemd {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Systemd {
    /// What the environment says. `process` is the id of this process: a watchdog may be meant for another one.
    pub(crate) fn find(variable: impl Fn(&str) -> Option<String>, process: u32) -> Self {
        let socket = variable("NOTIFY_SOCKET").and_then(|path| connect(&path));
        let watchdog = variable("WATCHDOG_USEC").and_then(|text| text.parse().ok()).map(Duration::from_micros);
        let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == process.to_string());
        Self { watchdog: watchdog.filter(|_| ours && socket.is_some()), socket }
    }

    /// How soon after the last sign of life it kills the process.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Says something; never waits.
    pub(crate) fn say(&self, what: &str) {
        if let Some((socket, address)) = &self.socket {
            // A queue that is full is systemd's own trouble; the next sign of life is sent soon.
            let _ = socket.send_to_addr(what.as_bytes(), address);
        }
    }
}

fn connect(path: &str) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok()?,
        None => SocketAddr::from_pathname(path).ok()?,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pairs: &[(&str, &str)]) -> Systemd {
        let variable = |name: &str| pairs.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
        Systemd::find(variable, 7)
    }

    #[test]
    fn systemd_hears_what_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let systemd =
            find(&[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "7")]);
        assert_eq!(systemd.watchdog(), Some(Duration::from_secs(30)));
        systemd.say("READY=1");
        let mut heard = [0; 16];
        let length = socket.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"READY=1");
    }

    #[test]
    fn without_systemd_nothing_is_said_and_a_watchdog_of_another_process_is_not_ours() {
        let systemd = find(&[]);
        systemd.say("READY=1");
        assert_eq!(systemd.watchdog(), None);
        let other = find(&[("NOTIFY_SOCKET", "/nowhere"), ("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "8")]);
        assert_eq!(other.watchdog(), None);
    }
}
