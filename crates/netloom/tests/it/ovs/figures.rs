//! The metrics of Open vSwitch.

use netloom_ovs_fixture::Daemon;

use super::{ON_OVS, OvsHost, ring};

impl OvsHost {
    fn metric(&self, name: &str) -> f64 {
        let all = self.ask("GET /metrics").body;
        let value =
            all.lines().find_map(|line| line.strip_prefix("netloom_ovs_")?.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {all}")).parse().unwrap()
    }
}

#[test]
fn metrics_tell_transactions_rows_tags_whole_reads_and_what_was_mended() {
    let Some(host) = OvsHost::new() else { return };
    let is = |name: &str, value: u32| (host.metric(name) - f64::from(value)).abs() < 0.5;
    let file = host.topology("x", &ring("x", ON_OVS));
    let before = host.metric("transactions_total");
    host.netloom(&["deploy", "-t", &file]).code(0);
    assert!(host.metric("transactions_total") > before);
    // The bridge with its own port and interface, six ports with theirs, and the one row of all.
    assert!(is("rows", 3 + 2 * 6 + 1), "{}", host.metric("rows"));
    assert!(is("tags", 3) && is("resyncs_total", 0) && is("repairs_total", 0));

    let ports = host.ports();
    let port = |at: usize| ports[at].split(' ').next().unwrap().to_owned();
    host.vsctl(&format!("set port {} tag=99", port(0))).code(0);
    host.until("it is mended", |_| host.ports() == ports && is("repairs_total", 1));
    host.vsctl(&format!("del-port arch-ovs {}", port(1))).code(0);
    host.until("it is mended", |_| host.ports() == ports && is("repairs_total", 2));

    // What is asked for is no repair.
    host.netloom(&["link", "add", "x", "a:eth5", "b:eth5"]).code(0);
    host.netloom(&["link", "rm", "x", "a:eth5", "b:eth5"]).code(0);
    host.netloom(&["deploy", "-t", &file, "--reconfigure"]).code(0);
    assert!(is("repairs_total", 2), "{}", host.metric("repairs_total"));

    host.ovs.kill(Daemon::Database);
    host.ovs.start_again(Daemon::Database);
    host.until("all is read anew", |_| is("resyncs_total", 1));
    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert!(is("tags", 0) && is("rows", 3 + 1));
}
