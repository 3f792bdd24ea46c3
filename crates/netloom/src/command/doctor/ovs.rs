//! Open vSwitch, of which the links of labs with `fabric: ovs` are ports. Where nothing of it is installed and nothing wants it,
//! there is nothing to say.

use std::ffi::OsStr;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use netloom_drivers::fabric::ovs::Datapath;
use netloom_engine::Layout;
use netloom_model::FabricKind;
use netloom_ovsdb::{Client, Condition, Endpoint, Error, Interest, Mutation, Transaction, Uuid};
use tokio::time::Instant;

use super::{Finding, Verdict};
use crate::config::Config;

const AREA: &str = "ovs";
/// How long each of the two daemons may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// What follows where it cannot be used.
const MEANS: &str =
    "labs with `fabric: ovs` and nodes of kind `ovs-bridge` cannot be made; all others need no Open vSwitch";
const TABLE: &str = "Open_vSwitch";

/// Whether its daemons answer, which one it is, and what it forwards with.
pub(super) async fn all(layout: &Layout) -> Vec<Finding> {
    // What is wrong with the configuration is said elsewhere.
    let config = Config::load(&layout.config()).unwrap_or_default();
    let is_wanted = config.fabric == FabricKind::Ovs;
    if !is_wanted && !config.ovs_socket.exists() && !is_installed() {
        return Vec::new();
    }
    let severe = |finding: Finding| if is_wanted { Finding { verdict: Verdict::Fail, ..finding } } else { finding };
    if let Err(error) = UnixStream::connect(&config.ovs_socket) {
        return vec![severe(silent(&config.ovs_socket, &error))];
    }
    let (database, client) = database(&config.ovs_socket).await;
    let mut findings = vec![if database.verdict == Verdict::Ok { database } else { severe(database) }];
    if let Some((client, root)) = client {
        findings.push(switch(&client, root).await);
        findings.push(datapath(Datapath::detect()));
    }
    findings
}

fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |directory: &Path| directory.join("ovs-vswitchd").is_file();
    // Where it is often is not in the path of who is not root.
    std::env::split_paths(&path).any(|directory| has(&directory)) || has(Path::new(OsStr::new("/usr/sbin")))
}

/// Nobody takes a connection.
fn silent(socket: &Path, error: &io::Error) -> Finding {
    const CHECK: &str = "database";
    let at = socket.display();
    let finding = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Finding::warn(AREA, CHECK, format!("{at} is not open to you")).mend("sudo netloom doctor")
        }
        io::ErrorKind::NotFound => Finding::warn(AREA, CHECK, format!("there is none at {at}")).mend(
            "systemctl start openvswitch-switch (apt install openvswitch-switch); or set `ovs-socket` where it is elsewhere",
        ),
        _ => Finding::warn(AREA, CHECK, format!("nobody answers at {at}: {error}"))
            .mend("systemctl restart openvswitch-switch"),
    };
    finding.means(MEANS)
}

/// Whether `ovsdb-server` answers, and which version it is of; a session with it, and its one row.
async fn database(socket: &Path) -> (Finding, Option<(Client, Uuid)>) {
    const CHECK: &str = "database";
    let at = socket.display();
    let config = netloom_ovsdb::Config::new(Endpoint::Unix(socket.to_owned()), TABLE)
        .mirror(TABLE, ["ovs_version", "next_cfg", "cur_cfg"]);
    let client = Client::start(config);
    if let Err(error) = client.connected(Instant::now() + PATIENCE).await {
        let why = match error {
            Error::NotConnected { why } if matches!(*why, Error::Starting) => "it does not answer".to_owned(),
            Error::NotConnected { why } => why.to_string(),
            other => other.to_string(),
        };
        let found = format!("{at}: {why}");
        let mend = "systemctl status ovsdb-server; systemctl restart openvswitch-switch";
        return (Finding::warn(AREA, CHECK, found).means(MEANS).mend(mend), None);
    }
    let snapshot = client.mirror().snapshot();
    let Some((root, row)) = snapshot.rows(TABLE).next() else {
        let found = format!("the database at {at} is empty");
        let finding = Finding::warn(AREA, CHECK, found).means(MEANS).mend("ovs-vsctl --no-wait init");
        return (finding, None);
    };
    // Its start script notes the version, and not every host starts it by that.
    let version =
        row.string("ovs_version").map_or_else(|| "Open vSwitch".to_owned(), |it| format!("Open vSwitch {it}"));
    (Finding::ok(AREA, CHECK, format!("{version} at {at}")), Some((client, root)))
}

