//! Looking after one subscription: what it has to do, and beginning a wake for it.

use std::rc::Rc;

use millrace_core::{
    Append, ContentType, ProducerClaim, ProducerId, Refusal, StreamId, StreamName,
    limits::WAKE_STREAMS_MAX,
    subscription::{Delivery, Phase, retry},
};
use millrace_wire::{
    frame,
    subscription::{Link, Pending, Wake, says_done, wake_event},
};

use crate::{
    book::{Book, Entry, Inner},
    token::{self, Use},
    webhook::Post,
};

/// How many changed streams are looked at in one go.
const FOUND_AT_ONCE: usize = 256;

/// The streams of a wake, as they are told, and which they are.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) told: Vec<Pending>,
    pub(crate) ids: Vec<StreamId>,
}

impl Snapshot {
    /// Up to where everything is processed when the work is done.
    pub(crate) fn tails(&self) -> Vec<(StreamId, millrace_core::Offset)> {
        let tails = self.told.iter().map(|pending| pending.tail);
        self.ids.iter().copied().zip(tails).collect()
    }
}

/// Looks after a subscription, again for as long as there was news meanwhile. One task at a time does.
pub(crate) async fn look_after(book: Rc<Book>, entry: Rc<Entry>) {
    loop {
        entry.again.set(false);
        match &entry.config.delivery {
            Delivery::Webhook { url } => deliver(&book, &entry, url).await,
            Delivery::PullWake { wake_stream } => announce(&book, &entry, wake_stream).await,
        }
        if !entry.again.get() {
            break;
        }
    }
    entry.busy.set(false);
}

impl Book {
    /// Finds streams that have something, until there are as many as a wake tells of, or no more. With
    /// none, the subscription is told of the next change.
    pub(crate) fn gather(&self, entry: &Entry, inner: &mut Inner, most: usize) {
        self.drain();
        let mut index = self.index.borrow_mut();
        for gone in index.take_gone(entry.key) {
            inner.pending.remove(&gone);
            inner.state.cursors.remove(&gone);
        }
        while inner.pending.len() < most {
            let found = index.next(entry.key, FOUND_AT_ONCE, inner.pending.is_empty());
            if found.is_empty() {
                break;
            }
            for found in found {
                if inner.state.is_pending(found.id, found.start, found.tail) {
                    inner.pending.insert(found.id, found);
                }
            }
        }
    }

    /// Whether there is anything to be processed.
    pub(crate) fn has_work(&self, entry: &Entry, inner: &mut Inner) -> bool {
        self.gather(entry, inner, 1);
        !inner.pending.is_empty()
    }

    /// What a wake that begins now tells of. Empty when there is nothing to do.
    pub(crate) async fn snapshot(
        &self,
        entry: &Entry,
        inner: &mut Inner,
    ) -> Result<Snapshot, Refusal> {
        loop {
            self.gather(entry, inner, WAKE_STREAMS_MAX);
            if inner.pending.is_empty() {
                return Ok(Snapshot::default());
            }
            let snapshot = self.look_at_pending(inner).await?;
            if !snapshot.told.is_empty() {
                return Ok(snapshot);
            }
        }
    }

    /// What is pending as it is now; what is not any more is dropped.
    async fn look_at_pending(&self, inner: &mut Inner) -> Result<Snapshot, Refusal> {
        let mut snapshot = Snapshot::default();
        let pending: Vec<_> = inner.pending.values().cloned().collect();
        for found in pending {
            if snapshot.told.len() == WAKE_STREAMS_MAX {
                break;
            }
            let told = self.look_at(inner, found.id, &found.name).await?;
            match told {
                Some(told) => {
                    snapshot.ids.push(found.id);
                    snapshot.told.push(told);
                }
                None => {
                    inner.pending.remove(&found.id);
                }
            }
        }
        Ok(snapshot)
    }

