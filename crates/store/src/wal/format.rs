//! The bytes of a segment's header and of a frame's; `docs/format.md` has the tables.
//!
//! Checksums of frames are seeded with the segment's random salt, so that neither old content of a
//! recycled file nor a client's payload can pass for a frame of this segment.

use std::{fmt, path::PathBuf};

use millrace_core::Lsn;

use super::LogId;
use crate::{
    codec::{Decoder, Encoder, Malformed},
    error::StoreError,
};

/// The newest layout of segments, and the only one so far.
pub const FORMAT_VERSION: u32 = 1;
/// The length of a segment's header, and where its first frame begins.
pub(super) const SEGMENT_HEADER_BYTES: u64 = SEGMENT_HEADER_LEN as u64;
pub(super) const SEGMENT_HEADER_LEN: usize = 4096;
/// The length of a frame's header, and of a whole seal.
pub(super) const FRAME_HEADER_BYTES: u64 = FRAME_HEADER_LEN as u64;
pub(super) const FRAME_HEADER_LEN: usize = 48;
/// What a segment keeps free at its end: room for its seal and for the word that it was continued.
pub(super) const END_BYTES: u64 = 2 * FRAME_HEADER_BYTES;
/// Frames begin at multiples of this.
pub(super) const FRAME_ALIGN: usize = 8;

const SEGMENT_MAGIC: &[u8; 8] = b"MRWALSEG";
const FRAME_MAGIC: &[u8; 4] = b"MRWF";
/// Where a segment header's fields end; the rest is zeros.
const FIELDS_END: usize = 68;
const SEGMENT_CRC_AT: usize = SEGMENT_HEADER_LEN - 4;
const FRAME_CRC_AT: usize = FRAME_HEADER_LEN - 4;
const FLAG_ZEROED: u32 = 1;
const FLAG_AFTER_UNSYNCED: u8 = 1;
const KIND_DATA: u8 = 1;
const KIND_SEAL: u8 = 2;
const KIND_CONTINUED: u8 = 3;

/// The place of a segment in its log; names its file. Counts up by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(pub u64);

impl SegmentNumber {
    /// The first segment of a log is number 1.
    pub(super) const BEFORE_FIRST: Self = Self(0);

    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    pub(super) fn path(self, log: LogId) -> PathBuf {
        log.dir().join(format!("{self}.wal"))
    }
}

impl fmt::Display for SegmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The header checksum of what came before: every frame names its predecessor by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain(pub u32);

impl Chain {
    /// Before the first segment of a log.
    pub(super) const NONE: Self = Self(0);
}

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub log: LogId,
    pub number: SegmentNumber,
    pub boot_epoch: u64,
    pub salt: u64,
    /// The LSN of its first frame.
    pub first: Lsn,
    pub file_bytes: u64,
    /// The seal of the segment before.
    pub previous_seal: Chain,
    /// Whether the rest was zeros when this header was written.
    pub zeroed: bool,
}

impl SegmentHeader {
    /// The header block, and what the first frame names as its predecessor.
    pub(super) fn encode(&self) -> (Vec<u8>, Chain) {
        let mut out = Encoder::with_capacity(SEGMENT_CRC_AT + 4);
        out.raw(SEGMENT_MAGIC);
        out.u32(FORMAT_VERSION);
        out.u32(if self.zeroed { FLAG_ZEROED } else { 0 });
        out.u64(self.log.0);
        out.u64(self.number.0);
        out.u64(self.boot_epoch);
        out.u64(self.salt);
        out.u64(self.first.get());
        out.u64(self.file_bytes);
        out.u32(self.previous_seal.0);
        let mut block = out.finish();
        block.resize(SEGMENT_CRC_AT, 0);
        let crc = crc32c::crc32c(&block);
        block.extend_from_slice(&crc.to_le_bytes());
        (block, Chain(crc))
    }

    /// Reads a whole header block.
    pub(super) fn decode(block: &[u8]) -> Result<(Self, Chain), StoreError> {
        let (fields, stored) = block.split_at(SEGMENT_CRC_AT);
        let crc = crc32c::crc32c(fields);
        if !fields.starts_with(SEGMENT_MAGIC) {
            return Err(StoreError::corrupt("it is no segment of a log"));
        }
        if crc.to_le_bytes() != stored {
            return Err(StoreError::corrupt("its header fails its checksum"));
        }
        let version = Decoder::starting_at(fields, SEGMENT_MAGIC.len())
            .u32("a version")
            .map_err(StoreError::corrupt)?;
        if version > FORMAT_VERSION {
            return Err(StoreError::Newer {
                found: version,
                known: FORMAT_VERSION,
            });
        }
        let header = Self::fields(fields).map_err(StoreError::corrupt)?;
        Ok((header, Chain(crc)))
    }

    /// What a damaged header block must have said, where enough of it holds: its checksum fits its fields
    /// as they were written, or the frame behind it names a checksum that does.
    pub(super) fn mended(block: &[u8], frame: &[u8]) -> Option<(Self, Chain)> {
        let (fields, stored) = block.split_at_checked(SEGMENT_CRC_AT)?;
        let mut written = fields.get(..FIELDS_END)?.to_vec();
        written[..SEGMENT_MAGIC.len()].copy_from_slice(SEGMENT_MAGIC);
        written.resize(SEGMENT_CRC_AT, 0);
        let header = Self::fields(&written).ok()?;
        let (encoded, chain) = header.encode();
        let named = FrameHeader::decode(frame, header.salt);
        let is_named = named.is_some_and(|(frame, _)| {
            frame.previous == chain && frame.lsn == header.first && frame.segment == header.number
        });
        let fits = encoded.get(SEGMENT_CRC_AT..) == Some(stored);
        (fits || is_named).then_some((header, chain))
    }

