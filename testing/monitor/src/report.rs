//! What a watcher saw, for people and for programs.

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
    let told = watcher.violations().iter();
    let lines: Vec<String> = told.map(|found| format!("BROKEN {found}\n")).collect();
    lines.concat()
}
