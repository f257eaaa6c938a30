//! The subscriptions of a server, as the driver's thread has them, and how one is changed.

use std::{
    borrow::Cow,
    cell::{Cell, Ref, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use millrace_core::{
    Refusal, StreamId, Timestamp,
    subscription::{Subscription, SubscriptionConfig, SubscriptionEvent, SubscriptionId, WakeId},
};
use millrace_engine::Engine;
use millrace_env::{
    Switch,
    mutant::{self, Mutant},
};
use ring::digest;
use tokio::sync::{Mutex, Notify};

use crate::{
    SubscriptionOptions,
    index::{Found, Index, Key},
    journal::Journal,
    keys::Keys,
    metrics::Counters,
    webhook::Rooms,
};

/// What the names of journals of subscriptions begin with.
const PREFIX: &str = "__ds/sub/";
/// How many cursors one fact holds.
const CURSORS_AT_ONCE: usize = 5000;

/// All that the driver's tasks share.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) engine: Engine,
    pub(crate) options: SubscriptionOptions,
    pub(crate) index: RefCell<Index>,
    entries: RefCell<Entries>,
    /// Made with the first subscription. Held while they are made or renewed.
    pub(crate) keys: Mutex<Option<Keys>>,
    /// Held while a subscription is made or deleted: one at a time.
    pub(crate) making: Mutex<()>,
    /// Somebody is to be looked after.
    pub(crate) news: Notify,
    pub(crate) counters: Arc<Counters>,
    pub(crate) rooms: Rooms,
    /// Everything that was appended before the start is known.
    pub(crate) caught_up: Switch,
}

#[derive(Debug, Default)]
struct Entries {
    by_id: BTreeMap<SubscriptionId, Rc<Entry>>,
    by_key: BTreeMap<Key, Rc<Entry>>,
    next: u64,
}

/// A subscription.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) config: Arc<SubscriptionConfig>,
    pub(crate) hash: [u8; 32],
    pub(crate) inner: Mutex<Inner>,
    /// Somebody looks after it.
    pub(crate) busy: Cell<bool>,
    /// It is to be looked after again.
    pub(crate) again: Cell<bool>,
}

/// Its state. Changed by [`Book::record`] alone.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) state: Subscription,
    journal: Journal<SubscriptionEvent>,
    /// Streams that have something, as far as it looked. BOUND: about those of one wake.
    pub(crate) pending: BTreeMap<StreamId, Found>,
    pub(crate) deleted: bool,
    /// Of a wake that is not claimed: whether its event was appended, and if that failed, how often
    /// and when it is tried again.
    pub(crate) announced: bool,
    pub(crate) announce_failures: u32,
    pub(crate) announce_at: Option<Timestamp>,
    /// The worker of this wake called back.
    pub(crate) called_back: bool,
}

impl Book {
    pub(crate) fn new(
        engine: Engine,
        options: SubscriptionOptions,
        counters: Arc<Counters>,
    ) -> Rc<Self> {
        let seed = engine.env().rng.next();
        Rc::new(Self {
            engine,
            options,
            index: RefCell::new(Index::new(seed)),
            entries: RefCell::default(),
            keys: Mutex::new(None),
            making: Mutex::new(()),
            news: Notify::new(),
            counters,
            rooms: Rooms::default(),
            caught_up: Switch::new(),
        })
    }

    /// Reads what earlier starts left.
    pub(crate) async fn load(&self) -> Result<(), Refusal> {
        *self.keys.lock().await = Keys::read(&self.engine).await?;
        let is_whole = |facts: &[SubscriptionEvent]| {
            let mut facts = facts.iter();
            facts.any(|fact| matches!(fact, SubscriptionEvent::Complete))
        };
        let found = Journal::read_all(&self.engine, PREFIX, is_whole).await?;
        for (journal, facts) in found {
            let first = facts.first().and_then(Subscription::created);
            let mut state = first.ok_or_else(|| {
                tracing::error!("the journal of a subscription does not begin with its creation");
                Refusal::Corrupt
            })?;
            for fact in &facts {
                state.apply(fact);
            }
            state.clamp_lease(self.now());
            let key = self.next_key();
            let config = Arc::new(state.config.clone());
            let explicit = state.explicit.clone();
            self.index.borrow_mut().watch(key, config, explicit);
            let entry = self.enter(key, state, journal);
            self.visit(&entry);
        }
        Ok(())
    }

