//! `/health`, `/ready` and `/metrics`: whether the process lives, whether it takes work, and what it
//! has counted.
//!
//! None asks a shard or a disk: health is a constant, readiness is read under a short lock, and so
//! are figures.

use http::{HeaderMap, StatusCode, header};
use millrace_wire::{Problem, cache::NO_STORE, outcome::Reply};
use serde_json::json;

use crate::{
    access::{Action, Caller, Target},
    answer::{self, Answer},
    app::App,
    metrics,
};

/// The process answers.
pub(crate) fn health() -> Answer {
    answer::json(StatusCode::OK, r#"{"status":"ok"}"#)
}

/// The server takes work, or why not; and what to look at in either case.
pub(crate) fn ready(app: &App) -> Answer {
    let reasons = app.problems();
    let (status, mut document) = if reasons.is_empty() {
        (StatusCode::OK, json!({ "ready": true }))
    } else {
        let document = json!({ "ready": false, "reasons": reasons });
        (StatusCode::SERVICE_UNAVAILABLE, document)
    };
    let warnings = app.warnings();
    if !warnings.is_empty() {
        document["warnings"] = json!(warnings);
    }
    answer::json(status, document.to_string())
}

/// All figures, in Prometheus' text format.
pub(crate) fn metrics(app: &App, caller: &Caller) -> Result<Answer, Problem> {
    caller.may(Action::Metrics, Target::Server)?;
    let headers = [
        (header::CONTENT_TYPE, metrics::CONTENT_TYPE),
        (header::CACHE_CONTROL, NO_STORE),
    ];
    let reply = Reply {
        status: StatusCode::OK,
        headers: HeaderMap::from_iter(headers),
    };
    Ok(answer::full(reply, metrics::expose(app)))
}
