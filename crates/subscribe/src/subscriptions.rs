//! What clients may ask of subscriptions. Usable from every thread: work is done on the driver's.
//!
//! A request that is dropped changes nothing: what was begun is done to its end.

use std::{
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use millrace_core::{
    Offset, Refusal, StreamId, StreamName,
    subscription::{
        Ack, Claimed, Delivery, Phase, Subscription, SubscriptionConfig, SubscriptionId,
        SubscriptionRefusal,
    },
};
use millrace_engine::Engine;
use millrace_env::mutant::{self, Mutant};
use millrace_wire::{
    Problem,
    subscription::{AckRequest, Wake, acked, key_set},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    SubscriptionOptions,
    book::{Book, Entry, Inner},
    driver::Driver,
    metrics::{Counters, SubscriptionFigures},
    token::{self, Use},
};

/// BOUND: so many requests wait for the driver; more are refused.
const REQUESTS_MAX: usize = 1024;

/// The subscriptions of a server; cheap to clone.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    requests: mpsc::Sender<Request>,
    counters: Arc<Counters>,
    state: Arc<AtomicU8>,
}

/// Work for the driver.
pub(crate) enum Request {
    /// To be begun.
    Work(Box<dyn FnOnce(Rc<Book>) -> Working + Send>),
    /// Finish what is under way, and end.
    Stop(oneshot::Sender<()>),
}

pub(crate) type Working = Pin<Box<dyn Future<Output = ()>>>;

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Request")
    }
}

/// Whether a subscription was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was made.
    New,
    /// It was there, as it was asked for.
    Found,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The rules of subscriptions say no.
    Refused(SubscriptionRefusal),
    /// The engine does.
    Engine(Refusal),
}

impl From<SubscriptionRefusal> for Fault {
    fn from(refusal: SubscriptionRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Engine(refusal)
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(refusal) => refusal.into(),
            Fault::Engine(refusal) => refusal.into(),
        }
    }
}

/// How far the driver is.
pub(crate) const READING: u8 = 0;
pub(crate) const READY: u8 = 1;
pub(crate) const UNREADABLE: u8 = 2;

impl Subscriptions {
    /// The subscriptions of an engine, and the driver that has to be run for them.
    pub fn new(engine: Engine, options: SubscriptionOptions) -> (Self, Driver) {
        // Before anybody can append: what changes while subscriptions are read is not missed.
        engine.watch_changes();
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let own = Self {
            requests,
            counters: Arc::default(),
            state: Arc::new(AtomicU8::new(READING)),
        };
        let driver = Driver {
            engine,
            options,
            inbox,
            counters: Arc::clone(&own.counters),
            state: Arc::clone(&own.state),
        };
        (own, driver)
    }

