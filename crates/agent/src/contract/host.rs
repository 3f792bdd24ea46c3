//! What a controller asks about the work and the version of this host, and what a device asks at its first start.

use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use netloom_engine::OperationView;
use serde::Serialize;
use serde_json::json;

use super::answer::Object;
use super::{Answer, Detail, Json, Shared, done, fields};
use crate::controller::DeploymentMode;
use crate::problem::host_name;
use crate::serve::App;

/// How old the work on a lab is when a controller takes it for stuck. No operation lasts longer unless it was asked to.
const STUCK: Duration = Duration::from_secs(900);

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/locks/status", get(locks))
        .route("/locks/{lab}/release", post(release))
        .route("/update", post(update))
        .route("/poap/{*path}", get(poap))
}

/// A lab that is being deployed or destroyed.
#[derive(Debug, Serialize)]
struct Lock {
    lab_id: String,
    held: bool,
    /// Seconds until the operation ends in any case.
    ttl: u64,
    owner: String,
    age_seconds: f64,
    is_stuck: bool,
}

impl Lock {
    /// What an operation holds at a moment: it is under way and changes a whole lab.
    fn of(operation: &OperationView, now: SystemTime) -> Option<Self> {
        let lab = operation.lab.as_ref().filter(|_| operation_holds(operation))?;
        let age = now.duration_since(operation.created).unwrap_or_default();
        Some(Self {
            lab_id: lab.to_string(),
            held: true,
            ttl: STUCK.saturating_sub(age).as_secs(),
            owner: format!("{}:{}", host_name(), operation.id),
            age_seconds: age.as_secs_f64(),
            is_stuck: age > STUCK,
        })
    }
}

fn operation_holds(operation: &OperationView) -> bool {
    matches!(&*operation.kind, "deploy" | "destroy")
}

/// The operations that have not ended.
fn under_way(app: &App) -> Vec<OperationView> {
    let all = app.engine.journal().all();
    let views = all.iter().filter(|operation| !operation.state().borrow().is_final());
    views.map(|operation| operation.view()).collect()
}

/// `GET /locks/status`
async fn locks(State(app): State<Shared>) -> Response {
    let now = SystemTime::now();
    let locks: Vec<Lock> = under_way(&app).iter().filter_map(|operation| Lock::of(operation, now)).collect();
    done(&json!({ "locks": locks, "timestamp": humantime::format_rfc3339_micros(now).to_string() }))
}

/// `POST /locks/{lab}/release`: there is nothing here that outlives the work that it protects, and work that is under way is
/// not broken off for that.
async fn release(State(app): State<Shared>, Path(lab): Path<String>) -> Answer {
    let lab = fields::lab(&lab)?;
    let mut operations = under_way(&app);
    operations.retain(|operation| operation.lab.as_ref() == Some(&lab) && operation_holds(operation));
    Ok(done(&match operations.last() {
        None => json!({ "status": "not_found", "lab_id": lab }),
        Some(operation) => {
            let error = format!(
                "operation {} ({}) works on the lab; it ends by itself at its deadline at the latest",
                operation.id, operation.kind
            );
            json!({ "status": "error", "lab_id": lab, "error": error })
        }
    }))
}

/// `POST /update`: whoever asks for that would run any code of theirs as root.
async fn update(Json(_): Json<Object>) -> Response {
    let message = "this agent is not updated from outside: install the new version with the host's own means and restart the \
                   service; labs run on meanwhile";
    done(&json!({ "accepted": false, "message": message, "deployment_mode": DeploymentMode::detect() }))
}

/// `GET /poap/{lab}/{node}/startup-config` and `…/script.py`: they would hand out configurations to whoever asks.
async fn poap() -> Detail {
    Detail::new(404, "No startup configuration")
}
