//! The contract of runtimes.

use std::sync::Arc;

use async_trait::async_trait;
use netloom_model::{Access, Bind, Lab, NamespaceComes, NodeName, RestartPolicy};
use netloom_plan::{NodeFingerprint, NodeState, names_hash};

use super::copy::files_come_and_go;
use super::{LAB, PATIENCE, Watch, context};
use crate::driver::{DriverError, ExecInput, ExecOutput, ExecRequest, Follow, NodeOrder, Reporter, Runtime};
use crate::fact::{NodeFact, Source};
use crate::snapshot::Snapshot;
use crate::testing::Sketch;
use crate::testing::world::name;

/// How to make a runtime over one and the same host, on which nothing of the labs `contract` and `contract2` is.
#[async_trait]
pub trait RuntimeStage: Send {
    /// Makes it, reporting here. The one that was made before has been dropped, as when an agent ends.
    async fn runtime(&mut self, reporter: Reporter) -> Arc<dyn Runtime>;

    /// The image that its nodes are made from, if they need one: with `sh` and the commands of busybox; unless told
    /// otherwise it stays up.
    fn image(&self) -> Option<String> {
        None
    }

    /// The runtime that keeps the names of labs on the host of the one that was made last, and tells of them where that
    /// does; `None` if it does so itself.
    fn keeper_of_names(&self) -> Option<Arc<dyn Runtime>> {
        None
    }
}

/// What is tried: a runtime, and what belongs to it.
struct Subject {
    runtime: Arc<dyn Runtime>,
    image: Option<String>,
    names: Option<Arc<dyn Runtime>>,
}

impl Subject {
    async fn of(stage: &mut dyn RuntimeStage, reporter: Reporter) -> Self {
        let runtime = stage.runtime(reporter).await;
        Self { runtime, image: stage.image(), names: stage.keeper_of_names() }
    }

    /// A lab of these nodes on the runtime.
    fn sketch(&self, lab: &str, nodes: &[&str]) -> Sketch {
        nodes.iter().fold(Sketch::new(lab), |sketch, node| {
            sketch.node(node).with(node, |node| {
                node.runtime = Some(self.runtime.kind());
                node.image.clone_from(&self.image);
            })
        })
    }

    async fn relist(&self) {
        for runtime in [Some(&self.runtime), self.names.as_ref()].into_iter().flatten() {
            runtime.relist().await.expect("it can look");
        }
    }

    async fn write_names(&self, lab: &Lab, names: Option<&str>) {
        let keeper = self.names.as_ref().unwrap_or(&self.runtime);
        keeper.write_names(lab.name(), names, &context()).await.expect("they are written");
    }
}

fn order(lab: &Arc<Lab>, node: &str) -> NodeOrder {
    let node: NodeName = name(node);
    NodeOrder {
        fingerprint: NodeFingerprint::of(&lab.nodes()[&node], 0, 0),
        rebuild: 0,
        restarts: 0,
        lab: lab.clone(),
        node,
    }
}

fn node(snapshot: &Snapshot, lab: &str, node: &str) -> Option<NodeFact> {
    snapshot.node(&name(lab), &name::<NodeName>(node)).cloned()
}

fn in_state(snapshot: &Snapshot, of: &str, state: &NodeState) -> Option<NodeFact> {
    node(snapshot, LAB, of).filter(|fact| &fact.state == state)
}

fn command(argv: &[&str]) -> ExecRequest {
    ExecRequest::plain(argv.iter().map(|word| (*word).to_owned()).collect())
}

/// What a command wrote on both streams, and its code.
type Answer = (String, String, i32);

async fn run(runtime: &dyn Runtime, of: &str, argv: &[&str], input: Vec<ExecInput>) -> Result<Answer, DriverError> {
    let mut session = runtime.exec(&name(LAB), &name(of), command(argv)).await?;
    for input in input {
        session.input.send(input).await.expect("the command takes input");
    }
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let read = async {
        loop {
            match session.output.recv().await {
                Some(ExecOutput::Stdout(bytes)) => stdout.extend_from_slice(&bytes),
                Some(ExecOutput::Stderr(bytes)) => stderr.extend_from_slice(&bytes),
                Some(ExecOutput::Exited(code)) => return code,
                None => panic!("{argv:?}: the session ended without an exit code"),
            }
        }
    };
    let code = tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("{argv:?} did not end"));
    assert_eq!(session.output.recv().await, None, "nothing follows the exit code");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the commands here write text");
    Ok((text(stdout), text(stderr), code))
}

