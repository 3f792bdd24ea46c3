//! Commands in containers, their first process, and what was put out.

use netloom_docker::{Docker, ErrorKind, ExecSpec, Filters, LogOptions, TerminalSize};
use tokio::io::AsyncWriteExt;

use crate::stage::{Stage, idle, read, shell, soon, until};

fn command(words: &[&str]) -> ExecSpec {
    ExecSpec {
        cmd: words.iter().map(|word| (*word).to_owned()).collect(),
        attach_stdin: true,
        attach_stdout: true,
        attach_stderr: true,
        ..ExecSpec::default()
    }
}

async fn exit_code(docker: &Docker, exec: &str) -> i64 {
    let state = docker.inspect_exec(exec, soon()).await.unwrap();
    assert!(!state.running);
    state.exit_code.unwrap()
}

pub(crate) async fn a_command_has_its_streams_and_its_exit_code(stage: &Stage) {
    let docker = &stage.docker;
    let id = stage.run("exec", &idle()).await;
    let script = "echo out; echo err >&2; cat; echo $COLOUR; pwd; exit 5";
    let mut spec = command(&["sh", "-c", script]);
    spec.env = vec!["COLOUR=blue".into()];
    spec.working_dir = "/tmp".into();
    let mut exec = docker.exec(&id, &spec, soon()).await.unwrap();
    let state = docker.inspect_exec(&exec.id, soon()).await.unwrap();
    assert!(state.running && state.exit_code.is_none());
    // More than what any buffer on the way holds.
    let input = "y".repeat(300_000);
    let writing = async {
        exec.input.write_all(input.as_bytes()).await.unwrap();
        exec.input.close().await.unwrap();
    };
    let ((), (out, err)) = tokio::join!(writing, read(&mut exec.output, ""));
    assert!(out == format!("out\n{input}blue\n/tmp\n"), "{} bytes", out.len());
    assert_eq!(err, "err\n");
    assert_eq!(exit_code(docker, &exec.id).await, 5);

    let mut missing = docker.exec(&id, &command(&["no-such-command"]), soon()).await.unwrap();
    read(&mut missing.output, "").await;
    assert!([126, 127].contains(&exit_code(docker, &missing.id).await));

    docker.kill_container(&id, "KILL", soon()).await.unwrap();
    let error = docker.exec(&id, &spec, soon()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Conflict(_)), "{error}");
    stage.remove(&id).await;
    assert!(docker.exec(&id, &spec, soon()).await.unwrap_err().is_not_found());
}

pub(crate) async fn a_command_has_a_terminal_of_a_size(stage: &Stage) {
    let docker = &stage.docker;
    let id = stage.run("terminal", &idle()).await;
    let mut spec = command(&["sh", "-c", "echo ready; read line; stty size; echo \"$line\" >&2"]);
    spec.tty = true;
    let mut exec = docker.exec(&id, &spec, soon()).await.unwrap();
    read(&mut exec.output, "ready\r\n").await;
    docker.resize_exec(&exec.id, TerminalSize { rows: 33, columns: 111 }, soon()).await.unwrap();
    exec.input.write_all(b"go\n").await.unwrap();
    let (out, err) = read(&mut exec.output, "").await;
    assert_eq!((out.as_str(), err.as_str()), ("go\r\n33 111\r\ngo\r\n", ""));
    assert_eq!(exit_code(docker, &exec.id).await, 0);
    stage.remove(&id).await;
}

pub(crate) async fn a_shell_is_attached_to(stage: &Stage) {
    let docker = &stage.docker;
    for tty in [false, true] {
        let mut spec = shell("read line; echo \"got $line\"; echo end >&2");
        (spec.tty, spec.open_stdin) = (tty, true);
        let id = docker.create_container(&format!("attach-{tty}"), &spec, soon()).await.unwrap().id;
        let mut attached = docker.attach(&id, soon()).await.unwrap();
        assert_eq!(attached.tty, tty);
        docker.start_container(&id, soon()).await.unwrap();
        attached.input.write_all(b"this\n").await.unwrap();
        let (out, err) = read(&mut attached.output, "").await;
        if tty {
            docker.resize_container("nobody", TerminalSize { rows: 1, columns: 1 }, soon()).await.unwrap_err();
            assert!(out.ends_with("got this\r\nend\r\n") && err.is_empty(), "{out:?}");
        } else {
            assert_eq!((out.as_str(), err.as_str()), ("got this\n", "end\n"));
        }
        stage.remove(&id).await;
    }
}

pub(crate) async fn logs_are_read_and_followed(stage: &Stage) {
    let docker = &stage.docker;
    let mut events = docker.events(&Filters::new().with("container", "logs"), None, soon()).await.unwrap();
    let id =
        stage.run("logs", &shell("echo one; echo two; echo no >&2; while [ ! -e /go ]; do :; done; echo three")).await;
    let mut followed = docker.logs(&id, LogOptions { follow: true, ..LogOptions::default() }, soon()).await.unwrap();
    read(&mut followed, "two\n").await;
    let mut go = docker.exec(&id, &command(&["touch", "/go"]), soon()).await.unwrap();
    read(&mut go.output, "").await;
    assert!(read(&mut followed, "").await.0.ends_with("three\n"));
    until(&mut events, |event| event.action == "die").await;

    let mut all = docker.logs(&id, LogOptions::default(), soon()).await.unwrap();
    assert_eq!(read(&mut all, "").await, ("one\ntwo\nthree\n".into(), "no\n".into()));
    let mut last = docker
        .logs(&id, LogOptions { tail: Some(1), timestamps: true, ..LogOptions::default() }, soon())
        .await
        .unwrap();
    let (line, _) = read(&mut last, "").await;
    assert!(line.starts_with("20") && line.ends_with("Z three\n"), "{line}");
    stage.remove(&id).await;
}
