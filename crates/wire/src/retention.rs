//! How retention stands, as `GET` and `POST /v1/server/_retention` tell it.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use millrace_core::Timestamp;
use serde::Serialize;

use crate::{
    cache::NO_STORE,
    outcome::{Reply, rfc3339},
};

/// How it stands.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// From the end of one pass to the beginning of the next.
    pub interval: Duration,
    /// How many streams have a policy.
    pub streams: u64,
    /// Whether a pass is under way.
    pub running: bool,
    /// How many passes were made since the start.
    pub passes: u64,
    /// What the last one did.
    pub last: Option<Pass>,
}

/// What a pass did.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// How many streams it looked at.
    pub streams: u64,
    /// How many of them it trimmed.
    pub trimmed: u64,
    /// How many bytes can be read no longer.
    pub bytes: u64,
    /// How many streams it could not look at or trim.
    pub failed: u64,
}

#[derive(Serialize)]
struct StatusDocument {
    interval_ms: u64,
    streams: u64,
    running: bool,
    passes: u64,
    last: Option<PassDocument>,
}

#[derive(Serialize)]
struct PassDocument {
    began: String,
    took_ms: u64,
    streams: u64,
    trimmed: u64,
    bytes: u64,
    failed: u64,
}

/// The headers.
pub fn reply() -> Reply {
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    Reply {
        status: StatusCode::OK,
        headers,
    }
}

/// The body that says how it stands.
///
/// # Panics
/// Never: it holds texts and numbers.
pub fn status(status: &Status) -> Vec<u8> {
    let document = StatusDocument {
        interval_ms: millis(status.interval),
        streams: status.streams,
        running: status.running,
        passes: status.passes,
        last: status.last.map(document),
    };
    serde_json::to_vec(&document).expect("texts and numbers are JSON")
}

/// The body that says what a pass did.
///
/// # Panics
/// Never: it holds texts and numbers.
pub fn pass(pass: Pass) -> Vec<u8> {
    serde_json::to_vec(&document(pass)).expect("texts and numbers are JSON")
}

fn document(pass: Pass) -> PassDocument {
    PassDocument {
        began: rfc3339(pass.began),
        took_ms: millis(pass.took),
        streams: pass.streams,
        trimmed: pass.trimmed,
        bytes: pass.bytes,
        failed: pass.failed,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
