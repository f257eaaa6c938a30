//! The steps of a repair. DURABILITY: everything that the commit names is durable before it; nothing is
//! moved away that the catalog may still name before it is.

use std::{
    collections::BTreeSet,
    ops::Range,
    path::{Path, PathBuf},
};

use millrace_core::{Generation, Lsn, SlotId, StreamId, StreamPos, slot::SLOTS};
use millrace_env::Env;

use super::{
    aside::Aside,
    fold::{Folded, Piece},
    plan::Outcome,
    segments::Damaged,
    survey::{Logs, Survey},
};
use crate::{
    StoreError,
    catalog::{CATALOG_FILE, Catalog, Commit, Manifest, Replaced},
    check::files,
    flush::{FlushOptions, Packer},
    segment::{
        Chunk, Extent, QUARANTINE_DIR, SEGMENTS_DIR, id_in_name, segment_name, segment_path,
    },
    wal::{LogId, Wal, WalOptions},
};

const CACHE_BYTES: usize = 64 << 20;
/// The logs that a repair makes are empty; the first start makes files of the length it is told to.
const LOG: WalOptions = WalOptions {
    segment_bytes: 64 << 10,
    reserve: false,
};

/// Carries a plan out.
pub(super) fn apply(env: &Env, survey: &Survey) -> Result<Outcome, StoreError> {
    if !survey.has_work() {
        return Ok(Outcome::default());
    }
    let mut aside = Aside::begin(env, &survey.plan)?;
    aside.copy(CATALOG_FILE)?;
    let catalog = Catalog::open(env, CACHE_BYTES)?;
    skip_known_segments(env, &catalog)?;
    let options = FlushOptions::default();
    let mut packer = Packer::new(env, &catalog, &options);
    let commit = prepare(env, survey, &mut packer).and_then(|commit| {
        catalog.commit(&commit)?;
        Ok(())
    });
    if let Err(error) = commit {
        // Where it is not known whether the commit took place, its files have to stay.
        if !matches!(error, StoreError::Poisoned { .. }) {
            packer.abandon();
        }
        return Err(error);
    }
    drop(packer);
    drop(catalog);
    set_aside(env, survey, &mut aside)?;
    Ok(Outcome {
        quarantine: Some(aside.dir()),
        kept_files: aside.files,
    })
}

/// Writes all that the commit will name; nothing does yet.
fn prepare(env: &Env, survey: &Survey, packer: &mut Packer<'_>) -> Result<Commit, StoreError> {
    let made = env.disk.create_dir(Path::new(SEGMENTS_DIR));
    made.and_then(|()| env.disk.sync_dir(Path::new("")))
        .map_err(|error| StoreError::io("make segments", &error))?;
    for damaged in &survey.damaged {
        damaged.write(packer)?;
    }
    let mut commit = Commit::default();
    if let Some(logs) = &survey.logs {
        write_logs(env, logs, packer, &mut commit)?;
    }
    packer.done()?;
    for damaged in &survey.damaged {
        commit.replaced.extend(replaced(damaged, &packer.extents));
        // Not to be deleted, as doomed ones are.
        commit.forget_doomed.push(damaged.row.id);
    }
    let rewritten: BTreeSet<_> = commit
        .replaced
        .iter()
        .flat_map(|swap| &swap.new)
        .map(|extent| (extent.stream, extent.from))
        .collect();
    let new = packer.extents.iter();
    let new = new.filter(|extent| !rewritten.contains(&(extent.stream, extent.from)));
    commit.extents.extend(new);
    commit
        .extents
        .sort_by_key(|extent| (extent.stream, extent.from));
    commit.segments.clone_from(&packer.metas);
    Ok(commit)
}

/// The extents of a damaged segment, and what takes their places.
fn replaced(damaged: &Damaged, written: &[Extent]) -> Vec<Replaced> {
    let rescues = damaged.rescues.iter().map(|rescue| {
        let old = rescue.old;
        let inside = |extent: &&Extent| {
            extent.stream == old.stream && old.from <= extent.from && extent.until <= old.until
        };
        let lost = |lost: &Range<StreamPos>| Extent::lost(old.stream, lost.start, lost.end);
        let mut new: Vec<Extent> = written.iter().filter(inside).copied().collect();
        new.extend(rescue.lost.iter().map(lost));
        new.sort_by_key(|extent| extent.from);
        Replaced {
            stream: old.stream,
            old: vec![old],
            new,
        }
    });
    rescues.collect()
}

