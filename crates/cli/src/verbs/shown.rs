//! Settings of a stream, as `head` and `set` print them.

use millrace_client::{Retention, Settings};
use serde_json::{Value, json};

use crate::units::{show_duration, show_size};

/// For programs: milliseconds, bytes and messages; `null` is no limit.
pub(crate) fn retention(retention: &Retention) -> Value {
    json!({
        "max_age_ms": retention.age_max.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        "max_bytes": retention.bytes_max,
        "max_messages": retention.messages_max,
    })
}

/// For people: a line of each that there is.
pub(crate) fn lines(settings: &Settings) -> Vec<String> {
    let Settings {
        retention,
        compact_after_bytes,
        attributes,
    } = settings;
    let limits = [
        retention.age_max.map(show_duration),
        retention.bytes_max.map(show_size),
        retention
            .messages_max
            .map(|count| format!("{count} messages")),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    let mut lines = Vec::new();
    if !limits.is_empty() {
        lines.push(format!("keeps         {} at most", limits.join(", ")));
    }
    if let Some(bytes) = compact_after_bytes {
        lines.push(format!("compacts      after {}", show_size(*bytes)));
    }
    if !attributes.is_empty() {
        let attributes = Value::Object(attributes.clone());
        lines.push(format!("attributes    {attributes}"));
    }
    lines
}
