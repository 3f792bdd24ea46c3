//! Bare connections: `exec`, attach; and logs, which are framed alike.

use std::sync::mpsc;
use std::time::Duration;

use netloom_docker::{ErrorKind, ExecSpec, Frame, Frames, LogOptions};
use tokio::io::AsyncWriteExt;

use crate::server::{CHUNKED, Peer, Server, chunked, soon, whole};

const SWITCHED: &str = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
    Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";

/// A daemon that starts each command on a bare connection.
fn executes(play: impl Fn(&mut Peer) + Send + Sync + 'static) -> Server {
    Server::start(move |_, mut peer| {
        while let Some(asked) = peer.request() {
            if asked.line == "POST /v1.41/containers/r1/exec" {
                peer.say(whole("201 Created", r#"{"Id":"e1"}"#));
            } else {
                assert_eq!(asked.line, "POST /v1.41/exec/e1/start");
                assert!(asked.head.to_lowercase().contains("upgrade: tcp"), "{}", asked.head);
                return play(&mut peer);
            }
        }
    })
}

fn command(tty: bool) -> ExecSpec {
    let cmd = vec!["cat".to_owned()];
    ExecSpec { cmd, tty, attach_stdin: true, attach_stdout: true, attach_stderr: true, ..ExecSpec::default() }
}

/// Everything that is put out, standard output and standard error apart.
async fn all(mut frames: Frames) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(frame) = frames.next().await {
        match frame.unwrap() {
            Frame::Stdout(bytes) => out.extend_from_slice(&bytes),
            Frame::Stderr(bytes) => err.extend_from_slice(&bytes),
        }
    }
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[tokio::test]
async fn a_command_is_talked_to_whatever_status_gives_the_connection_away() {
    for head in [SWITCHED, PLAIN] {
        let server = executes(move |peer| {
            // With the head comes the beginning of the output.
            peer.say([head.as_bytes(), b"\x01\0\0\0\0\0\0\x03one\x02\0\0\0"].concat());
            let heard = peer.hear_all();
            peer.say(b"\0\0\0\x03two");
            peer.say([b"\x01\0\0\0\0\0\0\x05".as_slice(), heard.as_bytes()].concat());
        });
        let mut exec = server.docker().exec("r1", &command(false), soon()).await.unwrap();
        assert_eq!(exec.id, "e1");
        exec.input.write_all(b"three").await.unwrap();
        exec.input.close().await.unwrap();
        assert_eq!(all(exec.output).await, ("onethree".into(), "two".into()));
    }
}

#[tokio::test]
async fn a_terminal_has_one_stream_without_frames() {
    for head in [SWITCHED, PLAIN] {
        let server = executes(move |peer| {
            peer.say(format!("{head}/ # "));
            assert_eq!(peer.hear(5), "exit\n");
            peer.say("exit\r\n");
        });
        let mut exec = server.docker().exec("r1", &command(true), soon()).await.unwrap();
        exec.input.write_all(b"exit\n").await.unwrap();
        assert_eq!(all(exec.output).await, ("/ # exit\r\n".into(), String::new()));
    }
}

#[tokio::test]
async fn input_that_is_dropped_is_closed() {
    let (heard, hears) = mpsc::sync_channel(1);
    let server = executes(move |peer| {
        peer.say(SWITCHED);
        heard.send(peer.hear_all()).unwrap();
    });
    let exec = server.docker().exec("r1", &command(false), soon()).await.unwrap();
    drop(exec.input);
    assert_eq!(hears.recv_timeout(Duration::from_secs(30)).unwrap(), "");
    assert_eq!(all(exec.output).await, (String::new(), String::new()));
}

#[tokio::test]
async fn output_that_ends_in_the_middle_of_a_frame_is_cut() {
    for half in [b"\x01\0\0".as_slice(), b"\x01\0\0\0\0\0\0\x05abc"] {
        let server = executes(move |peer| peer.say([SWITCHED.as_bytes(), half].concat()));
        let mut output = server.docker().exec("r1", &command(false), soon()).await.unwrap().output;
        let error = loop {
            if let Err(error) = output.next().await.unwrap() {
                break error;
            }
        };
        assert!(matches!(error.kind, ErrorKind::Cut(_)), "{error}");
        assert!(output.next().await.is_none());
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_refused() {
    let stopped = r#"{"message":"Container r1 is not running"}"#;
    let server = executes(move |peer| peer.say(whole("409 Conflict", stopped)));
    let error = server.docker().exec("r1", &command(false), soon()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Conflict(text) if text == "Container r1 is not running"));
}

/// A daemon that says whether its container has a terminal, and answers all else with this.
fn container(tty: bool, answer: impl Into<Vec<u8>>) -> Server {
    let answer = answer.into();
    Server::start(move |_, mut peer| {
        while let Some(asked) = peer.request() {
            if asked.line == "GET /v1.41/containers/r1/json" {
                peer.say(whole("200 OK", &format!(r#"{{"Config":{{"Tty":{tty}}}}}"#)));
            } else {
                peer.say(&answer);
                return;
            }
        }
    })
}

#[tokio::test]
async fn logs_are_read_as_the_container_has_them() {
    let framed = chunked(&["\x01\0\0\0\0\0\0\x02o\n\x02\0\0\0", "\0\0\0\x02e", "\n"]);
    let logs = container(false, framed).docker().logs("r1", LogOptions::default(), soon()).await.unwrap();
    assert_eq!(all(logs).await, ("o\n".into(), "e\n".into()));
    let raw = chunked(&["\x01", "raw\r\n"]);
    let logs = container(true, raw).docker().logs("r1", LogOptions::default(), soon()).await.unwrap();
    assert_eq!(all(logs).await, ("\x01raw\r\n".into(), String::new()));
}

#[tokio::test]
async fn logs_that_are_cut_are_not_taken_for_all() {
    let server = container(false, format!("{CHUNKED}c\r\n\x01\0\0\0\0\0\0\x04all\n\r\n"));
    let mut logs =
        server.docker().logs("r1", LogOptions { follow: true, ..LogOptions::default() }, soon()).await.unwrap();
    assert_eq!(logs.next().await.unwrap().unwrap(), Frame::Stdout("all\n".into()));
    let error = logs.next().await.unwrap().unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Cut(_)), "{error}");
}

#[tokio::test]
async fn a_container_is_attached_to() {
    let attached = container(true, format!("{SWITCHED}/ # ")).docker().attach("r1", soon()).await.unwrap();
    assert!(attached.tty);
    assert_eq!(all(attached.output).await, ("/ # ".into(), String::new()));
}
