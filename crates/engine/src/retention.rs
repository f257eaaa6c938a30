//! Retention beside the shards: what streams do not keep any more is trimmed, now and then; and those whose
//! keys are to be compacted by themselves are.
//!
//! A pass looks at the streams whose trim point may have moved since they were last looked at: those that
//! were appended to or given another policy, and those whose oldest message has grown too old. Each is
//! looked at by one of a few workers, which finds the one position that the most aggressive limit
//! keeps, and asks the stream's shard to trim there.
//!
//! INVARIANTS:
//! - A stream is never looked at twice at once: passes follow each other, and a pass has each stream once.
//! - Nothing is trimmed under a policy that changed meanwhile: the shard compares the settings' revision.
//! - A stream without a policy is in no list here.
//!
//! Nothing is kept about it across a restart: all streams with a policy are looked at once after a start.
//!
//! Not here: the limits themselves (`millrace-core`), the trim as an event (`shard/`).

use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZeroU64,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use millrace_core::{
    Condensing, Refusal, Retention, SettingKey, StreamId, StreamPos, Timestamp, stream::StreamState,
};
use millrace_env::sleep;
use millrace_store::{Catalog, StoreError};

use crate::{
    condense::condense,
    engine::{Engine, Shared},
    metrics::{Counter, Gauge, RetentionFigures},
    read::{From, Page, Reader},
    shard::Command,
    stream::Stream,
};

/// BOUND: so many streams are looked at at a time.
const WORKERS: usize = 4;
/// So many rows of the catalog are read at a time.
const ROWS: usize = 1024;

/// Streams that have a policy, and when each is to be looked at again.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    /// Held to look or to change, never across I/O. BOUND: a stream with a policy is 16 bytes here.
    due: Mutex<BTreeMap<StreamId, Timestamp>>,
}

/// Due only when something happens.
const NEVER: Timestamp = Timestamp(u64::MAX);

impl Retained {
    fn due(&self) -> MutexGuard<'_, BTreeMap<StreamId, Timestamp>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that the catalog has. Before logs are replayed, which know better.
    pub(crate) fn fill(&self, catalog: &Catalog) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let rows = catalog.settings(after, ROWS)?;
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            after = Some(*last);
            let limited = rows.iter().filter(|(_, settings)| {
                let keys = [SettingKey::RETENTION, SettingKey::COMPACTION];
                keys.iter().any(|key| settings.get(*key).is_some())
            });
            self.due()
                .extend(limited.map(|(stream, _)| (*stream, Timestamp::ZERO)));
        }
    }

    /// A stream changed.
    pub(crate) fn touch(&self, state: &StreamState) {
        // Most have no settings at all, and cost nothing here.
        if state.settings.is_none() {
            return;
        }
        if has_policy(state) {
            self.due().insert(state.id, Timestamp::ZERO);
        } else {
            self.forget(state.id);
        }
    }

    /// A stream is gone.
    pub(crate) fn forget(&self, stream: StreamId) {
        self.due().remove(&stream);
    }

    /// Those that are due. Until they are touched again, each is due when it is said by
    /// [`Self::again`].
    fn take_due(&self, now: Timestamp) -> VecDeque<StreamId> {
        let mut due = self.due();
        let ready = due.iter_mut().filter(|(_, at)| **at <= now);
        ready
            .map(|(stream, at)| {
                *at = NEVER;
                *stream
            })
            .collect()
    }

    /// Look at a stream again then; sooner where it was touched meanwhile.
    fn again(&self, stream: StreamId, at: Timestamp) {
        if let Some(due) = self.due().get_mut(&stream) {
            *due = (*due).min(at);
        }
    }

    fn len(&self) -> usize {
        self.due().len()
    }
}

fn has_policy(state: &StreamState) -> bool {
    let keys = [SettingKey::RETENTION, SettingKey::COMPACTION];
    keys.iter().any(|key| state.setting(*key).is_some())
}

