//! The loop around a shard: waits, lets the event loop read all that is readable, takes a turn.
//!
//! The turn is the group commit. While a turn's sync runs on a helper thread, new commands wait;
//! there is never more than one turn of a shard under way.
//!
//! Next on the append walk: `turn.rs`.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use millrace_core::{
    ShardId,
    limits::{TURN_BYTES_MAX, TURN_COMMANDS_MAX},
};
use millrace_env::{sleep, tasks};
use millrace_store::{Spare, SpareJob, StoreError, Wal};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument as _;

use super::{
    Entry, FlushDone, FlushStart, Message, Outgoing, Peer, Reply, ShardCore, Turn,
    sync_pace::SyncPace, turn::TurnEnd,
};
use crate::{
    engine::Shared, maintenance, metrics::ShardMetrics, options::Durability, retention, scrub,
    status::ShardStatus,
};

/// How often a shard looks after what nobody asked for: expiry, eviction, flushes that are due.
const TICK: Duration = Duration::from_millis(250);

/// How many streams of a flush are frozen, or extents let go of, between two turns: about a millisecond.
const FLUSHED_AT_ONCE: usize = 1000;

/// A shard and its loop. Run it on the core that owns it.
#[derive(Debug)]
pub struct Shard {
    core: ShardCore,
    inbox: mpsc::Receiver<Message>,
    shared: Arc<Shared>,
    status: Arc<ShardStatus>,
    sync_pace: SyncPace,
    background: mpsc::Sender<Background>,
    finished: mpsc::Receiver<Background>,
    spare_under_way: bool,
    /// What recovery found to do.
    first: Vec<Peer>,
}

/// Tells `/ready` of a panic that ends the loop: such a shard takes nothing any more.
struct ToldOfPanic(Arc<ShardStatus>);

impl Drop for ToldOfPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0
                .poison("a shard stopped by a defect; restart the server".into());
        }
    }
}

type Tick = Pin<Box<dyn Future<Output = ()>>>;

/// Work that ran beside the shard.
enum Background {
    Flushed(FlushDone),
    Spare(Result<Spare, StoreError>),
}

impl std::fmt::Debug for Background {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Flushed(_) => "Flushed",
            Self::Spare(_) => "Spare",
        })
    }
}

impl Shard {
    pub(crate) fn new(
        core: ShardCore,
        inbox: mpsc::Receiver<Message>,
        shared: Arc<Shared>,
        status: Arc<ShardStatus>,
        first: Vec<Peer>,
    ) -> Self {
        // BOUND: at most one flush and one spare are under way.
        let (background, finished) = mpsc::channel(2);
        let spare_under_way = false;
        Self {
            core,
            inbox,
            shared,
            status,
            sync_pace: SyncPace::default(),
            background,
            finished,
            spare_under_way,
            first,
        }
    }

    /// Serves until the engine is shut down. Must run inside a `LocalSet`.
    pub async fn run(mut self) {
        let _told = ToldOfPanic(Arc::clone(&self.status));
        self.begin().await;
        let mut tick = next_tick();
        loop {
            self.go_on_flushing();
            let message = tokio::select! {
                biased;
                Some(done) = self.finished.recv() => {
                    self.take_back(done);
                    continue;
                }
                // Before the inbox, so that a shard that is never idle looks after these too.
                () = &mut tick => {
                    self.tick(&mut tick).await;
                    continue;
                }
                message = self.inbox.recv() => message,
                () = tokio::task::yield_now(), if self.core.has_flush_work() => continue,
            };
            let Some(first) = message else { return };
            // Everything that is readable is read before the turn is taken.
            tokio::task::yield_now().await;
            if let Some(stopped) = self.take_turn(first).await {
                self.stop(stopped).await;
                return;
            }
            self.start_background();
        }
    }

    /// Finishes what a crash left half done, and starts what runs beside the shards.
    async fn begin(&mut self) {
        if self.core.config.shard == ShardId::ZERO {
            tokio::task::spawn_local(maintenance::run(Arc::clone(&self.shared)));
            tokio::task::spawn_local(scrub::run(Arc::clone(&self.shared)));
            tokio::task::spawn_local(retention::run(Arc::clone(&self.shared)));
        }
        // Before the first turn, which would otherwise make one while everything waits. With one
        // there, the others can be made beside: reads do not wait for a log segment.
        while let Some(job) = self.core.wal.as_mut().and_then(first_spare) {
            let spare = tasks::blocking(move || job.run()).await;
            self.take_back(Background::Spare(spare));
        }
        let first = std::mem::take(&mut self.first);
        let entries: Vec<Entry> = first
            .into_iter()
            .filter_map(|peer| self.core.entry_of(peer))
            .collect();
        if !entries.is_empty() {
            self.turn(entries).await;
        }
        self.start_background();
    }

