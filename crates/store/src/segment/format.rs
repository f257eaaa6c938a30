//! The fixed parts of a segment file; `docs/format.md` has the byte tables.
//!
//! ```text
//! header | data of every extent | index of every extent | extent directory | footer | trailer
//! ```
//!
//! The footer holds one crc32c for every block of [`BLOCK_BYTES`] of all that lies before it; the
//! trailer holds its own checksum and the footer's. So every byte of the file is covered by
//! exactly one checksum, and what covers it is found from the end of the file.

use millrace_core::{FilePos, SegmentId, StreamId, StreamPos};

use super::{Extent, segment_path};
use crate::{
    StoreError,
    codec::{Decoder, Encoder, Malformed},
};

/// The newest format that is written and read.
pub(crate) const VERSION: u32 = 1;
/// How many bytes one checksum of the footer covers.
pub(crate) const BLOCK_BYTES: u64 = 16 * 1024;
/// The length of the header.
pub(crate) const HEADER_BYTES: u64 = 32;
/// The length of the trailer.
pub(crate) const TRAILER_BYTES: u64 = 64;
/// The length of an entry of the extent directory.
pub(crate) const DIRECTORY_ENTRY_BYTES: u64 = 52;
/// The length of one checksum of the footer.
pub(crate) const CHECKSUM_BYTES: u64 = 4;

const HEADER_MAGIC: &[u8; 8] = b"millrseg";
const TRAILER_MAGIC: &[u8; 8] = b"millrend";

/// Where the parts of a segment lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) segment: SegmentId,
    /// Where the data ends and the index begins.
    pub(crate) index: FilePos,
    /// Where the extent directory begins.
    pub(crate) directory: FilePos,
    /// How many entries it has.
    pub(crate) extents: u32,
    /// Where the footer begins: the end of all that its checksums cover.
    pub(crate) footer: FilePos,
    /// The checksum of the footer.
    pub(crate) footer_crc: u32,
}

/// The header of a segment.
pub(crate) fn header(segment: SegmentId) -> Vec<u8> {
    let mut out = Encoder::with_capacity(32);
    out.raw(HEADER_MAGIC);
    out.u32(VERSION);
    out.u32(0);
    out.u64(segment.get());
    out.u32(0);
    let crc = crc32c::crc32c(&out.as_mut_slice()[..28]);
    out.u32(crc);
    out.finish()
}

/// Checks the header of `segment`.
pub(crate) fn check_header(bytes: &[u8], segment: SegmentId) -> Result<(), String> {
    if bytes == header(segment) {
        return Ok(());
    }
    Err("its header is not that of this segment".into())
}

impl Trailer {
    /// How many checksums the footer holds.
    pub(crate) fn blocks(&self) -> u64 {
        self.footer.get().div_ceil(BLOCK_BYTES)
    }

    /// The length of the file.
    pub(crate) fn file_len(&self) -> u64 {
        self.footer.get() + self.blocks() * CHECKSUM_BYTES + TRAILER_BYTES
    }

