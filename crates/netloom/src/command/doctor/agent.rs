//! The agent of this host: whether it answers, what it says, and what it would find if it were started.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use netloom_agent::wire::{Readiness, Ready};
use netloom_engine::{Layout, LeftoversView, Source};

use super::Finding;
use super::fix::Fix;
use crate::client::{Client, Silence};
use crate::config::Config;
use crate::failure::plain;

const AREA: &str = "agent";

/// Everything about it.
pub(super) async fn all(layout: &Layout) -> Vec<Finding> {
    let mut findings = Vec::new();
    let config = Config::load(&layout.config());
    match &config {
        Ok(_) => findings.push(Finding::ok(AREA, "configuration", configuration(&layout.config()))),
        Err(why) => {
            let mend = "correct what it names, or remove it: all keys have defaults";
            findings.push(Finding::fail(AREA, "configuration", why).means("no agent can start").mend(mend));
        }
    }
    match Client::find(layout).await {
        Ok((client, info)) => {
            let own = env!("CARGO_PKG_VERSION");
            findings.push(if info.version == own {
                Finding::ok(AREA, "process", format!("version {own} answers, process {}", info.pid))
            } else {
                Finding::warn(AREA, "process", format!("it is version {}, this is {own}", info.version))
                    .means("what is new in one is not understood by the other")
                    .mend("netloom agent stop; netloom agent --background (labs run on)")
            });
            findings.extend(readiness(&client).await);
            findings.extend(leftovers(&client).await);
        }
        Err(Silence::Other(failure)) => {
            let found = failure.text.unwrap_or_else(|| "it does not answer".to_owned());
            let mend = "netloom agent status; as root or a member of the group netloom";
            findings.push(Finding::fail(AREA, "process", found).means("nothing can be asked of labs").mend(mend));
        }
        Err(Silence::Nobody) => {
            findings.push(absence(&layout.socket()));
            if let Ok(Config { listen: Some(listen), .. }) = &config {
                findings.push(port(*listen));
            }
        }
    }
    findings.extend(state(&layout.store()));
    findings.extend(token(&layout.token()));
    findings
}

fn configuration(path: &Path) -> String {
    if path.exists() { format!("{} is right", path.display()) } else { "defaults".to_owned() }
}

/// No agent answers: that is fine, unless labs are to be kept.
fn absence(socket: &Path) -> Finding {
    let means = "labs run on, but nothing brings a node or link back; `netloom deploy` starts one by itself";
    let finding = Finding::warn(AREA, "process", "no agent runs").means(means).mend("netloom agent --background");
    if socket.exists() {
        let found = format!("no agent runs; {} is left of one that was killed", socket.display());
        return Finding { found, ..finding }.fix(Fix::StaleSocket(socket.to_owned()));
    }
    finding
}

fn port(listen: SocketAddr) -> Finding {
    let check = format!("port {}", listen.port());
    match TcpListener::bind(listen) {
        Ok(_) => Finding::ok(AREA, &check, format!("{listen} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let mend = format!(
                "end it (`ss -ltnp 'sport = :{}'` shows it), or listen elsewhere: NETLOOM_LISTEN",
                listen.port()
            );
            let found = format!("something else listens on {listen}");
            Finding::fail(AREA, &check, found).means("an agent does not start").mend(mend)
        }
        Err(error) => Finding::fail(AREA, &check, format!("{listen}: {}", plain(&error)))
            .means("an agent does not start")
            .mend("set `listen` to an address of this host, or to `none`"),
    }
}

