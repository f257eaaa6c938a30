//! The figures, for people and for programs.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use crate::{load::Created, probe::Usage};

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// How many streams there were at the first stop.
    pub(crate) streams: u64,
    /// From the first start, on an empty directory, to ready.
    pub(crate) first_start: Duration,
    /// Their creation.
    pub(crate) created: Created,
    /// The process right after it.
    pub(crate) busy: Usage,
    /// And at rest.
    pub(crate) rests: Vec<Rest>,
    /// How long a clean stop took.
    pub(crate) stop: Duration,
    /// What the data directory took then.
    pub(crate) disk_bytes: u64,
    /// The start after a clean stop.
    pub(crate) clean: Start,
    /// The start after `kill -9` amid the creation of more streams.
    pub(crate) killed_creating: Start,
    /// The start after `kill -9` amid appends to streams drawn at random.
    pub(crate) killed_appending: Start,
}

/// The process after a time without appends.
#[derive(Debug)]
pub(crate) struct Rest {
    /// How long.
    pub(crate) after: Duration,
    /// What it used.
    pub(crate) usage: Usage,
}

/// A start on a cold page cache.
#[derive(Debug, Default)]
pub(crate) struct Start {
    /// From the start of the process to ready.
    pub(crate) ready: Duration,
    /// The first read of all.
    pub(crate) first_read: Duration,
    /// The first read of each of some streams, rising.
    pub(crate) reads: Vec<Duration>,
    /// Whether all caches of the system could be dropped, and not only those of the files.
    pub(crate) all_dropped: bool,
    /// The process after these reads.
    pub(crate) usage: Usage,
}

impl Figures {
    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        for (what, figure) in self.rows() {
            writeln!(out, "{what:<44} {figure}").expect("a string takes all");
        }
        out
    }

    fn rows(&self) -> Vec<(String, String)> {
        let created = &self.created;
        let mut rows = vec![
            ("streams".into(), self.streams.to_string()),
            ("created per second".into(), format!("{:.0}", self.rate())),
            (
                "a group of pipelined requests, p50, p99, max".into(),
                spread(&created.groups),
            ),
            ("refused and sent again".into(), created.refused.to_string()),
            (
                "right after: RssAnon, VmRSS, peak, fds".into(),
                used(&self.busy),
            ),
        ];
        for rest in &self.rests {
            let what = format!(
                "after {} s: RssAnon, VmRSS, peak, fds",
                rest.after.as_secs()
            );
            rows.push((what, used(&rest.usage)));
        }
        rows.push(("clean stop".into(), millis(self.stop)));
        rows.push(("data directory".into(), mega(self.disk_bytes)));
        rows.push(("first start, empty".into(), millis(self.first_start)));
        for (how, start) in [
            ("a clean stop", &self.clean),
            ("kill -9, creating", &self.killed_creating),
            ("kill -9, appending", &self.killed_appending),
        ] {
            let cache = if start.all_dropped {
                "all caches"
            } else {
                "files"
            };
            rows.push((
                format!("start after {how} ({cache} dropped)"),
                millis(start.ready),
            ));
            rows.push(("  first cold read".into(), millis(start.first_read)));
            rows.push(("  cold reads, p50, p99, max".into(), spread(&start.reads)));
            rows.push(("  RssAnon, VmRSS, peak, fds".into(), used(&start.usage)));
        }
        rows
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn rate(&self) -> f64 {
        self.created.streams as f64 / self.created.took.as_secs_f64().max(f64::EPSILON)
    }

    /// For programs: times in seconds, sizes in bytes.
    pub(crate) fn json(&self) -> Value {
        let rests = self.rests.iter();
        let rests: Vec<Value> = rests
            .map(|rest| json!({"after_s": rest.after.as_secs(), "usage": usage(&rest.usage)}))
            .collect();
        json!({
            "streams": self.streams,
            "created_per_s": self.rate(),
            "group_p50_s": quantile(&self.created.groups, 50).as_secs_f64(),
            "group_p99_s": quantile(&self.created.groups, 99).as_secs_f64(),
            "group_max_s": quantile(&self.created.groups, 100).as_secs_f64(),
            "refused": self.created.refused,
            "right_after": usage(&self.busy),
            "rests": rests,
            "stop_s": self.stop.as_secs_f64(),
            "disk_bytes": self.disk_bytes,
            "first_start_s": self.first_start.as_secs_f64(),
            "clean": start(&self.clean),
            "killed_creating": start(&self.killed_creating),
            "killed_appending": start(&self.killed_appending),
        })
    }
}

fn usage(usage: &Usage) -> Value {
    json!({
        "rss_anon": usage.anon,
        "rss": usage.resident,
        "rss_peak": usage.peak,
        "descriptors": usage.descriptors,
    })
}

fn start(start: &Start) -> Value {
    json!({
        "ready_s": start.ready.as_secs_f64(),
        "first_read_s": start.first_read.as_secs_f64(),
        "read_p50_s": quantile(&start.reads, 50).as_secs_f64(),
        "read_p99_s": quantile(&start.reads, 99).as_secs_f64(),
        "read_max_s": quantile(&start.reads, 100).as_secs_f64(),
        "all_caches_dropped": start.all_dropped,
        "usage": usage(&start.usage),
    })
}

/// The value below which so many percent of the rising `times` lie.
fn quantile(times: &[Duration], percent: usize) -> Duration {
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).copied().unwrap_or_default()
}

fn spread(times: &[Duration]) -> String {
    let at = |percent| millis(quantile(times, percent));
    format!("{}, {}, {}", at(50), at(99), at(100))
}

fn used(usage: &Usage) -> String {
    let Usage {
        anon,
        resident,
        peak,
        descriptors,
    } = *usage;
    format!(
        "{}, {}, {}, {descriptors}",
        mega(anon),
        mega(resident),
        mega(peak)
    )
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn mega(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(quantile(&times, 50), Duration::from_millis(100));
        assert_eq!(quantile(&times, 99), Duration::from_millis(198));
        assert_eq!(quantile(&times, 100), Duration::from_millis(200));
        assert_eq!(quantile(&[], 50), Duration::ZERO);
    }
}