    async fn tick(&mut self, tick: &mut Tick) {
        let now = self.core.now();
        let mut commands = match self.core.sweep(now) {
            Ok(commands) => commands,
            Err(error) => {
                tracing::error!(%error, "expired streams cannot be looked up");
                Vec::new()
            }
        };
        commands.extend(self.core.evict(now));
        self.core.note_sizes();
        let entry = |command| Entry {
            command,
            reply: Reply::Nobody,
            permit: None,
        };
        let entries: Vec<Entry> = commands.into_iter().map(entry).collect();
        if !entries.is_empty() {
            self.turn(entries).await;
        }
        self.start_background();
        *tick = next_tick();
    }

    /// Takes all that waits, up to a turn's bounds. Answers who waits for the shard to stop.
    async fn take_turn(&mut self, first: Message) -> Option<oneshot::Sender<bool>> {
        let waiting = 1 + self.inbox.len() as u64;
        self.core.metrics.queue_depth.record(waiting);
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut taken = 0;
        let mut next = Some(first);
        let mut stop = None;
        while let Some(message) = next {
            match message {
                Message::Command(entry) => {
                    bytes += entry.command.payload_bytes();
                    entries.push(entry);
                }
                Message::Commands(commands) => {
                    let each = commands.iter().map(|entry| entry.command.payload_bytes());
                    bytes += each.sum::<u64>();
                    taken += commands.len().saturating_sub(1);
                    entries.extend(commands);
                }
                Message::Peer(peer) => entries.extend(self.core.entry_of(peer)),
                other => stop = self.serve(other),
            }
            taken += 1;
            let full = taken >= TURN_COMMANDS_MAX || bytes >= TURN_BYTES_MAX;
            next = if full || stop.is_some() {
                None
            } else {
                self.inbox.try_recv().ok()
            };
        }
        if !entries.is_empty() {
            self.turn(entries).await;
        }
        stop
    }

    /// Messages that are not judged.
    fn serve(&mut self, message: Message) -> Option<oneshot::Sender<bool>> {
        match message {
            Message::Load { key, reply } => {
                let found = self.core.load(&key).map_err(|error| {
                    tracing::error!(%error, ?key, "a stream cannot be loaded");
                    millrace_core::Refusal::Corrupt
                });
                // Whoever asked may have left.
                let _ = reply.send(found);
                None
            }
            Message::Moved { moved, done } => {
                self.core.moved(&moved);
                let _ = done.send(());
                None
            }
            Message::Stop(done) => Some(done),
            Message::Command(_) | Message::Commands(_) | Message::Peer(_) => None,
        }
    }

    async fn turn(&mut self, entries: Vec<Entry>) {
        let commands = entries.len() as u64;
        let span = tracing::debug_span!("turn", shard = %self.core.config.shard, commands);
        self.timed_turn(entries).instrument(span).await;
        self.core.metrics.turn_commands.record(commands);
    }

    async fn timed_turn(&mut self, entries: Vec<Entry>) {
        let begun = self.core.env.clock.mono();
        self.core.durable_at = begun;
        let mut turn = self.core.judge(entries);
        let written = match self.core.write(&mut turn) {
            Ok(()) if turn.frame.is_some() => self.sync().await,
            other => other,
        };
        let end = self.finish(turn, written);
        let took = self.core.env.clock.mono().saturating_sub(begun);
        self.core.metrics.turn_time.record_time(took);
        self.deliver(end);
    }

    /// A panic here leaves a state that nobody decided: the shard is poisoned, and whoever waited is
    /// told that the server is unavailable, never that it is done.
    fn finish(&mut self, turn: Turn, written: Result<(), StoreError>) -> TurnEnd {
        let core = &mut self.core;
        let finished = catch_unwind(AssertUnwindSafe(|| core.finish(turn, written)));
        let end = finished.unwrap_or_else(|_| {
            self.core
                .poison("publishing a turn failed; this is a defect".into());
            TurnEnd::default()
        });
        self.tell_of_poison();
        end
    }

    /// Makes the frame durable. DURABILITY: an error is final, the log is poisoned by it.
    async fn sync(&mut self) -> Result<(), StoreError> {
        if self.core.config.options.durability == Durability::Memory {
            return Ok(());
        }
        let clock = Arc::clone(&self.core.env.clock);
        let metrics = Arc::clone(&self.core.metrics);
        let start = clock.mono();
        let Some(wal) = &mut self.core.wal else {
            return Ok(());
        };
        let result = if self.sync_pace.wants_helper() {
            let handle = wal.sync_handle();
            let result = tasks::blocking(move || handle.run()).await;
            wal.mark_synced(&result);
            metrics.syncs_helper.increment();
            result
        } else {
            let result = wal.sync();
            metrics.syncs_inline.increment();
            result
        };
        let end = clock.mono();
        metrics.sync_time.record_time(end.saturating_sub(start));
        self.core.durable_at = end;
        self.sync_pace.took(end.saturating_sub(start), end);
        result
    }

