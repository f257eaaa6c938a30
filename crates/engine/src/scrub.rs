//! The scrub beside the shards: one pass after the other over what is at rest, slowly.
//!
//! INVARIANTS:
//! - One pass at a time in a data directory: one task of one process drives it, and the directory is
//!   locked.
//! - Pieces are read beside the event loops, and the pause after each keeps the rate: what was not used
//!   is not saved up, so that a disk that was busy is not asked for more afterwards.
//! - Damage is told (log, figures, [`crate::Status::warnings`]) and nothing is changed. Shards go on:
//!   reads of whole bytes are right.
//!
//! Nothing is kept about a pass across a restart: `millrace_store::scrub` says why that does no harm.
//!
//! Not here: how bytes are verified (`millrace_store::scrub`).

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use millrace_env::{sleep, tasks};
use millrace_store::scrub::{Damage, FileKind, Found, Looked, Pass, Step};

use crate::{
    engine::{Shared, Stopping},
    metrics::{Counter, Gauge, ScrubFigures},
};

/// From the start to the first pass, so that it is in nobody's way while recovery is caught up with,
/// and to the next attempt where there was none; less where passes follow each other sooner.
const FIRST_PASS_AFTER: Duration = Duration::from_mins(1);
/// BOUND: how many damaged files are named to whoever asks.
const WARNINGS_MAX: usize = 8;
/// What to do about damage.
const TO_DO: &str = "keep serving, for nothing else is hit; when it suits, stop the server, and restore \
                     the file from a backup; without one, `millrace repair --dry-run` says what can be \
                     saved, and `millrace repair` does it";

/// What passes have found so far.
#[derive(Debug, Default)]
pub(crate) struct Scrub {
    bytes: Counter,
    segments: Counter,
    logs: Counter,
    damaged_blocks: Counter,
    began: Gauge,
    ended: Gauge,
    progress: Gauge,
    /// Held to look or to change, never across I/O.
    known: Mutex<Known>,
}

/// Files that are damaged.
#[derive(Debug, Default)]
struct Known {
    /// By the last pass that was finished, and all since.
    all: BTreeSet<String>,
    /// By the pass under way.
    this_pass: BTreeSet<String>,
}

/// Scrubs now and then until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let rate = shared.options.scrub_rate;
    if rate == 0 {
        return;
    }
    let stopping = shared.stopping();
    let soon = shared.options.scrub_interval.min(FIRST_PASS_AFTER);
    let mut wait = soon;
    while waited(&stopping, wait).await {
        let Some(pass) = begin(&shared).await else {
            wait = soon;
            continue;
        };
        if !drive(&shared, pass, rate, &stopping).await {
            return;
        }
        shared.scrub.ends(wall_seconds(&shared));
        wait = shared.options.scrub_interval;
    }
}

/// Waits, and says whether to go on.
async fn waited(stopping: &Stopping, pause: Duration) -> bool {
    tokio::select! {
        biased;
        () = stopping.wait() => false,
        () = sleep(pause) => true,
    }
}

async fn begin(shared: &Arc<Shared>) -> Option<Pass> {
    let worker = Arc::clone(shared);
    let first = shared.env.rng.next();
    let pass = tasks::blocking(move || Pass::begin(&worker.env, &worker.catalog, first)).await;
    match pass {
        Ok(pass) => {
            shared.scrub.begins(wall_seconds(shared));
            Some(pass)
        }
        Err(error) => {
            tracing::error!(%error, "what there is to scrub cannot be listed; it will be tried again");
            None
        }
    }
}

/// Goes on to the end of a pass, or until the engine stops: then it says no.
async fn drive(shared: &Arc<Shared>, mut pass: Pass, rate: u64, stopping: &Stopping) -> bool {
    loop {
        let begun = shared.env.clock.mono();
        let step;
        (pass, step) = tasks::blocking(move || {
            let step = pass.step();
            (pass, step)
        })
        .await;
        let Some(Step { bytes, looked }) = step else {
            return true;
        };
        shared.scrub.step(bytes, pass.progress());
        if let Some(looked) = looked {
            shared.scrub.looked(looked);
        }
        let took = shared.env.clock.mono().saturating_sub(begun);
        if !waited(stopping, time_for(bytes, rate).saturating_sub(took)).await {
            return false;
        }
    }
}

/// How long so many bytes take at this rate.
fn time_for(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn wall_seconds(shared: &Shared) -> u64 {
    shared.env.clock.wall() / 1_000
}

impl Scrub {
    fn begins(&self, now: u64) {
        self.known().this_pass.clear();
        self.progress.set(0);
        self.began.set(now);
        tracing::info!("scrub begins");
    }

    fn ends(&self, now: u64) {
        self.progress.set(1_000_000);
        self.ended.set(now);
        let mut known = self.known();
        known.all = std::mem::take(&mut known.this_pass);
        let damaged = known.all.len();
        tracing::info!(damaged_files = damaged, "scrub is done");
    }

    fn step(&self, bytes: u64, progress: u64) {
        self.bytes.add(bytes);
        self.progress.set(progress);
    }

    fn looked(&self, Looked { file, kind, found }: Looked) {
        match found {
            Found::Whole => match kind {
                FileKind::Segment => self.segments.increment(),
                FileKind::Log => self.logs.increment(),
            },
            Found::Gone => {}
            Found::Unread(error) => {
                tracing::warn!(file, %error, "a file could not be scrubbed; the next pass tries again");
                let mut known = self.known();
                if known.all.contains(&file) {
                    known.this_pass.insert(file);
                }
            }
            Found::Damaged(damage) => self.damaged(file, &damage),
        }
    }

    fn damaged(&self, file: String, damage: &Damage) {
        let (bytes, streams) = (damage.bytes_in_words(), damage.streams_in_words());
        let what = &damage.what;
        tracing::error!(
            file,
            bytes,
            streams,
            what,
            to_do = TO_DO,
            "stored bytes are damaged"
        );
        self.damaged_blocks.add(damage.blocks);
        let mut known = self.known();
        known.all.insert(file.clone());
        known.this_pass.insert(file);
    }

    /// What is known to be damaged, in words. Names no stream: who asks may not know of it.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let known = self.known();
        let named = known.all.iter().take(WARNINGS_MAX);
        let mut warnings: Vec<String> = named
            .map(|file| format!("{file} is damaged: see the log"))
            .collect();
        if known.all.len() > WARNINGS_MAX {
            let more = known.all.len() - WARNINGS_MAX;
            warnings.push(format!("{more} more files are damaged: see the log"));
        }
        warnings
    }

    pub(crate) fn figures(&self) -> ScrubFigures {
        ScrubFigures {
            bytes: self.bytes.get(),
            segments: self.segments.get(),
            logs: self.logs.get(),
            damaged_blocks: self.damaged_blocks.get(),
            damaged_files: self.known().all.len() as u64,
            began_seconds: self.began.get(),
            ended_seconds: self.ended.get(),
            progress_millionths: self.progress.get(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Every change is one insertion or exchange, so it is whole after a panic too.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
