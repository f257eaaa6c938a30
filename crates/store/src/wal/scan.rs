//! Reading a whole log without changing it: which segments there are, whether they follow each
//! other, every frame in order, and how the log ends.
//!
//! Recovery and the offline tools walk the same way, so that `check` cannot call good what the next
//! start refuses.

use millrace_core::{Event, Lsn};
use millrace_env::{DirEntry, Env, OpenMode};

use super::{
    LogId,
    format::{Chain, SegmentHeader, SegmentNumber},
    frame,
    segment::{Cursor, Mark, RawFrame, Rest, Segment, Step},
};
use crate::error::StoreError;

pub use super::format::FrameKind;

/// A frame, for tools.
#[derive(Clone, Debug)]
pub struct FrameInfo {
    /// The segment it lies in.
    pub segment: SegmentNumber,
    /// Where its header begins, in bytes from the start of the segment.
    pub position: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its place in the log; for a seal and what is behind it, that of the frame that follows.
    pub lsn: Lsn,
    /// What it is.
    pub kind: FrameKind,
    /// What it holds; empty for a seal, and for what is behind it.
    pub events: Vec<Event>,
}

/// How a log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// After a whole frame.
    Clean,
    /// In a frame that was never wholly written, and so never acknowledged.
    Torn {
        /// The segment.
        segment: SegmentNumber,
        /// Where the frame begins.
        position: u64,
        /// How long it is, as far as that can be told.
        bytes: u64,
    },
    /// In bytes that are not what was written; what was reported before them is good.
    Corrupt {
        /// Which bytes, and what is wrong with them.
        what: String,
    },
}

/// The logs that have a directory, whoever names them.
pub fn logs(env: &Env) -> Result<Vec<LogId>, StoreError> {
    let entries = match env.disk.list("wal".as_ref()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list the logs in wal", &error)),
    };
    let ids = entries.iter().filter(|entry| entry.is_dir);
    Ok(ids
        .filter_map(|entry| hex(&entry.name).map(LogId))
        .collect())
}

/// Reports every frame of a log in order, and how it ends; changes nothing. `after` is the LSN up
/// to which the catalog holds the log's content, if that is known: segments below it may be gone,
/// all others must be there.
pub fn scan(
    env: &Env,
    log: LogId,
    after: Option<Lsn>,
    on_frame: &mut dyn FnMut(FrameInfo),
) -> Result<ScanEnd, StoreError> {
    let mut sink = |segment: &Segment, raw: &RawFrame, events: Vec<Event>| {
        on_frame(FrameInfo {
            segment: segment.header.number,
            position: raw.at,
            bytes: u64::from(raw.header.len),
            lsn: raw.header.lsn,
            kind: raw.header.kind,
            events,
        });
        Ok(())
    };
    let listing = Listing::read(env, log)?;
    match walk(env, log, after, &listing, &mut sink) {
        Ok(Walk { last, .. }) => Ok(match last.rest {
            Rest::Clean => ScanEnd::Clean,
            Rest::Torn { bytes } => ScanEnd::Torn {
                segment: last.segment.header.number,
                position: last.at,
                bytes,
            },
        }),
        Err(StoreError::Corrupt { what }) => Ok(ScanEnd::Corrupt { what }),
        Err(other) => Err(other),
    }
}

/// What is in a log's directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub segments: Vec<SegmentNumber>,
    /// Files made ahead, and their lengths.
    pub spares: Vec<(u64, u64)>,
    /// Files whose making was interrupted.
    pub unfinished: Vec<String>,
}

impl Listing {
    pub(super) fn read(env: &Env, log: LogId) -> Result<Self, StoreError> {
        let dir = log.dir();
        let entries = env.disk.list(&dir).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                StoreError::missing(format!("the log directory {}", dir.display()))
            }
            _ => StoreError::io(format!("list {}", dir.display()), &error),
        })?;
        let mut listing = Self::default();
        for entry in entries {
            listing.sort_in(log, entry)?;
        }
        Ok(listing)
    }

    fn sort_in(&mut self, log: LogId, entry: DirEntry) -> Result<(), StoreError> {
        let (stem, extension) = entry.name.rsplit_once('.').unwrap_or((&entry.name, ""));
        match (hex(stem), extension) {
            (Some(number), "wal") => self.segments.push(SegmentNumber(number)),
            (Some(id), "spare") => self.spares.push((id, entry.len)),
            (Some(_), "tmp") => self.unfinished.push(entry.name),
            (None, "wal") => {
                let path = log.dir().join(&entry.name);
                let what = format!("{} is not a name of a log segment", path.display());
                return Err(StoreError::corrupt(what));
            }
            _ => tracing::warn!(log = %log, file = entry.name, "unknown file in a log; left alone"),
        }
        Ok(())
    }
}

/// A number as names have it: 16 lower-case hexadecimal digits.
pub(super) fn hex(text: &str) -> Option<u64> {
    let number = u64::from_str_radix(text, 16).ok()?;
    (format!("{number:016x}") == text).then_some(number)
}

/// A verified log.
#[derive(Debug)]
pub(super) struct Walk {
    /// All segments but the last, in order.
    pub closed: Vec<Closed>,
    pub last: LastSegment,
}

