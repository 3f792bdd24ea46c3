//! What answers mean.

use netloom_docker::{ContainerSpec, ContainerUpdate, ErrorKind, Filters, Remove, Status};

use crate::server::{Server, chunked, soon, whole};

fn always(answer: String) -> Server {
    Server::answering(move |_| answer.clone())
}

#[tokio::test]
async fn the_version_is_agreed_on_once_and_stands_before_each_path() {
    let server = Server::start(|number, mut peer| {
        assert_eq!(number, 0);
        peer.version = "1.52";
        while let Some(asked) = peer.request() {
            peer.say(whole("200 OK", &format!(r#"{{"Name":"{}"}}"#, asked.line)));
        }
    });
    let docker = server.docker();
    for _ in 0..2 {
        assert_eq!(docker.info(soon()).await.unwrap().name, "GET /v1.47/info");
    }
    assert_eq!(server.calls.all(), [("ask how the daemon is set up", Status::Ok); 2]);
}

#[tokio::test]
async fn a_daemon_that_is_too_old_is_refused_with_what_is_needed() {
    let server = Server::start(|_, mut peer| {
        peer.version = "1.40";
        assert_eq!(peer.request(), None);
    });
    let error = server.docker().info(soon()).await.unwrap_err();
    assert!(error.to_string().contains("1.41 (Docker 20.10) or later is needed"), "{error}");
}

#[tokio::test]
async fn a_daemon_that_was_replaced_by_an_older_one_is_asked_again() {
    let refusal = r#"{"message":"client version 1.47 is too new. Maximum supported API version is 1.41"}"#;
    let server = Server::start(move |number, mut peer| {
        if number == 0 {
            peer.version = "1.47";
            peer.answer(whole("400 Bad Request", refusal));
        }
        while let Some(asked) = peer.request() {
            peer.say(whole("200 OK", &format!(r#"{{"Name":"{}"}}"#, asked.line)));
        }
    });
    let docker = server.docker();
    assert!(matches!(docker.info(soon()).await.unwrap_err().kind, ErrorKind::Refused { status: 400, .. }));
    assert_eq!(docker.info(soon()).await.unwrap().name, "GET /v1.41/info");
}

#[tokio::test]
async fn bodies_with_a_length_and_in_chunks_are_the_same() {
    for answer in [whole("201 Created", r#"{"Id":"ab","Warnings":null}"#), chunked(&["{\"I", "d\":\"a", "b\"}"])] {
        let created = always(answer).docker().create_container("r1", &ContainerSpec::default(), soon()).await.unwrap();
        assert_eq!((created.id.as_str(), created.warnings.len()), ("ab", 0));
    }
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_whole() {
    let server = Server::start(|_, mut peer| {
        peer.answer("HTTP/1.0 200 OK\r\n\r\n[]");
    });
    assert!(server.docker().list_containers(&Filters::new(), soon()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_request_says_what_is_wanted() {
    let server = Server::answering(|asked| {
        let json = serde_json::json!([{"Id": "a", "Image": format!("{} {}", asked.line, asked.body)}]);
        whole("200 OK", &json.to_string())
    });
    let filter = Filters::new().label("netloom.owner=a b");
    let listed = server.docker().list_containers(&filter, soon()).await.unwrap();
    let expected = "GET /v1.41/containers/json?all=1&filters=%7B%22label%22:%5B%22netloom.owner%3Da%20b%22%5D%7D ";
    assert_eq!(listed[0].image, expected);
}

#[tokio::test]
async fn what_is_so_already_is_no_error() {
    let docker = always("HTTP/1.1 304 Not Modified\r\n\r\n".to_owned());
    docker.docker().start_container("r1", soon()).await.unwrap();
    let docker = always(whole("404 Not Found", r#"{"message":"No such container: r1"}"#));
    docker.docker().remove_container("r1", Remove::ALL, soon()).await.unwrap();
}

#[tokio::test]
async fn refusals_have_their_kind_and_the_daemons_words() {
    let refusal = |status: &str, body: &str| always(whole(status, body));
    let start = async |server: &Server| server.docker().start_container("r1", soon()).await.unwrap_err();

    let server = refusal("404 Not Found", r#"{"message":"No such container: r1"}"#);
    let error = start(&server).await;
    assert!(error.is_not_found());
    assert_eq!(error.to_string(), "cannot start container `r1`: No such container: r1");
    assert_eq!(server.calls.all(), [("start container", Status::Refused(404))]);

    let error = start(&refusal("409 Conflict", r#"{"message":"container is paused"}"#)).await;
    assert!(matches!(error.kind, ErrorKind::Conflict(text) if text == "container is paused"));
    let error =
        start(&refusal("409 Conflict", r#"{"message":"removal of container r1 is already in progress"}"#)).await;
    assert!(matches!(error.kind, ErrorKind::RemovalInProgress(_)));
    let error = start(&refusal("400 Bad Request", r#"{"message":"invalid CPU"}"#)).await;
    assert!(matches!(error.kind, ErrorKind::Refused { status: 400, message } if message == "invalid CPU"));
    let error = start(&refusal("500 Internal Server Error", r#"{"message":"no space left"}"#)).await;
    assert!(matches!(error.kind, ErrorKind::Daemon { status: 500, message } if message == "no space left"));
    let error = start(&refusal("502 Bad Gateway", "<html>proxy</html>")).await;
    assert!(matches!(error.kind, ErrorKind::Daemon { status: 502, message } if message == "<html>proxy</html>"));
    let error = start(&refusal("500 Internal Server Error", "")).await;
    assert!(matches!(error.kind, ErrorKind::Daemon { status: 500, message } if message.contains("without a word")));
}

#[tokio::test]
async fn a_redirection_is_no_answer() {
    // What Go's router makes of an empty id.
    let server =
        always("HTTP/1.1 301 Moved Permanently\r\nLocation: /containers/json\r\nContent-Length: 0\r\n\r\n".into());
    let error = server.docker().inspect_container("", soon()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Protocol(text) if text.contains("301")));
}

#[tokio::test]
async fn garbage_is_said_and_shown() {
    let server = always(whole("200 OK", "{\"Id\": gar"));
    let error = server.docker().inspect_container("r1", soon()).await.unwrap_err();
    assert!(error.to_string().contains("{\"Id\": gar"), "{error}");
    assert_eq!(server.calls.all(), [("inspect container", Status::Protocol)]);

    let server = Server::start(|_, mut peer| {
        peer.answer("SSH-2.0-OpenSSH\r\n\r\n");
    });
    let error = server.docker().info(soon()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Protocol(_)), "{error}");
}

#[tokio::test]
async fn an_answer_about_one_object_has_a_limit() {
    let server = Server::start(|_, mut peer| {
        peer.request();
        peer.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 9 << 20));
        peer.say(vec![b' '; 9 << 20]);
    });
    let error = server.docker().inspect_container("r1", soon()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Protocol(text) if text.contains("longer than 8388608")));
}

#[tokio::test]
async fn nothing_is_said_of_a_limit_that_stays() {
    let server = Server::answering(|asked| {
        assert_eq!((asked.line.as_str(), asked.body.as_str()), ("POST /v1.41/containers/r1/update", r#"{"Memory":1}"#));
        whole("200 OK", r#"{"Warnings":null}"#)
    });
    let update = ContainerUpdate { memory: 1, ..ContainerUpdate::default() };
    server.docker().update_container("r1", &update, soon()).await.unwrap();
}
