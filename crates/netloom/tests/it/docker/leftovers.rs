//! What is left of labs in Docker: containers and networks with our mark that no lab wants.

use netloom_engine::Layout;

use super::host::{DockerHost, IMAGE};

fn left(host: &DockerHost) -> Vec<String> {
    let view = host.netloom(&["prune", "--dry-run", "--grace", "0s", "--json"]).code(0).json();
    let all = view["leftovers"].as_array().unwrap().iter();
    all.map(|left| format!("{} {}", left["kind"].as_str().unwrap(), left["at"].as_str().unwrap())).collect()
}

#[test]
fn containers_and_networks_that_no_lab_wants_go_and_those_of_others_stay() {
    let Some(host) = DockerHost::new() else { return };
    let instance = Layout::new(host.root.path()).unwrap().instance().to_owned();
    let label = |instance: &str| {
        format!(
            "--label netloom.instance={instance} --label netloom.lab=old --label netloom.fingerprint=1.2.3 --label netloom.node"
        )
    };
    host.docker(&format!("create --name mine {}=r1 {IMAGE} true", label(&instance)));
    host.docker(&format!("create --name theirs {}=r1 {IMAGE} true", label("0123456789ab")));
    host.docker(&format!("network create --label netloom.instance={instance} left"));
    host.docker(&format!("network create --label netloom.instance={instance} used"));
    host.docker("network create --label netloom.instance=0123456789ab foreign");
    host.docker(&format!("run -d --name guest --network used {IMAGE} sleep 100000"));
    host.sh("mkdir -p $NETLOOM_ROOT/var/lib/netloom/containers/old; echo '{}' >$NETLOOM_ROOT/var/lib/netloom/containers/old/r9.json")
        .code(0);
    host.netloom(&["agent", "--background"]).code(0);
    let record = format!("record {}/var/lib/netloom/containers/old/r9.json", host.root.path().display());
    let all = ["node old/r1".to_owned(), record, "network left".to_owned()];
    host.wait("it is seen", |host| left(host) == all);
    host.netloom(&["prune", "--dry-run", "--grace", "0s"]).code(0).says("`netloom adopt old` takes it back instead");
    host.netloom(&["prune", "--grace", "0s", "--yes"]).code(0).says("3 of 3 removed");
    host.wait("nothing is left", |host| left(host).is_empty());
    assert_eq!(host.docker("ps -a --format '{{.Names}}' | sort"), "guest\ntheirs");
    let networks = host.docker("network ls --format '{{.Name}}'");
    assert!(networks.contains("used") && networks.contains("foreign") && !networks.contains("left"), "{networks}");
    // A daemon that is silent lets nothing count as left that it may know of.
    host.docker(&format!("create --name mine {}=r1 {IMAGE} true", label(&instance)));
    host.wait("it is seen", |host| left(host) == ["node old/r1"]);
    host.daemon.kill();
    host.wait("that it is silent", |host| left(host).is_empty());
}
