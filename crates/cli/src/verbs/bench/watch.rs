//! How far a run is, as another thread sees it, and what is said when it is interrupted.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use millrace_bench::{BenchError, Kind, Phase, Plan, Progress};

use super::bar::Bar;
use crate::{
    signals::LastWord,
    verbs::{args::BenchArgs, place, shell_word},
};

/// What the verb and its load share.
pub(super) struct Watch {
    is_stopped: AtomicBool,
    seen: Mutex<Seen>,
    bar: Bar,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    requests: u64,
    deliveries: u64,
    /// Since the load began, warm-up included.
    elapsed: Duration,
    /// Streams that there may be.
    streams: usize,
    subscriptions: usize,
    /// Whether what was appended is known to be there.
    is_verified: bool,
    is_stopped: bool,
    /// What changes as something comes of it after a stop.
    state: Option<State>,
}

/// The phase, and how many streams and subscriptions there may be.
pub(super) type State = (Phase, usize, usize);

impl Watch {
    pub(super) fn new(bar: Bar) -> Self {
        Self {
            is_stopped: AtomicBool::new(false),
            seen: Mutex::default(),
            bar,
        }
    }

    /// Called by the load; an error ends it.
    pub(super) fn look(&self, progress: Progress) -> Result<(), BenchError> {
        self.bar.show(progress);
        self.seen().take(progress);
        if self.is_stopped.load(Ordering::Acquire) {
            return Err(BenchError::Stopped);
        }
        Ok(())
    }

    /// The load is to end soon.
    pub(super) fn stop(&self) {
        self.seen().is_stopped = true;
        self.is_stopped.store(true, Ordering::Release);
    }

    /// What differs from the last time when the load still gets on.
    pub(super) fn looks(&self) -> Option<State> {
        self.seen().state
    }

    pub(super) fn end(&self) {
        self.bar.end();
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was done, what is left, and how to be rid of it.
    pub(super) fn last_word(&self, args: &BenchArgs, plan: &Plan) -> LastWord {
        let seen = *self.seen();
        let measured = seen.elapsed.saturating_sub(plan.warmup).as_secs_f64();
        let what = format!("{}; {}", seen.done(plan, measured), seen.left(plan));
        let help = match seen.streams {
            0 => "run the same command again".to_owned(),
            streams => removal(args, plan, streams),
        };
        LastWord::new(what, help)
            .fact("requests", seen.requests)
            .fact("deliveries", seen.deliveries)
            .fact("measured_s", measured)
            .fact("streams_left", seen.streams)
            .fact("subscriptions_left", seen.subscriptions)
            .fact("stream_prefix", prefix(plan))
    }
}

impl Seen {
    fn take(&mut self, progress: Progress) {
        let Progress {
            phase,
            requests,
            deliveries,
            streams,
            subscriptions,
            elapsed,
        } = progress;
        (self.streams, self.subscriptions) = (streams, subscriptions);
        self.state = Some((phase, streams, subscriptions));
        if requests > 0 || deliveries > 0 {
            self.requests = requests;
            self.deliveries = deliveries;
            self.elapsed = elapsed;
        }
        self.is_verified |= phase == Phase::Deleting && !self.is_stopped;
    }

    fn done(&self, plan: &Plan, measured: f64) -> String {
        let Self {
            requests,
            deliveries,
            ..
        } = self;
        if *requests == 0 && *deliveries == 0 {
            return "before anything was measured".to_owned();
        }
        let delivered = match deliveries {
            0 => String::new(),
            _ => format!(" and {deliveries} deliveries"),
        };
        let is_read_back = matches!(plan.kind, Kind::Append | Kind::Json | Kind::Create);
        let verified = if is_read_back && !self.is_verified {
            ", of which nothing was verified"
        } else {
            ""
        };
        format!("after {requests} requests{delivered} in {measured:.1} s{verified}")
    }

    fn left(&self, plan: &Plan) -> String {
        let subscribed = match self.subscriptions {
            0 => String::new(),
            number => format!(
                ", and up to {number} subscriptions whose ids begin with {}",
                prefix(plan)
            ),
        };
        let streams = match self.streams {
            0 => "none of its streams is there".to_owned(),
            streams if plan.keep => format!("up to {streams} streams are kept"),
            streams => format!("up to {streams} of its streams may still be there"),
        };
        streams + &subscribed
    }
}

/// What the names of all streams of a run begin with.
fn prefix(plan: &Plan) -> String {
    let name = plan.name(0);
    let end = name.rfind('-').map_or(name.len(), |dash| dash + 1);
    name[..end].to_owned()
}

/// The command that removes what is left.
fn removal(args: &BenchArgs, plan: &Plan, streams: usize) -> String {
    let prefix = prefix(plan);
    if args.path.trim_matches('/') != "v1/stream" {
        return format!("delete the streams whose names begin with {prefix}");
    }
    let rm = |rest: &str| place::command(&args.server, "rm", rest);
    if streams == 1 {
        let name = shell_word(&plan.name(0));
        return format!("remove it with `{}`", rm(&format!("--missing-ok {name}")));
    }
    let ls = place::command(&args.server, "ls", &format!("--prefix {prefix}"));
    let rm = rm("--missing-ok");
    format!("remove them with `{ls} | awk '{{print $NF}}' | xargs {rm}`")
}

/// Of a run whose figures nobody took.
pub(super) fn unread() -> LastWord {
    LastWord::new(
        "before all of its figures were printed; the run itself was whole",
        "run the same command again",
    )
}
