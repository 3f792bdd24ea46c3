//! Answers that last: events, pulls, archives.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use netloom_docker::{ByteStream, Docker, ErrorKind, Events, Filters, PathKind, PutOptions, Status};

use crate::server::{CHUNKED, DONE, Server, chunked, soon, whole};

const START: &str =
    r#"{"Type":"container","Action":"start","Actor":{"ID":"ab","Attributes":{"name":"r1"}},"timeNano":5}"#;

async fn listen(docker: &Docker) -> Events {
    docker.events(&Filters::new(), Some(1_500_000_000), soon()).await.unwrap()
}

#[tokio::test]
async fn events_are_lines_wherever_they_are_split() {
    let (first, rest) = START.split_at(40);
    let answer = chunked(&[first, rest, "\n\n", START, "\r\n"]);
    let server = Server::answering(move |asked| {
        assert_eq!(asked.line, "GET /v1.41/events?since=1.500000000");
        answer.clone()
    });
    let mut events = listen(&server.docker()).await;
    for _ in 0..2 {
        let event = events.next().await.unwrap().unwrap();
        assert_eq!((event.kind.as_str(), event.action.as_str(), event.time_nano), ("container", "start", 5));
        assert_eq!((event.actor.id.as_str(), event.actor.attributes["name"].as_str()), ("ab", "r1"));
    }
    assert!(events.next().await.is_none());
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn nothing_is_missed_between_the_call_and_the_daemons_listening() {
    // The daemon answers before it listens, so it is told to look back.
    let server = Server::answering(|asked| {
        let (seconds, nanoseconds) = asked.line.split_once("since=").unwrap().1.split_once('.').unwrap();
        assert_eq!(nanoseconds.len(), 9);
        chunked(&[&START.replace(":5}", &format!(":{seconds}{nanoseconds}}}")), "\n"])
    });
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let before = now();
    let mut events = server.docker().events(&Filters::new(), None, soon()).await.unwrap();
    let since = events.next().await.unwrap().unwrap().time_nano;
    assert!((before..now()).contains(&since.try_into().unwrap()), "{since}");
}

#[tokio::test]
async fn a_stream_of_events_that_is_cut_says_so() {
    for half in ["5\r\n{\"Ty", "5\r\n{\"Typ\r\n"] {
        let server = Server::start(move |_, mut peer| {
            peer.answer(format!("{CHUNKED}{half}"));
        });
        let mut events = listen(&server.docker()).await;
        let error = events.next().await.unwrap().unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Cut(_)), "{error}");
        assert!(events.next().await.is_none());
    }
}

#[tokio::test]
async fn a_line_without_an_end_is_not_kept() {
    let server = Server::start(|_, mut peer| {
        peer.answer(CHUNKED);
        peer.say(format!("{:x}\r\n", 1 << 30));
        // Until the client has had enough.
        while io::Write::write_all(&mut peer.stream, &[b'a'; 4096]).is_ok() {}
    });
    let error = listen(&server.docker()).await.next().await.unwrap().unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Protocol(text) if text.contains("longer than 1048576")));
}

#[tokio::test]
async fn a_line_that_is_no_event_ends_the_stream() {
    let server = Server::answering(|_| chunked(&["nothing\n", START, "\n"]));
    let mut events = listen(&server.docker()).await;
    let error = events.next().await.unwrap().unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Protocol(text) if text.ends_with(": nothing")));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn silence_can_be_told_from_events() {
    let (say, said) = mpsc::sync_channel(0);
    let said = std::sync::Mutex::new(said);
    let server = Server::start(move |_, mut peer| {
        peer.answer(CHUNKED);
        said.lock().unwrap().recv().unwrap();
        peer.say(format!("{:x}\r\n{START}\n\r\n", START.len() + 1));
        peer.hear_all();
    });
    let mut events = listen(&server.docker()).await;
    let began = events.heard();
    // The deadline was for the beginning only.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    assert!(events.next().now_or_never().is_none());
    assert_eq!(events.heard(), began);
    say.send(()).unwrap();
    events.next().await.unwrap().unwrap();
    assert!(events.heard() > began);
    assert_eq!(server.calls.all(), [("listen to events", Status::Ok)]);
}

#[tokio::test]
async fn a_stream_that_is_dropped_closes_its_connection() {
    let (ended, ends) = mpsc::sync_channel(1);
    let server = Server::start(move |_, mut peer| {
        peer.answer(CHUNKED);
        ended.send(peer.hear_all()).unwrap();
    });
    drop(listen(&server.docker()).await);
    assert_eq!(ends.recv_timeout(Duration::from_secs(30)).unwrap(), "");
}