    fn fields(fields: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::starting_at(fields, SEGMENT_MAGIC.len() + 4);
        let flags = from.u32("the header's flags")?;
        let header = Self {
            zeroed: flags & FLAG_ZEROED != 0,
            log: LogId(from.u64("a log")?),
            number: SegmentNumber(from.u64("a segment number")?),
            boot_epoch: from.u64("a boot epoch")?,
            salt: from.u64("a salt")?,
            first: Lsn(from.u64("an LSN")?),
            file_bytes: from.u64("a length")?,
            previous_seal: Chain(from.u32("a checksum")?),
        };
        let rest = from.raw(from.remaining(), "the header's rest")?;
        let known = flags & !FLAG_ZEROED == 0 && rest.iter().all(|byte| *byte == 0);
        known
            .then_some(header)
            .ok_or(from.malformed("the header's rest"))
    }
}

/// Whether a frame holds a turn or ends its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A turn's records.
    Data,
    /// The end of a segment that has a successor, or may have one; it has the LSN of the frame
    /// that follows, without using it up.
    Seal,
    /// Behind the seal: the successor has its name, durably, so that a log without it has lost it.
    Continued,
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// The whole frame's length, a multiple of [`FRAME_ALIGN`].
    pub len: u32,
    pub lsn: Lsn,
    pub segment: SegmentNumber,
    pub previous: Chain,
    pub records: u32,
    pub kind: FrameKind,
    /// Whether the frame before may not have been durable when this one was written. Without this
    /// mark a frame proves that all before it was synced, so that damage there is corruption.
    pub after_unsynced: bool,
    pub body_crc: u32,
}

/// A checksum that only who knows the salt can compute.
pub(super) fn salted(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

impl FrameHeader {
    /// The header's bytes, and what the next frame names as its predecessor.
    pub(super) fn encode(&self, salt: u64) -> (Vec<u8>, Chain) {
        let mut out = Encoder::with_capacity(FRAME_CRC_AT + 4);
        out.raw(FRAME_MAGIC);
        out.u32(self.len);
        out.u64(self.lsn.get());
        out.u64(self.segment.0);
        out.u32(self.previous.0);
        out.u32(self.records);
        out.u8(match self.kind {
            FrameKind::Data => KIND_DATA,
            FrameKind::Seal => KIND_SEAL,
            FrameKind::Continued => KIND_CONTINUED,
        });
        out.u8(if self.after_unsynced {
            FLAG_AFTER_UNSYNCED
        } else {
            0
        });
        out.u16(0);
        out.u32(self.body_crc);
        out.u32(0);
        let mut bytes = out.finish();
        let crc = salted(salt, &bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        (bytes, Chain(crc))
    }

    /// Whether `bytes` may be a frame's header at all; spares a checksum at most places.
    pub(super) fn may_begin(bytes: &[u8]) -> bool {
        bytes.starts_with(FRAME_MAGIC)
    }

    /// Reads a header of a segment with this salt; `None` when there is none.
    pub(super) fn decode(bytes: &[u8], salt: u64) -> Option<(Self, Chain)> {
        let (fields, rest) = bytes.split_at_checked(FRAME_CRC_AT)?;
        let stored = rest.get(..4)?;
        if !Self::may_begin(fields) || salted(salt, fields).to_le_bytes() != stored {
            return None;
        }
        let chain = Chain(u32::from_le_bytes(stored.try_into().ok()?));
        Self::fields(fields).map(|header| (header, chain))
    }

    /// What identifies a frame, whether or not its checksum holds.
    pub(super) fn identity(bytes: &[u8]) -> Option<Identity> {
        Identity::take(&mut Decoder::starting_at(bytes, FRAME_MAGIC.len())).ok()
    }

    fn fields(bytes: &[u8]) -> Option<Self> {
        let mut from = Decoder::starting_at(bytes, FRAME_MAGIC.len());
        let identity = Identity::take(&mut from).ok()?;
        let records = from.u32("records").ok()?;
        let kind = match from.u8("a kind").ok()? {
            KIND_DATA => FrameKind::Data,
            KIND_SEAL => FrameKind::Seal,
            KIND_CONTINUED => FrameKind::Continued,
            _ => return None,
        };
        let after_unsynced = match from.u8("flags").ok()? {
            0 => false,
            FLAG_AFTER_UNSYNCED => true,
            _ => return None,
        };
        from.u16("zeros").ok()?;
        Some(Self {
            len: identity.len,
            lsn: identity.lsn,
            segment: identity.segment,
            previous: identity.previous,
            records,
            kind,
            after_unsynced,
            body_crc: from.u32("a checksum").ok()?,
        })
    }
}

/// The part of a header that says which frame it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub len: u32,
    pub lsn: Lsn,
    pub segment: SegmentNumber,
    pub previous: Chain,
}

impl Identity {
    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            len: from.u32("a length")?,
            lsn: Lsn(from.u64("an LSN")?),
            segment: SegmentNumber(from.u64("a segment number")?),
            previous: Chain(from.u32("a checksum")?),
        })
    }
}
