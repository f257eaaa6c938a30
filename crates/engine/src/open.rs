//! Opens a data directory: lock, catalog, logs, recovery.
//!
//! Nothing but the catalog's own mark that it is open is written before everything that the manifest
//! names was found and verified, the logs of all shards included: a start that is refused for one of
//! them leaves the rest as it was, so that whoever restores what is damaged has all of it again. Then what a crash left
//! is cleaned up, the logs are opened, and one catalog commit starts the new boot. A crash anywhere in
//! here only repeats work.

use std::{path::Path, sync::Arc};

use millrace_core::{
    Generation, Lsn, ShardId, SlotId, StreamId, Timestamp,
    name::INTERNAL_PREFIX,
    slot::{GENERATIONS_LOST_MAX, SLOTS, shard_of},
};
use millrace_env::{Env, Switch, tasks};
use millrace_store::{
    Catalog, Commit, LogId, Manifest, SegmentOptions, Segments, StoreError, Wal, WalOptions, wal,
};
use tokio::sync::mpsc;

use crate::{
    budget::{Budget, Reading},
    engine::{Engine, ShardHandle, Shared},
    feed::Feed,
    metrics::StoreMetrics,
    options::{Durability, Options},
    retention::{Passes, Retained},
    scrub::Scrub,
    shard::{
        CoreOptions, FlushDone, Gathered, INBOX_MAX, Peer, ShardCore, keep_reserve, task::Shard,
    },
    status::ShardStatus,
};

/// An open engine and the shards that have to be run.
#[derive(Debug)]
pub struct Opened {
    /// The engine.
    pub engine: Engine,
    /// Its shards: each runs on a thread of its own, in a `LocalSet`.
    pub shards: Vec<Shard>,
}

/// Why a data directory was not opened. What it holds was not changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the data directory is in use by another process: stop it, or choose another one")]
    InUse,
    /// It was written by a newer version.
    #[error(
        "the data directory has format {found}, this program knows up to {known}: use a newer program"
    )]
    Newer {
        /// The format found.
        found: u32,
        /// The newest one known.
        known: u32,
    },
    /// It cannot be read, or not be trusted.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is recovered, and what the next boot is to be.
pub(crate) struct Recovered {
    pub(crate) cores: Vec<ShardCore>,
    /// References whose fork does not exist, for the shards of their sources to drop.
    pub(crate) dangling: Vec<(StreamId, StreamId)>,
    /// How many streams there were before `cores` began to count.
    pub(crate) streams_before: u64,
}

/// What every shard is made from.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) env: Env,
    pub(crate) options: Options,
    pub(crate) catalog: Catalog,
    pub(crate) segments: Segments,
    pub(crate) budget: Budget,
    pub(crate) retained: Arc<Retained>,
    pub(crate) booted_at: Timestamp,
}

/// Opens the data directory that `env` names. Blocking: reads and replays the logs.
pub fn open(env: Env, options: Options) -> Result<Opened, OpenError> {
    env.disk
        .create_dir(Path::new(""))
        .map_err(StoreError::from)?;
    let lock = env
        .disk
        .lock(Path::new("LOCK"))
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::InUse,
            _ => OpenError::Store(StoreError::io(
                "taking the lock of the data directory",
                &error,
            )),
        })?;
    let base = Base::open(env, options)?;
    let recovered = recover(&base)?;
    keep_reserve(&base.env, base.options.reserve_bytes);
    Ok(assemble(base, recovered, lock))
}

impl Base {
    pub(crate) fn open(env: Env, options: Options) -> Result<Self, OpenError> {
        let cache = usize::try_from(options.catalog_cache_bytes()).unwrap_or(usize::MAX);
        let catalog = Catalog::open(&env, cache).map_err(|error| match error {
            StoreError::Newer { found, known } => OpenError::Newer { found, known },
            other => OpenError::Store(other),
        })?;
        let segments = Segments::open(&env, SegmentOptions::default());
        let budget = Budget::new(options.admission_bytes(), options.append_bytes_max);
        let booted_at = Timestamp(env.clock.wall());
        Ok(Self {
            env,
            options,
            catalog,
            segments,
            budget,
            retained: Arc::default(),
            booted_at,
        })
    }

    fn wal_options(&self) -> WalOptions {
        WalOptions {
            segment_bytes: self.options.wal_segment_bytes,
            reserve: true,
        }
    }

