//! The client and a real daemon, which is started once for all cases and ends with them.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use this")]

mod containers;
mod files;
mod images;
mod networks;
mod outages;
mod sessions;
mod stage;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use netloom_dockerd_fixture::Dockerd;
use stage::Stage;
use tokio::task::JoinSet;

/// A case: its name and what it does on the stage.
type Case = (&'static str, fn(Arc<Stage>) -> Pin<Box<dyn Future<Output = ()> + Send>>);

/// Makes cases of functions.
macro_rules! cases {
    ($($module:ident::$case:ident,)*) => {
        [$((concat!(stringify!($module), "::", stringify!($case)), |stage: Arc<Stage>| {
            Box::pin(async move { $module::$case(&stage).await })
        })),*]
    };
}

/// Those that do not get into each other's way.
const TOGETHER: &[Case] = &cases![
    containers::a_container_lives_and_leaves_nothing,
    containers::what_is_asked_for_is_what_there_is,
    containers::a_name_that_is_taken_is_a_conflict,
    containers::what_is_not_there_is_not_found,
    containers::events_tell_what_happens,
    containers::limits_change_while_it_runs,
    containers::health_is_seen,
    containers::use_is_counted,
    files::files_go_in_and_come_out,
    images::images_are_loaded_listed_and_removed,
    images::an_image_that_exists_nowhere_is_a_clear_error,
    networks::networks_are_made_and_removed,
    networks::volumes_are_listed_and_removed,
    sessions::a_command_has_its_streams_and_its_exit_code,
    sessions::a_command_has_a_terminal_of_a_size,
    sessions::a_shell_is_attached_to,
    sessions::logs_are_read_and_followed,
];

/// Those that need the daemon for themselves.
const ALONE: &[Case] =
    &cases![outages::a_frozen_daemon_is_given_up_at_the_deadline, outages::a_daemon_that_was_killed_comes_back,];

#[test]
fn the_client_and_a_real_daemon_understand_each_other() {
    let Some(daemon) = Dockerd::start() else { return };
    let (directory, group) = (daemon.directory().to_owned(), daemon.group().to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let failed = runtime.block_on(play(daemon));
    assert!(failed.is_empty(), "failed: {failed:#?}");
    assert_eq!(traces(&directory, &group), [""; 0], "left behind");
}

/// Runs all cases, and leaves a container to what ends the daemon.
async fn play(daemon: Dockerd) -> Vec<&'static str> {
    let stage = Arc::new(Stage::set(daemon).await);
    let mut failed = run(&stage, TOGETHER).await;
    for case in ALONE {
        failed.extend(run(&stage, &[*case]).await);
    }
    if !failed.is_empty() {
        let log = stage.daemon.log();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("the end of the daemon's log:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
    }
    stage.run("left", &stage::idle()).await;
    failed
}

/// Runs cases at the same time; gives those that failed.
async fn run(stage: &Arc<Stage>, cases: &[Case]) -> Vec<&'static str> {
    let mut running = JoinSet::new();
    let names: HashMap<_, _> =
        cases.iter().map(|(name, case)| (running.spawn(case(stage.clone())).id(), *name)).collect();
    let mut failed = Vec::new();
    while let Some(ended) = running.join_next_with_id().await {
        // The panic itself was printed when it happened.
        failed.extend(ended.err().map(|error| names[&error.id()]));
    }
    failed
}

/// What there still is of a daemon: files, mounts, processes, control groups.
fn traces(directory: &Path, group: &str) -> Vec<String> {
    let name = directory.to_str().unwrap();
    let mut traces: Vec<String> = directory.exists().then(|| name.to_owned()).into_iter().collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    traces.extend(mounts.lines().filter(|mount| mount.contains(name)).map(str::to_owned));
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let command = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        if command.contains(name) {
            traces.push(command);
        }
    }
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let groups = [hierarchy.path(), hierarchy.path().join(group)];
        traces.extend(
            groups.iter().filter(|path| path.ends_with(group) && path.exists()).map(|path| path.display().to_string()),
        );
    }
    traces
}