/// What the agent itself finds wrong.
async fn readiness(client: &Client) -> Vec<Finding> {
    let readiness: Readiness = match client.health("/readyz?verbose").await {
        Ok(readiness) => readiness,
        Err(failure) => return vec![Finding::fail(AREA, "readiness", failure.text.unwrap_or_default())],
    };
    // What is worse than the whole is not needed here: not on every host is every daemon.
    let counts = |status: Ready| status != Ready::Ok && status <= readiness.status;
    let ill = readiness.capabilities.iter().filter(|capability| counts(capability.status));
    let ill: Vec<Finding> = ill
        .map(|capability| {
            let why = capability.reason.clone().unwrap_or_else(|| capability.status.word().to_owned());
            let finding = match capability.status {
                Ready::Down => Finding::fail(AREA, &capability.name, why),
                Ready::Ok | Ready::Degraded => Finding::warn(AREA, &capability.name, why),
            };
            let mend = if capability.name == Source::Switch.word() {
                "netloom status; systemctl start openvswitch-switch"
            } else {
                "netloom status"
            };
            finding.mend(mend)
        })
        .collect();
    if ill.is_empty() { vec![Finding::ok(AREA, "readiness", "ready for everything")] } else { ill }
}

async fn leftovers(client: &Client) -> Option<Finding> {
    const CHECK: &str = "leftovers";
    // An agent of another version may know nothing of them.
    let view: LeftoversView = client.get("/leftovers").await.ok()?;
    let count = view.leftovers.len();
    if count == 0 {
        return Some(Finding::ok(AREA, CHECK, "nothing is left of labs that are gone"));
    }
    let found = format!("{} left that no lab wants", crate::render::count(count, "thing"));
    let means = "names and room on the disk are taken for nothing";
    Some(Finding::warn(AREA, CHECK, found).means(means).mend("netloom prune"))
}

/// The first bytes of a database of redb.
const MAGIC: &[u8] = b"redb";

fn state(store: &Path) -> Option<Finding> {
    const CHECK: &str = "state file";
    let at = store.display();
    let mut magic = [0; MAGIC.len()];
    match File::open(store).and_then(|mut file| file.read_exact(&mut magic)) {
        Ok(()) if magic == MAGIC => Some(Finding::ok(AREA, CHECK, format!("{at} can be read"))),
        Ok(()) => Some(damaged(format!("{at} is no database of netloom"), store)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Some(damaged(format!("{at} is cut short"), store))
        }
        // Before the first start there is none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Some(Finding::ok(AREA, CHECK, format!("{at} is root's, as it should be")))
        }
        Err(error) => Some(damaged(format!("{at}: {}", plain(&error)), store)),
    }
}

fn damaged(found: String, store: &Path) -> Finding {
    let at = store.display();
    Finding::fail(AREA, "state file", found)
        .means("an agent does not start")
        .mend(format!("mv {at} {at}.bad; netloom agent --background; netloom adopt --all (takes back what runs)"))
}

fn token(path: &Path) -> Option<Finding> {
    const CHECK: &str = "token";
    let at = path.display();
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => Some(Finding::ok(AREA, CHECK, format!("{at} can be read"))),
        Ok(_) => Some(
            Finding::warn(AREA, CHECK, format!("{at} is empty"))
                .means("programs cannot use the TCP address")
                .mend("netloom agent stop; netloom agent --background (makes another)"),
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(
            Finding::warn(AREA, CHECK, format!("{at}: {}", plain(&error)))
                .means("you cannot use the TCP address; the command line does not need it")
                .mend("sudo usermod -aG netloom $USER (the group equals root)"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_state_file_is_judged_by_what_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.redb");
        assert_eq!(state(&path), None);
        for (content, verdict) in [("redb\x1a\n", Verdict::Ok), ("", Verdict::Fail), ("something", Verdict::Fail)] {
            fs::write(&path, content).unwrap();
            let finding = state(&path).unwrap();
            assert_eq!(finding.verdict, verdict, "{content}");
            assert_eq!(finding.mend.is_some(), verdict == Verdict::Fail);
        }
    }

    #[test]
    fn a_port_that_is_taken_is_said_with_who_to_ask() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let finding = port(address);
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(finding.mend.unwrap().contains(&format!("sport = :{}", address.port())));
        drop(taken);
        assert_eq!(port(address).verdict, Verdict::Ok);
    }

    #[test]
    fn a_socket_that_nobody_listens_on_is_taken_away_by_a_fix() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        assert_eq!(absence(&path).fix, None);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let finding = absence(&path);
        assert!(finding.fix.unwrap().apply().unwrap().contains("agent.sock"));
        assert!(!path.exists());
    }
}
