//! A file that holds a segment, and which of its blocks hold.
//!
//! A block counts where it matches its checksum in the footer, whether or not trailer and footer are whole
//! themselves: two numbers that agree were written together. Where one of them fails, the blocks may prove
//! the footer instead of the other way round. Which segment a file holds is proven by its trailer or its
//! header, never by its name.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use millrace_core::{FilePos, StreamPos};
use millrace_env::{Env, File, OpenMode};

use crate::{
    StoreError,
    catalog::SegmentRow,
    segment::{
        Extent, MessageMark,
        file::{SegmentEnd, SegmentFile, size},
        format::{self, BLOCK_BYTES, CHECKSUM_BYTES, HEADER_BYTES, TRAILER_BYTES, Trailer},
        read::IndexReader,
    },
};

/// A file that holds a segment, and which of its blocks hold.
#[derive(Debug)]
pub(in crate::repair) struct Source {
    pub(in crate::repair) path: PathBuf,
    pub(super) file: Arc<SegmentFile>,
    bad: Vec<bool>,
    /// The extents that were written to it, if its directory holds.
    written: Option<Vec<Extent>>,
}

/// What there is of an extent, in order.
pub(super) enum Part {
    Message { from: StreamPos, mark: MessageMark },
    Lost(Range<StreamPos>),
}

impl Source {
    /// The segment of `row` in a file; `None` where there is no file, or nothing proves that it holds
    /// this one.
    pub(super) fn open(
        env: &Env,
        path: &Path,
        row: &SegmentRow,
    ) -> Result<Option<Self>, StoreError> {
        let file = match env.disk.open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io(format!("open {}", path.display()), &error)),
        };
        let Some(footer) = footer_at(row.len) else {
            return Ok(None);
        };
        let computed = checksums(&*file, path, footer)?;
        let length = computed.len() as u64 * CHECKSUM_BYTES;
        let stored = read_at(&*file, path, footer, length)?;
        let stored: Vec<Option<u32>> = (0..computed.len())
            .map(|at| {
                let crc = stored.get(at * 4..at * 4 + 4)?;
                Some(u32::from_le_bytes(crc.try_into().ok()?))
            })
            .collect();
        let bytes = read_at(&*file, path, row.len - TRAILER_BYTES, TRAILER_BYTES)?;
        let trailer = match Trailer::decode(&bytes, row.id, row.len) {
            Ok(trailer) => Some(trailer),
            Err(StoreError::Corrupt { .. }) => None,
            Err(error) => return Err(error),
        };
        let all: Option<Vec<u32>> = computed.iter().copied().collect();
        let proven = trailer.zip(all).is_some_and(|(trailer, all)| {
            let bytes: Vec<u8> = all.iter().flat_map(|crc| crc.to_le_bytes()).collect();
            crc32c::crc32c(&bytes) == trailer.footer_crc
        });
        let holds = |(computed, stored): (&Option<u32>, &Option<u32>)| {
            computed.is_some() && (proven || computed == stored)
        };
        let bad: Vec<bool> = computed
            .iter()
            .zip(&stored)
            .map(|pair| !holds(pair))
            .collect();
        // What does not hold must not pass for it when it is read again.
        let checksums = computed.iter().zip(&bad).map(|(crc, bad)| {
            let crc = crc.unwrap_or_default();
            if *bad { !crc } else { crc }
        });
        let end = SegmentEnd::assumed(
            trailer.unwrap_or(Trailer {
                segment: row.id,
                index: FilePos(footer),
                directory: FilePos(footer),
                extents: 0,
                footer: FilePos(footer),
                footer_crc: 0,
            }),
            checksums.collect(),
        );
        let file = Arc::new(SegmentFile::new(file, Arc::new(end)));
        let in_header = || {
            let header = file.read(FilePos::ZERO, HEADER_BYTES);
            header.is_ok_and(|bytes| format::check_header(&bytes, row.id).is_ok())
        };
        if trailer.is_none() && !in_header() {
            return Ok(None);
        }
        let written = trailer.and_then(|_| file.extents().ok());
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            bad,
            written,
        }))
    }

    /// Where an extent of the catalog lies here: the segment's own directory counts, if it holds.
    pub(super) fn find(&self, wanted: &Extent) -> Option<Extent> {
        let Some(written) = &self.written else {
            return Some(*wanted);
        };
        let same = |extent: &&Extent| {
            (extent.stream, extent.from, extent.until) == (wanted.stream, wanted.from, wanted.until)
        };
        written.iter().find(same).copied()
    }

    /// Goes through an extent.
    pub(super) fn parts(
        &self,
        extent: Extent,
        take: &mut dyn FnMut(Part) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut index = IndexReader::new(Arc::clone(&self.file), extent);
        let mut end = extent.from;
        for page in 0..extent.index_pages {
            let (first, marks) = match index.page(page) {
                Ok(page) => page,
                Err(StoreError::Corrupt { .. }) => continue,
                Err(error) => return Err(error),
            };
            if first < end {
                break;
            }
            if end < first {
                take(Part::Lost(end..first))?;
            }
            end = first;
            for mark in marks {
                let part = if self.holds(&extent, end..mark.end) {
                    Part::Message { from: end, mark }
                } else {
                    Part::Lost(end..mark.end)
                };
                take(part)?;
                end = mark.end;
            }
        }
        if end < extent.until {
            take(Part::Lost(end..extent.until))?;
        }
        Ok(())
    }

    /// Whether the bytes of positions of an extent hold.
    fn holds(&self, extent: &Extent, positions: Range<StreamPos>) -> bool {
        let place = |position: StreamPos| {
            let offset = position.since(extent.from);
            extent.data.get().checked_add(offset)
        };
        let (Some(from), Some(until)) = (place(positions.start), place(positions.end)) else {
            return false;
        };
        let blocks = size(from / BLOCK_BYTES)..size(until.div_ceil(BLOCK_BYTES));
        let blocks = self.bad.get(blocks);
        blocks.is_some_and(|blocks| !blocks.contains(&true))
    }
}

