//! The socket and the port: whose they are, and how they are given up.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use hyper::StatusCode;
use netloom_agent::{Listeners, ServeConfig, ServeError};
use tokio::net::TcpStream;

use crate::bench::{Bench, config, within};

async fn refused(config: ServeConfig) -> ServeError {
    Listeners::bind(config).await.map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_is_not_for_everyone() {
    let (_root, config) = config();
    let socket = config.layout.socket();
    fs::create_dir_all(config.layout.run()).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let listeners = Listeners::bind(config).await.unwrap();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    drop(listeners);
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_second_agent_is_told_that_one_runs() {
    let (_root, config) = config();
    let first = Listeners::bind(config.clone()).await.unwrap();
    let error = refused(config.clone()).await;
    assert!(matches!(error, ServeError::AlreadyRuns { .. }), "{error:?}");
    assert!(config.layout.socket().exists());
    drop(first);
    Listeners::bind(config).await.unwrap();
}

#[tokio::test]
async fn a_socket_that_answers_is_left_alone_whoever_has_it() {
    let (_root, config) = config();
    fs::create_dir_all(config.layout.run()).unwrap();
    let _somebody = UnixListener::bind(config.layout.socket()).unwrap();
    let error = refused(config.clone()).await;
    assert!(matches!(error, ServeError::AlreadyRuns { .. }), "{error:?}");
    assert!(config.layout.socket().exists());
}

#[tokio::test]
async fn a_file_where_the_socket_belongs_is_left_alone() {
    let (_root, config) = config();
    fs::create_dir_all(config.layout.run()).unwrap();
    fs::write(config.layout.socket(), "precious").unwrap();
    let error = refused(config.clone()).await;
    assert!(matches!(error, ServeError::NoSocket { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(config.layout.socket()).unwrap(), "precious");
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_way_out_and_leaves_no_socket() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (_root, mut config) = config();
    config.listen = Some(address);
    let error = refused(config.clone()).await;
    assert!(matches!(error, ServeError::PortTaken { address: of } if of == address), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&address.port().to_string()) && text.contains("NETLOOM_LISTEN"), "{text}");
    assert!(!config.layout.socket().exists());
    config.listen = None;
    assert_eq!(Listeners::bind(config).await.unwrap().tcp(), None);
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_written_is_said() {
    let (_root, config) = config();
    let state = config.layout.state();
    fs::create_dir_all(state.parent().unwrap()).unwrap();
    fs::write(&state, "a file").unwrap();
    let error = refused(config).await;
    assert!(matches!(error, ServeError::Token(_)), "{error:?}");
}

#[tokio::test]
async fn a_stop_ends_streams_and_takes_the_socket_away() {
    let bench = Bench::new().await;
    let mut client = bench.unix().await;
    let stream = client.open("/events").await;
    assert_eq!(stream.status(), StatusCode::OK);
    let Bench { shutdown, served, layout, tcp, .. } = bench;
    shutdown.cancel();
    within(served).await.unwrap().unwrap();
    let body = within(http_body_util::BodyExt::collect(stream.into_body())).await.unwrap();
    assert!(body.to_bytes().is_empty());
    assert!(!layout.socket().exists());
    assert!(TcpStream::connect(tcp).await.is_err());
}
