//! Reading one segment: its header, its frames in order, and what lies behind the last valid one.
//!
//! Memory is bounded by the largest frame: each is read into a buffer of its own, because payloads
//! stay slices of it for as long as readers need them.
//!
//! Not here: how segments follow each other (`scan.rs`).

use std::sync::Arc;

use bytes::Bytes;
use millrace_core::Lsn;
use millrace_env::{
    Env, File, FileExt as _, OpenMode,
    mutant::{self, Mutant},
};

use super::{
    LogId,
    format::{
        Chain, END_BYTES, FRAME_ALIGN, FRAME_HEADER_BYTES, FRAME_HEADER_LEN, FrameHeader,
        FrameKind, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_LEN, SegmentHeader, SegmentNumber,
    },
};
use crate::error::StoreError;

/// How much is read at once.
const WINDOW_BYTES: usize = 256 << 10;

/// A segment whose header is valid.
#[derive(Debug)]
pub(super) struct Segment {
    pub file: Arc<dyn File>,
    pub header: SegmentHeader,
    /// What its first frame follows.
    pub chain: Chain,
}

impl Segment {
    /// Opens a segment and verifies its header. A header was synced before the segment got its
    /// name, so anything wrong with it is corruption.
    pub(super) fn open(
        env: &Env,
        log: LogId,
        number: SegmentNumber,
        mode: OpenMode,
    ) -> Result<Self, StoreError> {
        let path = number.path(log);
        let file = env
            .disk
            .open(&path, mode)
            .map_err(|error| StoreError::io(format!("open {}", path.display()), &error))?;
        Self::read(file, log, number)
    }

    /// Verifies the header of an open file.
    pub(super) fn read(
        file: Arc<dyn File>,
        log: LogId,
        number: SegmentNumber,
    ) -> Result<Self, StoreError> {
        let actual = file.len()?;
        let mut block = vec![0; SEGMENT_HEADER_LEN];
        let whole = read_whole(&*file, &mut block, 0)?;
        let (header, chain) = whole
            .then_some(())
            .ok_or_else(|| StoreError::corrupt("it ends inside its header"))
            .and_then(|()| SegmentHeader::decode(&block))
            .map_err(|fault| in_segment(log, number, fault))?;
        let misplaced = header.log != log || header.number != number;
        if misplaced || header.file_bytes != actual {
            let what = if misplaced {
                format!("it is segment {} of log {}", header.number, header.log)
            } else {
                let wanted = header.file_bytes;
                format!("it has {actual} bytes where its header says {wanted}")
            };
            return Err(in_segment(log, number, StoreError::corrupt(what)));
        }
        Ok(Self {
            file,
            header,
            chain,
        })
    }

    /// Corruption at a place of this segment.
    pub(super) fn corrupt(&self, at: u64, what: impl std::fmt::Display) -> StoreError {
        let fault = StoreError::corrupt(format!("at byte {at}: {what}"));
        in_segment(self.header.log, self.header.number, fault)
    }
}

/// Says which segment a corruption is in.
fn in_segment(log: LogId, number: SegmentNumber, fault: StoreError) -> StoreError {
    match fault {
        StoreError::Corrupt { what } => {
            let path = number.path(log);
            StoreError::corrupt(format!("log segment {}: {what}", path.display()))
        }
        other => other,
    }
}

/// Fills `buf`; `false` when the file ends before.
fn read_whole(file: &dyn File, buf: &mut [u8], pos: u64) -> Result<bool, StoreError> {
    match file.read_exact_at(buf, pos) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(StoreError::io("read a log segment", &error)),
    }
}

/// A frame as it lies in its segment; its checksums hold.
#[derive(Debug)]
pub(super) struct RawFrame {
    pub at: u64,
    pub header: FrameHeader,
    pub bytes: Bytes,
}

/// What comes next in a segment.
#[derive(Debug)]
pub(super) enum Step {
    /// A valid frame; after a seal nothing is read.
    Frame(RawFrame),
    /// No valid frame.
    End,
}

/// Walks a segment's frames.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    segment: &'a Segment,
    window: Window,
    /// Where the next frame begins.
    pub at: u64,
    /// Its LSN.
    pub next: Lsn,
    /// What it follows.
    pub chain: Chain,
    /// Whether the last frame was the seal.
    pub sealed: bool,
    /// Where the frames begin of which nothing proves that they were synced.
    pub unproven: Mark,
}