    /// Why it takes no requests, if it does not.
    pub fn problem(&self) -> Option<&'static str> {
        match self.state.load(Ordering::SeqCst) {
            READY => None,
            READING => Some("reading subscriptions"),
            _ => Some("subscriptions cannot be read; see the log"),
        }
    }

    /// Waits until they are read, or cannot be.
    pub async fn read_all(&self) {
        // The first request is answered after that.
        let _ = self.ask(|_| async { Ok(()) }).await;
    }

    /// What was counted so far.
    pub fn figures(&self) -> SubscriptionFigures {
        self.counters.figures()
    }

    /// Finishes requests that are under way. Deliveries are cut; they are made again after a start.
    pub async fn stop(&self) {
        let (done, wait) = oneshot::channel();
        if self.requests.send(Request::Stop(done)).await.is_ok() {
            // A driver that ended on its own has nothing left to finish.
            let _ = wait.await;
        }
    }

    /// PUT: makes a subscription, or finds it as it was asked for, and tells of it. `origin` is where the
    /// server was reached.
    pub async fn create(
        &self,
        id: SubscriptionId,
        config: SubscriptionConfig,
        origin: String,
    ) -> Result<(Made, Vec<u8>), Fault> {
        self.ask(move |book| async move { book.create(id, config, origin).await })
            .await
    }

    /// GET.
    pub async fn read(&self, id: SubscriptionId) -> Result<Vec<u8>, Fault> {
        self.ask(move |book| async move { book.read(&id).await })
            .await
    }

    /// DELETE.
    pub async fn delete(&self, id: SubscriptionId) -> Result<(), Fault> {
        self.ask(move |book| async move { book.delete(&id).await })
            .await
    }

    /// Links streams by name.
    pub async fn add(&self, id: SubscriptionId, names: Vec<StreamName>) -> Result<(), Fault> {
        self.ask(move |book| async move { book.add(&id, names).await })
            .await
    }

    /// Takes back a link by name.
    pub async fn remove(&self, id: SubscriptionId, name: StreamName) -> Result<(), Fault> {
        self.ask(move |book| async move { book.remove(&id, name).await })
            .await
    }

    /// The public keys.
    pub async fn keys(&self) -> Result<Vec<u8>, Fault> {
        self.ask(move |book| async move {
            let keys = book.keys.lock().await;
            let published = keys.as_ref().map(crate::keys::Keys::published);
            Ok(key_set(&published.unwrap_or_default()))
        })
        .await
    }

    /// Takes the wake of a subscription for a worker, and tells what it is about.
    pub async fn claim(&self, id: SubscriptionId, worker: String) -> Result<Vec<u8>, Fault> {
        self.ask(move |book| async move { book.claim(&id, &worker).await })
            .await
    }

    /// A callback of a webhook's worker, who shows `token`.
    pub async fn callback(
        &self,
        id: SubscriptionId,
        token: Vec<u8>,
        ack: AckRequest,
    ) -> Result<Vec<u8>, Fault> {
        self.ask(move |book| async move { book.ack(&id, Use::Callback, &token, ack).await })
            .await
    }

    /// An ack of a worker that claimed, who shows `token`.
    pub async fn ack(
        &self,
        id: SubscriptionId,
        token: Vec<u8>,
        ack: AckRequest,
    ) -> Result<Vec<u8>, Fault> {
        self.ask(move |book| async move { book.ack(&id, Use::Claim, &token, ack).await })
            .await
    }

    /// A worker that claimed gives the wake back.
    pub async fn release(
        &self,
        id: SubscriptionId,
        token: Vec<u8>,
        ack: AckRequest,
    ) -> Result<(), Fault> {
        self.ask(move |book| async move { book.release(&id, &token, &ack).await })
            .await
    }

    /// Has something done on the driver's thread.
    async fn ask<T, W>(&self, work: impl FnOnce(Rc<Book>) -> W + Send + 'static) -> Result<T, Fault>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Fault>> + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let begin = move |book: Rc<Book>| -> Working {
            Box::pin(async move {
                // Whoever asked may have left.
                let _ = reply.send(work(book).await);
            })
        };
        let request = Request::Work(Box::new(begin));
        self.requests
            .try_send(request)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Refusal::Overloaded,
                mpsc::error::TrySendError::Closed(_) => Refusal::Unavailable,
            })?;
        answer
            .await
            .map_err(|_| Fault::from(Refusal::Unavailable))?
    }
}

impl Book {
    async fn claim(&self, id: &SubscriptionId, worker: &str) -> Result<Vec<u8>, Fault> {
        // Soon after a start it is not known yet what there is to do.
        self.caught_up.watcher().wait().await;
        let entry = self.by_id(id).ok_or(SubscriptionRefusal::NotFound)?;
        let mut inner = self.held(&entry).await?;
        let now = self.now();
        let is_held = match &inner.state.phase {
            Phase::Leased { until, .. } => *until > now,
            Phase::Idle | Phase::Woken { .. } => false,
        };
        // Who comes too late is told so without a look at streams.
        let snapshot = if is_held {
            crate::look::Snapshot::default()
        } else {
            self.snapshot(&entry, &mut inner).await?
        };
        let fresh = (!snapshot.told.is_empty()).then(|| self.fresh_wake());
        let facts = inner.state.claim(worker, fresh, now)?;
        self.record(&entry, &mut inner, facts).await?;
        let keys = self.keys.lock().await;
        let keys = keys.as_ref().ok_or(Refusal::Internal)?;
        let state = &inner.state;
        let wake_id = state.wake_id().ok_or(Refusal::Internal)?;
        Ok(Wake {
            id: &state.id,
            wake_id: &wake_id.0,
            generation: state.generation,
            pending: &snapshot.told,
            token: &token::issue(keys.secret(), state, Use::Claim, now),
        }
        .claimed(state.config.lease_ttl_ms))
    }

