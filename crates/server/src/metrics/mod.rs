//! What is counted of HTTP, and `/metrics`.
//!
//! Each event loop writes figures of its own ([`CoreMetrics`]): counting is an addition to memory
//! that no other core writes. What is rare, like a client that was refused, is counted in one place for
//! all (`refusals.rs`). Everything is there from the start and of fixed size: BOUND: no label comes from a
//! client.
//!
//! Layout: here the figures, `families.rs` the names they are told under (`scrub.rs`, `retention.rs` and
//! `subscriptions.rs` those of their own), `text.rs` how.
//!
//! Not here: the engine's figures ([`millrace_engine::metrics`]).

mod families;
mod retention;
mod scrub;
mod subscriptions;
mod text;

use std::{
    cell::Cell,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Method, StatusCode};
use millrace_engine::metrics::{Counter, Distribution, Gauge, Histogram};
use millrace_wire::problem::Code;

pub(crate) use self::{families::expose, text::CONTENT_TYPE};

/// Methods as they are told apart; what is none of them is the last.
const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other",
];
/// Classes of statuses; what is none of them counts as the last.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// How a follower follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sse,
    LongPoll,
}

/// Every [`Kind`], in order, as it is told.
const KINDS: [&str; 2] = ["sse", "long-poll"];

/// Which time of a request is worth a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Timed {
    #[default]
    Nothing,
    Append,
    Read,
}

/// All figures of a server.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// BOUND: one an event loop.
    cores: Mutex<Vec<Arc<CoreMetrics>>>,
}

/// What one event loop counts. Aligned, so that no two loops write to one cache line.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct CoreMetrics {
    requests: [[Counter; CLASSES.len()]; METHODS.len()],
    problems: [Counter; Code::ALL.len()],
    append_time: Histogram,
    read_time: Histogram,
    delivery_time: [Histogram; KINDS.len()],
    followers: [Gauge; KINDS.len()],
    connections: Gauge,
    accepted: Counter,
}

impl Metrics {
    /// The figures of one more event loop.
    pub(crate) fn core(&self) -> Arc<CoreMetrics> {
        let core = Arc::new(CoreMetrics::default());
        let mut cores = self.cores.lock().unwrap_or_else(PoisonError::into_inner);
        cores.push(Arc::clone(&core));
        core
    }

    /// All event loops together.
    fn total(&self) -> Totals {
        let mut totals = Totals::default();
        let cores = self.cores.lock().unwrap_or_else(PoisonError::into_inner);
        for core in cores.iter() {
            core.add_to(&mut totals);
        }
        totals
    }
}

impl CoreMetrics {
    /// A request was answered.
    pub(crate) fn answered(&self, request: Answered<'_>) {
        let class = class_of(request.status);
        self.requests[method_of(request.method)][class].increment();
        // A refusal takes no time worth knowing, and would make the others look quick.
        if class <= 1 {
            match request.timed {
                Timed::Nothing => {}
                Timed::Append => self.append_time.record_time(request.took),
                Timed::Read => self.read_time.record_time(request.took),
            }
        }
    }

    /// A request was answered with this problem.
    pub(crate) fn refused(&self, code: Code) {
        self.problems[code as usize].increment();
    }

    /// A follower was handed bytes that became durable `waited` ago.
    pub(crate) fn delivered(&self, kind: Kind, waited: Duration) {
        self.delivery_time[kind as usize].record_time(waited);
    }

    /// A connection was accepted.
    pub(crate) fn accepted(&self) {
        self.accepted.increment();
    }

    fn add_to(&self, totals: &mut Totals) {
        for (total, own) in totals.requests.iter_mut().zip(&self.requests) {
            add(total, own);
        }
        add(&mut totals.problems, &self.problems);
        totals.append_time.merge(&self.append_time.read());
        totals.read_time.merge(&self.read_time.read());
        for (total, own) in totals.delivery_time.iter_mut().zip(&self.delivery_time) {
            total.merge(&own.read());
        }
        for (total, own) in totals.followers.iter_mut().zip(&self.followers) {
            *total = total.wrapping_add(own.get());
        }
        totals.connections = totals.connections.wrapping_add(self.connections.get());
        totals.accepted += self.accepted.get();
    }
}

fn add(totals: &mut [u64], own: &[Counter]) {
    for (total, own) in totals.iter_mut().zip(own) {
        *total += own.get();
    }
}

impl Default for CoreMetrics {
    fn default() -> Self {
        Self {
            requests: Default::default(),
            problems: std::array::from_fn(|_| Counter::default()),
            append_time: Histogram::default(),
            read_time: Histogram::default(),
            delivery_time: Default::default(),
            followers: Default::default(),
            connections: Gauge::default(),
            accepted: Counter::default(),
        }
    }
}

/// What is known of a request once it is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered<'a> {
    pub(crate) method: &'a Method,
    pub(crate) status: StatusCode,
    pub(crate) timed: Timed,
    pub(crate) took: Duration,
}

/// What a request leaves behind for its figures while it is handled.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) core: Arc<CoreMetrics>,
    pub(crate) timed: Cell<Timed>,
}

impl Watch {
    pub(crate) fn new(core: &Arc<CoreMetrics>) -> Self {
        Self {
            core: Arc::clone(core),
            timed: Cell::default(),
        }
    }
}

/// A follower, for as long as it follows.
#[derive(Debug)]
pub(crate) struct Following {
    core: Arc<CoreMetrics>,
    kind: Kind,
}

impl Following {
    pub(crate) fn new(core: &Arc<CoreMetrics>, kind: Kind) -> Self {
        core.followers[kind as usize].add(1);
        let core = Arc::clone(core);
        Self { core, kind }
    }

    /// It was handed bytes that became durable `waited` ago.
    pub(crate) fn delivered(&self, waited: Duration) {
        self.core.delivered(self.kind, waited);
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.core.followers[self.kind as usize].sub(1);
    }
}

/// A connection, for as long as it is open.
#[derive(Debug)]
pub(crate) struct Connected(Arc<CoreMetrics>);

impl Connected {
    pub(crate) fn new(core: &Arc<CoreMetrics>) -> Self {
        core.connections.add(1);
        Self(Arc::clone(core))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.sub(1);
    }
}

/// All event loops together, at one moment.
#[derive(Debug)]
struct Totals {
    requests: [[u64; CLASSES.len()]; METHODS.len()],
    problems: [u64; Code::ALL.len()],
    append_time: Distribution,
    read_time: Distribution,
    delivery_time: [Distribution; KINDS.len()],
    followers: [u64; KINDS.len()],
    connections: u64,
    accepted: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            requests: Default::default(),
            problems: [0; Code::ALL.len()],
            append_time: Distribution::default(),
            read_time: Distribution::default(),
            delivery_time: Default::default(),
            followers: Default::default(),
            connections: 0,
            accepted: 0,
        }
    }
}

fn method_of(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::PATCH => 4,
        Method::DELETE => 5,
        Method::OPTIONS => 6,
        _ => 7,
    }
}

fn class_of(status: StatusCode) -> usize {
    match status.as_u16() {
        200..300 => 0,
        300..400 => 1,
        400..500 => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests;