/// What passes have done so far.
#[derive(Debug, Default)]
pub(crate) struct Passes {
    /// Held while one is under way.
    turn: tokio::sync::Mutex<()>,
    running: AtomicBool,
    last: Mutex<Option<RetentionPass>>,
    made: Counter,
    streams: Counter,
    trimmed: Counter,
    bytes: Counter,
    failed: Counter,
    ended: Gauge,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionPass {
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// How many streams it looked at.
    pub streams: u64,
    /// How many of them it trimmed.
    pub trimmed: u64,
    /// How many bytes nobody can read any more since.
    pub bytes: u64,
    /// How many streams it could not look at or trim; they are due again.
    pub failed: u64,
}

/// How retention stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionStatus {
    /// From the end of one pass to the beginning of the next.
    pub interval: Duration,
    /// How many streams have a policy.
    pub streams: u64,
    /// Whether a pass is under way.
    pub running: bool,
    /// How many passes were made since the start.
    pub passes: u64,
    /// What the last one did.
    pub last: Option<RetentionPass>,
}

impl Passes {
    pub(crate) fn figures(&self, retained: &Retained) -> RetentionFigures {
        RetentionFigures {
            policies: retained.len() as u64,
            passes: self.made.get(),
            streams: self.streams.get(),
            trimmed: self.trimmed.get(),
            bytes: self.bytes.get(),
            failed: self.failed.get(),
            ended_seconds: self.ended.get(),
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<RetentionPass>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self, pass: RetentionPass) {
        self.made.increment();
        self.streams.add(pass.streams);
        self.trimmed.add(pass.trimmed);
        self.bytes.add(pass.bytes);
        self.failed.add(pass.failed);
        self.ended
            .set(pass.began.get() / 1000 + pass.took.as_secs());
        *self.last() = Some(pass);
    }
}

impl Engine {
    /// Makes a pass of retention now, after the one that is under way, and says what it did.
    pub async fn retain_now(&self) -> RetentionPass {
        pass(&self.shared).await
    }

    /// How retention stands.
    pub fn retention(&self) -> RetentionStatus {
        let passes = &self.shared.passes;
        RetentionStatus {
            interval: self.shared.options.retention_interval,
            streams: self.shared.retained.len() as u64,
            running: passes.running.load(Ordering::Relaxed),
            passes: passes.made.get(),
            last: *passes.last(),
        }
    }
}

/// Passes now and then until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let stopping = shared.stopping();
    loop {
        tokio::select! {
            biased;
            () = stopping.wait() => return,
            () = sleep(shared.options.retention_interval) => {}
        }
        tokio::select! {
            biased;
            () = stopping.wait() => return,
            _ = pass(&shared) => {}
        }
    }
}

/// Clears the flag also when the pass is dropped.
struct Running<'a>(&'a AtomicBool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

async fn pass(shared: &Arc<Shared>) -> RetentionPass {
    let _turn = shared.passes.turn.lock().await;
    shared.passes.running.store(true, Ordering::Relaxed);
    let _running = Running(&shared.passes.running);
    let begun = shared.env.clock.mono();
    let began = shared.now();
    let queue = Mutex::new(shared.retained.take_due(began));
    let done = Mutex::new(RetentionPass {
        began,
        ..RetentionPass::default()
    });
    let workers = || work(shared, &queue, &done);
    // As many as WORKERS says.
    let _: [(); WORKERS] = tokio::join!(workers(), workers(), workers(), workers()).into();
    let mut done = *done.lock().unwrap_or_else(PoisonError::into_inner);
    done.took = shared.env.clock.mono().saturating_sub(begun);
    shared.passes.done(done);
    done
}

async fn work(
    shared: &Arc<Shared>,
    queue: &Mutex<VecDeque<StreamId>>,
    done: &Mutex<RetentionPass>,
) {
    loop {
        let next = queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let Some(stream) = next else { return };
        let kept = keep(shared, stream).await;
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        done.streams += 1;
        match kept {
            Ok(kept) => {
                shared.retained.again(stream, kept.again);
                done.trimmed += u64::from(kept.bytes > 0);
                done.bytes += kept.bytes;
            }
            Err(refusal) => {
                tracing::warn!(%stream, %refusal, "a stream's retention cannot be carried out; the next pass tries again");
                shared.retained.again(stream, Timestamp::ZERO);
                done.failed += 1;
            }
        }
    }
}

