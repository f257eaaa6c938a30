//! What a start does with the files in `segments/`: before anything is read from them, and without
//! ever deleting what the catalog may still need.
//!
//! - A file that is still under its temporary name was never finished: deleted.
//! - A segment that the catalog names must be there, whole at both ends; otherwise the start is
//!   refused with the file's name (T9, T10), whatever the reason.
//! - A segment that the catalog dooms has no live byte: deleted.
//! - Any other segment was finished, and no commit names it: moved to `quarantine/`, never deleted.
//!   That is what a crash between a flush's files and its commit leaves (T22), and the log has its
//!   bytes; but a catalog that was restored from an older copy looks the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use millrace_core::SegmentId;
use millrace_env::Env;

use super::{QUARANTINE_DIR, SEGMENTS_DIR, file::SegmentFile, id_in_name};
use crate::{
    StoreError,
    catalog::{CATALOG_FILE, Catalog, Commit, SegmentRow},
};

/// What a start found in `segments/` and did about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleanup {
    /// Unfinished files that were deleted.
    pub unfinished: Vec<String>,
    /// Segments without a live byte that were deleted.
    pub doomed: Vec<SegmentId>,
    /// Files that nothing names, now in `quarantine/`.
    pub quarantined: Vec<String>,
    /// Files that are no segments; left alone.
    pub strange: Vec<String>,
}

/// Brings `segments/` in line with the catalog. Run once, before recovery and before any flush.
/// Repeating it after a crash at any point does no harm.
pub fn startup_cleanup(env: &Env, catalog: &Catalog) -> Result<Cleanup, StoreError> {
    let rows = catalog.segments()?;
    let names = list(env, rows.is_empty())?;
    for id in names
        .iter()
        .chain(&quarantined_before(env)?)
        .filter_map(id_of)
    {
        // A name that was ever on the disk is never used again.
        catalog.skip_segment(id);
    }
    check_named(env, &rows, &names)?;
    let named: BTreeSet<SegmentId> = rows.iter().map(|row| row.id).collect();
    let doomed: BTreeSet<SegmentId> = catalog.doomed()?.into_iter().collect();
    let mut cleanup = Cleanup::default();
    for name in names.into_keys() {
        match (id_in_name(&name, ".tmp"), id_in_name(&name, ".seg")) {
            (Some(_), _) => {
                remove(env, &name)?;
                cleanup.unfinished.push(name);
            }
            (_, Some(id)) if named.contains(&id) => {}
            (_, Some(id)) if doomed.contains(&id) => {
                remove(env, &name)?;
                cleanup.doomed.push(id);
            }
            (_, Some(_)) => {
                if quarantine(env, &name)? {
                    cleanup.quarantined.push(name);
                }
            }
            _ => cleanup.strange.push(name),
        }
    }
    sync(env, &cleanup)?;
    forget(catalog, doomed)?;
    Ok(cleanup)
}

/// Refuses a catalog without a manifest where there are segments: the first one is written only after
/// the manifest, so that catalog is older than what else there is. Changes nothing.
pub fn refuse_unnamed_segments(env: &Env) -> Result<(), StoreError> {
    match list(env, true)?
        .into_keys()
        .find(|name| id_in_name(name, ".seg").is_some())
    {
        Some(name) => Err(StoreError::corrupt(is_older_than(&name))),
        None => Ok(()),
    }
}

/// What is to be said of a catalog that knows nothing of a segment and has not even a manifest.
pub(crate) fn is_older_than(name: &str) -> String {
    format!("{CATALOG_FILE} is older than {SEGMENTS_DIR}/{name}, which it knows nothing of")
}

/// The files in `segments/` and their lengths. The directory is made where nothing can be in it.
fn list(env: &Env, may_be_new: bool) -> Result<BTreeMap<String, u64>, StoreError> {
    let dir = Path::new(SEGMENTS_DIR);
    let failed = |error: io::Error| StoreError::io("list segments", &error);
    let entries = match env.disk.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound && may_be_new => {
            let made = env.disk.create_dir(dir);
            made.and_then(|()| env.disk.sync_dir(Path::new("")))
                .map_err(|error| StoreError::io("make segments", &error))?;
            Vec::new()
        }
        // T9: a mount that is missing is not an empty directory.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::missing("the directory segments"));
        }
        Err(error) => return Err(failed(error)),
    };
    Ok(entries
        .into_iter()
        .map(|entry| (entry.name, entry.len))
        .collect())
}

