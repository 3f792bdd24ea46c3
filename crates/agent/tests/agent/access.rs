//! Who may ask what.

use bytes::Bytes;
use hyper::{Method, StatusCode};
use netloom_agent::{Listeners, ServeConfig, ServeError};
use serde_json::{Value, json};

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

async fn with_secret() -> Bench {
    Bench::with(|config| config.secret = Some("correct horse".into())).await
}

const SECRET: (&str, &str) = ("authorization", "Bearer correct horse");

#[tokio::test]
async fn the_key_decides_which_api_answers() {
    let bench = with_secret().await;
    let bearer = format!("Bearer {}", bench.token());
    assert_eq!(bench.get("/labs").await.status, StatusCode::OK);
    assert_eq!(ask(&bench, "/labs", &[("authorization", &bearer)]).await.status, StatusCode::OK);
    let controllers = [SECRET, ("host", "agent.example:8001")];
    let locks: Value = ask(&bench, "/locks/status", &controllers).await.json();
    assert_eq!(locks["locks"], json!([]));
    // Neither has what the other has.
    let missing = ask(&bench, "/labs", &controllers).await;
    assert_eq!((missing.status, missing.json::<Value>()), (StatusCode::NOT_FOUND, json!({ "detail": "Not Found" })));
    ask(&bench, "/locks/status", &[("authorization", &bearer)]).await.problem(404, "no-route");
    let reply = bench.tcp().await.send(Method::DELETE, "/locks/status", &[SECRET], Bytes::new()).await;
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(reply.json::<Value>(), json!({ "detail": "Method Not Allowed" }));
}

#[tokio::test]
async fn where_there_is_a_secret_a_request_without_a_key_is_refused_as_controllers_know_it() {
    let bench = with_secret().await;
    for (headers, said) in [
        ([].as_slice(), "Missing authorization"),
        (&[("authorization", "Basic Zm9v")], "Missing authorization"),
        (&[("authorization", "Bearer wrong")], "Invalid authorization"),
    ] {
        let reply = ask(&bench, "/labs", headers).await;
        assert_eq!((reply.status, reply.json::<Value>()), (StatusCode::FORBIDDEN, json!({ "detail": said })));
    }
    assert_eq!(ask(&bench, "/healthz", &[]).await.status, StatusCode::OK);
    let poap = ask(&bench, "/poap/lab/r1/startup-config", &[]).await;
    assert_eq!(poap.status, StatusCode::NOT_FOUND);
    assert!(poap.json::<Value>()["detail"].is_string(), "{poap:?}");
}

#[tokio::test]
async fn metrics_are_read_without_a_key_from_the_networks_that_may() {
    let bench = with_secret().await;
    assert_eq!(ask(&bench, "/metrics", &[]).await.status, StatusCode::OK);
    let elsewhere = |config: &mut ServeConfig| {
        config.secret = Some("correct horse".into());
        config.metrics_allow = "192.0.2.0/24".parse().unwrap();
    };
    let bench = Bench::with(elsewhere).await;
    let refused = ask(&bench, "/metrics", &[]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(refused.json::<Value>(), json!({ "detail": "Metrics access denied" }));
    assert_eq!(ask(&bench, "/metrics", &[SECRET]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_controller_s_answers_are_named_as_its_requests() {
    let bench = with_secret().await;
    let id = |reply: &Reply| reply.headers["x-request-id"].to_str().unwrap().to_owned();
    let named = ask(&bench, "/locks/status", &[SECRET, ("x-request-id", "job 7/2")]).await;
    assert_eq!(id(&named), "job 7/2");
    let long = "a".repeat(65);
    let fresh = ask(&bench, "/none", &[SECRET, ("x-request-id", &long)]).await;
    assert_eq!(id(&fresh).len(), 16);
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
