//! The only way the catalog changes: one durable transaction that keeps all tables in step.
//!
//! `redb` would make a commit that fails uncertain: it may have taken place. So every commit is
//! numbered, and after a failure that leaves the file usable the number is read back: the caller
//! always learns "done" or "not done". Where the file is not usable any more (a failed write or
//! sync), it learns that too, and nothing is written until a restart.

use std::{borrow::Borrow, sync::atomic::Ordering};

use millrace_core::{
    Generation, Lsn, ProducerId, SegmentId, SlotId, StreamId,
    stream::{ProducerState, StreamState},
};
use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};

use super::{
    Access, Catalog, Manifest, Opened,
    apply::Tables,
    fault::Fault,
    lock, number,
    paged::FileFault,
    tables::{self, META, META_COMMIT},
};
use crate::{
    StoreError,
    segment::{Extent, SegmentMeta},
    wal::LogId,
};

/// A change of the catalog, taken whole or not at all.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The log this is a flush of, and up to where it is in the catalog with this commit.
    pub log: Option<(LogId, Lsn)>,
    /// The new head of the data directory. Logs that it does not list are forgotten; the LSN of one
    /// that it lists never falls, and nor does the next segment id.
    pub manifest: Option<Manifest>,
    /// Streams that are new or changed.
    pub upserts: Vec<StreamState>,
    /// Streams that are gone. Wins over all else that is said of the same stream.
    pub removed: Vec<StreamId>,
    /// Segments that are new: written, synced, named, and their directory synced.
    pub segments: Vec<SegmentMeta>,
    /// Extents that are new; those of a stream join its last one.
    pub extents: Vec<Extent>,
    /// Producers that are new, changed or, with `None`, forgotten.
    pub producers: Vec<(StreamId, ProducerId, Option<ProducerState>)>,
    /// The highest generation ever used in a slot; never falls.
    pub generations: Vec<(SlotId, Generation)>,
    /// Extents that were written anew elsewhere.
    pub replaced: Vec<Replaced>,
    /// Doomed segments whose files are gone for good.
    pub forget_doomed: Vec<SegmentId>,
    /// Streams whose many extents were looked at.
    pub gathered: Vec<StreamId>,
}

/// Adjacent extents of one stream, written anew. Skipped when any of the old ones is not there any
/// more, exactly as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The stream.
    pub stream: StreamId,
    /// The extents that go, in order.
    pub old: Vec<Extent>,
    /// The extents that hold the same positions from now on, in order.
    pub new: Vec<Extent>,
}

/// What a commit came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Segments without a live byte from now on: delete their files (`Segments::remove`).
    pub doomed: Vec<SegmentId>,
    /// Whether each of [`Commit::replaced`] was carried out.
    pub replaced: Vec<bool>,
}

impl Catalog {
    /// Makes a change durable. When it fails nothing was changed; after [`StoreError::Full`] it may
    /// be tried again, after [`StoreError::Poisoned`] nothing is written until a restart.
    ///
    /// `Io` and `Corrupt` say that the change cannot be built on what is stored, or that the catalog
    /// could not be read back; the caller keeps what it wanted to commit either way (T7).
    pub fn commit(&self, commit: impl Borrow<Commit>) -> Result<Committed, StoreError> {
        let commit = commit.borrow();
        let _alone = lock(&self.shared.commit);
        self.may_write()?;
        let opened = self.shared.reopen(Access::Write)?;
        match self.commit_on(&opened, commit) {
            Ok(committed) => Ok(committed),
            Err((Fault::Store(error), _)) => Err(error),
            Err((fault, attempt)) => self.after_failure(&opened, fault, attempt),
        }
    }

    fn may_write(&self) -> Result<(), StoreError> {
        if self.shared.access == Access::Read {
            let why = "the catalog was opened to look at, not to change";
            return Err(StoreError::Io(std::io::Error::other(why)));
        }
        match &self.shared.slot().stopped {
            Some(why) => Err(StoreError::Poisoned { why: why.clone() }),
            None => Ok(()),
        }
    }

    /// One attempt. A failure says which number the commit has, if it may have taken place.
    fn commit_on(
        &self,
        opened: &Opened,
        commit: &Commit,
    ) -> Result<Committed, (Fault, Option<(u64, Committed)>)> {
        let next_segment = self.shared.next_segment.load(Ordering::SeqCst);
        let tx = begin(&opened.db).map_err(|fault| (fault, None))?;
        let (number, committed) =
            carry_out(&tx, commit, next_segment).map_err(|fault| (fault, None))?;
        match tx.commit() {
            Ok(()) => Ok(committed),
            Err(error) => Err((error.into(), Some((number, committed)))),
        }
    }

    /// Finds out whether a commit that failed took place, on a new handle.
    fn after_failure(
        &self,
        failed: &Opened,
        fault: Fault,
        attempt: Option<(u64, Committed)>,
    ) -> Result<Committed, StoreError> {
        let reason = failed.file.fault();
        self.shared.discard(failed);
        if let Some(FileFault::Write(why)) = &reason {
            self.shared.slot().stopped = Some(why.clone());
            return Err(fault.explain(reason));
        }
        let Some((number, committed)) = attempt else {
            return Err(fault.explain(reason));
        };
        // Opened to write, so that what it reads back is durable; where that fails, what happened
        // is not known, and the catalog stops.
        match self
            .shared
            .reopen(Access::Write)
            .and_then(|opened| last_number(&opened))
        {
            Ok(last) if last == number => Ok(committed),
            Ok(_) => Err(fault.explain(reason)),
            Err(error) => {
                self.shared.slot().stopped = Some(error.to_string());
                Err(StoreError::Poisoned {
                    why: error.to_string(),
                })
            }
        }
    }
}

/// Begins a durable transaction.
fn begin(db: &Database) -> Result<WriteTransaction, Fault> {
    let mut tx = db.begin_write()?;
    // Costs a little at every commit; opening after a crash would walk the whole file without.
    tx.set_quick_repair(true);
    Ok(tx)
}

/// The first commit of a new catalog: its format, and every table, so that reads find them all.
pub(super) fn first(db: &Database) -> Result<(), Fault> {
    let tx = begin(db)?;
    drop(Tables::open(&tx)?);
    {
        let mut meta = tx.open_table(META)?;
        let version = tables::FORMAT_VERSION.to_le_bytes();
        meta.insert(tables::META_FORMAT, &version[..])?;
    }
    tx.commit()?;
    Ok(())
}

fn carry_out(
    tx: &WriteTransaction,
    commit: &Commit,
    next_segment: u64,
) -> Result<(u64, Committed), Fault> {
    let mut tables = Tables::open(tx)?;
    let committed = tables.apply(commit)?;
    tables.set_next_segment(next_segment)?;
    let number = tables.count_commit()?;
    Ok((number, committed))
}

/// The number of the last commit.
fn last_number(opened: &Opened) -> Result<u64, StoreError> {
    let read = |tx: ReadTransaction| -> Result<u64, Fault> {
        let meta = tx.open_table(META)?;
        let value = meta.get(META_COMMIT)?;
        Ok(value.and_then(|value| number(value.value())).unwrap_or(0))
    };
    let answer = opened.db.begin_read().map_err(Fault::from).and_then(read);
    answer.map_err(|fault| fault.explain(opened.file.fault()))
}
