//! Reading what still holds of damaged logs: for a repair, which changes nothing of them.
//!
//! [`super::scan`] ends at the first place that is not what was written. This goes on behind it: to the
//! next frame of the segment whose checksums hold, and to the next segment. Every frame is judged by
//! itself: its checksums are salted with a number that only the segment's header knows, so what holds is
//! what this server wrote there. Frames are numbered without a gap, so what is missing in between is known
//! too, and is told as a [`Gap`].
//!
//! A frame that holds is not enough, where it lies behind one that does not. A crash may leave frames that
//! were never acknowledged behind the seal that the next start wrote, and other frames took their numbers
//! in the segment after that. Two rules keep such frames out:
//! - Frames behind damage count only in a run in which one was written after all before it was synced
//!   (flag bit 0 clear, `docs/format.md`). Frames that a crash left over were all written before that.
//! - They are numbered below the first frame of the segment that follows.
//!
//! Segments are known by their headers, whatever their files are called: two that were swapped are read
//! in their order.
//!
//! Not here: what the events mean without those that are lost (`crate::repair`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use millrace_core::{Event, Lsn};
use millrace_env::{Env, FileExt as _, OpenMode};

use super::{
    LogId,
    format::{
        Chain, FRAME_HEADER_BYTES, FRAME_HEADER_LEN, FrameKind, SEGMENT_HEADER_LEN, SegmentHeader,
        SegmentNumber,
    },
    frame,
    segment::{Cursor, RawFrame, Rest, Segment, Step},
};
use crate::{check::files, error::StoreError};

/// Frames that are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The first one.
    pub(crate) from: Lsn,
    /// The frame after the last one; `None` where nobody knows how many there were.
    pub(crate) until: Option<Lsn>,
    /// Where they should have been.
    pub(crate) place: String,
}

/// All segments of all logs whose headers hold.
#[derive(Debug)]
pub(crate) struct Remains {
    env: Env,
    segments: BTreeMap<(LogId, SegmentNumber), Found>,
}

/// A segment, wherever it was found.
#[derive(Clone, Debug)]
struct Found {
    path: PathBuf,
    header: SegmentHeader,
    chain: Chain,
    /// Whether the file is shorter than its header says.
    cut: bool,
}

/// How a segment ends.
enum End {
    /// With its seal: the frame that follows, and the seal's checksum.
    Sealed(Lsn, Chain),
    /// Without, as far as that can be told.
    Open,
    /// At this byte, in a frame that holds and contradicts what is before it.
    Unusable(u64),
}

/// Takes each frame that holds, in order.
pub(crate) type Take<'a> = &'a mut dyn FnMut(Lsn, Vec<Event>) -> Result<(), StoreError>;

impl Remains {
    /// Looks at the header of every file that may be a segment.
    pub(crate) fn survey(env: &Env) -> Result<Self, StoreError> {
        let mut segments: BTreeMap<(LogId, SegmentNumber), Found> = BTreeMap::new();
        for dir in files::list(env, "wal")?.iter().filter(|dir| dir.is_dir) {
            let dir = Path::new("wal").join(&dir.name);
            for entry in files::list(env, &dir.display().to_string())? {
                if entry.is_dir || entry.name.strip_suffix(".wal").is_none() {
                    continue;
                }
                if let Some(found) = look_at(env, dir.join(&entry.name))? {
                    let key = (found.header.log, found.header.number);
                    let in_place = found.path == key.1.path(key.0);
                    // A copy under another name says the same, at best.
                    if in_place || !segments.contains_key(&key) {
                        segments.insert(key, found);
                    }
                }
            }
        }
        Ok(Self {
            env: env.clone(),
            segments,
        })
    }

