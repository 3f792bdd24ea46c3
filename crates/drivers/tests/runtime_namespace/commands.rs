//! Commands that are run in nodes, with and without a terminal.

use std::time::Duration;

use netloom_engine::{ExecInput, ExecOutput, ExecRequest, Runtime, Terminal};
use serde_json::json;

use crate::stage::{Stage, collect, lab_name, name, one, root};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec_has_the_commands_own_output_and_exit_code() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    stage.up(&lab, "r1").await.unwrap();
    assert_eq!(
        stage.exec("r1", &["sh", "-c", "echo out; echo err >&2; exit 3"]).await,
        (3, "out\n".into(), "err\n".into())
    );
    assert_eq!(stage.exec("r1", &["sh", "-c", "kill -9 $$"]).await.0, 137);
    let (code, _, errors) = stage.exec("r1", &["no-such-thing"]).await;
    assert_eq!(code, 127);
    assert!(errors.contains("command `no-such-thing` does not exist in the node"), "{errors}");
    assert_eq!(stage.exec("r1", &["/etc/passwd"]).await.0, 126);

    // What goes in comes out.
    let request = ExecRequest::plain(vec!["cat".into()]);
    let mut session = stage.runtime.exec(&lab_name(), &name("r1"), request).await.unwrap();
    session.input.send(ExecInput::Stdin("hello".into())).await.unwrap();
    assert_eq!(session.output.recv().await, Some(ExecOutput::Stdout("hello".into())));
    session.input.send(ExecInput::CloseStdin).await.unwrap();
    assert_eq!(session.output.recv().await, Some(ExecOutput::Exited(0)));

    // One that ignores TERM is killed; one whose session is dropped too.
    let stubborn = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"];
    let argv: Vec<String> = stubborn.iter().map(ToString::to_string).collect();
    let request = ExecRequest::plain(argv);
    let mut session = stage.runtime.exec(&lab_name(), &name("r1"), request.clone()).await.unwrap();
    assert_eq!(session.output.recv().await, Some(ExecOutput::Stdout("up\n".into())));
    session.input.send(ExecInput::Terminate).await.unwrap();
    assert_eq!(collect(&mut session.output).await.0, 137);
    let mut session = stage.runtime.exec(&lab_name(), &name("r1"), request).await.unwrap();
    assert_eq!(session.output.recv().await, Some(ExecOutput::Stdout("up\n".into())));
    drop(session);
    let gone = async {
        while stage.sh("r1", "ps ax | grep -c '[t]rap' || true").await != "0" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), gone).await.unwrap();

    let request = ExecRequest::plain(vec!["true".into()]);
    let error = stage.runtime.exec(&lab_name(), &name("r2"), request).await.unwrap_err();
    assert!(error.cause.contains("not there"), "{error}");
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec_with_a_terminal_has_one_that_can_be_resized() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    stage.up(&lab, "r1").await.unwrap();
    let script = "tty; stty size; read line; stty size; echo got $line; trap 'exit 9' TERM; echo waiting; while :; do sleep 0.1; done";
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    let request = ExecRequest { terminal: Terminal::Size { columns: 100, rows: 30 }, ..ExecRequest::plain(argv) };
    let mut session = stage.runtime.exec(&lab_name(), &name("r1"), request).await.unwrap();
    let mut shown = String::new();
    let mut wait_for = async |text: &str| {
        while !shown.contains(text) {
            match tokio::time::timeout(Duration::from_secs(10), session.output.recv()).await.unwrap().unwrap() {
                ExecOutput::Stdout(bytes) => shown.push_str(&String::from_utf8_lossy(&bytes)),
                other => panic!("{other:?} after {shown}"),
            }
        }
    };
    wait_for("/dev/pts/0\r\n30 100\r\n").await;
    session.input.send(ExecInput::Resize { columns: 120, rows: 40 }).await.unwrap();
    session.input.send(ExecInput::Stdin("word\n".into())).await.unwrap();
    wait_for("40 120\r\ngot word\r\nwaiting").await;
    session.input.send(ExecInput::Terminate).await.unwrap();
    assert_eq!(collect(&mut session.output).await.0, 9);

    let argv = vec!["no-such-thing".to_owned()];
    let request = ExecRequest { terminal: Terminal::Size { columns: 80, rows: 24 }, ..ExecRequest::plain(argv) };
    let mut session = stage.runtime.exec(&lab_name(), &name("r1"), request).await.unwrap();
    assert_eq!(collect(&mut session.output).await.0, 127);
    stage.delete("r1").await;
}