    fn core(
        &self,
        shard: u16,
        shards: u16,
        log: LogId,
        floor: Generation,
    ) -> Result<ShardCore, StoreError> {
        let config = CoreOptions {
            shard: ShardId(shard),
            shards,
            log,
            options: self.options.clone(),
            booted_at: self.booted_at,
            generation_floor: floor,
        };
        let generations = self.catalog.slot_generations()?;
        Ok(ShardCore::new(
            config,
            self.env.clone(),
            self.catalog.clone(),
            self.budget.clone(),
            Arc::clone(&self.retained),
            &generations,
        ))
    }
}

/// How many streams the catalog has, the server's own left out.
fn streams_of_clients(base: &Base) -> Result<u64, StoreError> {
    let own = base.catalog.names(INTERNAL_PREFIX, None, usize::MAX)?;
    Ok(base.catalog.stream_count()? - own.len() as u64)
}

/// Recovers all that the manifest names, or makes a new data directory.
pub(crate) fn recover(base: &Base) -> Result<Recovered, StoreError> {
    let Some(manifest) = base.catalog.manifest()? else {
        return create(base);
    };
    let verified = verify_logs(base, &manifest)?;
    clean_up(base, &manifest)?;
    base.retained.fill(&base.catalog)?;
    let boot_epoch = manifest.boot_epoch + 1;
    let shards = u16::try_from(manifest.logs.len()).expect("as many logs as shards");
    let was = if manifest.mode == MODE_MEMORY {
        Durability::Memory
    } else {
        Durability::Local
    };
    // What the logs bring is counted as it is replayed.
    let mut streams_before = streams_of_clients(base)?;
    let mut cores = Vec::with_capacity(manifest.logs.len());
    let logs = manifest.logs.iter().zip(verified);
    for (shard, ((log, flushed), verified)) in (0u16..).zip(logs) {
        let floor = Generation(manifest.generation_floor);
        let mut core = base.core(shard, shards, *log, floor)?;
        core.start_at(*flushed);
        replay(base, &mut core, verified, boot_epoch)?;
        cores.push(core);
    }
    let dangling = dangling_references(base, &mut cores, shards)?;
    let lost_tails = was == Durability::Memory && !manifest.clean;
    let mut next = Manifest {
        boot_epoch,
        mode: mode(base.options.durability),
        clean: false,
        ..manifest.clone()
    };
    let mut commit = Commit::default();
    if lost_tails {
        let floor = raise_floor(&mut cores);
        next.generation_floor = floor.get();
        commit.generations = (0..SLOTS).map(|slot| (SlotId(slot), floor)).collect();
    }
    let old_logs = named_logs(&manifest);
    if shards == base.options.shards {
        commit.manifest = Some(next);
        base.catalog.commit(commit)?;
    } else {
        cores = resharded(base, cores, next, commit)?;
        streams_before = streams_of_clients(base)?;
        for log in old_logs {
            Wal::remove(&base.env, log)?;
        }
    }
    Ok(Recovered {
        cores,
        dangling,
        streams_before,
    })
}

const MODE_MEMORY: u8 = 1;

fn mode(durability: Durability) -> u8 {
    match durability {
        Durability::Local => 0,
        Durability::Memory => MODE_MEMORY,
    }
}

/// A new data directory.
fn create(base: &Base) -> Result<Recovered, StoreError> {
    let shards = base.options.shards;
    let nothing = Manifest::default();
    verify_logs(base, &nothing)?;
    millrace_store::refuse_unnamed_segments(&base.env)?;
    clean_up(base, &nothing)?;
    let logs: Vec<LogId> = (1..=u64::from(shards)).map(LogId).collect();
    let mut cores = Vec::with_capacity(logs.len());
    for (shard, log) in (0u16..).zip(&logs) {
        let mut core = base.core(shard, shards, *log, Generation::ZERO)?;
        core.wal = Some(Wal::create(&base.env, *log, 1, base.wal_options())?);
        cores.push(core);
    }
    let manifest = Manifest {
        boot_epoch: 1,
        mode: mode(base.options.durability),
        clean: false,
        logs: logs.iter().map(|log| (*log, Lsn::ZERO)).collect(),
        next_log: LogId(u64::from(shards) + 1),
        ..Manifest::default()
    };
    base.catalog.commit(Commit {
        manifest: Some(manifest),
        ..Commit::default()
    })?;
    Ok(Recovered {
        cores,
        dangling: Vec::new(),
        streams_before: 0,
    })
}