/// Ends when it is asked to: what a node runs may be the first process of its own world, to which the kernel delivers only
/// signals that it wants.
const LIVES: &str = "trap 'exit 0' TERM; sleep 100000 & wait";

fn lab(of: &Subject) -> Arc<Lab> {
    of.sketch(LAB, &["idle", "lives", "ends"])
        .runs("lives", &["sh", "-c", LIVES])
        .runs("ends", &["sh", "-c", "echo bye; exit 3"])
        .with("ends", |node| node.restart_policy = RestartPolicy::No)
        .lab()
}

/// What every runtime does: creates and starts once and adopts what is there, tells of every change, runs commands
/// and passes on their output and code, copies files in and out, keeps the output of what has ended, stops without removing, deletes what is
/// there and tolerates what is not, and finds everything again when it is made anew.
pub async fn runtime_contract(stage: &mut dyn RuntimeStage) {
    let (watch, reporter) = Watch::new();
    let subject = Subject::of(stage, reporter).await;
    let runtime = &*subject.runtime;
    runtime.check().await.expect("this host can run it");
    subject.relist().await;
    let sees_all = |all: &Snapshot| all.sources.contains_key(&Source::Runtime(runtime.kind())).then_some(());
    watch.until("it was looked at everything", sees_all).await;

    checks_touch_nothing(&subject, &watch).await;
    let lab = lab(&subject);
    // As before the first node of every lab is started.
    subject.write_names(&lab, Some("127.0.0.1\tlocalhost\n")).await;
    if runtime.kind().namespace_comes() == NamespaceComes::WithStart {
        places_are_reserved(runtime, &watch, &lab).await;
    }
    nodes_are_made_once(runtime, &watch, &lab).await;
    commands_answer(runtime).await;
    names_are_seen(&subject, &watch, &lab).await;
    files_come_and_go(runtime).await;
    usage_is_of_what_runs(runtime, &lab).await;
    what_ends_is_told(runtime, &watch, &lab).await;
    updates_disturb_nothing(runtime, &watch, &lab).await;

    let kept = node(&watch.now(), LAB, "lives").expect("it runs");
    drop(subject);
    let (watch, reporter) = Watch::new();
    let subject = Subject::of(stage, reporter).await;
    everything_is_found_again(&subject, &watch, &lab, &kept).await;
    stopping_is_not_removing(&*subject.runtime, &watch, &lab).await;
    removal_is_complete_and_only_what_was_asked(&subject, &watch, &lab).await;
}

async fn checks_touch_nothing(of: &Subject, watch: &Watch) {
    let bind = Bind { source: "/missing/file".into(), target: "/etc/x".into(), access: Access::default() };
    let lab = of.sketch(LAB, &["bound"]).with("bound", |node| node.binds.push(bind)).lab();
    let refused = of.runtime.check_node(&order(&lab, "bound")).await.expect_err("the source of its bind is missing");
    assert!(refused.to_string().contains("/missing/file"), "it says what is missing: {refused}");
    assert_eq!(node(&watch.now(), LAB, "bound"), None);
}

