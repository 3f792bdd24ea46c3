//! Containers and what happens to them.

use std::time::Duration;

use netloom_docker::{ContainerUpdate, ErrorKind, Filters, Healthcheck, HostConfig, LogOptions, Remove, RestartPolicy};

use crate::stage::{Stage, idle, read, shell, soon, until};

pub(crate) async fn a_container_lives_and_leaves_nothing(stage: &Stage) {
    let docker = &stage.docker;
    assert!(docker.version(soon()).await.unwrap().api_version.starts_with("1."));
    let info = docker.info(soon()).await.unwrap();
    assert!(info.docker_root_dir.starts_with(stage.daemon.directory().to_str().unwrap()));
    assert!(["1", "2"].contains(&info.cgroup_version.as_str()) && !info.cgroup_driver.is_empty(), "{info:?}");

    let id = docker.create_container("life", &idle(), soon()).await.unwrap().id;
    assert_eq!(docker.inspect_container("life", soon()).await.unwrap().state.status, "created");
    docker.start_container(&id, soon()).await.unwrap();
    docker.start_container(&id, soon()).await.unwrap();
    let running = docker.inspect_container(&id, soon()).await.unwrap();
    assert!(running.state.running && running.state.pid > 0 && running.plain_name() == "life");
    assert!(!running.network_settings.sandbox_key.is_empty());

    let follow = LogOptions { follow: true, ..LogOptions::default() };
    read(&mut docker.logs(&id, follow, soon()).await.unwrap(), "ready\n").await;
    docker.stop_container(&id, Duration::from_secs(30), soon()).await.unwrap();
    docker.stop_container(&id, Duration::from_secs(30), soon()).await.unwrap();
    let state = docker.inspect_container(&id, soon()).await.unwrap().state;
    assert_eq!((state.status.as_str(), state.exit_code, state.running), ("exited", 3, false));

    docker.start_container(&id, soon()).await.unwrap();
    let error = docker.remove_container(&id, Remove::default(), soon()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Conflict(_)), "{error}");
    docker.kill_container(&id, "SIGKILL", soon()).await.unwrap();
    docker.remove_container(&id, Remove::ALL, soon()).await.unwrap();
    docker.remove_container(&id, Remove::ALL, soon()).await.unwrap();
    let listed = docker.list_containers(&Filters::new().with("name", "life"), soon()).await.unwrap();
    assert!(listed.is_empty());
}

pub(crate) async fn what_is_asked_for_is_what_there_is(stage: &Stage) {
    let mut spec = shell("exec sleep 3600");
    spec.hostname = "router".into();
    spec.env = vec!["COLOUR=blue".into()];
    spec.labels = [("netloom.owner".to_owned(), "asked".to_owned())].into();
    spec.exposed_ports = ["80/tcp".to_owned()].into();
    spec.entrypoint = Some(vec![]);
    spec.tty = true;
    spec.host_config = HostConfig {
        cap_add: vec!["NET_ADMIN".into()],
        sysctls: [("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into(),
        tmpfs: [("/run".to_owned(), String::new())].into(),
        restart_policy: Some(RestartPolicy { name: "on-failure".into(), maximum_retry_count: 2 }),
        shm_size: 1 << 20,
        masked_paths: Some(vec![]),
        init: Some(false),
        ..spec.host_config
    };
    let id = stage.run("asked", &spec).await;
    let there = stage.docker.inspect_container(&id, soon()).await.unwrap();
    assert_eq!((there.config.hostname.as_str(), there.config.tty), ("router", true));
    assert!(there.config.env.contains(&"COLOUR=blue".to_owned()));
    assert_eq!(there.config.cmd, ["sh", "-c", "exec sleep 3600"]);
    let host = &there.host_config;
    assert_eq!(Some(&host.restart_policy), spec.host_config.restart_policy.as_ref());
    assert_eq!((host.network_mode.as_str(), host.shm_size, host.privileged), ("none", 1 << 20, false));
    assert_eq!(host.cap_add.len(), 1);

    let filter = Filters::new().label("netloom.owner=asked");
    let listed = stage.docker.list_containers(&filter, soon()).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].id.as_str(), listed[0].plain_name()), (id.as_str(), Some("asked")));
    assert_eq!((listed[0].state.as_str(), listed[0].host_config.network_mode.as_str()), ("running", "none"));
    stage.remove(&id).await;
}

pub(crate) async fn a_name_that_is_taken_is_a_conflict(stage: &Stage) {
    let id = stage.docker.create_container("taken", &idle(), soon()).await.unwrap().id;
    let error = stage.docker.create_container("taken", &idle(), soon()).await.unwrap_err();
    assert!(matches!(&error.kind, ErrorKind::Conflict(text) if text.contains("taken")), "{error}");
    stage.remove(&id).await;
}

