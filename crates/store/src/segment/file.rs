//! One open segment file: every read verifies the blocks it touches.

use std::{io, sync::Arc};

use bytes::Bytes;
use millrace_core::{FilePos, SegmentId};
use millrace_env::{
    Env, File, FileExt, OpenMode,
    mutant::{self, Mutant},
};

use super::{
    Extent,
    format::{self, BLOCK_BYTES, CHECKSUM_BYTES, HEADER_BYTES, TRAILER_BYTES, Trailer},
    segment_path,
};
use crate::{StoreError, codec::Decoder};

/// What the end of a segment's file says of the rest.
#[derive(Debug)]
pub(crate) struct SegmentEnd {
    trailer: Trailer,
    /// Of every block.
    checksums: Vec<u32>,
}

/// An open segment and the checksums of its blocks.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    id: SegmentId,
    file: Arc<dyn File>,
    end: Arc<SegmentEnd>,
}

impl SegmentEnd {
    /// Reads and verifies footer and trailer.
    pub(crate) fn read(file: &dyn File, id: SegmentId) -> Result<Self, StoreError> {
        let trailer = read_trailer(file, id)?;
        let checksums = read_footer(file, &trailer)?;
        Ok(Self { trailer, checksums })
    }

    /// An end that was put together from what a damaged file still says.
    pub(crate) fn assumed(trailer: Trailer, checksums: Vec<u32>) -> Self {
        Self { trailer, checksums }
    }

    /// How many bytes from the file's beginning the checksums cover.
    pub(crate) fn covered(&self) -> u64 {
        self.trailer.footer.get()
    }
}

impl SegmentFile {
    /// Opens a segment and verifies header, footer and trailer.
    pub(crate) fn open(env: &Env, id: SegmentId) -> Result<Self, StoreError> {
        let path = segment_path(id);
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => {
                StoreError::missing(format!("segment file {}", path.display()))
            }
            _ => StoreError::io(format!("open {}", path.display()), &error),
        };
        let file = env.disk.open(&path, OpenMode::Read).map_err(failed)?;
        let end = SegmentEnd::read(&*file, id)?;
        let segment = Self::new(file, Arc::new(end));
        segment.check_header()?;
        Ok(segment)
    }

    /// An open file whose end was read before, through this handle or another one: a segment never
    /// changes. Its header is not looked at.
    pub(crate) fn new(file: Arc<dyn File>, end: Arc<SegmentEnd>) -> Self {
        let id = end.trailer.segment;
        Self { id, file, end }
    }

    /// Verifies the header.
    pub(crate) fn check_header(&self) -> Result<(), StoreError> {
        let header = self.read(FilePos::ZERO, HEADER_BYTES)?;
        format::check_header(&header, self.id).map_err(|what| self.corrupt(&what))
    }

    /// Where its parts lie.
    pub(crate) fn trailer(&self) -> &Trailer {
        &self.end.trailer
    }

    /// An error about this segment.
    pub(crate) fn corrupt(&self, what: &str) -> StoreError {
        corrupt(self.id, what)
    }

    /// How many blocks are covered by checksums.
    pub(crate) fn blocks(&self) -> u64 {
        self.end.checksums.len() as u64
    }

    /// Exactly the `len` bytes at `at`, verified.
    pub(crate) fn read(&self, at: FilePos, len: u64) -> Result<Bytes, StoreError> {
        if len == 0 {
            return Ok(Bytes::new());
        }
        let end = at.get().checked_add(len);
        if end.is_none_or(|end| end > self.trailer().footer.get()) {
            return Err(self.corrupt("something refers to bytes past its end"));
        }
        let first = at.get() / BLOCK_BYTES;
        let last = (at.get() + len - 1) / BLOCK_BYTES;
        let blocks = self.read_blocks(first, last)?;
        let start = size(at.get() - first * BLOCK_BYTES);
        let wanted = start..start + size(len);
        // A slice keeps all of its blocks in memory; a small one is better copied.
        if wanted.len() * 2 < blocks.len() {
            return Ok(Bytes::copy_from_slice(&blocks[wanted]));
        }
        Ok(Bytes::from(blocks).slice(wanted))
    }

    /// The blocks from `first` to `last`, both included, verified.
    pub(crate) fn read_blocks(&self, first: u64, last: u64) -> Result<Vec<u8>, StoreError> {
        let from = first * BLOCK_BYTES;
        let until = ((last + 1) * BLOCK_BYTES).min(self.trailer().footer.get());
        let mut blocks = vec![0; size(until - from)];
        self.file
            .read_exact_at(&mut blocks, from)
            .map_err(|error| self.failed(&error))?;
        for (number, block) in (first..).zip(blocks.chunks(size(BLOCK_BYTES))) {
            let is_whole = self.end.checksums.get(size(number)) == Some(&crc32c::crc32c(block));
            if !is_whole && !mutant::is(Mutant::TrustDamagedBytes) {
                return Err(self.corrupt(&format!(
                    "the block at byte {} does not match its checksum",
                    number * BLOCK_BYTES
                )));
            }
        }
        Ok(blocks)
    }

    /// All extents that were written to the segment, whatever the catalog still names of them.
    pub(crate) fn extents(&self) -> Result<Vec<Extent>, StoreError> {
        let trailer = self.trailer();
        let len = trailer.footer.get() - trailer.directory.get();
        let bytes = self.read(trailer.directory, len)?;
        let mut from = Decoder::new(&bytes);
        (0..trailer.extents)
            .map(|_| format::take_entry(&mut from, self.id))
            .collect::<Result<_, _>>()
            .map_err(|fault| self.corrupt(&fault.to_string()))
    }

    fn failed(&self, error: &io::Error) -> StoreError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.corrupt("the file is cut off"),
            _ => StoreError::io(format!("read {}", segment_path(self.id).display()), error),
        }
    }
}

fn corrupt(id: SegmentId, what: &str) -> StoreError {
    StoreError::corrupt(format!("{}: {what}", segment_path(id).display()))
}

fn read_trailer(file: &dyn File, id: SegmentId) -> Result<Trailer, StoreError> {
    let failed = |error: io::Error| StoreError::io(segment_path(id).display(), &error);
    let len = file.len().map_err(failed)?;
    let Some(at) = len.checked_sub(TRAILER_BYTES) else {
        return Err(corrupt(id, "the file is too short"));
    };
    let mut bytes = vec![0; size(TRAILER_BYTES)];
    file.read_exact_at(&mut bytes, at).map_err(failed)?;
    Trailer::decode(&bytes, id, len)
}

fn read_footer(file: &dyn File, trailer: &Trailer) -> Result<Vec<u32>, StoreError> {
    let id = trailer.segment;
    let mut bytes = vec![0; size(trailer.blocks() * CHECKSUM_BYTES)];
    file.read_exact_at(&mut bytes, trailer.footer.get())
        .map_err(|error| StoreError::io(segment_path(id).display(), &error))?;
    if crc32c::crc32c(&bytes) != trailer.footer_crc {
        return Err(corrupt(id, "its footer does not match its checksum"));
    }
    let checksums = bytes.as_chunks::<4>().0.iter();
    Ok(checksums.map(|crc| u32::from_le_bytes(*crc)).collect())
}

/// A length in memory. Lengths are bounded by files that were checked, and targets are 64-bit.
pub(crate) fn size(len: u64) -> usize {
    usize::try_from(len).expect("a 64-bit target")
}
