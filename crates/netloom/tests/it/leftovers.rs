//! What labs have left behind on a real host: all kinds of it, left by hand.

use netloom_engine::Layout;

use crate::sandbox::Sandbox;
use crate::two_agents::Agent;

/// A lab that is wanted.
const LAB: &str = "name: x
topology:
  nodes:
    a: { kind: linux, runtime: namespace, cmd: sleep 100000 }
    b: { kind: linux, runtime: namespace, cmd: sleep 100000 }
  links:
    - endpoints: [\"a:eth1\", \"b:eth1\"]
";

/// Leaves one thing of each kind, as an agent would that died over a lab `old` and lost its state. `$1` is its instance, `$2`
/// tells the names of interfaces of two agents apart.
const LEAVE: &str = r#"
set -e
cd "$NETLOOM_ROOT"
mkdir -p run/netloom/netns/old run/netns run/netloom/nodes/old/r3 run/netloom/labs/old
touch run/netloom/netns/old/r1
unshare --net="run/netloom/netns/old/r1" true
ln -s "$NETLOOM_ROOT/run/netloom/netns/old/r1" run/netns/clab-old-r1
ln -s "$NETLOOM_ROOT/run/netloom/netns/old/r2" run/netns/clab-old-r2
mkdir -p var/lib/netloom/layers/old/r1/upper/etc var/lib/netloom/layers/old/r2/upper
touch var/lib/netloom/layers/old/r1/upper/etc/motd
mount -t tmpfs none var/lib/netloom/layers/old/r2/upper
echo "127.0.0.1 localhost" >run/netloom/labs/old/hosts
for group in $(find /sys/fs/cgroup -path "*/netloom/$1" -type d); do mkdir -p "$group/lab-old/node-r1"; done
ip link add nl-o$2a type veth peer name nl-o$2b
for side in a b; do
    ip link set nl-o$2$side alias "netloom/$1/old/host:nl-o$2a-host:nl-o$2b/01234567.89abcdef" up
done
ip link add nl-o$2br type bridge
ip link set nl-o$2br alias "netloom/$1/bridge" up
"#;

/// What is shown of it.
const KINDS: [(&str, usize); 8] = [
    ("bridge", 1),
    ("control group", 1),
    ("layer", 2),
    ("link", 1),
    ("link for ip netns", 2),
    ("mount", 1),
    ("names", 1),
    ("network namespace", 1),
];

fn leave(agent: &Agent<'_>, sign: &str) {
    let instance = Layout::new(&agent.root).unwrap().instance().to_owned();
    // Its own file of groups is there as soon as it has made a node.
    agent.sh(&format!("set -- {instance} {sign}; {LEAVE}")).code(0);
}

/// What an agent finds left, by kind, with the run directory that is empty apart.
fn left(agent: &Agent<'_>) -> Vec<(String, usize)> {
    let view = agent.netloom(&["prune", "--dry-run", "--grace", "0s", "--json"]).code(0).json();
    let mut kinds: Vec<String> =
        view["leftovers"].as_array().unwrap().iter().map(|left| left["kind"].as_str().unwrap().to_owned()).collect();
    kinds.retain(|kind| kind != "run directory");
    kinds.sort();
    kinds.dedup_by_key(|kind| kind.clone());
    let all = view["leftovers"].as_array().unwrap();
    let count = |kind: &String| all.iter().filter(|left| left["kind"] == kind.as_str()).count();
    kinds.iter().map(|kind| (kind.clone(), count(kind))).collect()
}

/// The files and interfaces of the other agent.
fn foreign(agent: &Agent<'_>) -> Vec<String> {
    let all =
        agent.sh("cd $NETLOOM_ROOT; find . | grep -v agent.log | sort; ip -o link | grep nl-o2 | cut -d' ' -f2").out;
    all.lines().map(str::to_owned).collect()
}

#[test]
fn everything_that_is_left_of_a_lab_nobody_wants_goes_and_what_another_agent_left_does_not() {
    let Some(host) = Sandbox::new() else { return };
    let (one, two) = (Agent::new(&host, "one", 8001), Agent::new(&host, "two", 8002));
    let file = host.topology("x", LAB);
    for agent in [&one, &two] {
        agent.netloom(&["deploy", "-t", &file]).code(0);
    }
    let before = host.traces();
    leave(&one, "1");
    let one_left = KINDS.map(|(kind, count)| (kind.to_owned(), count));
    host.until("it is seen", |_| left(&one) == one_left);
    leave(&two, "2");
    host.until("that of the other is seen", |_| left(&two) == one_left);
    let foreign = foreign(&two);
    assert!(foreign.len() > 20, "{foreign:?}");

    // Only on a person's word, and not what is young.
    one.netloom(&["prune", "--yes"]).code(0).says("nothing is left behind").says("too young to count");
    one.netloom(&["prune", "--grace", "0s"]).code(2).says("nothing was removed: --yes");
    assert_eq!(left(&one), one_left);
    one.netloom(&["prune", "--grace", "0s", "--yes"]).code(0).says("no lab wants it").says("removed");
    assert_eq!(left(&one), []);
    let x = one.netloom(&["inspect", "--name", "x", "--json"]).code(0).json();
    assert_eq!((&x["phase"], x["nodes"].as_array().unwrap().len()), (&"run".into(), 2));
    one.netloom(&["exec", "x/a", "--", "ip", "link", "show", "dev", "eth1"]).code(0).says("LOWER_UP");
    one.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");

    assert_eq!(self::foreign(&two), foreign, "what the other left");
    assert_eq!(left(&two), one_left);
    two.netloom(&["cleanup", "--grace", "0s", "--yes"]).code(0);
    before.are_all(&host);
}

#[test]
fn a_namespace_with_a_process_in_it_and_an_unknown_lab_that_lives_are_left_alone() {
    let Some(host) = Sandbox::new() else { return };
    let one = Agent::new(&host, "one", 8001);
    let file = host.topology("x", LAB);
    one.netloom(&["deploy", "-t", &file]).code(0);
    one.sh("cd $NETLOOM_ROOT; mkdir -p run/netloom/netns/old; touch run/netloom/netns/old/r1
        unshare --net=run/netloom/netns/old/r1 sleep 100000 >/dev/null 2>&1 &")
        .code(0);
    host.until("it is pinned", |_| {
        one.sh("ip -o link >/dev/null; findmnt -n $NETLOOM_ROOT/run/netloom/netns/old/r1").code == 0
    });
    assert_eq!(left(&one), []);
    // The state is lost: the lab runs on, and is nobody's to remove.
    one.netloom(&["agent", "stop"]).code(0);
    one.sh("rm $NETLOOM_ROOT/var/lib/netloom/state.redb").code(0);
    one.netloom(&["agent", "--background"]).code(0);
    one.netloom(&["inspect", "--name", "x"]).code(0).says("unknown to the agent");
    assert_eq!(left(&one), []);
    one.netloom(&["prune", "--grace", "0s", "--yes"]).code(0).says("nothing is left behind");
    one.netloom(&["adopt", "x"]).code(0);
    one.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
}
