//! Who may ask what.

use bytes::Bytes;
use hyper::{Method, StatusCode};
use netloom_agent::{Listeners, ServeError};

use crate::bench::{Bench, Reply, config};

async fn ask(bench: &Bench, path: &str, headers: &[(&str, &str)]) -> Reply {
    bench.tcp().await.send(Method::GET, path, headers, Bytes::new()).await
}

#[tokio::test]
async fn tcp_needs_the_token_except_for_health() {
    let bench = Bench::new().await;
    let bearer = format!("Bearer {}", bench.token());
    let problem = ask(&bench, "/labs", &[]).await.problem(401, "no-token");
    assert!(problem.detail.contains("token"), "{problem:?}");
    ask(&bench, "/labs", &[("authorization", "Bearer 0000")]).await.problem(401, "no-token");
    assert_eq!(ask(&bench, "/labs", &[("authorization", &bearer)]).await.status, StatusCode::OK);
    for path in ["/healthz", "/livez", "/health", "/readyz?verbose"] {
        assert_eq!(ask(&bench, path, &[]).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn the_main_runtime_answers_health_on_a_connection_that_it_has() {
    let bench = Bench::new().await;
    let mut client = bench.tcp().await;
    assert_eq!(client.send(Method::GET, "/labs", &[], Bytes::new()).await.status, StatusCode::UNAUTHORIZED);
    let reply = client.send(Method::GET, "/healthz", &[], Bytes::new()).await;
    assert_eq!((reply.status, reply.text().as_str()), (StatusCode::OK, r#"{"status":"ok"}"#));
}

#[tokio::test]
async fn a_web_page_of_another_site_gets_nothing() {
    let bench = Bench::new().await;
    let bearer = format!("Bearer {}", bench.token());
    let with = |name, value| [("authorization", bearer.as_str()), (name, value)];
    for (name, value) in [
        ("host", "evil.example"),
        ("host", "evil.example:8001"),
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost.evil.example:8001"),
    ] {
        let problem = ask(&bench, "/labs", &with(name, value)).await.problem(403, "forbidden");
        assert!(problem.detail.contains(value), "{problem:?}");
    }
    for (name, value) in [("host", "127.0.0.1:8001"), ("host", "[::1]:8001"), ("origin", "http://localhost:8001")] {
        assert_eq!(ask(&bench, "/labs", &with(name, value)).await.status, StatusCode::OK, "{name}: {value}");
    }
}

#[tokio::test]
async fn the_socket_asks_for_no_token_and_a_secret_opens_the_port() {
    let bench = Bench::with(|config| config.secret = Some("correct horse".into())).await;
    assert_eq!(bench.get("/labs").await.status, StatusCode::OK);
    assert_eq!(ask(&bench, "/labs", &[("authorization", "Bearer correct horse")]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_secret() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let (_root, mut config) = config();
        config.listen = Some(address.parse().unwrap());
        config.secret = Some(String::new());
        let refused = Listeners::bind(config).await.map(|_| ()).unwrap_err();
        assert!(matches!(refused, ServeError::NeedsSecret { .. }), "{refused:?}");
        assert!(refused.to_string().contains("NETLOOM_LISTEN"), "{refused}");
    }
}