/// Whether `ovs-vswitchd` takes over what the database says. Each `ovs-vsctl` that changes something asks in this way too.
async fn switch(client: &Client, root: Uuid) -> Finding {
    const CHECK: &str = "switch";
    let deadline = Instant::now() + PATIENCE;
    let is_root = || [Condition::is_row(root)];
    let mut ask = Transaction::new();
    ask.mutate(TABLE, is_root(), [Mutation::add("next_cfg", 1)]);
    let read = ask.select(TABLE, is_root());
    let taken = async {
        let outcome = client.transact(&ask, deadline).await?;
        let next = outcome.rows(read).and_then(|rows| rows.first()?.integer("next_cfg")).unwrap_or_default();
        let interest = Interest::row(TABLE, root).columns(["cur_cfg"]);
        let has_come = move |snapshot: &netloom_ovsdb::Snapshot| {
            snapshot.row(TABLE, root)?.integer("cur_cfg").filter(|current| *current >= next).map(drop)
        };
        client.mirror().wait_until([interest], deadline, has_come).await
    };
    match taken.await {
        Ok(()) => Finding::ok(AREA, CHECK, "ovs-vswitchd does what the database says"),
        Err(Error::Deadline) => {
            let found = format!("ovs-vswitchd does not do what the database says within {} s", PATIENCE.as_secs());
            Finding::fail(AREA, CHECK, found)
                .means("nothing passes on bridges of Open vSwitch, and no link can be made on them")
                .mend("systemctl status ovs-vswitchd; systemctl restart ovs-vswitchd")
        }
        Err(error) => Finding::fail(AREA, CHECK, error.to_string()).means(MEANS).mend("systemctl status ovsdb-server"),
    }
}

fn datapath(datapath: Datapath) -> Finding {
    const CHECK: &str = "datapath";
    match datapath {
        Datapath::System => Finding::ok(AREA, CHECK, "the kernel's module openvswitch forwards"),
        Datapath::Netdev => {
            Finding::warn(AREA, CHECK, "ovs-vswitchd forwards itself: the kernel's module openvswitch is not loaded")
                .means("traffic takes more of the processor, and stands still while ovs-vswitchd does")
                .mend("modprobe openvswitch, before bridges are made; where that fails, a kernel that has it")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_not_there_is_told_apart_from_one_that_does_not_answer() {
        let at = Path::new("/run/openvswitch/db.sock");
        let say = |kind: io::ErrorKind| silent(at, &kind.into());
        assert!(say(io::ErrorKind::NotFound).found.starts_with("there is none"));
        assert!(say(io::ErrorKind::ConnectionRefused).found.starts_with("nobody answers"));
        assert_eq!(say(io::ErrorKind::PermissionDenied).mend.as_deref(), Some("sudo netloom doctor"));
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused, io::ErrorKind::PermissionDenied] {
            assert!(say(kind).means.is_some() && say(kind).mend.is_some());
        }
    }

    #[test]
    fn a_host_without_the_module_is_told_what_loads_it() {
        assert_eq!(datapath(Datapath::System).verdict, Verdict::Ok);
        assert!(datapath(Datapath::Netdev).mend.unwrap().starts_with("modprobe openvswitch"));
    }
}