/// Replays a log above what is flushed. BOUND: memory stays inside the budget, because what gathers
/// is flushed on the way. Not before it must: a flush takes as long as all the rest of a start, and
/// runs beside the shard once that serves.
fn replay(
    base: &Base,
    core: &mut ShardCore,
    log: wal::Verified,
    boot_epoch: u64,
) -> Result<(), StoreError> {
    let mut gathered = Gathered::default();
    let mut replay = |lsn, events| {
        gathered.push(core, lsn, events);
        if gathered.is_full() {
            replay_gathered(base, core, &mut gathered)?;
        }
        Ok(())
    };
    let (wal, recovery) = log.open(boot_epoch, base.wal_options(), &mut replay)?;
    replay_gathered(base, core, &mut gathered)?;
    tracing::info!(shard = %core.config.shard, frames = recovery.frames, torn_bytes = recovery.torn_bytes, "log recovered");
    core.wal = Some(wal);
    Ok(())
}

fn replay_gathered(
    base: &Base,
    core: &mut ShardCore,
    gathered: &mut Gathered,
) -> Result<(), StoreError> {
    for (lsn, events) in gathered.take(core)? {
        core.replay(lsn, events)?;
        if core.must_flush_amid_replay() {
            flush_now(base, core)?;
        }
    }
    Ok(())
}

/// Flushes a core that nobody serves yet.
fn flush_now(base: &Base, core: &mut ShardCore) -> Result<(), StoreError> {
    let Some(start) = core.freeze() else {
        return Ok(());
    };
    let FlushDone(flushed) = start.run(&base.env, &base.segments, &base.catalog);
    core.flushed_at_once(FlushDone(Ok(flushed?)));
    Ok(())
}

/// Unsafe mode ended uncleanly: any stream may have lost a tail that somebody saw, and streams may
/// have been lost whole. Every stream takes a new generation before its next append; all are told
/// apart by one number, which lies beyond any generation that was given out since the last flush.
fn raise_floor(cores: &mut [ShardCore]) -> Generation {
    let highest = cores
        .iter()
        .map(ShardCore::highest_generation)
        .max()
        .unwrap_or_default();
    let floor = Generation(highest.get() + GENERATIONS_LOST_MAX * u64::from(SLOTS));
    for core in cores {
        core.raise_floor(floor);
    }
    floor
}

/// Another number of shards than before: everything goes into the catalog, then new logs start.
fn resharded(
    base: &Base,
    mut cores: Vec<ShardCore>,
    mut manifest: Manifest,
    mut commit: Commit,
) -> Result<Vec<ShardCore>, StoreError> {
    for core in &mut cores {
        flush_now(base, core)?;
    }
    drop(cores);
    let shards = base.options.shards;
    let floor = Generation(manifest.generation_floor);
    let first = manifest.next_log.0;
    let logs: Vec<LogId> = (first..first + u64::from(shards)).map(LogId).collect();
    manifest.logs = logs.iter().map(|log| (*log, Lsn::ZERO)).collect();
    manifest.next_log = LogId(first + u64::from(shards));
    let boot_epoch = manifest.boot_epoch;
    let mut wals = Vec::with_capacity(logs.len());
    for log in &logs {
        wals.push(Wal::create(
            &base.env,
            *log,
            boot_epoch,
            base.wal_options(),
        )?);
    }
    commit.manifest = Some(manifest);
    base.catalog.commit(commit)?;
    let mut fresh = Vec::with_capacity(logs.len());
    for ((shard, log), wal) in (0u16..).zip(logs).zip(wals) {
        let mut core = base.core(shard, shards, log, floor)?;
        core.wal = Some(wal);
        fresh.push(core);
    }
    Ok(fresh)
}

/// Verifies every log that is named, and that none of the others proves the catalog to be older.
fn verify_logs(base: &Base, manifest: &Manifest) -> Result<Vec<wal::Verified>, StoreError> {
    Wal::check_unnamed(&base.env, &named_logs(manifest), manifest.next_log)?;
    let logs = manifest.logs.iter();
    logs.map(|(log, flushed)| Wal::verify(&base.env, *log, *flushed))
        .collect()
}

