//! A database that accepts and does not answer: what is on the switch waits, and says why; all else goes on.

use netloom_ovs_fixture::Daemon;

use super::{ON_OVS, OvsHost, WAYS, ring};

#[test]
fn a_database_that_is_frozen_holds_up_what_is_on_it_with_its_reason_and_nothing_else() {
    let Some(host) = OvsHost::new() else { return };
    let file = host.topology("x", &ring("x", ON_OVS));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let before = host.ports();

    host.ovs.freeze(Daemon::Database);
    // Nobody knows yet: the session is still there.
    let early = host.topology("early", &ring("early", ON_OVS));
    let waits = host.start(&["deploy", "-t", &early]);
    host.until("it is said", |_| ["degraded", "down"].contains(&host.capability().as_str()));
    assert!(host.why_not().contains("the database server"), "{}", host.why_not());
    let plain = host.topology("plain", &ring("plain", ""));
    host.netloom(&["deploy", "-t", &plain]).code(0).says("3 of 3 links up");
    assert!(host.pings("plain/a", "10.0.1.2"));
    let late = host.topology("late", &ring("late", ON_OVS));
    let refused = host.netloom(&["deploy", "-t", &late]).code(2);
    assert!(refused.err.contains("Open vSwitch") && refused.err.contains("the database server"), "{}", refused.err);
    host.netloom(&["inspect", "--name", "plain"]).code(0).says("3 of 3 links up");
    for (node, address) in WAYS {
        assert!(host.pings(&format!("x/{node}"), address), "what is there goes on");
    }

    host.ovs.thaw(Daemon::Database);
    let ended = waits.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() || said.contains("Open vSwitch"), "{said}");
    host.until("it is well", |_| host.capability() == "ok");
    host.netloom(&["deploy", "-t", &early]).code(0);
    host.netloom(&["deploy", "-t", &late]).code(0);
    for lab in ["x", "early", "late"] {
        host.until("it is whole", |_| host.is_up(lab));
        for (node, address) in WAYS {
            host.until("it is reached", |_| host.pings(&format!("{lab}/{node}"), address));
        }
    }
    let now = host.ports();
    assert!(before.iter().all(|port| now.contains(port)), "{before:?} {now:?}");
    assert_eq!(now.len(), 18);
}
