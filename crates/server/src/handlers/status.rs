//! `/health` and `/ready`: whether the process lives, and whether it takes work.
//!
//! Neither asks a shard: health is a constant, readiness is read under a short lock.

use http::StatusCode;
use serde_json::json;

use crate::{
    answer::{self, Answer},
    app::App,
};

/// The process answers.
pub(crate) fn health() -> Answer {
    answer::json(StatusCode::OK, r#"{"status":"ok"}"#)
}

/// The server takes work, or why not.
pub(crate) fn ready(app: &App) -> Answer {
    let reasons = app.problems();
    let (status, document) = if reasons.is_empty() {
        (StatusCode::OK, json!({ "ready": true }))
    } else {
        let document = json!({ "ready": false, "reasons": reasons });
        (StatusCode::SERVICE_UNAVAILABLE, document)
    };
    answer::json(status, document.to_string())
}