fn quarantined_before(env: &Env) -> Result<BTreeMap<String, u64>, StoreError> {
    match env.disk.list(Path::new(QUARANTINE_DIR)) {
        Ok(entries) => Ok(entries
            .into_iter()
            .map(|entry| (entry.name, entry.len))
            .collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(StoreError::io("list quarantine", &error)),
    }
}

fn id_of((name, _): (&String, &u64)) -> Option<SegmentId> {
    id_in_name(name, ".seg").or_else(|| id_in_name(name, ".tmp"))
}

/// Every named segment is there, of the length the catalog knows, and whole at both ends.
fn check_named(
    env: &Env,
    rows: &[SegmentRow],
    names: &BTreeMap<String, u64>,
) -> Result<(), StoreError> {
    for row in rows {
        let name = super::segment_name(row.id);
        match names.get(&name) {
            None => {
                return Err(StoreError::missing(format!(
                    "segment file {SEGMENTS_DIR}/{name}, which holds {} bytes of streams,",
                    row.live
                )));
            }
            Some(len) if *len != row.len => {
                return Err(StoreError::corrupt(format!(
                    "segment file {SEGMENTS_DIR}/{name} has {len} bytes and was written with {}",
                    row.len
                )));
            }
            Some(_) => drop(SegmentFile::open(env, row.id)?),
        }
    }
    Ok(())
}

fn remove(env: &Env, name: &str) -> Result<(), StoreError> {
    let path = Path::new(SEGMENTS_DIR).join(name);
    env.disk
        .remove(&path)
        .map_err(|error| StoreError::io(format!("remove {}", path.display()), &error))
}

/// Moves a file that nothing names out of the way. Not at any price: on a full disk it stays where
/// it is, and the next start tries again (T25).
fn quarantine(env: &Env, name: &str) -> Result<bool, StoreError> {
    let from = Path::new(SEGMENTS_DIR).join(name);
    let dir = Path::new(QUARANTINE_DIR);
    let moved = env.disk.create_dir(dir).and_then(|()| {
        let to = free_name(env, name)?;
        env.disk.rename(&from, &to)
    });
    match moved.map_err(|error| StoreError::io(format!("move {} away", from.display()), &error)) {
        Ok(()) => Ok(true),
        Err(StoreError::Full) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A name in `quarantine/` that nothing has: a file that was set aside is never replaced.
fn free_name(env: &Env, name: &str) -> io::Result<std::path::PathBuf> {
    let dir = Path::new(QUARANTINE_DIR);
    let taken: BTreeSet<String> = env
        .disk
        .list(dir)?
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    let mut free = name.to_owned();
    let mut number = 1;
    while taken.contains(&free) {
        number += 1;
        free = format!("{name}.{number}");
    }
    Ok(dir.join(free))
}

fn sync(env: &Env, done: &Cleanup) -> Result<(), StoreError> {
    let mut dirs = Vec::new();
    if !done.quarantined.is_empty() {
        // Where the file went, before where it came from: it is never in neither.
        dirs.extend(["", QUARANTINE_DIR, SEGMENTS_DIR]);
    } else if !(done.unfinished.is_empty() && done.doomed.is_empty()) {
        dirs.push(SEGMENTS_DIR);
    }
    for dir in dirs {
        env.disk
            .sync_dir(Path::new(dir))
            .map_err(|error| StoreError::io(format!("sync the directory {dir}"), &error))?;
    }
    Ok(())
}

/// Tells the catalog that the doomed files are gone. A full disk lets it wait.
fn forget(catalog: &Catalog, doomed: BTreeSet<SegmentId>) -> Result<(), StoreError> {
    if doomed.is_empty() {
        return Ok(());
    }
    let commit = Commit {
        forget_doomed: doomed.into_iter().collect(),
        ..Commit::default()
    };
    match catalog.commit(commit) {
        Ok(_) | Err(StoreError::Full) => Ok(()),
        Err(error) => Err(error),
    }
}
