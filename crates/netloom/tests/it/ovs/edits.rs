//! Live edits of one link touch no port of another.

use super::{ON_OVS, OvsHost, ring};

impl OvsHost {
    /// The rows of all ports and their interfaces in the database, with all that was set of the ports.
    fn rows(&self) -> Vec<String> {
        let all =
            "--format=csv --data=bare --no-headings --columns=_uuid,name,tag,trunks,interfaces,external_ids list Port";
        let mut rows: Vec<String> = self.vsctl(all).code(0).out.lines().map(str::to_owned).collect();
        rows.sort();
        rows
    }
}

#[test]
fn an_edit_of_one_link_leaves_the_ports_of_all_others_as_they_are() {
    let Some(host) = OvsHost::new() else { return };
    let text = ring("x", ON_OVS);
    let file = host.topology("x", &text);
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 links up");
    host.until("it is reached", |_| host.pings("x/a", "10.0.1.2"));
    let before = host.rows();
    let are_all_there = |rows: &[String]| before.iter().all(|row| rows.contains(row));

    let add = ["link", "add", "x", "a:eth5", "b:eth5", "--ipv4", "10.9.0.1/30,10.9.0.2/30"];
    host.netloom(&add).code(0).says("is up");
    host.until("it is reached", |_| host.pings("x/a", "10.9.0.2"));
    let rows = host.rows();
    assert!(are_all_there(&rows) && rows.len() == before.len() + 2, "{before:#?}\n{rows:#?}");
    host.netloom(&["link", "rm", "x", "a:eth5", "b:eth5"]).code(0);
    assert_eq!(host.rows(), before);

    // Switched off and on, no port is changed, of that link neither.
    host.netloom(&["link", "down", "x", "a:eth1"]).code(0);
    host.until("nothing passes", |_| !host.pings("x/a", "10.0.1.2"));
    assert!(host.pings("x/b", "10.0.2.2"));
    assert_eq!(host.rows(), before);
    host.netloom(&["link", "up", "x", "a:eth1"]).code(0);
    host.until("it passes again", |_| host.pings("x/a", "10.0.1.2"));
    assert_eq!(host.rows(), before);

    // Neither for another MTU, with which traffic of that size passes.
    let larger = text.replace("mtu: 1400", "mtu: 9000");
    assert_ne!(larger, text);
    let file = host.topology("x", &larger);
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 links up");
    assert_eq!(host.rows(), before);
    let large = ["exec", "x/c", "--", "ping", "-c", "1", "-W", "1", "-M", "do", "-s", "8900", "10.0.3.2"];
    host.until("a large packet passes", |_| host.netloom(&large).code == 0);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
}