/// A segment that ends with its seal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed {
    pub number: SegmentNumber,
    pub salt: u64,
    /// The LSN after its last frame.
    pub next: Lsn,
    pub file_bytes: u64,
    /// How many of them are in use.
    pub used_bytes: u64,
}

/// The segment that may lack its seal.
#[derive(Debug)]
pub(super) struct LastSegment {
    pub segment: Segment,
    /// Where its valid frames end.
    pub at: u64,
    pub next: Lsn,
    pub chain: Chain,
    pub sealed: bool,
    pub unproven: Mark,
    pub rest: Rest,
}

/// Takes each frame; its error ends the walk.
pub(super) type Sink<'a> =
    &'a mut dyn FnMut(&Segment, &RawFrame, Vec<Event>) -> Result<(), StoreError>;

/// Verifies a log from its first byte to its last.
pub(super) fn walk(
    env: &Env,
    log: LogId,
    after: Option<Lsn>,
    listing: &Listing,
    sink: Sink<'_>,
) -> Result<Walk, StoreError> {
    let Some((last, others)) = listing.segments.split_last() else {
        let dir = log.dir();
        return Err(StoreError::missing(format!(
            "every segment of {}",
            dir.display()
        )));
    };
    let mut closed = Vec::new();
    let mut before = None;
    for number in others {
        let segment = Segment::open(env, log, *number, OpenMode::Read)?;
        check_follows(&segment.header, before, after)?;
        let mut cursor = Cursor::new(&segment);
        read_frames(&segment, &mut cursor, sink)?;
        if !cursor.sealed {
            let what = format!(
                "frame {} is damaged or missing, and a segment follows",
                cursor.next
            );
            return Err(segment.corrupt(cursor.at, what));
        }
        if let Some(mark) = cursor.continued()? {
            sink(&segment, &mark, Vec::new())?;
        }
        before = Some((*number, cursor.next, cursor.chain));
        closed.push(Closed {
            number: *number,
            salt: segment.header.salt,
            next: cursor.next,
            file_bytes: segment.header.file_bytes,
            used_bytes: cursor.at,
        });
    }
    let segment = Segment::open(env, log, *last, OpenMode::Read)?;
    check_follows(&segment.header, before, after)?;
    let last = read_last(segment, sink)?;
    check_reaches(&last.segment.header, last.next, after)?;
    Ok(Walk { closed, last })
}

fn read_last(segment: Segment, sink: Sink<'_>) -> Result<LastSegment, StoreError> {
    let mut cursor = Cursor::new(&segment);
    read_frames(&segment, &mut cursor, sink)?;
    if cursor.continued()?.is_some() {
        let path = segment.header.number.path(segment.header.log);
        let what = format!("the log segment after {}", path.display());
        return Err(StoreError::missing(what));
    }
    let rest = cursor.rest()?;
    Ok(LastSegment {
        at: cursor.at,
        next: cursor.next,
        chain: cursor.chain,
        sealed: cursor.sealed,
        unproven: cursor.unproven,
        rest,
        segment,
    })
}

pub(super) fn read_frames(
    segment: &Segment,
    cursor: &mut Cursor<'_>,
    sink: Sink<'_>,
) -> Result<(), StoreError> {
    while let Step::Frame(raw) = cursor.step()? {
        let events = frame::decode(&raw.bytes, raw.header.records).map_err(|fault| {
            segment.corrupt(raw.at, format!("frame {}: {fault}", raw.header.lsn))
        })?;
        sink(segment, &raw, events)?;
    }
    Ok(())
}

/// A segment follows the one before, or what lies between was recycled because the catalog has it.
fn check_follows(
    header: &SegmentHeader,
    before: Option<(SegmentNumber, Lsn, Chain)>,
    after: Option<Lsn>,
) -> Result<(), StoreError> {
    let path = header.number.path(header.log);
    if let Some((number, next, seal)) = before {
        if number.next() == header.number {
            let follows = header.first == next && header.previous_seal == seal;
            return follows.then_some(()).ok_or_else(|| {
                let path = path.display();
                StoreError::corrupt(format!("{path} does not follow the segment before it"))
            });
        }
        if header.first < next {
            let path = path.display();
            return Err(StoreError::corrupt(format!(
                "{path} begins with frame {}, which an earlier segment holds",
                header.first
            )));
        }
    }
    // A tool that does not know the LSN takes any start, but no gap.
    let needed_from = match (after, before) {
        (Some(after), _) => after.get().saturating_add(1),
        (None, Some((_, next, _))) => next.get(),
        (None, None) => u64::MAX,
    };
    (header.first.get() <= needed_from)
        .then_some(())
        .ok_or_else(|| {
            let path = path.display();
            StoreError::missing(format!(
                "the log segment before {path}, with frame {needed_from},"
            ))
        })
}

/// The log holds all that the catalog has taken from it.
fn check_reaches(last: &SegmentHeader, next: Lsn, after: Option<Lsn>) -> Result<(), StoreError> {
    match after {
        Some(after) if after >= next => {
            let path = last.number.path(last.log);
            Err(StoreError::missing(format!(
                "frame {after}, which the catalog has, at or behind the end of {},",
                path.display()
            )))
        }
        _ => Ok(()),
    }
}