/// Of runtimes whose namespaces come with the start.
async fn places_are_reserved(runtime: &dyn Runtime, watch: &Watch, lab: &Arc<Lab>) {
    let reserved = |all: &Snapshot| in_state(all, "idle", &NodeState::Absent).filter(|fact| fact.reserved);
    for _ in 0..2 {
        runtime.reserve(&order(lab, "idle"), &context()).await.expect("its place is reserved");
        watch.until("its place is reserved", reserved).await;
    }
    runtime.relist().await.expect("it can look");
    watch.until("its place is found again", reserved).await;
    runtime.create(&order(lab, "idle"), &context()).await.expect("it takes its place");
    let made = watch.until("it is made", |all| in_state(all, "idle", &NodeState::Created)).await;
    assert!(made.reserved && made.fingerprint == order(lab, "idle").fingerprint, "{made:?}");
    runtime.start(&order(lab, "idle"), &context()).await.expect("it starts");
    watch.until("it runs", |all| in_state(all, "idle", &NodeState::Running).filter(|fact| !fact.reserved)).await;
    runtime.reserve(&order(lab, "idle"), &context()).await.expect("what runs is left alone");
    runtime.delete(lab.name(), &name("idle"), &context()).await.expect("it is removed");
    watch.until("it is gone", |all| node(all, LAB, "idle").is_none().then_some(())).await;
    runtime.reserve(&order(lab, "idle"), &context()).await.expect("its place is reserved");
    watch.until("its place is reserved", reserved).await;
    runtime.delete(lab.name(), &name("idle"), &context()).await.expect("it is given back");
    watch.until("it is given back", |all| node(all, LAB, "idle").is_none().then_some(())).await;
}

async fn nodes_are_made_once(runtime: &dyn Runtime, watch: &Watch, lab: &Arc<Lab>) {
    for of in ["idle", "lives"] {
        runtime.check_node(&order(lab, of)).await.expect("nothing stands in its way");
        runtime.create(&order(lab, of), &context()).await.expect("it is made");
        let made = watch.until("it is made", |all| in_state(all, of, &NodeState::Created)).await;
        assert_eq!(made.fingerprint, order(lab, of).fingerprint);
        runtime.create(&order(lab, of), &context()).await.expect("what is there is adopted");
        runtime.start(&order(lab, of), &context()).await.expect("it starts");
        let first = watch.until("it runs", |all| in_state(all, of, &NodeState::Running)).await;
        assert!(first.pid.is_some() && first.incarnation.is_some(), "{first:?}");
        assert_eq!(first.container, lab.container_name(&name(of)));
        runtime.start(&order(lab, of), &context()).await.expect("what runs is left alone");
        runtime.create(&order(lab, of), &context()).await.expect("what runs is left alone");
        runtime.relist().await.expect("it can look");
        let still = node(&watch.now(), LAB, of).expect("it is there");
        assert_eq!((still.pid, still.incarnation), (first.pid, first.incarnation));
    }
}

async fn commands_answer(runtime: &dyn Runtime) {
    let ok = |stdout: &str, stderr: &str, code| Ok((stdout.to_owned(), stderr.to_owned(), code));
    assert_eq!(run(runtime, "lives", &["echo", "hello"], Vec::new()).await, ok("hello\n", "", 0));
    assert_eq!(run(runtime, "idle", &["sh", "-c", "exit 7"], Vec::new()).await, ok("", "", 7));
    assert_eq!(run(runtime, "lives", &["sh", "-c", "echo oops >&2; exit 2"], Vec::new()).await, ok("", "oops\n", 2));
    let input = vec![ExecInput::Stdin("some text".into()), ExecInput::CloseStdin];
    assert_eq!(run(runtime, "lives", &["cat"], input).await, ok("some text", "", 0));
    let (_, stderr, code) = run(runtime, "lives", &["no-such-command"], Vec::new()).await.expect("a shell's code");
    assert!([126, 127].contains(&code) && !stderr.is_empty(), "{code} {stderr:?}");
    let (_, _, code) = run(runtime, "lives", &["sleep", "100000"], vec![ExecInput::Terminate]).await.expect("it ends");
    assert!([143, 137].contains(&code), "{code}");
    let absent = run(runtime, "absent", &["true"], Vec::new()).await.expect_err("there is no such node");
    assert!(absent.to_string().contains("absent"), "it says which node: {absent}");
}

async fn names_are_seen(of: &Subject, watch: &Watch, lab: &Arc<Lab>) {
    let names = "127.0.0.1\tlocalhost\n10.0.0.1\tidle\n";
    of.write_names(lab, Some(names)).await;
    let hash = names_hash(names);
    let shown = |all: &Snapshot| all.labs.get(lab.name())?.names.clone().filter(|there| there == &hash);
    watch.until("the names are there", shown).await;
    let seen = run(&*of.runtime, "lives", &["cat", "/etc/hosts"], Vec::new()).await;
    assert_eq!(seen, Ok((names.to_owned(), String::new(), 0)), "running nodes see it at once");
}