#[tokio::test]
async fn a_pull_shows_layers_and_fails_by_what_it_says() {
    let lines = [
        r#"{"status":"Pulling from a/b","id":"1.0"}"#,
        r#"{"status":"Downloading","progressDetail":{"current":1,"total":9},"progress":"[>]","id":"0123456789ab"}"#,
        r#"{"errorDetail":{"message":"toomanyrequests: slow down"},"error":"toomanyrequests: slow down"}"#,
    ];
    let answer = chunked(&[&lines.join("\r\n"), "\r\n"]);
    let server = Server::answering(move |asked| {
        assert_eq!(asked.line, "POST /v1.41/images/create?fromImage=quay.io/a/b&tag=1.0");
        answer.clone()
    });
    let mut pull = server.docker().pull_image("quay.io/a/b:1.0", soon()).await.unwrap();
    let first = pull.next().await.unwrap().unwrap();
    assert_eq!((first.layer, first.status.as_str()), (None, "Pulling from a/b"));
    let second = pull.next().await.unwrap().unwrap();
    assert_eq!((second.layer.as_deref(), second.current, second.total), (Some("0123456789ab"), 1, 9));
    let error = pull.next().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "cannot pull image `quay.io/a/b:1.0`: toomanyrequests: slow down");
}

#[tokio::test]
async fn an_archive_is_streamed_to_the_daemon() {
    let server = Server::answering(|asked| {
        assert_eq!(asked.line, "PUT /v1.41/containers/r1/archive?path=/etc&copyUIDGID=1");
        assert_eq!(asked.body, "abcdef");
        DONE.to_owned()
    });
    let pieces = ["abc", "def"].map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
    let body = ByteStream::new(futures::stream::iter(pieces));
    let options = PutOptions { keep_owners: true, ..PutOptions::default() };
    server.docker().put_archive("r1", "/etc", body, options, soon()).await.unwrap();
}

#[tokio::test]
async fn a_refusal_comes_through_while_an_archive_is_still_sent_and_ends_it() {
    let (ended, ends) = mpsc::sync_channel(1);
    let server = Server::start(move |_, mut peer| {
        // The answer does not wait for the body, which has no end.
        while !peer.hear(1).contains("PUT") {
            peer.say("HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 0\r\n\r\n");
        }
        peer.say(whole("404 Not Found", r#"{"message":"No such container: r1"}"#));
        peer.hear_all();
        ended.send(()).unwrap();
    });
    let docker = server.docker();
    let endless = futures::stream::repeat_with(|| Ok(Bytes::from_static(&[0; 4096])));
    let body = ByteStream::new(endless);
    let error = docker.put_archive("r1", "/", body, PutOptions::default(), soon()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    // At once, and not when a connection has rested long enough.
    ends.recv_timeout(Duration::from_secs(5)).unwrap();
}

#[tokio::test]
async fn an_archive_that_breaks_is_not_taken_for_a_whole_one() {
    let (heard, hears) = mpsc::sync_channel(1);
    let server = Server::start(move |_, mut peer| heard.send(peer.request()).unwrap());
    let pieces = [Ok(Bytes::from_static(b"abc")), Err(io::Error::other("the disk is gone"))];
    let body = ByteStream::new(futures::stream::iter(pieces));
    let error = server.docker().put_archive("r1", "/", body, PutOptions::default(), soon()).await.unwrap_err();
    assert!(matches!(&error.kind, ErrorKind::Cut(text) if text.contains("the disk is gone")), "{error}");
    assert_eq!(hears.recv_timeout(Duration::from_secs(30)).unwrap(), None);
}

#[tokio::test]
async fn an_archive_comes_with_what_it_is_of() {
    // {"name":"passwd","size":4,"mode":420,"mtime":"2026-01-01T00:00:00Z","linkTarget":""}
    let stat = "eyJuYW1lIjoicGFzc3dkIiwic2l6ZSI6NCwibW9kZSI6NDIwLCJtdGltZSI6\
                IjIwMjYtMDEtMDFUMDA6MDA6MDBaIiwibGlua1RhcmdldCI6IiJ9";
    let server = Server::start(move |_, mut peer| {
        peer.request();
        let head = format!("HTTP/1.1 200 OK\r\nX-Docker-Container-Path-Stat: {stat}\r\nContent-Length: 8\r\n\r\n");
        peer.say(format!("{head}abc"));
    });
    let (stat, mut bytes) = server.docker().get_archive("r1", "/etc/passwd", soon()).await.unwrap();
    assert_eq!((stat.name.as_str(), stat.size, stat.kind()), ("passwd", 4, PathKind::File));
    assert_eq!(bytes.next().await.unwrap().unwrap(), "abc");
    let error = bytes.next().await.unwrap().unwrap_err();
    let error = error.into_inner().unwrap().downcast::<netloom_docker::Error>().unwrap();
    assert!(matches!(error.kind, ErrorKind::Cut(_)) && error.object == "r1:/etc/passwd", "{error}");
}
