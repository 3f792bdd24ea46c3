//! Daemons that do not answer, or not in time.

use std::os::unix::net::UnixListener;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use netloom_docker::{Docker, Endpoint, ErrorKind, Filters, Status};

use crate::server::{Calls, Server, soon};

/// Short, as nothing comes before it.
const LIMIT: Duration = Duration::from_millis(200);

/// Asks, and checks that the deadline ends it, and when.
async fn asks_in_vain(docker: &Docker) {
    let began = Instant::now();
    let error = docker.info(began + LIMIT).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Deadline), "{error}");
    assert!(error.is_outcome_unknown());
    // Timers count milliseconds, and the machine may be busy.
    let took = began.elapsed();
    assert!(took >= LIMIT && took < LIMIT + Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_daemon_that_accepts_and_says_nothing_is_given_up_at_the_deadline() {
    let server = Server::start(|_, mut peer| {
        assert!(peer.request().is_some());
        peer.hear_all();
    });
    asks_in_vain(&server.docker()).await;
    assert_eq!(server.calls.all(), [("ask how the daemon is set up", Status::Deadline)]);
}

#[tokio::test]
async fn a_daemon_that_does_not_even_accept_is_given_up_at_the_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("docker.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    asks_in_vain(&Docker::new(Endpoint::Unix(path), Arc::new(()))).await;
}

#[tokio::test]
async fn a_daemon_that_cannot_be_talked_to_is_unreachable_and_each_call_says_why() {
    let remote: Result<Endpoint, _> = "tcp://10.0.0.1:2375".parse();
    let docker = Docker::new(Endpoint::Nowhere(remote.unwrap_err()), Arc::new(()));
    let error = docker.info(Instant::now() + LIMIT).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unreachable(_)), "{error}");
    assert!(error.to_string().contains("DOCKER_HOST: Docker at `tcp://10.0.0.1:2375` is not supported"), "{error}");
}

#[tokio::test]
async fn a_daemon_whose_queue_is_full_is_given_up_at_the_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("docker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let docker = Docker::new(Endpoint::Unix(path.clone()), Arc::new(()));
    let waiting: Vec<_> = std::iter::from_fn(|| connect_now(&path)).take(100).collect();
    assert!(waiting.len() < 100, "the queue has an end");
    asks_in_vain(&docker).await;
}

/// A connection, if there is room in the queue.
fn connect_now(path: &std::path::Path) -> Option<rustix::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    connect(&socket, &SocketAddrUnix::new(path).unwrap()).ok().map(|()| socket)
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_does_not_move_the_deadline() {
    let server = Server::start(|_, mut peer| {
        peer.request();
        dribble(&mut peer, "HTTP/1.1 200 OK\r\nX-Long: ");
    });
    asks_in_vain(&server.docker()).await;
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_does_not_move_the_deadline() {
    let server = Server::start(|_, mut peer| {
        peer.request();
        dribble(&mut peer, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    });
    asks_in_vain(&server.docker()).await;
}

/// Says something more again and again, for as long as anybody listens.
fn dribble(peer: &mut crate::server::Peer, beginning: &str) {
    peer.say(beginning);
    peer.stream.set_read_timeout(Some(LIMIT / 20)).unwrap();
    let mut nothing = [0];
    // The other side says nothing more, so this waits; it gives 0 at the end.
    while std::io::Read::read(&mut peer.stream, &mut nothing).is_err() {
        peer.say("a");
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_closes_its_connection_and_is_counted() {
    let (asked, was_asked) = tokio::sync::oneshot::channel();
    let (closed, was_closed) = mpsc::sync_channel(1);
    let asked = std::sync::Mutex::new(Some(asked));
    let server = Server::start(move |_, mut peer| {
        peer.request();
        asked.lock().unwrap().take().unwrap().send(()).unwrap();
        closed.send(peer.hear_all()).unwrap();
    });
    let docker = server.docker();
    let filter = Filters::new();
    tokio::select! {
        _ = docker.list_containers(&filter, soon()) => panic!("nobody answers"),
        heard = was_asked => heard.unwrap(),
    }
    assert_eq!(was_closed.recv_timeout(Duration::from_secs(30)).unwrap(), "");
    assert_eq!(server.calls.all(), [("list containers", Status::Abandoned)]);
}

#[tokio::test]
async fn a_socket_that_is_not_there_or_not_served_is_unreachable() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("docker.sock");
    let calls = Arc::new(Calls::default());
    let docker = Docker::new(Endpoint::Unix(path.clone()), calls.clone());
    let error = docker.info(soon()).await.unwrap_err();
    assert!(matches!(&error.kind, ErrorKind::Unreachable(io) if io.kind() == std::io::ErrorKind::NotFound), "{error}");
    assert!(
        error.to_string().contains(path.to_str().unwrap()) && error.to_string().contains("is it running?"),
        "{error}"
    );
    drop(UnixListener::bind(&path).unwrap());
    let error = docker.info(soon()).await.unwrap_err();
    let refused = std::io::ErrorKind::ConnectionRefused;
    assert!(matches!(&error.kind, ErrorKind::Unreachable(io) if io.kind() == refused), "{error}");
    assert_eq!(calls.all(), [("ask how the daemon is set up", Status::Unreachable); 2]);
}