/// A place between two frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// Where the next frame begins.
    at: u64,
    /// Its LSN.
    next: Lsn,
    /// What it follows.
    chain: Chain,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(segment: &'a Segment) -> Self {
        Self {
            segment,
            window: Window::default(),
            at: SEGMENT_HEADER_BYTES,
            next: segment.header.first,
            chain: segment.chain,
            sealed: false,
            unproven: Mark {
                at: SEGMENT_HEADER_BYTES,
                next: segment.header.first,
                chain: segment.chain,
            },
        }
    }

    /// Goes on from `mark`, reading everything anew.
    pub(super) fn from(segment: &'a Segment, mark: Mark) -> Self {
        let Mark { at, next, chain } = mark;
        Self {
            at,
            next,
            chain,
            ..Self::new(segment)
        }
    }

    /// The next valid frame. What is called valid follows from the one before, so the first place
    /// without one ends the segment.
    pub(super) fn step(&mut self) -> Result<Step, StoreError> {
        if self.sealed {
            return Ok(Step::End);
        }
        let Some((header, chain)) = self.header()? else {
            return Ok(Step::End);
        };
        let expected = header.segment == self.segment.header.number && header.lsn == self.next;
        if !expected {
            return Ok(Step::End);
        }
        if header.previous != self.chain {
            return self.stranger(&header);
        }
        self.check_bounds(&header)?;
        let bytes = self
            .window
            .read(self.segment, self.at, header.len as usize)?;
        let body = &bytes[FRAME_HEADER_LEN..];
        if super::format::salted(self.segment.header.salt, body) != header.body_crc {
            return Ok(Step::End);
        }
        let frame = RawFrame {
            at: self.at,
            header,
            bytes,
        };
        self.advance(&header, chain);
        Ok(Step::Frame(frame))
    }

    /// Goes to the next place from `from` on that has a header of this segment, of frame `self.next` or
    /// a later one, whatever it follows; whether there is one. For reading on behind damage.
    pub(super) fn leap(&mut self, from: u64) -> Result<bool, StoreError> {
        let mut at = from.next_multiple_of(FRAME_ALIGN as u64);
        while at + FRAME_HEADER_BYTES <= self.segment.header.file_bytes {
            let bytes = self.window.at(self.segment, at, FRAME_HEADER_LEN)?;
            let header = FrameHeader::decode(bytes, self.segment.header.salt);
            let found = header.filter(|(header, _)| {
                header.kind != FrameKind::Continued
                    && header.segment == self.segment.header.number
                    && header.lsn >= self.next
            });
            if let Some((header, _)) = found {
                self.at = at;
                self.next = header.lsn;
                self.chain = header.previous;
                return Ok(true);
            }
            at += FRAME_ALIGN as u64;
        }
        Ok(false)
    }

    /// A frame of this place that follows another frame than the one that was read.
    fn stranger(&self, header: &FrameHeader) -> Result<Step, StoreError> {
        if header.after_unsynced {
            // It was left behind by a power cut that took what it followed.
            return Ok(Step::End);
        }
        let what = format!("frame {} follows a frame that is not there", header.lsn);
        Err(self.segment.corrupt(self.at, what))
    }

    fn header(&mut self) -> Result<Option<(FrameHeader, Chain)>, StoreError> {
        if self.at + FRAME_HEADER_BYTES > self.segment.header.file_bytes {
            return Ok(None);
        }
        let bytes = self.window.read(self.segment, self.at, FRAME_HEADER_LEN)?;
        Ok(FrameHeader::decode(&bytes, self.segment.header.salt))
    }

    /// A header whose checksum holds says what was written; nonsense in it is corruption.
    fn check_bounds(&self, header: &FrameHeader) -> Result<(), StoreError> {
        let len = u64::from(header.len);
        let fits = match header.kind {
            FrameKind::Seal => len == FRAME_HEADER_BYTES && header.records == 0,
            FrameKind::Continued => false,
            FrameKind::Data => {
                let room = (self.segment.header.file_bytes - self.at).saturating_sub(END_BYTES);
                len >= FRAME_HEADER_BYTES && len.is_multiple_of(FRAME_ALIGN as u64) && len <= room
            }
        };
        fits.then_some(()).ok_or_else(|| {
            self.segment
                .corrupt(self.at, "a frame of impossible length")
        })
    }

    fn advance(&mut self, header: &FrameHeader, chain: Chain) {
        if !header.after_unsynced {
            let Self { at, next, .. } = *self;
            let chain = header.previous;
            self.unproven = Mark { at, next, chain };
        }
        self.at += u64::from(header.len);
        self.chain = chain;
        match header.kind {
            FrameKind::Seal | FrameKind::Continued => self.sealed = true,
            FrameKind::Data => self.next = Lsn(self.next.get() + 1),
        }
    }

    /// What stands behind the seal once the successor has its name. A segment that has it is not the
    /// last; one that has not may be followed all the same, for it is written afterwards.
    pub(super) fn continued(&mut self) -> Result<Option<RawFrame>, StoreError> {
        let header = if self.sealed { self.header()? } else { None };
        let is_mark = |header: &FrameHeader| {
            header.kind == FrameKind::Continued
                && header.segment == self.segment.header.number
                && header.previous == self.chain
        };
        let Some((header, _)) = header.filter(|(header, _)| is_mark(header)) else {
            return Ok(None);
        };
        let bytes = self.window.read(self.segment, self.at, FRAME_HEADER_LEN)?;
        Ok(Some(RawFrame {
            at: self.at,
            header,
            bytes,
        }))
    }

    /// What lies behind the last valid frame of a segment without successor (decision 3).
    pub(super) fn rest(&mut self) -> Result<Rest, StoreError> {
        if self.sealed {
            return Ok(Rest::Clean);
        }
        let mut rest = Remains::default();
        let end = self.segment.header.file_bytes;
        let mut at = self.at;
        while at + FRAME_ALIGN as u64 <= end {
            let window = self.window.at(self.segment, at, FRAME_HEADER_LEN)?;
            if let Some(fault) = rest.look(self.segment, at, self.next, window) {
                return Err(fault);
            }
            // The last bytes of a window are looked at again, as the first of the next.
            let whole = window.len().saturating_sub(FRAME_HEADER_LEN - 1);
            at += whole.max(FRAME_ALIGN).next_multiple_of(FRAME_ALIGN) as u64;
        }
        let begun = self.begun_frame()?;
        let zeros_expected = self.segment.header.zeroed;
        let written = rest.last_written.filter(|_| zeros_expected);
        Ok(match (begun, written) {
            (None, None) => Rest::Clean,
            (begun, written) => Rest::Torn {
                bytes: begun
                    .unwrap_or(0)
                    .max(written.map_or(0, |last| last + 1 - self.at)),
            },
        })
    }

    /// The length of a frame of this place that was begun here: its header shares a fact with what
    /// was to be written, though it or its body fails the checksum.
    fn begun_frame(&mut self) -> Result<Option<u64>, StoreError> {
        let left = self.segment.header.file_bytes.saturating_sub(self.at);
        if left < FRAME_HEADER_BYTES {
            return Ok(None);
        }
        let bytes = self.window.read(self.segment, self.at, FRAME_HEADER_LEN)?;
        let begun = FrameHeader::identity(&bytes).filter(|header| {
            header.segment == self.segment.header.number
                || header.previous == self.chain
                || header.lsn == self.next
        });
        Ok(begun.map(|header| u64::from(header.len).clamp(FRAME_HEADER_BYTES, left)))
    }
}