    /// The byte form.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::with_capacity(64);
        out.raw(TRAILER_MAGIC);
        out.u32(VERSION);
        out.u32(self.extents);
        out.u64(self.segment.get());
        out.u64(self.index.get());
        out.u64(self.directory.get());
        out.u64(self.footer.get());
        out.u32(self.footer_crc);
        out.u64(0);
        let crc = crc32c::crc32c(out.as_mut_slice());
        out.u32(crc);
        out.finish()
    }

    /// Reads the trailer of `segment` in a file of `len` bytes. Any answer but `Ok` names what is
    /// wrong; `Newer` only for a trailer that is intact.
    pub(crate) fn decode(bytes: &[u8], segment: SegmentId, len: u64) -> Result<Self, StoreError> {
        let path = segment_path(segment);
        let fault = |what: &str| StoreError::corrupt(format!("{}: {what}", path.display()));
        let (body, crc) = bytes
            .split_last_chunk::<4>()
            .ok_or_else(|| fault("its trailer is cut off"))?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(fault("its trailer does not match its checksum"));
        }
        let trailer = Self::fields(body).map_err(|_| fault("its trailer is malformed"))?;
        match trailer {
            Err(found) => Err(StoreError::Newer {
                found,
                known: VERSION,
            }),
            Ok(trailer) if trailer.segment != segment => Err(fault("it is another segment's file")),
            Ok(trailer) if !trailer.is_possible(len) => {
                Err(fault("its trailer does not match the length of the file"))
            }
            Ok(trailer) => Ok(trailer),
        }
    }

    /// The fields, or the version where it is a newer one.
    fn fields(body: &[u8]) -> Result<Result<Self, u32>, Malformed> {
        let mut from = Decoder::new(body);
        if from.raw(8, "the trailer's magic")? != TRAILER_MAGIC {
            return Err(from.malformed("the trailer's magic"));
        }
        let version = from.u32("the version")?;
        if version > VERSION {
            return Ok(Err(version));
        }
        let extents = from.u32("the number of extents")?;
        Ok(Ok(Self {
            segment: SegmentId(from.u64("the segment id")?),
            index: FilePos(from.u64("the index")?),
            directory: FilePos(from.u64("the directory")?),
            extents,
            footer: FilePos(from.u64("the footer")?),
            footer_crc: from.u32("the footer's checksum")?,
        }))
    }

    fn is_possible(&self, len: u64) -> bool {
        let directory = u64::from(self.extents) * DIRECTORY_ENTRY_BYTES;
        // Checked first, so that nothing below can overflow.
        self.footer.get() <= len
            && self.file_len() == len
            && HEADER_BYTES <= self.index.get()
            && self.index <= self.directory
            && self.directory.get() <= self.footer.get()
            && self.footer.get() - self.directory.get() == directory
    }
}

/// Appends an extent's entry of the directory.
pub(crate) fn put_entry(extent: &Extent, out: &mut Encoder) {
    out.u64(extent.stream.get());
    out.u64(extent.from.get());
    out.u64(extent.until.get());
    out.u64(extent.data.get());
    out.u64(extent.index.get());
    out.u32(extent.index_pages);
    out.u64(extent.messages);
}

/// Reads what [`put_entry`] wrote.
pub(crate) fn take_entry(from: &mut Decoder<'_>, segment: SegmentId) -> Result<Extent, Malformed> {
    let what = "an entry of the extent directory";
    let fault = from.malformed(what);
    let extent = Extent {
        stream: StreamId::from_raw(from.u64(what)?),
        from: StreamPos(from.u64(what)?),
        until: StreamPos(from.u64(what)?),
        segment,
        data: FilePos(from.u64(what)?),
        index: FilePos(from.u64(what)?),
        index_pages: from.u32(what)?,
        messages: from.u64(what)?,
    };
    let possible = extent.from < extent.until && extent.index_pages > 0;
    possible.then_some(extent).ok_or(fault)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::segment::index::{take_page, take_page_entry};

    proptest! {
        #[test]
        fn a_trailer_is_read_as_it_was_written(
            extents in 0u32..1000, index in 32u64..1 << 40, gap in 0u64..1 << 30, crc: u32
        ) {
            let directory = index + gap;
            let trailer = Trailer {
                segment: SegmentId(9),
                index: FilePos(index),
                directory: FilePos(directory),
                extents,
                footer: FilePos(directory + u64::from(extents) * DIRECTORY_ENTRY_BYTES),
                footer_crc: crc,
            };
            let bytes = trailer.encode();
            prop_assert_eq!(bytes.len() as u64, TRAILER_BYTES);
            let len = trailer.file_len();
            prop_assert_eq!(Trailer::decode(&bytes, SegmentId(9), len).unwrap(), trailer);
            prop_assert!(Trailer::decode(&bytes, SegmentId(9), len + 1).is_err());
            prop_assert!(Trailer::decode(&bytes, SegmentId(8), len).is_err());
        }

        #[test]
        fn no_bytes_make_a_decoder_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), len: u64) {
            let take = |bytes: &[u8]| {
                let _ = Trailer::decode(bytes, SegmentId(1), len);
                let _ = take_entry(&mut Decoder::new(bytes), SegmentId(1));
                let _ = take_page_entry(bytes);
                let _ = take_page(bytes, StreamPos(len), StreamPos(len.saturating_add(50)));
            };
            take(&bytes);
            // As if it had been written so: magic, version and checksum in order.
            if bytes.len() >= 64 {
                bytes.truncate(64);
                bytes[..8].copy_from_slice(TRAILER_MAGIC);
                bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
                let crc = crc32c::crc32c(&bytes[..60]);
                bytes[60..].copy_from_slice(&crc.to_le_bytes());
                take(&bytes);
            }
        }
    }
}
