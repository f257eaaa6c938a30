//! What a run came to, for people and for programs.

use serde_json::{Value, json};

use crate::{run::Outcome, schedule::Settings};

impl Outcome {
    /// The summary as lines.
    pub fn lines(&self) -> String {
        let Self {
            kills,
            kills_while_starting,
            kills_amid_a_flush,
            kills_while_stopping,
            segments,
            segments_at_once,
            graceful_ends,
            slowest_start,
            slowest_end,
            counts,
            lost,
            spent,
            bytes_at_once,
            took,
            violations,
        } = self;
        let broken: String = violations
            .iter()
            .map(|what| format!("  BROKEN: {what}\n"))
            .collect();
        format!(
            "  {kills} kills, {kills_while_starting} of them while starting, {kills_while_stopping} \
             while stopping, {kills_amid_a_flush} with a segment half written\n  \
             {segments} segments written, at most {segments_at_once} at a time; at most {} MiB on disk\n  \
             {} appends acknowledged, {} of them as duplicates; {} of which nobody knows\n  \
             {} responses and events read, {} bytes; {lost} cut off\n  \
             {} whole streams compared\n  \
             {graceful_ends} graceful ends, the slowest {slowest_end:?}; slowest start {slowest_start:?}\n  \
             {:.1?} starting, {:.1?} comparing, {:.1?} waiting, {:.1?} ending\n\
             {broken}kill test: {} broken promises, {:.1} s\n",
            bytes_at_once >> 20,
            counts.acked,
            counts.duplicates,
            counts.unknown,
            counts.delivered,
            counts.delivered_bytes,
            counts.verified,
            spent.starting,
            spent.verifying,
            spent.waiting,
            spent.ending,
            violations.len(),
            took.as_secs_f64()
        )
    }

    /// The summary as JSON.
    pub fn json(&self, settings: &Settings) -> Value {
        json!({
            "seed": settings.seed,
            "durability": settings.durability,
            "kills": self.kills,
            "kills_asked_for": settings.kills,
            "kills_while_starting": self.kills_while_starting,
            "kills_while_stopping": self.kills_while_stopping,
            "kills_amid_a_flush": self.kills_amid_a_flush,
            "graceful_ends": self.graceful_ends,
            "segments": self.segments,
            "appends_acknowledged": self.counts.acked,
            "appends_unknown": self.counts.unknown,
            "duplicates": self.counts.duplicates,
            "responses": self.counts.delivered,
            "bytes_read": self.counts.delivered_bytes,
            "streams_compared": self.counts.verified,
            "requests_cut_off": self.lost,
            "disk_bytes_max": self.bytes_at_once,
            "slowest_start_seconds": self.slowest_start.as_secs_f64(),
            "seconds": self.took.as_secs_f64(),
            "broken_promises": self.violations,
        })
    }
}
