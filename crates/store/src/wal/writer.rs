//! The end of the log: one write and one sync a turn.
//!
//! DURABILITY: a failed write is undone (zeros over what may have been written, synced) before the
//! next frame goes to its place, so that a refused turn can never come back (T13). A failed sync is
//! never repeated (T6): the system may have dropped the bytes and call the next sync a success. From
//! then on the log refuses everything until a restart reads what the disk really holds.
//!
//! Not here: going from one segment to the next (`roll.rs`), and the first one (`recovery.rs`).
//!
//! Next on the append walk: `millrace-engine`'s `read/hot_tail.rs`.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use millrace_core::{Event, Lsn};
use millrace_env::{
    Env, File, FileExt as _,
    mutant::{self, Mutant},
};

use super::{
    LogId, WalOptions,
    format::{Chain, END_BYTES, FrameKind, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber},
    frame::{self, Frame, Place},
    scan::Closed,
    spare::Spare,
};
use crate::error::StoreError;

/// A log that can be written. One shard owns it.
#[derive(Debug)]
pub struct Wal {
    pub(super) env: Env,
    pub(super) log: LogId,
    pub(super) boot_epoch: u64,
    pub(super) options: WalOptions,
    /// Sealed segments, oldest first.
    pub(super) closed: VecDeque<Closed>,
    /// The segment that takes frames; `None` when there was no space for one.
    pub(super) active: Option<Active>,
    /// What the segment after the last sealed one follows.
    pub(super) last_seal: (SegmentNumber, Chain),
    /// What is still to be written into the last sealed segment, once it has a successor.
    pub(super) note: Option<Note>,
    /// The LSN of the next frame.
    pub(super) next: Lsn,
    /// Every frame below this was synced.
    pub(super) synced_below: Lsn,
    /// Every frame below this was written when the last sync was handed out. Atomic only so that
    /// handing one out needs no exclusive access; the owning thread alone uses it.
    pub(super) sync_issued_below: AtomicU64,
    pub(super) spares: Vec<Spare>,
    pub(super) next_spare: u64,
    /// A spare is being made elsewhere.
    pub(super) making_spare: bool,
    /// When a spare may be tried again, after one could not be made.
    pub(super) spare_not_before: Duration,
    pub(super) poisoned: Option<String>,
}

/// The segment that takes frames.
#[derive(Debug)]
pub(super) struct Active {
    pub file: Arc<dyn File>,
    pub number: SegmentNumber,
    pub salt: u64,
    pub file_bytes: u64,
    /// Where the next frame begins.
    pub at: u64,
    /// What it follows.
    pub chain: Chain,
}

/// The word that a segment was continued, and where it goes.
#[derive(Debug)]
pub(super) struct Note {
    pub file: Arc<dyn File>,
    pub at: u64,
    pub bytes: Bytes,
}

impl Note {
    /// For the segment of `file`, after its seal, which ends at `at`.
    pub(super) fn new(file: Arc<dyn File>, at: u64, seal: Place, chain: Chain) -> Self {
        let place = Place {
            previous: chain,
            ..seal
        };
        let (bytes, _) = frame::marker(place, FrameKind::Continued);
        Self { file, at, bytes }
    }
}

impl Active {
    /// A segment without frames.
    pub(super) fn empty(file: Arc<dyn File>, header: &SegmentHeader, chain: Chain) -> Self {
        Self {
            file,
            number: header.number,
            salt: header.salt,
            file_bytes: header.file_bytes,
            at: SEGMENT_HEADER_BYTES,
            chain,
        }
    }

    /// Whether a frame of `bytes` fits, and what ends the segment after it.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let room = (self.file_bytes - self.at).saturating_sub(END_BYTES);
        bytes <= room
    }
}

/// The sync of all frames written so far; may run on another thread.
#[derive(Debug)]
pub struct WalSync {
    file: Option<Arc<dyn File>>,
}

impl WalSync {
    /// Syncs. The result goes to [`Wal::mark_synced`], whatever it is.
    pub fn run(self) -> Result<(), StoreError> {
        match self.file {
            Some(_) if mutant::is(Mutant::AcknowledgeBeforeSync) => Ok(()),
            Some(file) => file.sync().map_err(|error| sync_failed(&error)),
            None => Ok(()),
        }
    }
}

/// Never [`StoreError::Full`], which would say that nothing was changed.
fn sync_failed(error: &io::Error) -> StoreError {
    StoreError::Io(io::Error::new(
        error.kind(),
        format!("sync the log: {error}"),
    ))
}

