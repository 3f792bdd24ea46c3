//! A daemon that is frozen, or killed.

use std::time::{Duration, Instant};

use futures::FutureExt;
use netloom_docker::{ErrorKind, Filters};

use crate::stage::{Stage, idle, soon};

pub(crate) async fn a_frozen_daemon_is_given_up_at_the_deadline(stage: &Stage) {
    let docker = &stage.docker;
    let mut events = docker.events(&Filters::new(), None, soon()).await.unwrap();
    stage.daemon.freeze();
    // Once on a connection that rests, once on a new one.
    for _ in 0..2 {
        let (began, limit) = (Instant::now(), Duration::from_millis(300));
        let error = docker.list_containers(&Filters::new(), began + limit).await.unwrap_err();
        let took = began.elapsed();
        assert!(matches!(error.kind, ErrorKind::Deadline), "{error}");
        assert!(took >= limit && took < limit + Duration::from_secs(2), "{took:?}");
    }
    assert!(events.next().now_or_never().is_none());
    stage.daemon.thaw();
    docker.list_containers(&Filters::new(), soon()).await.unwrap();
}

pub(crate) async fn a_daemon_that_was_killed_comes_back(stage: &Stage) {
    let docker = &stage.docker;
    let id = docker.create_container("kept", &idle(), soon()).await.unwrap().id;
    let mut events = docker.events(&Filters::new(), None, soon()).await.unwrap();
    stage.daemon.kill();
    while let Some(Ok(_)) = events.next().await {}
    let error = docker.ping(soon()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unreachable(_)), "{error}");
    stage.daemon.start_again();
    assert_eq!(docker.inspect_container("kept", soon()).await.unwrap().id, id);
    stage.remove(&id).await;
}
