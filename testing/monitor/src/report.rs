//! What a watcher saw, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::watch::{Violation, Watcher};

/// As JSON: what was counted, and `violations`.
pub fn json(watcher: &Watcher) -> Value {
    let counts = watcher.counts();
    let violations: Vec<Value> = watcher.violations().iter().map(one).collect();
    json!({
        "asked": counts.asked,
        "answered": counts.answered,
        "events": counts.events,
        "appends": counts.appends,
        "bytes": counts.bytes,
        "unwatched": counts.unwatched,
        "violations_in_all": counts.violations,
        "violations": violations,
    })
}

fn one(violation: &Violation) -> Value {
    json!({
        "stream": violation.stream,
        "what": violation.what,
        "seen": violation.seen,
    })
}

/// As lines; none where nothing was wrong.
pub fn lines(watcher: &Watcher) -> String {
    let mut text = String::new();
    for Violation { stream, what, seen } in watcher.violations() {
        let _ = writeln!(text, "BROKEN {stream}: {what}");
        for line in seen {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}