    /// Wakes followers and tells other shards, after the replies.
    fn deliver(&self, end: TurnEnd) {
        for live in end.changed {
            if live.notify() {
                // BOUND: one for each stream with many followers.
                tokio::task::spawn_local(async move { live.wake_followers().await });
            }
        }
        for Outgoing { to, peer } in end.outgoing {
            let shared = Arc::clone(&self.shared);
            // BOUND: one for each command of a turn; it waits for room in the other's inbox.
            tokio::task::spawn_local(async move {
                // A shard that ended has no use for it; recovery drops references without forks.
                let _ = shared.handle(to).inbox.send(Message::Peer(peer)).await;
            });
        }
    }

    /// Starts a flush and a spare log segment where they are wanted.
    fn start_background(&mut self) {
        let now = self.core.now();
        let wanted = self.core.wants_flush(now);
        if wanted {
            self.core.begin_freeze();
        }
        if self.spare_under_way {
            return;
        }
        let job = self.core.wal.as_mut().and_then(Wal::spare_job);
        if let Some(job) = job {
            self.spare_under_way = true;
            let background = self.background.clone();
            tokio::task::spawn_local(async move {
                let spare = tasks::blocking(move || job.run()).await;
                let _ = background.send(Background::Spare(spare)).await;
            });
        }
    }

    /// Takes a step of freezing a flush, or of letting go of what it wrote.
    fn go_on_flushing(&mut self) {
        if !self.core.has_flush_work() {
            return;
        }
        if let Some(start) = self.core.freeze_some(FLUSHED_AT_ONCE) {
            let (shared, background) = (Arc::clone(&self.shared), self.background.clone());
            let metrics = Arc::clone(&self.core.metrics);
            tokio::task::spawn_local(async move {
                let done = run_flush(shared, metrics, start).await;
                let _ = background.send(Background::Flushed(done)).await;
            });
        }
        self.core.let_go(FLUSHED_AT_ONCE);
        self.tell_of_poison();
    }

    fn take_back(&mut self, done: Background) {
        match done {
            Background::Flushed(done) => self.core.flushed(done),
            Background::Spare(spare) => {
                self.spare_under_way = false;
                if let Some(wal) = &mut self.core.wal {
                    wal.add_spare(spare);
                }
            }
        }
        self.tell_of_poison();
    }

    fn tell_of_poison(&self) {
        if let Some(reason) = self.core.poisoned() {
            self.status
                .poison(format!("shard {}: {reason}", self.core.config.shard));
        }
    }

    async fn flush_now(&mut self, start: FlushStart) {
        let (shared, metrics) = (Arc::clone(&self.shared), Arc::clone(&self.core.metrics));
        let flushed = run_flush(shared, metrics, start).await;
        self.core.flushed_at_once(flushed);
    }

    /// Finishes what waits and flushes.
    async fn stop(mut self, done: oneshot::Sender<bool>) {
        self.inbox.close();
        while let Ok(message) = self.inbox.try_recv() {
            self.take_turn(message).await;
        }
        loop {
            if let Some(start) = self.core.freeze_some(usize::MAX) {
                self.flush_now(start).await;
            }
            self.core.let_go(usize::MAX);
            if !self.core.is_flushing() {
                break;
            }
            let Some(finished) = self.finished.recv().await else {
                break;
            };
            self.take_back(finished);
        }
        let writable = self.core.poisoned().is_none();
        if let Some(start) = writable.then(|| self.core.freeze()).flatten() {
            self.flush_now(start).await;
        }
        let is_sealed = self.core.close_log();
        // Nobody may be waiting any more.
        let _ = done.send(is_sealed && self.core.is_flushed());
    }
}

/// The job that makes a log's only spare.
fn first_spare(wal: &mut Wal) -> Option<SpareJob> {
    if wal.has_spare() {
        return None;
    }
    wal.spare_job()
}

fn next_tick() -> Tick {
    Box::pin(sleep(TICK))
}

async fn run_flush(
    shared: Arc<Shared>,
    metrics: Arc<ShardMetrics>,
    start: FlushStart,
) -> FlushDone {
    let run = move || {
        let begun = shared.env.clock.mono();
        let run = || start.run(&shared.env, &shared.segments, &shared.catalog);
        let panicked = || FlushDone(Err(StoreError::corrupt("a flush panicked")));
        let done = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| panicked());
        let took = shared.env.clock.mono().saturating_sub(begun);
        match &done.0 {
            Ok(flushed) => metrics.flushes.done(took, flushed.bytes),
            Err(_) => metrics.flushes.failed.increment(),
        }
        shared.metrics.measure(&shared.catalog);
        done
    };
    tasks::blocking(run).await
}