impl Wal {
    /// At least as many bytes as the frame of `events` has; what [`Wal::prepare`] is asked for once
    /// a turn is decided. Before that, [`super::RECORD_BYTES_MAX`] and the payload's length a
    /// command are a good guess.
    pub fn frame_bytes_max(events: &[Event]) -> u64 {
        frame::frame_bytes_max(events)
    }

    /// Encodes a turn's events as the next frame. Changes nothing.
    ///
    /// # Panics
    /// When the log has no segment to write to: [`Wal::prepare`] comes first.
    pub fn encode(&self, events: &[Event]) -> Frame {
        frame::encode(self.place(), events)
    }

    /// Writes a frame, in one call. [`StoreError::Full`]: nothing of it is left, and the log goes on;
    /// after any other error it does not.
    ///
    /// # Panics
    /// When the frame was encoded for another place, or is longer than what was prepared.
    pub fn write(&mut self, frame: &Frame) -> Result<(), StoreError> {
        self.check()?;
        if mutant::is(Mutant::AcknowledgeBeforeSync) {
            self.active().file.sync()?;
        }
        let place = self.place();
        let follows = frame.lsn == place.lsn && frame.previous == place.previous;
        assert!(follows, "frame {} was encoded for another place", frame.lsn);
        let fits = self.active().has_room(frame.bytes.len() as u64);
        assert!(fits, "frame {} is longer than what was prepared", frame.lsn);
        self.put(&frame.bytes, frame.chain)?;
        self.next = Lsn(self.next.get() + 1);
        Ok(())
    }

    /// Syncs everything written.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.check()?;
        let result = self.sync_handle().run();
        self.mark_synced(&result);
        result
    }

    /// The sync of everything written, to be run elsewhere; its result goes to
    /// [`Wal::mark_synced`].
    pub fn sync_handle(&self) -> WalSync {
        self.sync_issued_below
            .store(self.next.get(), Ordering::Relaxed);
        WalSync {
            file: self.active.as_ref().map(|active| Arc::clone(&active.file)),
        }
    }

    /// Takes the result of the last sync handed out. A failed one ends the log's life.
    pub fn mark_synced(&mut self, result: &Result<(), StoreError>) {
        match result {
            Ok(()) => {
                let issued = Lsn(self.sync_issued_below.load(Ordering::Relaxed));
                self.synced_below = self.synced_below.max(issued);
            }
            Err(error) => self.poison(error),
        }
    }

    /// The LSN of the next frame.
    pub fn next_lsn(&self) -> Lsn {
        self.next
    }

    /// How many bytes of segments are in use. The last segment counts until another follows it.
    pub fn bytes_retained(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|segment| segment.used_bytes).sum();
        closed + self.active.as_ref().map_or(0, |active| active.at)
    }

    /// Whether an earlier failure stopped it; only a restart helps.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.is_some()
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        match &self.poisoned {
            Some(why) => Err(StoreError::Poisoned { why: why.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn poison(&mut self, why: &StoreError) {
        tracing::error!(log = %self.log, error = %why, "the log stops");
        self.poisoned.get_or_insert_with(|| why.to_string());
    }

    pub(super) fn place(&self) -> Place {
        let active = self.active();
        Place {
            segment: active.number,
            salt: active.salt,
            lsn: self.next,
            previous: active.chain,
            after_unsynced: self.synced_below < self.next,
        }
    }

    fn active(&self) -> &Active {
        self.active
            .as_ref()
            .expect("a log is prepared before it is written")
    }

    /// Writes at the end of the segment, or leaves no trace.
    pub(super) fn put(&mut self, bytes: &[u8], chain: Chain) -> Result<(), StoreError> {
        let active = self
            .active
            .as_mut()
            .expect("a log is prepared before it is written");
        match active.file.write_all_at(bytes, active.at) {
            Ok(()) => {
                active.at += bytes.len() as u64;
                active.chain = chain;
                Ok(())
            }
            Err(error) => Err(self.undo(bytes.len(), &error)),
        }
    }

    /// After a failed write any part of it may be there: zeros go over all of it. Only a full disk
    /// is a reason to go on; a disk that fails writes otherwise is not to be trusted.
    fn undo(&mut self, len: usize, error: &io::Error) -> StoreError {
        let failure = StoreError::io("write the log", error);
        let active = self.active();
        let undone = active
            .file
            .write_all_at(&vec![0; len], active.at)
            .and_then(|()| active.file.sync());
        match (&failure, undone) {
            (StoreError::Full, Ok(())) => {
                self.synced_below = self.next;
                failure
            }
            (StoreError::Full, Err(undo)) => {
                let what = format!("undo a write to the full log: {undo}");
                let failure = StoreError::Io(io::Error::new(undo.kind(), what));
                self.poison(&failure);
                failure
            }
            _ => {
                self.poison(&failure);
                failure
            }
        }
    }
}
