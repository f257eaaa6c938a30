//! What a run does.

use std::time::Duration;

use crate::{BenchError, chain::MESSAGE_BYTES_MIN, work::Content};

/// Names have so many digits.
const STREAMS_MAX: usize = 999_999_999;
/// The most streams of one connection (`docs/extensions.md`).
const FOLLOWED_MAX: usize = 1_000;

/// The kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Appends of one message of bytes each.
    Append,
    /// Appends of a JSON document, or of an array of [`Plan::batch`] of them.
    Json,
    /// Creations of streams.
    Create,
    /// Reads of the last message of a stream.
    Read,
    /// Reads at the tail, where there is nothing.
    Tail,
    /// HEAD of a stream.
    Head,
    /// Reads of a whole stream of [`Plan::prefill`] bytes.
    CatchUp,
    /// [`Plan::subscribers`] of one stream by server-sent events, and one writer.
    Sse,
    /// [`Plan::subscribers`] that read a stream of [`Plan::prefill`] bytes by server-sent events.
    SseReplay,
    /// [`Plan::subscribers`] of one stream by long-polls, and one writer.
    LongPoll,
    /// [`Plan::subscribers`] that each follow all streams on one connection, and one writer that
    /// appends to the streams in turn.
    Live,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Append,
        Self::Json,
        Self::Create,
        Self::Read,
        Self::Tail,
        Self::Head,
        Self::CatchUp,
        Self::Sse,
        Self::SseReplay,
        Self::LongPoll,
        Self::Live,
    ];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Json => "json",
            Self::Create => "create",
            Self::Read => "read",
            Self::Tail => "tail",
            Self::Head => "head",
            Self::CatchUp => "catch-up",
            Self::Sse => "sse",
            Self::SseReplay => "sse-replay",
            Self::LongPoll => "long-poll",
            Self::Live => "live",
        }
    }

    /// Whether subscribers wait for what a writer appends.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Sse | Self::LongPoll | Self::Live)
    }
}

/// What a run does; the defaults are those of `millrace bench`.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The kind of load.
    pub kind: Kind,
    /// Connections that send requests; live kinds have one writer beside their subscribers.
    pub connections: usize,
    /// How many streams they spread over, or create at most.
    pub streams: usize,
    /// Bytes of a message.
    pub size: usize,
    /// Messages of a request, JSON only.
    pub batch: usize,
    /// Requests a second, each measured from when it was due; none: the next when one is answered.
    pub rate: Option<f64>,
    /// Live readers.
    pub subscribers: usize,
    /// Pull-wake subscriptions of which each means every stream by a pattern, and whose wakes nobody
    /// takes up; appends only.
    pub subscriptions: usize,
    /// Bytes to be there before.
    pub prefill: u64,
    /// Runs like that, unmeasured, first.
    pub warmup: Duration,
    /// How long is measured; what reads a stream once ends when it has.
    pub duration: Duration,
    /// At most so many streams are read back and verified at the end.
    pub verify: usize,
    /// Leave the streams where they are.
    pub keep: bool,
    /// What is there already; none: the run fills its stream itself.
    pub found: Option<Content>,
    /// Tells the streams of this run from those of others.
    pub run: u64,
}

impl Plan {
    /// Ten seconds of one kind, on 16 connections.
    pub fn new(kind: Kind, run: u64) -> Self {
        Self {
            kind,
            connections: 16,
            streams: match kind {
                Kind::Create => STREAMS_MAX,
                Kind::Live => FOLLOWED_MAX,
                _ => 1,
            },
            size: if matches!(kind, Kind::Read | Kind::Tail | Kind::Head) {
                1024
            } else {
                128
            },
            batch: 1,
            rate: None,
            subscribers: if kind == Kind::Live { 1 } else { 100 },
            subscriptions: 0,
            prefill: 128 << 20,
            warmup: Duration::from_secs(1),
            duration: Duration::from_secs(10),
            verify: 1_000,
            keep: false,
            found: None,
            run,
        }
    }

    /// Refuses what cannot be done.
    pub(crate) fn check(&self) -> Result<(), BenchError> {
        let refuse = |what: String| Err(BenchError::Plan(what));
        if self.connections == 0 || self.streams == 0 || self.batch == 0 {
            return refuse("connections, streams and batch are at least 1".to_owned());
        }
        if self.size < MESSAGE_BYTES_MIN {
            return refuse(format!(
                "a message that can be verified has at least {MESSAGE_BYTES_MIN} bytes; raise --size"
            ));
        }
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e9)) {
            return refuse("a rate is above 0 and at most 1000000000 a second".to_owned());
        }
        if self.duration.is_zero() {
            return refuse("nothing can be measured in no time; raise --duration".to_owned());
        }
        if self.kind.is_live() && self.subscribers == 0 {
            return refuse("a live kind needs subscribers".to_owned());
        }
        if self.kind == Kind::Live && self.streams > FOLLOWED_MAX {
            return refuse(format!(
                "a connection follows at most {FOLLOWED_MAX} streams; lower --streams"
            ));
        }
        if self.subscriptions > 0 && !matches!(self.kind, Kind::Append | Kind::Json) {
            return refuse("subscriptions go with append and json only".to_owned());
        }
        Ok(())
    }

    /// A stream's name: 32 bytes or a few more, told apart at the end, as names with a counter are.
    pub fn name(&self, stream: usize) -> String {
        format!("bench-{:016x}-{stream:09}", self.run)
    }

    /// The subscription of this number; the names of all begin as those of streams do.
    pub(crate) fn subscription(&self, number: usize) -> String {
        format!("__ds/subscriptions/{}", self.name(number))
    }

    /// What all subscriptions mean: every stream of the run, wherever it stands. It fits the stream of
    /// their wakes too, which they all leave out because it wakes them.
    pub(crate) fn pattern(&self) -> String {
        format!("**/bench-{:016x}-*", self.run)
    }

    /// The stream of their wakes.
    pub(crate) fn wakes(&self) -> String {
        format!("bench-{:016x}-wakes", self.run)
    }
}
