//! Connections: used again, closed, cut, replaced.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use netloom_docker::{ErrorKind, Filters, Status};

use crate::server::{DONE, Server, soon, whole};

#[tokio::test]
async fn one_connection_carries_one_call_after_the_other() {
    let server = Server::start(|number, mut peer| {
        assert_eq!(number, 0);
        while peer.answer(whole("200 OK", "[]")).is_some() {}
    });
    let docker = server.docker();
    for _ in 0..5 {
        docker.list_networks(&Filters::new(), soon()).await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_the_daemon_wants_closed_is_not_used_again() {
    let server = Server::start(|_, mut peer| {
        peer.answer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]");
        assert_eq!(peer.request(), None);
    });
    let docker = server.docker();
    for _ in 0..3 {
        docker.list_networks(&Filters::new(), soon()).await.unwrap();
    }
}

#[tokio::test]
async fn a_resting_connection_that_the_daemon_has_closed_is_replaced() {
    let (closed, closes) = mpsc::sync_channel(16);
    let server = Server::start(move |_, mut peer| {
        // One answer each, and then nothing: no header said so.
        peer.answer(DONE);
        drop(peer);
        closed.send(()).unwrap();
    });
    let docker = server.docker();
    for _ in 0..3 {
        docker.start_container("r1", soon()).await.unwrap();
        closes.recv_timeout(Duration::from_secs(30)).unwrap();
    }
    assert_eq!(server.calls.all(), [("start container", Status::Ok); 3]);
}

/// A daemon that ends the connection when it has read the second request on it.
fn falters() -> (Server, mpsc::Receiver<String>) {
    let (heard, hears) = mpsc::sync_channel(16);
    let server = Server::start(move |number, mut peer| {
        let mut answered = 0;
        while let Some(asked) = peer.request() {
            heard.send(asked.line).unwrap();
            if number == 0 && answered == 1 {
                return;
            }
            peer.say(whole("200 OK", "{}"));
            answered += 1;
        }
    });
    (server, hears)
}

#[tokio::test]
async fn a_read_is_asked_once_more_where_the_connection_ended_without_an_answer() {
    let (server, hears) = falters();
    let docker = server.docker();
    docker.info(soon()).await.unwrap();
    docker.info(soon()).await.unwrap();
    assert_eq!(hears.try_iter().count(), 3);
}

#[tokio::test]
async fn a_change_that_may_have_been_made_is_not_asked_for_again() {
    let (server, hears) = falters();
    let docker = server.docker();
    docker.info(soon()).await.unwrap();
    let error = docker.start_container("r1", soon()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Cut(_)) && error.is_outcome_unknown(), "{error}");
    assert_eq!(hears.try_iter().count(), 2);
    assert_eq!(server.calls.all()[1], ("start container", Status::Cut));
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_an_answer_is_said() {
    for beginning in ["HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"Id\":"] {
        let server = Server::start(move |_, mut peer| {
            peer.answer(beginning);
        });
        let error = server.docker().inspect_container("r1", soon()).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Cut(_)), "{error}");
    }
    let server = Server::start(|_, mut peer| {
        peer.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"Id\":");
    });
    let error = server.docker().inspect_container("r1", soon()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Cut(_)), "{error}");
}

#[tokio::test]
async fn few_connections_rest_and_none_for_long() {
    let (ended, ends) = mpsc::sync_channel(64);
    // All are under way at the same time.
    let together = Arc::new(std::sync::Barrier::new(20));
    let server = Server::start(move |_, mut peer| {
        while peer.request().is_some() {
            together.wait();
            peer.say(whole("200 OK", "[]"));
        }
        ended.send(()).unwrap();
    });
    let docker = server.docker();
    docker.ping(soon()).await.unwrap();
    let calls = (0..20).map(|_| async { docker.list_networks(&Filters::new(), soon()).await });
    for networks in futures::future::join_all(calls).await {
        networks.unwrap();
    }
    let end = |wait| ends.recv_timeout(wait);
    for _ in 0..20 - 8 {
        end(Duration::from_secs(30)).unwrap();
    }
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::task::yield_now().await;
    for _ in 0..8 {
        end(Duration::from_secs(30)).unwrap();
    }
}

#[tokio::test]
async fn what_is_left_of_a_client_ends_with_it() {
    let (ended, ends) = mpsc::sync_channel(1);
    let server = Server::start(move |_, mut peer| {
        peer.answer(whole("200 OK", "{}"));
        ended.send(peer.request()).unwrap();
    });
    let docker = server.docker();
    docker.info(soon()).await.unwrap();
    drop(docker);
    assert_eq!(ends.recv_timeout(Duration::from_secs(30)).unwrap(), None);
}