    /// The time of this moment's work.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.engine.env().clock.wall())
    }

    /// Takes up what changed so far. Whether anything did.
    pub(crate) fn drain(&self) -> bool {
        let changes = self.engine.changes();
        if changes.is_empty() {
            return false;
        }
        if self.index.borrow_mut().take(changes) {
            self.news.notify_one();
        }
        true
    }

    pub(crate) fn by_id(&self, id: &SubscriptionId) -> Option<Rc<Entry>> {
        self.entries.borrow().by_id.get(id).cloned()
    }

    pub(crate) fn by_key(&self, key: Key) -> Option<Rc<Entry>> {
        self.entries.borrow().by_key.get(&key).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Rc<Entry>> {
        self.entries().by_key.values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries().by_key.len()
    }

    fn entries(&self) -> Ref<'_, Entries> {
        self.entries.borrow()
    }

    pub(crate) fn next_key(&self) -> Key {
        let mut entries = self.entries.borrow_mut();
        entries.next += 1;
        Key(entries.next)
    }

    /// From here on a subscription is there.
    pub(crate) fn enter(
        &self,
        key: Key,
        state: Subscription,
        journal: Journal<SubscriptionEvent>,
    ) -> Rc<Entry> {
        let entry = Rc::new(Entry {
            key,
            config: Arc::new(state.config.clone()),
            hash: hash(&state.config),
            busy: Cell::new(false),
            again: Cell::new(false),
            inner: Mutex::new(Inner {
                state,
                journal,
                pending: BTreeMap::new(),
                deleted: false,
                announced: false,
                announce_failures: 0,
                announce_at: None,
                called_back: false,
            }),
        });
        let id = entry.inner.try_lock().map(|inner| inner.state.id.clone());
        let id = id.expect("nobody else has it yet");
        let mut entries = self.entries.borrow_mut();
        entries.by_id.insert(id, Rc::clone(&entry));
        entries.by_key.insert(key, Rc::clone(&entry));
        self.counters.subscriptions.set(entries.by_key.len() as u64);
        entry
    }

    /// A subscription is there no more.
    pub(crate) fn leave(&self, entry: &Entry, id: &SubscriptionId) {
        self.index.borrow_mut().unwatch(entry.key);
        let mut entries = self.entries.borrow_mut();
        entries.by_id.remove(id);
        entries.by_key.remove(&entry.key);
        self.counters.subscriptions.set(entries.by_key.len() as u64);
    }

    /// Has a subscription looked after.
    pub(crate) fn visit(&self, entry: &Entry) {
        self.index.borrow_mut().visit(entry.key);
        self.news.notify_one();
    }

    /// Keeps facts, then takes them up. DURABILITY: after a refusal they may be on disk or not, as with
    /// any append; the log of such a shard takes nothing more, so nothing is built on either.
    pub(crate) async fn record(
        &self,
        entry: &Entry,
        inner: &mut Inner,
        facts: Vec<SubscriptionEvent>,
    ) -> Result<(), Refusal> {
        inner.journal.add(&kept(&facts)).await?;
        for fact in &facts {
            if matches!(fact, SubscriptionEvent::Woken { .. }) {
                self.counters.wakes.increment();
                inner.announced = false;
                inner.announce_failures = 0;
                inner.announce_at = None;
                inner.called_back = false;
            }
            inner.state.apply(fact);
        }
        let state = &inner.state;
        inner
            .pending
            .retain(|id, found| state.is_pending(*id, found.start, found.tail));
        self.renew_if_long(entry, inner).await;
        self.set_due(entry, inner);
        Ok(())
    }

    async fn renew_if_long(&self, entry: &Entry, inner: &mut Inner) {
        if !inner.journal.is_long() {
            return;
        }
        for gone in self.index.borrow_mut().take_gone(entry.key) {
            inner.state.cursors.remove(&gone);
        }
        if let Err(refusal) = inner.journal.renew(&whole(&inner.state)).await {
            tracing::warn!(%refusal, subscription = %inner.state.id, "the journal of a subscription cannot be renewed; it will be tried again");
        }
    }

    /// Ends the journal of a subscription.
    pub(crate) async fn delete_journal(&self, inner: &Inner) -> Result<(), Refusal> {
        inner.journal.delete().await
    }

    /// Sees to it that it is looked after when something is due.
    pub(crate) fn set_due(&self, entry: &Entry, inner: &Inner) {
        let now = self.now();
        let dues = [inner.state.due(), inner.announce_at];
        let due = dues.into_iter().flatten().filter(|due| *due > now).min();
        self.ring_at(entry, due);
    }

    /// The driver has to hear of what is due before all else: it may sleep for longer.
    fn ring_at(&self, entry: &Entry, due: Option<Timestamp>) {
        let mut index = self.index.borrow_mut();
        let before = index.next_due();
        index.set_due(entry.key, due);
        if due.is_some_and(|due| before.is_none_or(|before| due < before)) {
            self.news.notify_one();
        }
    }

    /// Has it looked after a little later, because something could not be done now.
    pub(crate) fn try_later(&self, entry: &Entry) {
        const PAUSE_MILLIS: u64 = 1000;
        let due = self.now().plus_millis(PAUSE_MILLIS);
        self.ring_at(entry, Some(due));
    }

    /// An id that no other wake has.
    pub(crate) fn fresh_wake(&self) -> WakeId {
        let rng = &self.engine.env().rng;
        WakeId(format!("w_{:016x}{:016x}", rng.next(), rng.next()))
    }

    /// Where the server is reached, for who is told of a subscription.
    pub(crate) fn origin<'a>(&'a self, state: &'a Subscription) -> &'a str {
        self.options.public_url.as_deref().unwrap_or(&state.origin)
    }
}

