//! What all requests share: configuration, the engine once it is open, request ids.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use millrace_core::Timestamp;
use millrace_engine::Engine;
use millrace_env::Env;
use millrace_subscribe::Subscriptions;
use millrace_wire::{HttpFault, Problem, cursor};

use crate::{access::Grant, bodies::Bulk, config::Config, metrics::Metrics, refusals::Refusals};

/// The header that carries a request's id, both ways.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id of a client that is taken over.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Shared by all connections of all cores.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) env: Env,
    /// How often clients were refused.
    pub(crate) refusals: Arc<Refusals>,
    /// Set once, when recovery is done.
    engine: OnceLock<Engine>,
    /// Set with it.
    subscriptions: OnceLock<Subscriptions>,
    pub(crate) metrics: Metrics,
    /// Where long answers wait for their turn.
    pub(crate) bulk: Bulk,
    pub(crate) started: Started,
    /// Tells the requests of one process from those of another in one log.
    process: u64,
    requests: AtomicU64,
}

/// When the server started, by the clock on the wall and by the stopwatch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    pub(crate) wall: Timestamp,
    pub(crate) mono: Duration,
}

impl App {
    pub(crate) fn new(config: Config, env: Env) -> Self {
        let process = env.rng.next() << 32;
        let started = Started {
            wall: Timestamp(env.clock.wall()),
            mono: env.clock.mono(),
        };
        Self {
            config,
            env,
            refusals: Arc::default(),
            engine: OnceLock::new(),
            subscriptions: OnceLock::new(),
            metrics: Metrics::default(),
            bulk: Bulk::default(),
            started,
            process,
            requests: AtomicU64::new(0),
        }
    }

    /// The engine, for a request that may use it; or the answer to who came too early.
    ///
    /// INVARIANT: a request reaches streams here alone, so none does without a decision.
    pub(crate) fn engine(&self, _grant: &Grant) -> Result<&Engine, Problem> {
        self.opened().ok_or_else(|| {
            let reason = "recovering".to_owned();
            Problem::from(HttpFault::NotReady { reason })
        })
    }

    /// Subscriptions, for a request that may use them.
    pub(crate) fn subscriptions(&self, _grant: &Grant) -> Result<&Subscriptions, Problem> {
        self.subscriptions_by_token()
    }

    /// Subscriptions, for a request that shows the token of a wake, which they judge themselves; and for
    /// public keys.
    pub(crate) fn subscriptions_by_token(&self) -> Result<&Subscriptions, Problem> {
        self.opened_subscriptions().ok_or_else(|| {
            let reason = "recovering".to_owned();
            Problem::from(HttpFault::NotReady { reason })
        })
    }

    /// Subscriptions once the engine is open, for the server itself.
    pub(crate) fn opened_subscriptions(&self) -> Option<&Subscriptions> {
        self.subscriptions.get()
    }

    /// The engine once it is open, for the server itself.
    pub(crate) fn opened(&self) -> Option<&Engine> {
        self.engine.get()
    }

    /// From here on requests reach streams.
    pub(crate) fn open(&self, engine: Engine, subscriptions: Subscriptions) {
        // Opening happens once; a second engine would have no shards.
        let _ = self.subscriptions.set(subscriptions);
        let _ = self.engine.set(engine);
    }

    /// Why the server takes no work; empty when it does.
    pub(crate) fn problems(&self) -> Vec<String> {
        match self.engine.get() {
            None => vec!["recovering".to_owned()],
            Some(engine) if engine.stopping().is_stopping() => vec!["stopping".to_owned()],
            Some(engine) => {
                let subscriptions = self.subscriptions.get();
                let problem = subscriptions.and_then(Subscriptions::problem);
                let problem = problem.map(str::to_owned);
                engine
                    .status()
                    .problems
                    .into_iter()
                    .chain(problem)
                    .collect()
            }
        }
    }

    /// What somebody should look at, though the server takes work.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.engine
            .get()
            .map_or_else(Vec::new, |engine| engine.status().warnings)
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.env.clock.wall())
    }

    /// The cursor of an answer to a client that sent `client`.
    pub(crate) fn cursor(&self, client: Option<u64>) -> u64 {
        cursor::next(self.now(), client, self.env.rng.next())
    }

    /// The client's own id where it is fit for a log, else a new one.
    pub(crate) fn request_id(&self, headers: &HeaderMap) -> HeaderValue {
        let fit = |id: &&HeaderValue| {
            (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
                && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        if let Some(id) = headers.get(REQUEST_ID).filter(fit) {
            return id.clone();
        }
        HeaderValue::from_bytes(&self.new_request_id()).expect("hexadecimal digits")
    }

    /// A new id.
    pub(crate) fn new_request_id(&self) -> [u8; 16] {
        let number = self.process | self.requests.fetch_add(1, Ordering::Relaxed) & 0xFFFF_FFFF;
        let digit = |shift: usize| b"0123456789abcdef"[(number >> (4 * shift) & 0xF) as usize];
        std::array::from_fn(|at| digit(15 - at))
    }
}