    async fn look_at(
        &self,
        inner: &Inner,
        id: StreamId,
        name: &StreamName,
    ) -> Result<Option<Pending>, Refusal> {
        let Some(link) = Link::of(&inner.state, name.as_str()) else {
            return Ok(None);
        };
        let stream = match self.engine.open(name).await {
            Ok(stream) => stream,
            Err(Refusal::NotFound | Refusal::SoftDeleted) => return Ok(None),
            Err(refusal) => return Err(refusal),
        };
        let head = stream.head();
        // Another one may have its name by now: that is a change of its own.
        if head.id != id || !inner.state.is_pending(id, head.start, head.tail) {
            return Ok(None);
        }
        let acked = inner.state.cursors.get(&id).copied();
        Ok(Some(Pending {
            name: name.clone(),
            link,
            // A tail that was lost takes its offset with it: all is read again.
            acked: acked.filter(|at| stream.owns(*at)).unwrap_or(head.start),
            tail: head.tail,
        }))
    }

    /// Ends what has run out, and begins a wake where there is something to do and it may.
    async fn begin(&self, entry: &Entry, inner: &mut Inner) -> Result<Option<Snapshot>, Refusal> {
        if inner.deleted || !self.may_begin(entry, inner).await? {
            return Ok(None);
        }
        let snapshot = self.snapshot(entry, inner).await?;
        if snapshot.told.is_empty() {
            return Ok(None);
        }
        let Some(woken) = inner.state.wake(self.fresh_wake(), self.now()) else {
            return Ok(None);
        };
        self.record(entry, inner, vec![woken]).await?;
        Ok(Some(snapshot))
    }

    /// Ends a lease that has run out. Whether a wake may begin.
    async fn may_begin(&self, entry: &Entry, inner: &mut Inner) -> Result<bool, Refusal> {
        let now = self.now();
        if let Some(expired) = inner.state.expire(now) {
            self.counters.expired.increment();
            self.record(entry, inner, vec![expired]).await?;
        }
        let retry = inner.state.retry;
        let is_early = retry.is_some_and(|retry| now < retry.next_attempt_at);
        self.set_due(entry, inner);
        Ok(inner.state.is_idle() && !is_early)
    }
}

/// Wakes a webhook, if there is something for it, and takes its answer up.
async fn deliver(book: &Book, entry: &Entry, url: &str) {
    {
        let mut inner = entry.inner.lock().await;
        let may = !inner.deleted
            && match book.may_begin(entry, &mut inner).await {
                Ok(may) => may,
                Err(refusal) => return not_now(book, entry, &refusal),
            };
        if !may || !book.has_work(entry, &mut inner) {
            return;
        }
    }
    // Room first: no lease runs out while others are waited for.
    let _room = book.rooms.enter(url).await;
    let begun = prepare(book, entry, url).await;
    let (snapshot, post) = match begun {
        Ok(Some(begun)) => begun,
        Ok(None) => return,
        Err(refusal) => return not_now(book, entry, &refusal),
    };
    let wake_id = post.wake_id.clone();
    let answer = book.options.deliver.post(post).await;
    let mut inner = entry.inner.lock().await;
    if inner.deleted {
        return;
    }
    let now = book.now();
    let facts = match answer {
        Ok(answer) => {
            book.counters.delivered.increment();
            let done = says_done(&answer).then(|| snapshot.tails());
            inner.state.delivered(&wake_id, done, now)
        }
        Err(error) => {
            let draw = book.engine.env().rng.below(retry::DRAWS);
            let failed = inner.state.failed(&wake_id, now, draw);
            // A worker that called back has it, whatever became of the answer.
            let failed = failed.filter(|_| !inner.called_back);
            if failed.is_some() {
                book.counters.failed.increment();
                tracing::info!(subscription = %inner.state.id, %error, "a webhook did not take a delivery");
            }
            failed.into_iter().collect()
        }
    };
    if let Err(refusal) = book.record(entry, &mut inner, facts).await {
        return not_now(book, entry, &refusal);
    }
    if inner.state.is_idle() {
        entry.again.set(true);
    }
}

