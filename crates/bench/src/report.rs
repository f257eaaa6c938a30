//! The figures of a run.

use std::time::Duration;

use crate::{Kind, Plan, histogram::Histogram, work::Tally};

/// How long things took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Half took no longer; all but the longest are rounded up by at most 1/128.
    pub p50: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// 999 of 1,000 took no longer.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
}

impl Latency {
    fn of(histogram: &Histogram) -> Self {
        Self {
            count: histogram.count(),
            p50: histogram.per_mille(500),
            p99: histogram.per_mille(990),
            p999: histogram.per_mille(999),
            max: histogram.longest(),
        }
    }
}

/// What was read back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Streams.
    pub streams: u64,
    /// Messages in them.
    pub messages: u64,
}

/// The figures of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The kind of load.
    pub kind: Kind,
    /// How long was measured.
    pub measured: Duration,
    /// Requests that were answered in that time.
    pub requests: u64,
    /// Messages that were acknowledged in it, or reads that were whole.
    pub messages: u64,
    /// Messages that reached subscribers in it.
    pub deliveries: u64,
    /// Bytes of messages that went either way in it.
    pub bytes: u64,
    /// Requests that the server refused for the moment (429, 503) and that were sent again.
    pub refused: u64,
    /// Connections that the server ended and that were made again.
    pub reconnects: u64,
    /// Requests that were due, by the rate, and for which no connection was free until the end.
    pub unsent: u64,
    /// From when a request was due to its answer.
    pub answers: Latency,
    /// From when a message was due to a subscriber's having it, over all subscribers.
    pub arrivals: Latency,
    /// What was read back at the end.
    pub verified: Verified,
}

impl Report {
    pub(crate) fn of(plan: &Plan, tally: &Tally, verified: Verified) -> Self {
        Self {
            kind: plan.kind,
            measured: tally.until.saturating_sub(tally.from),
            requests: tally.requests,
            messages: tally.messages,
            deliveries: tally.deliveries,
            bytes: tally.bytes,
            refused: tally.refused,
            reconnects: tally.reconnects,
            unsent: tally.unsent,
            answers: Latency::of(&tally.answers),
            arrivals: Latency::of(&tally.arrivals),
            verified,
        }
    }

    /// So many of something, by the second.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.measured.as_secs_f64().max(f64::EPSILON)
    }
}
