use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use netloom_ovs_fixture::{Daemon, Ovs};
use netloom_ovsdb::{Client, Interest, Mutation, Snapshot, Transaction};

use crate::{connected, make_bridge, make_port, soon};

/// Does a transaction and waits until the switch has done what it asks for.
async fn apply(client: &Client, mut change: Transaction) {
    change.mutate("Open_vSwitch", [], [Mutation::add("next_cfg", 1)]);
    let counted = change.select("Open_vSwitch", []);
    let done = client.transact(&change, soon()).await.unwrap();
    let wanted = done.rows(counted).unwrap()[0].integer("next_cfg").unwrap();
    let reached =
        |snapshot: &Snapshot| (snapshot.rows("Open_vSwitch").next()?.1.integer("cur_cfg")? >= wanted).then_some(());
    client.mirror().wait_until([Interest::table("Open_vSwitch").columns(["cur_cfg"])], soon(), reached).await.unwrap();
}

#[tokio::test]
async fn a_switch_does_what_its_database_says_and_tells() {
    let Some(ovs) = Ovs::start_with_switch_by(Command::new("unshare").args(["--net", "--"])) else { return };
    let client = connected(&ovs).await;
    let mut change = Transaction::new();
    let ports: Vec<_> = (0..20).map(|number| make_port(&mut change, &format!("p{number}"), "internal")).collect();
    make_bridge(&mut change, "br0", &ports);
    apply(&client, change).await;
    let numbered = |snapshot: &Snapshot| {
        let live = snapshot.rows("Interface").filter(|(_, row)| row.integer("ofport").is_some_and(|port| port > 0));
        (live.count() == 20).then_some(())
    };
    client.mirror().wait_until([Interest::table("Interface").columns(["ofport"])], soon(), numbered).await.unwrap();

    // An interface that is not there has an error.
    let mut change = Transaction::new();
    let port = make_port(&mut change, "none", "");
    change.mutate("Bridge", [], [Mutation::insert("ports", &port)]);
    apply(&client, change).await;
    let error = |snapshot: &Snapshot| snapshot.find("Interface", "name", "none")?.1.string("error").map(str::to_owned);
    let error = client.mirror().wait_until([Interest::table("Interface")], soon(), error).await.unwrap();
    assert!(error.contains("none"), "{error}");

    // The database outlives the switch, which takes it up again.
    ovs.kill(Daemon::Switch);
    let mut change = Transaction::new();
    make_bridge(&mut change, "br1", &[]);
    client.transact(&change, soon()).await.unwrap();
    ovs.start_again(Daemon::Switch);
    apply(&client, Transaction::new()).await;
    let list = ovs.appctl(Daemon::Switch, ["dpif/show"]);
    assert!(list.contains("br1"), "{list}");
}

/// A network namespace that is there until this is dropped: `cat` ends with its input.
struct Network(Child);

impl Network {
    /// `None`, loudly, without root.
    fn make() -> Option<Self> {
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut network = Self(command.spawn().unwrap());
        // What it says it has heard there.
        let _ = network.0.stdin.as_mut().unwrap().write_all(b"\n");
        if let Err(error) = network.0.stdout.as_mut().unwrap().read_exact(&mut [0]) {
            assert!(std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(), "no network namespace: {error}");
            eprintln!("SKIPPED: this test needs root");
            return None;
        }
        Some(network)
    }

    /// Begins a command in it.
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.0.id())).arg("--");
        command
    }

    fn devices(&self) -> Vec<String> {
        let said = self.enter().args(["ip", "-brief", "link"]).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        said.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn all_of_it_ends_with_its_owner_however_the_switch_is() {
    let Some(network) = Network::make() else { return };
    for state in ["well", "frozen", "killed"] {
        let Some(ovs) = Ovs::start_with_switch_by(&mut network.enter()) else { return };
        ovs.vsctl(["add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev"]);
        assert_eq!(network.devices(), ["lo", "ovs-netdev", "br0"]);
        let directory = ovs.directory().to_owned();
        let pids = [Daemon::Database, Daemon::Switch].map(|daemon| ovs.pid(daemon));
        match state {
            "frozen" => ovs.freeze(Daemon::Switch),
            "killed" => ovs.kill(Daemon::Switch),
            _ => {}
        }
        drop(ovs);
        assert!(!directory.exists());
        for pid in pids {
            let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            assert!(!command.contains(directory.to_str().unwrap()), "{command} lives");
        }
        assert_eq!(network.devices(), ["lo"], "left behind by one that was {state}");
    }
}