/// Begins a wake, and makes the request that tells of it.
async fn prepare(
    book: &Book,
    entry: &Entry,
    url: &str,
) -> Result<Option<(Snapshot, Post)>, Refusal> {
    let mut inner = entry.inner.lock().await;
    let Some(snapshot) = book.begin(entry, &mut inner).await? else {
        return Ok(None);
    };
    let now = book.now();
    let state = &inner.state;
    let keys = book.keys.lock().await;
    let keys = keys.as_ref().ok_or(Refusal::Internal)?;
    let wake_id = state.wake_id().cloned().ok_or(Refusal::Internal)?;
    let body = Wake {
        id: &state.id,
        wake_id: &wake_id.0,
        generation: state.generation,
        pending: &snapshot.told,
        token: &token::issue(keys.secret(), state, Use::Callback, now),
    }
    .notification(book.origin(state));
    let post = Post {
        url: url.to_owned(),
        signature: keys.signing(now).sign(&body, now),
        body: body.into(),
        limit: std::time::Duration::from_millis(state.config.lease_ttl_ms),
        rules: book.options.rules,
        wake_id,
    };
    Ok(Some((snapshot, post)))
}

/// Begins a wake, if there is something to do, and appends its event to the stream that workers follow.
async fn announce(book: &Book, entry: &Entry, wake_stream: &StreamName) {
    let mut inner = entry.inner.lock().await;
    if let Err(refusal) = book.begin(entry, &mut inner).await {
        return not_now(book, entry, &refusal);
    }
    let is_early = inner.announce_at.is_some_and(|at| book.now() < at);
    let is_woken = matches!(inner.state.phase, Phase::Woken { .. });
    if inner.deleted || !is_woken || inner.announced || is_early {
        return;
    }
    // After a restart: which stream it was about is found again.
    if !book.has_work(entry, &mut inner) {
        return;
    }
    match append_event(book, &inner, wake_stream).await {
        Ok(()) => {
            book.counters.delivered.increment();
            inner.announced = true;
            inner.announce_at = None;
        }
        Err(refusal) => {
            book.counters.failed.increment();
            inner.announce_failures += 1;
            let draw = book.engine.env().rng.below(retry::DRAWS);
            let delay = retry::delay_millis(inner.announce_failures, draw);
            inner.announce_at = Some(book.now().plus_millis(delay));
            tracing::info!(subscription = %inner.state.id, %refusal, stream = %wake_stream, "a wake event cannot be appended; it will be tried again");
        }
    }
    book.set_due(entry, &inner);
}

/// As a producer of which each generation is an epoch: an event is in the stream once, however often it
/// is appended.
async fn append_event(book: &Book, inner: &Inner, wake_stream: &StreamName) -> Result<(), Refusal> {
    let state = &inner.state;
    let first = inner.pending.values().next();
    let stream = first.map_or("", |found| found.name.as_str());
    let event = wake_event(&state.id, stream, state.generation, book.now());
    let json = ContentType::new("application/json").expect("a content type");
    let producer = ProducerId::new(&format!("__ds/{}/{}", state.born, state.id));
    let append = Append {
        body: frame(Some(&json), event.into()),
        content_type: Some(json),
        producer: Some(ProducerClaim {
            id: producer.expect("an id and a birth are short"),
            epoch: state.generation,
            seq: 0,
        }),
        ..Append::default()
    };
    match book.engine.append(wake_stream, append, None).await {
        // Somebody told of a later wake already.
        Ok(_) | Err(Refusal::StaleEpoch { .. }) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

fn not_now(book: &Book, entry: &Entry, refusal: &Refusal) {
    tracing::warn!(%refusal, "a subscription cannot be looked after now; it will be tried again");
    book.try_later(entry);
}
