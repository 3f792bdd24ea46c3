//! What Docker asks of a network driver, and what it is told: to take down what there is succeeds, to make something does not.
//! Source: the documents of libnetwork on remote drivers. Pure, but for the router around it.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// The media type of the protocol.
const TYPE: &str = "application/vnd.docker.plugins.v1.1+json";
/// More than Docker says of a network.
const BODY: usize = 256 * 1024;

/// What is answered to a call; nothing to one that no driver knows.
pub(super) fn answer(path: &str) -> Option<Value> {
    let Some(call) = path.strip_prefix("/NetworkDriver.") else {
        return (path == "/Plugin.Activate").then(|| json!({ "Implements": ["NetworkDriver"] }));
    };
    Some(match call {
        "GetCapabilities" => json!({ "Scope": "local", "ConnectivityScope": "local" }),
        "EndpointOperInfo" => json!({ "Value": {} }),
        "DeleteNetwork"
        | "FreeNetwork"
        | "DeleteEndpoint"
        | "Leave"
        | "DiscoverNew"
        | "DiscoverDelete"
        | "ProgramExternalConnectivity"
        | "RevokeExternalConnectivity" => json!({}),
        "CreateNetwork" | "AllocateNetwork" | "CreateEndpoint" | "Join" => {
            let why = "netloom has taken the place of the agent whose networks these are: it only takes them down. Have the \
                       controller start the node, which is made without them then";
            json!({ "Err": why })
        }
        _ => return None,
    })
}

/// Answers all calls; what they carry is not looked at.
pub(super) fn router() -> Router {
    Router::new().fallback(respond).layer(DefaultBodyLimit::max(BODY))
}

async fn respond(request: Request) -> Response {
    match answer(request.uri().path()) {
        Some(said) => ([(header::CONTENT_TYPE, TYPE)], said.to_string()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_may_be_taken_down_and_nothing_new_is_made() {
        assert_eq!(answer("/Plugin.Activate").unwrap()["Implements"][0], "NetworkDriver");
        assert_eq!(answer("/NetworkDriver.GetCapabilities").unwrap()["Scope"], "local");
        for call in ["DeleteNetwork", "DeleteEndpoint", "Leave", "RevokeExternalConnectivity"] {
            assert_eq!(answer(&format!("/NetworkDriver.{call}")), Some(json!({})));
        }
        for call in ["CreateNetwork", "CreateEndpoint", "Join"] {
            let said = answer(&format!("/NetworkDriver.{call}")).unwrap();
            assert!(said["Err"].as_str().unwrap().contains("only takes them down"), "{said}");
        }
        assert_eq!((answer("/NetworkDriver.Fly"), answer("/")), (None, None));
    }
}