async fn usage_is_of_what_runs(runtime: &dyn Runtime, lab: &Arc<Lab>) {
    let before = runtime.usage(lab.name(), &context()).await.expect("it can be read");
    let mut nodes: Vec<&str> = before.iter().map(|usage| usage.node.as_str()).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["idle", "lives"]);
    run(runtime, "lives", &["true"], Vec::new()).await.expect("it takes some time");
    let after = runtime.usage(lab.name(), &context()).await.expect("it can be read");
    for (before, after) in before.iter().zip(&after) {
        assert!(after.cpu >= before.cpu && after.memory_bytes != Some(0), "{before:?} {after:?}");
    }
    assert_eq!(runtime.usage(&name("contract2"), &context()).await, Ok(Vec::new()), "another lab has none");
}

async fn what_ends_is_told(runtime: &dyn Runtime, watch: &Watch, lab: &Arc<Lab>) {
    runtime.create(&order(lab, "ends"), &context()).await.expect("it is made");
    runtime.start(&order(lab, "ends"), &context()).await.expect("that it ends is no error of starting it");
    let ended = watch.until("it ended", |all| in_state(all, "ends", &NodeState::Exited { code: 3 })).await;
    assert!(ended.last_output.as_deref().is_some_and(|output| output.contains("bye")), "{ended:?}");
    assert_eq!(said(runtime, lab, "ends").await.matches("bye").count(), 1);
    assert!(runtime.logs(lab.name(), &name("absent"), Follow::No).await.is_err());
    // It can be started again, in a new life.
    runtime.start(&order(lab, "ends"), &context()).await.expect("it starts again");
    let again = |all: &Snapshot| in_state(all, "ends", &NodeState::Exited { code: 3 });
    let other = |all: &Snapshot| again(all).filter(|fact| fact.incarnation != ended.incarnation);
    watch.until("it ended again", other).await;
    assert_eq!(said(runtime, lab, "ends").await.matches("bye").count(), 2, "the output of all its lives stays");
}

/// All that a node has written.
async fn said(runtime: &dyn Runtime, lab: &Lab, of: &str) -> String {
    let mut logs = runtime.logs(lab.name(), &name(of), Follow::No).await.expect("its output stays");
    let mut output = Vec::new();
    while let Some(chunk) = tokio::time::timeout(PATIENCE, logs.chunks.recv()).await.expect("the stream ends") {
        output.extend_from_slice(&chunk);
    }
    String::from_utf8_lossy(&output).into_owned()
}

async fn updates_disturb_nothing(runtime: &dyn Runtime, watch: &Watch, lab: &Arc<Lab>) {
    let before = node(&watch.now(), LAB, "lives").expect("it runs");
    let mut parts = (**lab).clone().into_parts();
    // Every runtime can change limits of what runs.
    parts.nodes.get_mut(&name("lives")).expect("it is there").memory_bytes = Some(64 << 20);
    let edited = Arc::new(Lab::new(parts).expect("a limit changes nothing else"));
    let order = order(&edited, "lives");
    assert_ne!(order.fingerprint, before.fingerprint);
    runtime.update(&order, &context()).await.expect("it is updated");
    let changed = |all: &Snapshot| node(all, LAB, "lives").filter(|fact| fact.fingerprint == order.fingerprint);
    let after = watch.until("the new spec is on it", changed).await;
    assert_eq!((after.pid, after.incarnation), (before.pid, before.incarnation));
}