/// Where the footer of a segment file of `len` bytes begins.
fn footer_at(len: u64) -> Option<u64> {
    let covered = len.checked_sub(TRAILER_BYTES)?;
    let blocks = covered.div_ceil(BLOCK_BYTES + CHECKSUM_BYTES);
    let footer = covered.checked_sub(blocks * CHECKSUM_BYTES)?;
    let fits = footer.div_ceil(BLOCK_BYTES) == blocks && footer >= HEADER_BYTES;
    fits.then_some(footer)
}

/// The checksum of every block before the footer; `None` of one that is not all there.
fn checksums(file: &dyn File, path: &Path, footer: u64) -> Result<Vec<Option<u32>>, StoreError> {
    let blocks = 0..footer.div_ceil(BLOCK_BYTES);
    blocks
        .map(|block| {
            let at = block * BLOCK_BYTES;
            let len = BLOCK_BYTES.min(footer - at);
            let bytes = read_at(file, path, at, len)?;
            let whole = bytes.len() as u64 == len;
            Ok(whole.then(|| crc32c::crc32c(&bytes)))
        })
        .collect()
}

/// Opens a file to read.
pub(super) fn open(env: &Env, path: &Path) -> Result<Arc<dyn File>, StoreError> {
    let opened = env.disk.open(path, OpenMode::Read);
    opened.map_err(|error| StoreError::io(format!("open {}", path.display()), &error))
}

/// Up to `len` bytes at `at`: fewer where the file ends.
pub(super) fn read_at(
    file: &dyn File,
    path: &Path,
    at: u64,
    len: u64,
) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![0; size(len)];
    let mut done = 0;
    while done < bytes.len() {
        let read = file
            .read_at(&mut bytes[done..], at + done as u64)
            .map_err(|error| StoreError::io(format!("read {}", path.display()), &error))?;
        if read == 0 {
            break;
        }
        done += read;
    }
    bytes.truncate(done);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_footer_of_any_segment_is_found_by_its_length() {
        for footer in (HEADER_BYTES..200_000)
            .step_by(7)
            .chain([BLOCK_BYTES, 2 * BLOCK_BYTES])
        {
            let blocks = footer.div_ceil(BLOCK_BYTES);
            let len = footer + blocks * CHECKSUM_BYTES + TRAILER_BYTES;
            assert_eq!(footer_at(len), Some(footer));
        }
        for len in 0..TRAILER_BYTES + HEADER_BYTES {
            assert_eq!(footer_at(len), None);
        }
    }
}