    /// Gives every frame above `after` that holds to `take`, in order, and tells those that are lost.
    pub(crate) fn read(
        &self,
        log: LogId,
        after: Lsn,
        take: Take<'_>,
    ) -> Result<Vec<Gap>, StoreError> {
        let mut reading = Reading {
            expected: Lsn(after.get().saturating_add(1)),
            gaps: Vec::new(),
            take,
        };
        let found: Vec<&Found> = self
            .segments
            .range((log, SegmentNumber(0))..=(log, SegmentNumber(u64::MAX)))
            .map(|(_, found)| found)
            .collect();
        if found.is_empty() {
            reading.end_is_lost(log.dir().display().to_string());
            return Ok(reading.gaps);
        }
        let mut seal = None;
        for (at, one) in found.iter().enumerate() {
            let place = || one.path.display().to_string();
            if !follows(&one.header, seal) {
                // Of another history of this log, as after a part of a backup was put back.
                reading.end_is_lost(place());
                break;
            }
            reading.reached(one.header.first, || format!("before {}", place()));
            let next = found.get(at + 1).map(|next| next.header.first);
            let segment = one.open(&self.env)?;
            seal = match reading.segment(one, &segment, next)? {
                End::Sealed(next, chain) => Some((one.header.number, next, chain)),
                End::Open => None,
                End::Unusable(at) => {
                    reading.end_is_lost(self::place(one, at));
                    break;
                }
            };
        }
        Ok(reading.gaps)
    }
}

/// The last segment's number, the frame after its seal, and the seal's checksum.
type Seal = (SegmentNumber, Lsn, Chain);

/// Whether a segment may follow a seal that was read.
fn follows(header: &SegmentHeader, seal: Option<Seal>) -> bool {
    match seal {
        Some((number, next, chain)) if number.next() == header.number => {
            header.first == next && header.previous_seal == chain
        }
        Some((_, next, _)) => header.first >= next,
        None => true,
    }
}

impl Found {
    fn open(&self, env: &Env) -> Result<Segment, StoreError> {
        let file = env
            .disk
            .open(&self.path, OpenMode::Read)
            .map_err(|error| StoreError::io(format!("open {}", self.path.display()), &error))?;
        Ok(Segment {
            file,
            header: self.header.clone(),
            chain: self.chain,
        })
    }
}

/// The segment in a file; `None` where its header does not hold: without the salt in it no frame can be
/// told from chance.
fn look_at(env: &Env, path: PathBuf) -> Result<Option<Found>, StoreError> {
    let failed = |error| StoreError::io(format!("read {}", path.display()), &error);
    let file = env.disk.open(&path, OpenMode::Read).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    if len < SEGMENT_HEADER_LEN as u64 {
        return Ok(None);
    }
    let mut block = vec![0; SEGMENT_HEADER_LEN];
    file.read_exact_at(&mut block, 0).map_err(failed)?;
    let (mut header, chain) = match SegmentHeader::decode(&block) {
        Ok(decoded) => decoded,
        Err(StoreError::Corrupt { .. }) => {
            let mut frame = vec![0; FRAME_HEADER_LEN];
            if len >= (SEGMENT_HEADER_LEN + FRAME_HEADER_LEN) as u64 {
                file.read_exact_at(&mut frame, SEGMENT_HEADER_LEN as u64)
                    .map_err(failed)?;
            }
            match SegmentHeader::mended(&block, &frame) {
                Some(mended) => mended,
                None => return Ok(None),
            }
        }
        Err(error) => return Err(error),
    };
    let cut = len < header.file_bytes;
    header.file_bytes = header.file_bytes.min(len);
    Ok(Some(Found {
        path,
        header,
        chain,
        cut,
    }))
}

/// How far a log was read.
struct Reading<'t> {
    /// The next frame that is wanted.
    expected: Lsn,
    gaps: Vec<Gap>,
    take: Take<'t>,
}