async fn everything_is_found_again(of: &Subject, watch: &Watch, lab: &Arc<Lab>, kept: &NodeFact) {
    let runtime = &*of.runtime;
    of.relist().await;
    let with_names = |all: &Snapshot| all.labs.get(lab.name())?.names.as_ref().map(drop);
    let is_found = |all: &Snapshot| with_names(all).and_then(|()| in_state(all, "lives", &NodeState::Running));
    let found = watch.until("it is found, and the names", is_found).await;
    assert_eq!((found.pid, &found.incarnation), (kept.pid, &kept.incarnation));
    assert_eq!(found.fingerprint, kept.fingerprint);
    let facts = watch.now().labs[lab.name()].clone();
    assert_eq!(facts.nodes.len(), 3, "a relist is complete");
    assert_eq!(facts.nodes[&name::<NodeName>("ends")].state, NodeState::Exited { code: 3 });
    let applied = runtime.applied(lab.name()).await.expect("it can look");
    assert_eq!(applied.keys().map(NodeName::as_str).collect::<Vec<_>>(), ["ends", "idle", "lives"]);
    let kept_spec = applied[&name::<NodeName>("lives")].as_ref().expect("it keeps what it was made from");
    assert_eq!(
        NodeFingerprint::of(&kept_spec.spec, kept_spec.rebuild, kept_spec.restarts),
        kept.fingerprint,
        "also after an update"
    );
    assert_eq!(
        applied[&name::<NodeName>("ends")].as_ref().map(|applied| &applied.spec),
        lab.nodes().get(&name::<NodeName>("ends"))
    );
    assert!(runtime.applied(&name("never")).await.expect("absence is tolerated").is_empty());
    let answer = run(runtime, "lives", &["echo", "still"], Vec::new()).await.expect("it is still served");
    assert_eq!(answer.0, "still\n");
}

async fn stopping_is_not_removing(runtime: &dyn Runtime, watch: &Watch, lab: &Arc<Lab>) {
    let before = node(&watch.now(), LAB, "lives").expect("it runs");
    runtime.stop(lab.name(), &name("lives"), &context()).await.expect("it stops");
    watch.until("it stopped", |all| in_state(all, "lives", &NodeState::Stopped)).await;
    runtime.stop(lab.name(), &name("lives"), &context()).await.expect("it is stopped already");
    runtime.stop(lab.name(), &name("absent"), &context()).await.expect("absence is tolerated");
    // One that had ended by itself is stopped from then on.
    runtime.stop(lab.name(), &name("ends"), &context()).await.expect("it does not run");
    watch.until("it shows as stopped", |all| in_state(all, "ends", &NodeState::Stopped)).await;
    runtime.start(&order(lab, "lives"), &context()).await.expect("it starts again");
    let after = watch.until("it runs again", |all| in_state(all, "lives", &NodeState::Running)).await;
    assert_ne!(after.incarnation, before.incarnation, "each start is another life");
}

async fn removal_is_complete_and_only_what_was_asked(of: &Subject, watch: &Watch, lab: &Arc<Lab>) {
    let runtime = &*of.runtime;
    let other = of.sketch("contract2", &["lives"]).lab();
    of.write_names(&other, Some("127.0.0.1\tlocalhost\n")).await;
    runtime.create(&order(&other, "lives"), &context()).await.expect("it is made");
    runtime.start(&order(&other, "lives"), &context()).await.expect("it starts");
    let running = |all: &Snapshot| node(all, "contract2", "lives").filter(|fact| fact.state == NodeState::Running);
    let others = watch.until("it runs", running).await;
    for gone in ["lives", "ends", "idle"] {
        runtime.delete(lab.name(), &name(gone), &context()).await.expect("it is removed");
        watch.until("it is gone", |all| node(all, LAB, gone).is_none().then_some(())).await;
        runtime.delete(lab.name(), &name(gone), &context()).await.expect("absence is tolerated");
    }
    runtime.delete(lab.name(), &name("never"), &context()).await.expect("absence is tolerated");
    for _ in 0..2 {
        of.write_names(lab, None).await;
    }
    watch.until("nothing of the lab is left", |all| (!all.labs.contains_key(lab.name())).then_some(())).await;
    of.relist().await;
    let still = watch.until("the other lab runs", running).await;
    assert_eq!((still.pid, still.incarnation), (others.pid, others.incarnation), "the other lab was left alone");
    runtime.delete(other.name(), &name("lives"), &context()).await.expect("it is removed");
    of.write_names(&other, None).await;
    watch.until("nothing is left", |all| all.labs.is_empty().then_some(())).await;
}