/// What lies behind the last valid frame of the last segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing of this segment.
    Clean,
    /// A frame that was never wholly written, and so never acknowledged.
    Torn { bytes: u64 },
}

/// What was seen behind the last valid frame.
#[derive(Debug, Default)]
struct Remains {
    /// The last byte that is not zero.
    last_written: Option<u64>,
}

impl Remains {
    /// Looks through `window`, which lies at `at`. A later frame that was written after a sync
    /// proves that what is missing before it was acknowledged; its header alone is proof enough.
    fn look(&mut self, segment: &Segment, at: u64, next: Lsn, window: &[u8]) -> Option<StoreError> {
        // Nearly all of what lies there is zeros, and no header is.
        if are_zeros(window) {
            return None;
        }
        if let Some(last) = window.iter().rposition(|byte| *byte != 0) {
            self.last_written = Some(at + last as u64);
        }
        for offset in (0..window.len()).step_by(FRAME_ALIGN) {
            let bytes = &window[offset..];
            if !FrameHeader::may_begin(bytes) {
                continue;
            }
            let Some((header, _)) = FrameHeader::decode(bytes, segment.header.salt) else {
                continue;
            };
            let later = header.segment == segment.header.number && header.lsn > next;
            if later && !header.after_unsynced && !mutant::is(Mutant::CutDamagedLog) {
                let what = format!(
                    "frame {next} is damaged, though frame {} was written after it was synced",
                    header.lsn
                );
                return Some(segment.corrupt(at + offset as u64, what));
            }
        }
        None
    }
}

/// In chunks without an early end, which compile to wide instructions.
fn are_zeros(bytes: &[u8]) -> bool {
    let mut chunks = bytes.chunks(1 << 10);
    chunks.all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

/// A part of a file in memory.
#[derive(Debug, Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// `len` bytes at `at`, in a buffer of their own; the file has them.
    fn read(&mut self, segment: &Segment, at: u64, len: usize) -> Result<Bytes, StoreError> {
        if len <= WINDOW_BYTES / 2 {
            let window = self.at(segment, at, len)?;
            return Ok(Bytes::copy_from_slice(&window[..len]));
        }
        let mut bytes = vec![0; len];
        read_whole(&*segment.file, &mut bytes, at)?
            .then(|| Bytes::from(bytes))
            .ok_or_else(|| segment.corrupt(at, "the file ends before its header says"))
    }

    /// What there is from `at` on: at least `len` bytes, unless the file ends before.
    fn at(&mut self, segment: &Segment, at: u64, len: usize) -> Result<&[u8], StoreError> {
        let end = segment.header.file_bytes;
        let wanted = end.min(at + len as u64);
        let here = self.start <= at && wanted <= self.start + self.bytes.len() as u64;
        if !here || self.bytes.is_empty() {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            self.bytes.resize(left.min(WINDOW_BYTES), 0);
            self.start = at;
            if !read_whole(&*segment.file, &mut self.bytes, at)? {
                return Err(segment.corrupt(at, "the file ends before its header says"));
            }
        }
        let skip = usize::try_from(at - self.start).expect("inside the window");
        Ok(&self.bytes[skip..])
    }
}