/// What the logs hold beyond the catalog, and new logs.
fn write_logs(
    env: &Env,
    logs: &Logs,
    packer: &mut Packer<'_>,
    commit: &mut Commit,
) -> Result<(), StoreError> {
    for (stream, folded) in &logs.fold.streams {
        match &folded.state {
            Some(state) => {
                commit.upserts.push(state.clone());
                write_pieces(*stream, folded, packer, commit)?;
            }
            None if folded.stored => commit.removed.push(*stream),
            None => {}
        }
    }
    let is_there = |stream: &StreamId| {
        let folded = logs.fold.streams.get(stream);
        folded.is_some_and(|folded| folded.state.is_some())
    };
    commit.producers = logs
        .fold
        .producers
        .iter()
        .filter(|((stream, _), _)| is_there(stream))
        .map(|((stream, id), state)| (*stream, id.clone(), *state))
        .collect();
    let used = logs.fold.generations.iter();
    commit.generations = used
        .map(|(slot, generation)| (*slot, *generation))
        .collect();
    if let Some(floor) = logs.floor {
        commit
            .generations
            .extend((0..SLOTS).map(|slot| (SlotId(slot), floor)));
    }
    commit.manifest = Some(new_logs(env, logs)?);
    Ok(())
}

fn write_pieces(
    stream: StreamId,
    folded: &Folded,
    packer: &mut Packer<'_>,
    commit: &mut Commit,
) -> Result<(), StoreError> {
    let mut run: Vec<&Chunk> = Vec::new();
    for piece in &folded.pieces {
        match piece {
            Piece::Bytes(chunk) => run.push(chunk),
            Piece::Lost { from, until } => {
                write_run(stream, &std::mem::take(&mut run), packer)?;
                commit.extents.push(Extent::lost(stream, *from, *until));
            }
        }
    }
    write_run(stream, &run, packer)
}

fn write_run(stream: StreamId, run: &[&Chunk], packer: &mut Packer<'_>) -> Result<(), StoreError> {
    let Some(first) = run.first() else {
        return Ok(());
    };
    let bytes = run.iter().map(|chunk| chunk.payload.len()).sum();
    let writer = packer.pack(bytes)?;
    writer.begin(stream, first.from);
    for chunk in run {
        writer.chunk(chunk)?;
    }
    writer.end();
    Ok(())
}

/// As many empty logs as before.
fn new_logs(env: &Env, logs: &Logs) -> Result<Manifest, StoreError> {
    let old = &logs.manifest;
    // Neither one that is named nor one that is there: until the commit, the old ones count.
    let used = crate::wal::logs(env)?;
    let used = used.iter().chain(&logs.old).map(|log| log.0 + 1);
    let first = used.fold(old.next_log.0, u64::max);
    let new: Vec<LogId> = (first..).map(LogId).take(old.logs.len()).collect();
    let boot_epoch = old.boot_epoch + 1;
    for log in &new {
        Wal::create(env, *log, boot_epoch, LOG)?.close()?;
    }
    Ok(Manifest {
        boot_epoch,
        clean: false,
        next_log: LogId(first + new.len() as u64),
        logs: new.into_iter().map(|log| (log, Lsn::ZERO)).collect(),
        generation_floor: logs.floor.map_or(old.generation_floor, Generation::get),
        ..old.clone()
    })
}

/// No file that is there, or ever was, lends its id to a new one.
fn skip_known_segments(env: &Env, catalog: &Catalog) -> Result<(), StoreError> {
    let mut dirs = vec![PathBuf::from(SEGMENTS_DIR), PathBuf::from(QUARANTINE_DIR)];
    for entry in files::list(env, QUARANTINE_DIR)? {
        if entry.is_dir {
            dirs.push(
                Path::new(QUARANTINE_DIR)
                    .join(entry.name)
                    .join(SEGMENTS_DIR),
            );
        }
    }
    for dir in dirs {
        for entry in files::list(env, &dir.display().to_string())? {
            let name = &entry.name;
            let id = id_in_name(name, ".seg").or_else(|| id_in_name(name, ".tmp"));
            if let Some(id) = id {
                catalog.skip_segment(id);
            }
        }
    }
    Ok(())
}

/// Moves away what the commit has made nameless. What an interruption leaves, the next start moves.
fn set_aside(env: &Env, survey: &Survey, aside: &mut Aside) -> Result<(), StoreError> {
    let is_there = |path: &Path| env.disk.open(path, millrace_env::OpenMode::Read).is_ok();
    let names: Vec<String> = survey
        .damaged
        .iter()
        .filter(|damaged| is_there(&segment_path(damaged.row.id)))
        .map(|damaged| segment_name(damaged.row.id))
        .collect();
    if !names.is_empty() {
        aside.take(Path::new(SEGMENTS_DIR), &names, false)?;
    }
    let old = survey.logs.as_ref().map_or(&[][..], |logs| &logs.old);
    let there = crate::wal::logs(env)?;
    for log in old.iter().filter(|log| there.contains(log)) {
        let dir = log.dir();
        let entries = files::list(env, &dir.display().to_string())?;
        let names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        aside.take(&dir, &names, true)?;
    }
    Ok(())
}