impl Reading<'_> {
    /// Frames below `lsn` were written: those that were not read are lost.
    fn reached(&mut self, lsn: Lsn, place: impl FnOnce() -> String) {
        if lsn > self.expected {
            self.gaps.push(Gap {
                from: self.expected,
                until: Some(lsn),
                place: place(),
            });
            self.expected = lsn;
        }
    }

    /// What came from here on is lost, and nobody knows how much it was.
    fn end_is_lost(&mut self, place: String) {
        self.gaps.push(Gap {
            from: self.expected,
            until: None,
            place,
        });
    }

    /// Reads a segment. `next` is the first frame of the segment that follows, if one does.
    fn segment(
        &mut self,
        found: &Found,
        segment: &Segment,
        next: Option<Lsn>,
    ) -> Result<End, StoreError> {
        let mut cursor = Cursor::new(segment);
        let (mut frames, contradicted) = run(&mut cursor)?;
        // A frame that leaves a file that was cut off is none.
        let mut contradicted = contradicted && !found.cut;
        loop {
            for raw in std::mem::take(&mut frames) {
                self.frame(found, &raw)?;
            }
            if contradicted {
                return Ok(End::Unusable(cursor.at));
            }
            if cursor.sealed || ends_here(found, &mut cursor, next)? {
                break;
            }
            let damaged_at = cursor.at;
            let Some(run) = next_run(&mut cursor, next)? else {
                if next.is_none() {
                    self.end_is_lost(place(found, damaged_at));
                }
                return Ok(End::Open);
            };
            (frames, contradicted) = (run, false);
        }
        if !cursor.sealed {
            return Ok(End::Open);
        }
        self.reached(cursor.next, || place(found, cursor.at));
        if next.is_none() && cursor.continued()?.is_some() {
            self.end_is_lost(format!("after {}", found.path.display()));
        }
        Ok(End::Sealed(cursor.next, cursor.chain))
    }

    fn frame(&mut self, found: &Found, raw: &RawFrame) -> Result<(), StoreError> {
        let lsn = raw.header.lsn;
        if raw.header.kind != FrameKind::Data || lsn < self.expected {
            return Ok(());
        }
        // A frame that cannot be understood is lost like one that cannot be read.
        let Ok(events) = frame::decode(&raw.bytes, raw.header.records) else {
            return Ok(());
        };
        self.reached(lsn, || place(found, raw.at));
        self.expected = Lsn(lsn.get().saturating_add(1));
        (self.take)(lsn, events)
    }
}

/// Whether a log ends where the valid frames of its last segment do, as recovery judges it.
fn ends_here(
    found: &Found,
    cursor: &mut Cursor<'_>,
    next: Option<Lsn>,
) -> Result<bool, StoreError> {
    if next.is_some() {
        return Ok(false);
    }
    let place_for_header = cursor.at + FRAME_HEADER_BYTES <= found.header.file_bytes;
    match cursor.rest() {
        // What a file that was cut off held behind its end cannot be told, unless it had ended before.
        Ok(Rest::Clean) => Ok(!found.cut || place_for_header),
        Ok(Rest::Torn { .. }) => Ok(!found.cut),
        Err(StoreError::Corrupt { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// In words, for who looks there.
fn place(found: &Found, at: u64) -> String {
    format!("{} at byte {at}", found.path.display())
}

/// The frames from the cursor's place up to the first that does not hold; and whether that one holds
/// for itself, but contradicts them.
fn run(cursor: &mut Cursor<'_>) -> Result<(Vec<RawFrame>, bool), StoreError> {
    let mut frames = Vec::new();
    loop {
        match cursor.step() {
            Ok(Step::Frame(raw)) => frames.push(raw),
            Ok(Step::End) => return Ok((frames, false)),
            Err(StoreError::Corrupt { .. }) => return Ok((frames, true)),
            Err(error) => return Err(error),
        }
    }
}

/// The next frames behind damage that are known to be part of the log's history. The cursor stands
/// behind them.
fn next_run(
    cursor: &mut Cursor<'_>,
    bound: Option<Lsn>,
) -> Result<Option<Vec<RawFrame>>, StoreError> {
    let (known, chain) = (cursor.next, cursor.chain);
    let mut from = cursor.at + 1;
    while cursor.leap(from)? {
        from = cursor.at + 1;
        let (frames, contradicted) = run(cursor)?;
        let is_proven = frames.iter().any(|raw| !raw.header.after_unsynced);
        let is_below = bound.is_none_or(|bound| cursor.next <= bound);
        if is_proven && is_below && !contradicted {
            return Ok(Some(frames));
        }
        (cursor.next, cursor.chain, cursor.sealed) = (known, chain, false);
    }
    Ok(None)
}