    async fn ack(
        &self,
        id: &SubscriptionId,
        r#use: Use,
        shown: &[u8],
        request: AckRequest,
    ) -> Result<Vec<u8>, Fault> {
        let entry = self.by_id(id).ok_or(SubscriptionRefusal::NotFound)?;
        let mut inner = self.held(&entry).await?;
        let own = matches!(
            (&entry.config.delivery, r#use),
            (Delivery::Webhook { .. }, Use::Callback) | (Delivery::PullWake { .. }, Use::Claim)
        );
        if !own {
            return Err(SubscriptionRefusal::OtherDelivery.into());
        }
        let claims = self.shown(&inner, r#use, shown).await?;
        let claimed = claimed(&claims, &request, &inner.state);
        let done = request.done;
        // Fenced comes before anything that its offsets may have wrong.
        let nothing = Ack {
            cursors: Vec::new(),
            done,
        };
        self.judged(inner.state.ack(claimed, nothing, self.now()))?;
        let cursors = self.cursors_of(&inner, &request.acks).await?;
        let ack = Ack { cursors, done };
        let fact = self.judged(inner.state.ack(claimed, ack, self.now()))?;
        self.record(&entry, &mut inner, vec![fact]).await?;
        inner.called_back = true;
        let next_wake = done && self.has_work(&entry, &mut inner);
        if next_wake {
            self.visit(&entry);
        }
        Ok(acked(next_wake))
    }

    async fn release(
        &self,
        id: &SubscriptionId,
        shown: &[u8],
        request: &AckRequest,
    ) -> Result<(), Fault> {
        let entry = self.by_id(id).ok_or(SubscriptionRefusal::NotFound)?;
        let mut inner = self.held(&entry).await?;
        if matches!(entry.config.delivery, Delivery::Webhook { .. }) {
            return Err(SubscriptionRefusal::OtherDelivery.into());
        }
        let claims = self.shown(&inner, Use::Claim, shown).await?;
        let judged = inner
            .state
            .release(claimed(&claims, request, &inner.state), self.now());
        let fact = self.judged(judged)?;
        self.record(&entry, &mut inner, vec![fact]).await?;
        self.visit(&entry);
        Ok(())
    }

    /// A subscription to be changed, unless it was deleted meanwhile.
    async fn held<'a>(
        &self,
        entry: &'a Entry,
    ) -> Result<tokio::sync::MutexGuard<'a, Inner>, SubscriptionRefusal> {
        let inner = entry.inner.lock().await;
        if inner.deleted {
            return Err(SubscriptionRefusal::NotFound);
        }
        Ok(inner)
    }

    async fn shown(&self, inner: &Inner, r#use: Use, shown: &[u8]) -> Result<token::Claims, Fault> {
        let keys = self.keys.lock().await;
        let keys = keys.as_ref().ok_or(Refusal::Internal)?;
        let claims = token::check(keys.secret(), &inner.state, r#use, shown, self.now())?;
        Ok(claims)
    }

    fn judged<T>(&self, judged: Result<T, SubscriptionRefusal>) -> Result<T, SubscriptionRefusal> {
        if matches!(judged, Err(SubscriptionRefusal::Fenced)) {
            self.counters.fenced.increment();
        }
        judged
    }

    /// The streams that an ack names. Those that are gone, or no longer linked, are passed over.
    async fn cursors_of(
        &self,
        inner: &Inner,
        acks: &[(StreamName, Offset)],
    ) -> Result<Vec<(StreamId, Offset)>, Fault> {
        let mut cursors = Vec::with_capacity(acks.len());
        for (name, offset) in acks {
            if !inner.state.is_linked(name.as_str()) {
                continue;
            }
            match self.engine.open(name).await {
                Ok(stream) if stream.owns(*offset) => cursors.push((stream.head().id, *offset)),
                Ok(_) => return Err(SubscriptionRefusal::Offset(name.as_str().to_owned()).into()),
                Err(Refusal::NotFound | Refusal::SoftDeleted) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Ok(cursors)
    }
}

fn claimed<'a>(
    claims: &'a token::Claims,
    request: &'a AckRequest,
    current: &'a Subscription,
) -> Claimed<'a> {
    if mutant::is(Mutant::LetFencedThrough) {
        let wake_id = current.wake_id().map_or("", |wake| wake.0.as_str());
        return Claimed {
            token_generation: current.generation,
            token_wake: wake_id,
            generation: current.generation,
            wake_id,
        };
    }
    Claimed {
        token_generation: claims.r#gen,
        token_wake: &claims.wake,
        generation: request.generation,
        wake_id: &request.wake_id,
    }
}