/// What of these facts is kept: all.
fn kept(facts: &[SubscriptionEvent]) -> Cow<'_, [SubscriptionEvent]> {
    let mut facts = Cow::Borrowed(facts);
    if mutant::is(Mutant::ForgetAcks) {
        for fact in facts.to_mut() {
            if let SubscriptionEvent::Acked { cursors, .. }
            | SubscriptionEvent::Ended { cursors, .. } = fact
            {
                cursors.clear();
            }
        }
    }
    facts
}

/// The name of a subscription's journals, without the number.
pub(crate) fn journal_prefix(id: &SubscriptionId) -> String {
    format!("{PREFIX}{id}/")
}

/// PROTOCOL 6.2: the hash of the normalised configuration.
pub(crate) fn hash(config: &SubscriptionConfig) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, &config.canonical());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// The facts that a state is made of, and no more.
pub(crate) fn whole(state: &Subscription) -> Vec<SubscriptionEvent> {
    let mut facts = vec![SubscriptionEvent::Created {
        id: state.id.clone(),
        config: state.config.clone(),
        born: state.born.clone(),
        origin: state.origin.clone(),
        at: state.created_at,
    }];
    let explicit: Vec<_> = state.explicit.iter().cloned().collect();
    if !explicit.is_empty() {
        facts.push(SubscriptionEvent::Added { streams: explicit });
    }
    let cursors: Vec<_> = state.cursors.iter().map(|(id, at)| (*id, *at)).collect();
    let linked = cursors.chunks(CURSORS_AT_ONCE);
    facts.extend(linked.map(|cursors| SubscriptionEvent::Linked {
        cursors: cursors.to_vec(),
    }));
    facts.push(SubscriptionEvent::State {
        generation: state.generation,
        phase: state.phase.clone(),
        retry: state.retry,
    });
    facts.push(SubscriptionEvent::Complete);
    facts
}

/// The streams that are named, for the index.
pub(crate) fn explicit_of(state: &Subscription) -> BTreeSet<millrace_core::StreamName> {
    state.explicit.clone()
}
