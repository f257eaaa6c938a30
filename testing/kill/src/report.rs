//! What a run came to, for people and for programs.

use std::time::Duration;

use serde_json::{Value, json};

use millrace_monitor::{judge::Counts, watch};

use crate::schedule::Settings;

/// How a run ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How often the server was killed.
    pub kills: u32,
    /// How often of these it was killed before it was ready.
    pub kills_while_starting: u32,
    /// How often a segment was being written just then.
    pub kills_amid_a_flush: u32,
    /// How many segments were written in all.
    pub segments: u64,
    /// The most segments that were there at a time.
    pub segments_at_once: usize,
    /// The longest time from a start to being ready.
    pub slowest_start: Duration,
    /// How often of these it was killed while it ended gracefully.
    pub kills_while_stopping: u32,
    /// How often it ended gracefully.
    pub graceful_ends: u32,
    /// The longest time that took.
    pub slowest_end: Duration,
    /// What the judge counted.
    pub counts: Counts,
    /// What the watcher counted.
    pub watched: watch::Counts,
    /// Requests whose answer was cut off.
    pub lost: u64,
    /// How long it took.
    pub took: Duration,
    /// What the killing spent it on.
    pub spent: Spent,
    /// The most bytes that data and log took.
    pub bytes_at_once: u64,
    /// What happened that must not.
    pub violations: Vec<String>,
}

/// Where the time of the killing went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// From a start to being ready, or to the kill that came before.
    pub starting: Duration,
    /// Comparing all streams, under load.
    pub verifying: Duration,
    /// Waiting, under load.
    pub waiting: Duration,
    /// Ending a server.
    pub ending: Duration,
}

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
            watched,
            lost,
            spent,
            bytes_at_once,
            took,
            violations,
        } = self;
        let broken: Vec<String> = violations
            .iter()
            .map(|what| format!("  BROKEN: {what}\n"))
            .collect();
        format!(
            "  {kills} kills, {kills_while_starting} of them while starting, {kills_while_stopping} \
             while stopping, {kills_amid_a_flush} with a segment half written\n  \
             {segments} segments written, at most {segments_at_once} at a time; at most {} MiB on disk\n  \
             {} appends acknowledged, {} of them as duplicates; {} of which nobody knows\n  \
             {} responses and events read, {} bytes; {lost} cut off\n  \
             {} whole streams compared; {} answers and {} events watched\n  \
             {graceful_ends} graceful ends, the slowest {slowest_end:?}; slowest start {slowest_start:?}\n  \
             {:.1?} starting, {:.1?} comparing, {:.1?} waiting, {:.1?} ending\n\
             {}kill test: {} broken promises, {:.1} s\n",
            bytes_at_once >> 20,
            counts.acked,
            counts.duplicates,
            counts.unknown,
            counts.delivered,
            counts.delivered_bytes,
            counts.verified,
            watched.answered,
            watched.events,
            spent.starting,
            spent.verifying,
            spent.waiting,
            spent.ending,
            broken.concat(),
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
            "answers_watched": self.watched.answered,
            "events_watched": self.watched.events,
            "requests_cut_off": self.lost,
            "disk_bytes_max": self.bytes_at_once,
            "slowest_start_seconds": self.slowest_start.as_secs_f64(),
            "seconds": self.took.as_secs_f64(),
            "broken_promises": self.violations,
        })
    }
}