/// What became of a stream.
struct Kept {
    /// Bytes that can be read no longer.
    bytes: u64,
    /// When to look again, if nothing happens before.
    again: Timestamp,
}

const NOTHING: Kept = Kept {
    bytes: 0,
    again: NEVER,
};

async fn keep(shared: &Arc<Shared>, id: StreamId) -> Result<Kept, Refusal> {
    let Some(live) = shared.load(id).await? else {
        return Ok(NOTHING);
    };
    let stream = Stream {
        shared: Arc::clone(shared),
        live,
    };
    let state = stream.state();
    if state.soft_deleted {
        return Ok(NOTHING);
    }
    let folded = fold(&stream, &state).await?;
    let state = stream.state();
    let Some(retention) = Retention::of(&state) else {
        return Ok(Kept {
            bytes: folded,
            ..NOTHING
        });
    };
    let now = shared.now();
    let to = first_kept(&stream, &retention, now)
        .await?
        .max(state.trimmed);
    if to > state.trimmed {
        let revision = state
            .settings
            .as_ref()
            .map_or(0, |settings| settings.revision());
        let command = Command::Retain {
            stream: id,
            to,
            revision,
        };
        let shard = shared.shard_of_stream(id);
        shared.command(shard, command, None).await?;
    }
    let again = match retention.age_millis_max {
        Some(age) => too_old_at(&stream, to, age).await?,
        None => NEVER,
    };
    Ok(Kept {
        bytes: folded + to.since(state.trimmed),
        again,
    })
}

/// Key compaction, where the stream's policy says so and enough has gathered; the bytes that went.
async fn fold(stream: &Stream, state: &StreamState) -> Result<u64, Refusal> {
    let is_due = Condensing::of(state).is_some_and(|policy| policy.is_due(state));
    if !is_due || state.is_closed() {
        return Ok(0);
    }
    match condense(stream, &state.config.name).await {
        Ok(condensed) => Ok(condensed.bytes_before),
        // It will not be otherwise the next time, until somebody changes the stream.
        Err(Refusal::Setting(fault)) => {
            let stream = &state.config.name;
            tracing::warn!(%stream, why = %fault.message, "a stream cannot be compacted as its policy says");
            Ok(0)
        }
        Err(refusal) => Err(refusal),
    }
}

/// The one trim point: where the most aggressive limit is.
async fn first_kept(
    stream: &Stream,
    retention: &Retention,
    now: Timestamp,
) -> Result<StreamPos, Refusal> {
    let mut first = StreamPos::ZERO;
    if let Some(since) = retention.keeps_since(now) {
        let reader = stream.read_from(From::Since(since)).await?;
        first = first.max(reader.position());
    }
    if let Some(messages) = retention.messages_max {
        let reader = stream.read_from(From::Last(messages.get())).await?;
        first = first.max(reader.position());
    }
    if let Some(bytes) = retention.bytes_max {
        let reader = stream.read_from(From::Tail).await?;
        first = first.max(reader.boundary_within(bytes.get()).await?);
    }
    Ok(first)
}

/// When the message at `from` will be older than is kept.
async fn too_old_at(
    stream: &Stream,
    from: StreamPos,
    age: NonZeroU64,
) -> Result<Timestamp, Refusal> {
    let mut reader: Reader = stream.read_from(From::Start).await?;
    if !reader.skip_to(from) {
        // Trimmed further, or made anew: whoever did has touched it.
        return Ok(NEVER);
    }
    let one = Page {
        bytes_max: 1,
        messages_max: 1,
        whole: true,
    };
    let batch = reader.next_page(one).await?;
    let first = reader.messages(&batch).await?.into_iter().next();
    // At exactly its age a message is kept.
    Ok(first.map_or(NEVER, |first| {
        first.at.plus_millis(age.get()).plus_millis(1)
    }))
}
