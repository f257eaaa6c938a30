//! Reads what is at rest, bit by bit and while it is in use, to find damage before a reader does.
//!
//! A [`Pass`] looks at every sealed log segment and at every segment that the catalog names when the
//! pass begins: each block's checksum, index, directory, footer, trailer and header. It is driven in
//! steps of about [`PIECE_BYTES`]; who drives it chooses how fast.
//!
//! INVARIANTS:
//! - Nothing is changed, whatever is found.
//! - A file is open only within a step and is never pinned, so that compaction and deletion do not
//!   wait. One that is gone by its turn is passed over; it is missing only if the catalog still names it.
//! - What is read does not push other things out of the system's cache, where the system lets it be so
//!   ([`millrace_env::OpenMode::ReadOnce`]).
//!
//! A pass goes round: it begins with a segment of the caller's choice. Chosen at random, a process
//! that never lives for a whole pass still looks at all of its segments sooner or later, and no
//! position has to be kept on the disk.
//!
//! Not here: the last segment of a log, which is being written; and the catalog, of which pages that
//! nothing refers to need not match their checksums, so that only a walk under the commit lock could
//! tell. Pages that are used are verified whenever they are read; [`crate::check`] verifies both.
//!
//! Layout: here the pass; `segment` and `log`, one file each; `damage`, what was found.

mod damage;
mod log;
mod segment;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use millrace_env::Env;

pub use self::damage::{Damage, RANGES_SHOWN, STREAMS_NAMED};
use self::{log::LogScrub, segment::SegmentScrub};
use crate::{StoreError, catalog::Catalog, segment::file::size, wal::sealed::SealedSegment};

/// About how much one step reads. More where a single frame, a footer or a directory is larger.
pub const PIECE_BYTES: u64 = 1 << 20;

/// One look at everything.
#[derive(Debug)]
pub struct Pass {
    env: Env,
    catalog: Catalog,
    /// The first one is under way.
    left: VecDeque<FileScrub>,
    /// Of the files that are done.
    bytes_done: u64,
    /// Read of the one that is under way.
    bytes_read: u64,
    bytes_total: u64,
}

/// What one step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How many bytes it read.
    pub bytes: u64,
    /// The file that it finished, if it did.
    pub looked: Option<Looked>,
}

/// What is to be said of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Its path, below the data directory.
    pub file: String,
    /// What it is.
    pub kind: FileKind,
    /// How it was found.
    pub found: Found,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A segment.
    Segment,
    /// A sealed segment of a log.
    Log,
}

/// How a file was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// All of it is as it was written.
    Whole,
    /// Nothing needs it any more.
    Gone,
    /// It cannot be looked at, which says nothing about its bytes.
    Unread(String),
    /// Some of it is not as it was written.
    Damaged(Damage),
}

/// One file, and how far it was looked at.
#[derive(Debug)]
enum FileScrub {
    Segment(SegmentScrub),
    Log(LogScrub),
}

/// What one step read of a file; with the verdict, when that was all of it.
struct Piece {
    bytes: u64,
    found: Option<Found>,
}

impl Piece {
    fn more(bytes: u64) -> Self {
        let found = None;
        Self { bytes, found }
    }

    fn last(bytes: u64, found: Found) -> Self {
        let found = Some(found);
        Self { bytes, found }
    }
}

impl Pass {
    /// Notes what there is. Of the segments, number `first` is the first one, counted round and round.
    pub fn begin(env: &Env, catalog: &Catalog, first: u64) -> Result<Self, StoreError> {
        let logs = SealedSegment::all(env)?.into_iter();
        let mut segments = catalog.segments()?;
        let round = first % (segments.len() as u64).max(1);
        segments.rotate_left(size(round));
        let segments = segments.into_iter().map(SegmentScrub::new);
        // Logs first: they are few, and soon given back.
        let left: VecDeque<FileScrub> = logs
            .map(|sealed| FileScrub::Log(LogScrub::new(sealed)))
            .chain(segments.map(FileScrub::Segment))
            .collect();
        Ok(Self {
            env: env.clone(),
            catalog: catalog.clone(),
            bytes_total: left.iter().map(FileScrub::bytes).sum(),
            left,
            bytes_done: 0,
            bytes_read: 0,
        })
    }

    /// Goes on for about [`PIECE_BYTES`]; `None` when the pass is over. Blocking.
    pub fn step(&mut self) -> Option<Step> {
        let file = self.left.front_mut()?;
        let Piece { bytes, found } = match file {
            FileScrub::Segment(segment) => segment.piece(&self.env, &self.catalog),
            FileScrub::Log(log) => log.piece(&self.env),
        };
        self.bytes_read += bytes;
        let looked = found.map(|found| Looked {
            file: file.path(),
            kind: file.kind(),
            found,
        });
        if looked.is_some() {
            self.bytes_done += file.bytes();
            self.bytes_read = 0;
            self.left.pop_front();
        }
        Some(Step { bytes, looked })
    }

    /// How much of it is done, in millionths.
    pub fn progress(&self) -> u64 {
        // Index and directory are read twice: no file counts for more than its length.
        let of_this = self.left.front().map_or(0, FileScrub::bytes);
        let done = self.bytes_done + self.bytes_read.min(of_this);
        let millionths = u128::from(done) * 1_000_000 / u128::from(self.bytes_total.max(1));
        u64::try_from(millionths).unwrap_or(1_000_000)
    }
}

/// Once more where something is wrong: a read that failed once says nothing of the bytes.
fn twice<T>(mut look: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    look().or_else(|_| look())
}

impl FileScrub {
    fn path(&self) -> String {
        let path = match self {
            Self::Segment(segment) => segment.path(),
            Self::Log(log) => log.path(),
        };
        path.display().to_string()
    }

    fn kind(&self) -> FileKind {
        match self {
            Self::Segment(_) => FileKind::Segment,
            Self::Log(_) => FileKind::Log,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Segment(segment) => segment.bytes(),
            Self::Log(log) => log.bytes(),
        }
    }
}