/// Deals with what crashes left. Logs that no manifest names hold nothing that was acknowledged and is
/// not in the catalog: they are kept aside all the same.
fn clean_up(base: &Base, manifest: &Manifest) -> Result<(), StoreError> {
    millrace_store::startup_cleanup(&base.env, &base.catalog)?;
    Wal::quarantine_unnamed(&base.env, &named_logs(manifest))
}

fn named_logs(manifest: &Manifest) -> Vec<LogId> {
    manifest.logs.iter().map(|(log, _)| *log).collect()
}

/// References whose fork was never created, or is gone. Their identities are never given out again.
fn dangling_references(
    base: &Base,
    cores: &mut [ShardCore],
    shards: u16,
) -> Result<Vec<(StreamId, StreamId)>, StoreError> {
    let mut references = base.catalog.forks()?;
    for core in cores.iter() {
        references.extend(core.resident_references());
    }
    references.sort_unstable();
    references.dedup();
    let mut dangling = Vec::new();
    for (source, fork) in references {
        let core = &mut cores[usize::from(shard_of(fork.slot(), shards).get())];
        core.saw_generation(fork.slot(), fork.birth());
        let state = core
            .load(&crate::shard::LoadKey::Id(fork))?
            .map(|live| live.view().state.clone());
        let origin = state.and_then(|state| state.config.origin);
        if origin.is_none_or(|origin| origin.source != source) {
            dangling.push((source, fork));
        }
    }
    Ok(dangling)
}

fn assemble(base: Base, recovered: Recovered, lock: Box<dyn Send + Sync>) -> Opened {
    let Recovered {
        cores,
        dangling,
        streams_before,
    } = recovered;
    let metrics = StoreMetrics::default();
    metrics.streams_before.set(streams_before);
    metrics.measure(&base.catalog);
    let shards = base.options.shards;
    let mut parts = Vec::with_capacity(cores.len());
    let mut handles = Vec::with_capacity(cores.len());
    let feed: Arc<Feed> = Arc::default();
    for mut core in cores {
        core.feed = Arc::clone(&feed);
        let (inbox, messages) = mpsc::channel(INBOX_MAX);
        let status = Arc::new(ShardStatus::default());
        core.note_sizes();
        handles.push(ShardHandle {
            inbox,
            directory: Arc::clone(&core.directory),
            status: Arc::clone(&status),
            metrics: Arc::clone(&core.metrics),
        });
        parts.push((core, messages, status));
    }
    let reading = Reading::new(base.options.reading_bytes());
    let shared = Arc::new(Shared {
        env: base.env,
        options: base.options,
        budget: base.budget,
        reading,
        segments: base.segments,
        catalog: base.catalog,
        shards: handles,
        metrics,
        scrub: Scrub::default(),
        retained: base.retained,
        passes: Passes::default(),
        feed,
        stopping: Switch::new(),
        booted_at: base.booted_at,
        _lock: crate::engine::Lock(lock),
    });
    let shards = parts.into_iter().map(|(core, messages, status)| {
        let own = core.config.shard;
        let first = dangling
            .iter()
            .filter(|(source, _)| shard_of(source.slot(), shards) == own);
        let first = first.map(|(source, fork)| Peer::DropFork {
            source: *source,
            fork: *fork,
        });
        Shard::new(core, messages, Arc::clone(&shared), status, first.collect())
    });
    let shards = shards.collect();
    Opened {
        engine: Engine { shared },
        shards,
    }
}

/// Notes that everything is flushed and nothing was lost.
pub(crate) async fn mark_clean(shared: &Arc<Shared>) {
    if shared.shards.iter().any(|shard| shard.status.is_poisoned()) {
        return;
    }
    let shared = Arc::clone(shared);
    let marked = tasks::blocking(move || {
        let Some(manifest) = shared.catalog.manifest()? else {
            return Ok(());
        };
        let manifest = Manifest {
            clean: true,
            ..manifest
        };
        shared.catalog.commit(Commit {
            manifest: Some(manifest),
            ..Commit::default()
        })?;
        Ok::<_, StoreError>(())
    });
    if let Err(error) = marked.await {
        tracing::warn!(%error, "the data directory could not be marked as cleanly closed");
    }
}