pub(crate) async fn what_is_not_there_is_not_found(stage: &Stage) {
    let docker = &stage.docker;
    assert!(docker.start_container("nobody", soon()).await.unwrap_err().is_not_found());
    assert!(docker.inspect_container("nobody", soon()).await.unwrap_err().is_not_found());
    assert!(docker.inspect_image("netloom.test/nothing", soon()).await.unwrap_err().is_not_found());
    assert!(docker.inspect_network("nothing", soon()).await.unwrap_err().is_not_found());
    let mut spec = idle();
    spec.image = "netloom.test/nothing:1".into();
    let error = docker.create_container("nothing", &spec, soon()).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("netloom.test/nothing:1"), "{error}");
    // A container that does not run cannot be sent a signal.
    let id = docker.create_container("still", &idle(), soon()).await.unwrap().id;
    let error = docker.kill_container(&id, "SIGHUP", soon()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Conflict(_)), "{error}");
    stage.remove(&id).await;
}

pub(crate) async fn events_tell_what_happens(stage: &Stage) {
    let filter = Filters::new().with("type", "container").label("netloom.owner=events");
    let mut events = stage.docker.events(&filter, None, soon()).await.unwrap();
    let mut spec = shell("exit 7");
    spec.labels = [("netloom.owner".to_owned(), "events".to_owned())].into();
    let id = stage.run("events", &spec).await;
    let first = until(&mut events, |_| true).await;
    assert_eq!((first.action.as_str(), first.actor.id.as_str()), ("create", id.as_str()));
    let died = until(&mut events, |event| event.action == "die").await;
    assert_eq!((died.actor.attributes["exitCode"].as_str(), died.actor.attributes["name"].as_str()), ("7", "events"));
    stage.remove(&id).await;
    until(&mut events, |event| event.action == "destroy").await;
    // What was missed can be had again.
    let mut again = stage.docker.events(&filter, Some(first.time_nano), soon()).await.unwrap();
    assert_eq!(until(&mut again, |event| event.action == "die").await, died);
}

pub(crate) async fn limits_change_while_it_runs(stage: &Stage) {
    let id = stage.run("limits", &idle()).await;
    let update = ContainerUpdate {
        nano_cpus: 500_000_000,
        cpuset_cpus: "0".into(),
        memory: 64 << 20,
        memory_swap: -1,
        restart_policy: Some(RestartPolicy { name: "always".into(), maximum_retry_count: 0 }),
        ..ContainerUpdate::default()
    };
    stage.docker.update_container(&id, &update, soon()).await.unwrap();
    let host = stage.docker.inspect_container(&id, soon()).await.unwrap().host_config;
    assert_eq!((host.nano_cpus, host.memory, host.cpuset_cpus.as_str()), (500_000_000, 64 << 20, "0"));
    assert_eq!(host.restart_policy.name, "always");
    let wrong = ContainerUpdate { memory: 1, ..ContainerUpdate::default() };
    let error = stage.docker.update_container(&id, &wrong, soon()).await.unwrap_err();
    assert!(matches!(&error.kind, ErrorKind::Refused { .. } | ErrorKind::Daemon { .. }), "{error}");
    stage.remove(&id).await;
}

pub(crate) async fn health_is_seen(stage: &Stage) {
    let filter = Filters::new().with("container", "health");
    let mut events = stage.docker.events(&filter, None, soon()).await.unwrap();
    let mut spec = idle();
    let test = ["CMD-SHELL", "echo checked"].map(str::to_owned).to_vec();
    spec.healthcheck = Some(Healthcheck { test, interval: 100_000_000, ..Healthcheck::default() });
    let id = stage.run("health", &spec).await;
    until(&mut events, |event| event.action == "health_status: healthy").await;
    let health = stage.docker.inspect_container(&id, soon()).await.unwrap().state.health.unwrap();
    assert_eq!((health.status.as_str(), health.failing_streak), ("healthy", 0));
    assert_eq!((health.log[0].exit_code, health.log[0].output.as_str()), (0, "checked\n"));
    stage.remove(&id).await;
}

pub(crate) async fn use_is_counted(stage: &Stage) {
    let id = stage.run("use", &idle()).await;
    let stats = stage.docker.stats(&id, soon()).await.unwrap();
    assert!(stats.cpu_stats.cpu_usage.total_usage > 0 && stats.memory_stats.working_set() > 0, "{stats:?}");
    assert!(stats.pids_stats.current >= 1 && stats.memory_stats.limit > 0, "{stats:?}");
    stage.remove(&id).await;
    assert!(stage.docker.stats(&id, soon()).await.unwrap_err().is_not_found());
}
