//! What a doctor says of Open vSwitch.

use netloom_ovs_fixture::{Daemon, Ovs};
use serde_json::Value;

use super::OvsHost;
use crate::sandbox::Sandbox;

/// What is said of it, by check.
fn finding(host: &Sandbox, check: &str) -> Value {
    let all = host.netloom(&["doctor", "--json"]).json();
    let all = all.as_array().unwrap();
    all.iter().find(|one| one["area"] == "ovs" && one["check"] == check).cloned().unwrap_or_default()
}

#[test]
fn a_doctor_says_whether_the_daemons_of_open_vswitch_answer_and_what_mends_them() {
    let Some(host) = OvsHost::new() else { return };
    assert_eq!(finding(&host, "database")["verdict"], "ok");
    assert_eq!(finding(&host, "switch")["verdict"], "ok");
    assert!(["ok", "warn"].contains(&finding(&host, "datapath")["verdict"].as_str().unwrap()));

    host.ovs.freeze(Daemon::Switch);
    let found = finding(&host, "switch");
    assert_eq!(found["verdict"], "fail", "{found}");
    assert!(found["mend"].as_str().unwrap().contains("systemctl restart ovs-vswitchd"), "{found}");
    host.ovs.thaw(Daemon::Switch);
    assert_eq!(finding(&host, "switch")["verdict"], "ok");

    host.ovs.freeze(Daemon::Database);
    let found = finding(&host, "database");
    assert_eq!(found["verdict"], "warn", "no lab needs it: {found}");
    assert!(found["mend"].as_str().unwrap().contains("openvswitch-switch"), "{found}");
    host.ovs.thaw(Daemon::Database);
}

#[test]
fn a_database_that_the_configuration_wants_and_that_is_not_there_is_a_failure() {
    let Some(mut host) = Sandbox::new() else { return };
    // Whether it is installed says what this test finds where nothing wants it.
    let Some(_installed) = Ovs::start() else { return };
    host.environment.push(("NETLOOM_OVS_SOCKET", format!("{}/db.sock", host.root.path().display())));
    assert_eq!(finding(&host, "database")["verdict"], "warn");
    host.environment.push(("NETLOOM_FABRIC", "ovs".to_owned()));
    let found = finding(&host, "database");
    assert_eq!(found["verdict"], "fail", "{found}");
    assert!(found["mend"].as_str().unwrap().contains("systemctl start openvswitch-switch"), "{found}");
    host.netloom(&["doctor"]).code(1).says("FAIL  database: there is none at");
}
