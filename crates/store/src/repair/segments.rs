//! A segment file that is not as it was written, and what of it still is.
//!
//! A block counts where it matches its checksum in the footer, whether or not trailer and footer are whole
//! themselves: two numbers that agree were written together. Where one of them fails, the blocks may prove
//! the footer instead of the other way round. Which segment a file holds is proven by its trailer or its
//! header, never by its name.
//!
//! A message counts where its place in the index and all of its bytes do. Positions in between are lost.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use millrace_core::{FilePos, SegmentId, StreamPos};
use millrace_env::{Env, File, OpenMode};

use crate::{
    StoreError,
    catalog::SegmentRow,
    check::files,
    flush::Packer,
    segment::{
        Extent, MessageMark, QUARANTINE_DIR, SEGMENTS_DIR,
        file::{SegmentEnd, SegmentFile, size},
        format::{self, BLOCK_BYTES, CHECKSUM_BYTES, HEADER_BYTES, TRAILER_BYTES, Trailer},
        read::IndexReader,
        segment_path,
        walk::IndexWalk,
        writer::SegmentWriter,
    },
};

/// How many blocks are read at once.
const BLOCKS: u64 = 64;
/// How many bytes of messages are copied at once.
const COPY_BYTES: u64 = 1 << 20;

/// A damaged segment, and what can be had of it.
#[derive(Debug)]
pub(super) struct Damaged {
    pub(super) row: SegmentRow,
    /// What is wrong.
    pub(super) why: String,
    /// Where its content is, as far as it is anywhere.
    pub(super) source: Option<Source>,
    pub(super) rescues: Vec<Rescue>,
}

/// An extent of a damaged segment.
#[derive(Debug)]
pub(super) struct Rescue {
    /// As the catalog has it.
    pub(super) old: Extent,
    /// As its source has it.
    found: Option<Extent>,
    /// Positions whose bytes are lost, in order, none adjacent to another.
    pub(super) lost: Vec<Range<StreamPos>>,
}

/// A file that holds a segment, and which of its blocks hold.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    file: Arc<SegmentFile>,
    bad: Vec<bool>,
    /// The extents that were written to it, if its directory holds.
    written: Option<Vec<Extent>>,
}

/// What there is of an extent, in order.
enum Part {
    Message { from: StreamPos, mark: MessageMark },
    Lost(Range<StreamPos>),
}

/// What is wrong with a segment that the catalog names, of which it needs `named`; `None` where nothing
/// is.
pub(super) fn fault(
    env: &Env,
    row: &SegmentRow,
    named: &[Extent],
) -> Result<Option<String>, StoreError> {
    let looked = SegmentFile::open(env, row.id).and_then(|file| look(&Arc::new(file), row, named));
    match looked {
        Ok(()) => Ok(None),
        Err(error @ (StoreError::Corrupt { .. } | StoreError::Missing { .. })) => {
            Ok(Some(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

fn look(file: &Arc<SegmentFile>, row: &SegmentRow, named: &[Extent]) -> Result<(), StoreError> {
    let mut first = 0;
    while first < file.blocks() {
        let last = (first + BLOCKS).min(file.blocks()) - 1;
        file.read_blocks(first, last)?;
        first = last + 1;
    }
    let mut index = IndexWalk::new(file)?;
    while index.walk(file, u32::MAX)? {}
    let written = index.into_extents();
    let total: u64 = written.iter().map(Extent::bytes).sum();
    if (file.trailer().file_len(), total) != (row.len, row.total) {
        return Err(file.corrupt("its length or content is not what the catalog knows of it"));
    }
    match named.iter().find(|extent| !written.contains(extent)) {
        Some(extent) => Err(file.corrupt(&format!(
            "the catalog looks here for stream {} from {} to {}, which was not written here",
            extent.stream, extent.from, extent.until
        ))),
        None => Ok(()),
    }
}

/// Segment files by what their trailers say they are, under whatever names.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(BTreeMap<SegmentId, Vec<PathBuf>>);

impl Elsewhere {
    /// Looks through `segments/` and `quarantine/`.
    pub(super) fn look(env: &Env) -> Result<Self, StoreError> {
        let mut elsewhere = Self::default();
        elsewhere.look_in(env, Path::new(SEGMENTS_DIR), 0)?;
        elsewhere.look_in(env, Path::new(QUARANTINE_DIR), 2)?;
        Ok(elsewhere)
    }

    fn look_in(&mut self, env: &Env, dir: &Path, deeper: u32) -> Result<(), StoreError> {
        for entry in files::list(env, &dir.display().to_string())? {
            let path = dir.join(&entry.name);
            if entry.is_dir && deeper > 0 {
                self.look_in(env, &path, deeper - 1)?;
            }
            if !entry.is_dir && entry.len > TRAILER_BYTES {
                let bytes = read_at(
                    &*open(env, &path)?,
                    &path,
                    entry.len - TRAILER_BYTES,
                    TRAILER_BYTES,
                )?;
                let claims = bytes.get(16..24).and_then(|id| id.try_into().ok());
                let claims = SegmentId(claims.map_or(u64::MAX, u64::from_le_bytes));
                if Trailer::decode(&bytes, claims, entry.len).is_ok() {
                    self.0.entry(claims).or_default().push(path);
                }
            }
        }
        Ok(())
    }
}

impl Damaged {
    /// Finds out what can be had of a segment.
    pub(super) fn new(
        env: &Env,
        row: SegmentRow,
        why: String,
        named: &[Extent],
        elsewhere: &Elsewhere,
    ) -> Result<Self, StoreError> {
        let own = segment_path(row.id);
        let mut paths = vec![own.clone()];
        let others = elsewhere.0.get(&row.id).into_iter().flatten();
        paths.extend(others.filter(|path| **path != own).cloned());
        let mut best: Option<(Option<Source>, Vec<Rescue>)> = None;
        for path in paths {
            let source = Source::open(env, &path, &row)?;
            let rescues = named
                .iter()
                .map(|extent| Rescue::new(*extent, source.as_ref()))
                .collect::<Result<Vec<_>, _>>()?;
            let better = best
                .as_ref()
                .is_none_or(|(_, known)| lost_in(&rescues) < lost_in(known));
            if better {
                best = Some((source, rescues));
            }
        }
        let (source, rescues) = best.expect("its own path is looked at");
        Ok(Self {
            row,
            why,
            source,
            rescues,
        })
    }

    /// How many bytes of streams are lost.
    pub(super) fn lost_bytes(&self) -> u64 {
        lost_in(&self.rescues)
    }

    /// How many bytes of streams can be had.
    pub(super) fn kept_bytes(&self) -> u64 {
        let named: u64 = self.rescues.iter().map(|rescue| rescue.old.bytes()).sum();
        named - self.lost_bytes()
    }

    /// Writes what can be had into a segment of its own.
    pub(super) fn write(&self, packer: &mut Packer<'_>) -> Result<(), StoreError> {
        let Some(source) = self.source.as_ref().filter(|_| self.kept_bytes() > 0) else {
            return Ok(());
        };
        let mut writer = packer.begin()?;
        for found in self.rescues.iter().filter_map(|rescue| rescue.found) {
            Copying::new(source, found, &mut writer).run()?;
        }
        packer.finish(writer)
    }
}

fn lost_in(rescues: &[Rescue]) -> u64 {
    let lost = rescues.iter().flat_map(|rescue| &rescue.lost);
    lost.map(|range| range.end.since(range.start)).sum()
}

impl Rescue {
    fn new(old: Extent, source: Option<&Source>) -> Result<Self, StoreError> {
        let mut rescue = Self {
            old,
            found: source.and_then(|source| source.find(&old)),
            lost: Vec::new(),
        };
        let (Some(source), Some(found)) = (source, rescue.found) else {
            rescue.found = None;
            rescue.lost.push(old.from..old.until);
            return Ok(rescue);
        };
        let lost = &mut rescue.lost;
        source.parts(found, &mut |part| {
            if let Part::Lost(range) = part {
                match lost.last_mut() {
                    Some(last) if last.end == range.start => last.end = range.end,
                    _ => lost.push(range),
                }
            }
            Ok(())
        })?;
        Ok(rescue)
    }
}

impl Source {
    /// The segment of `row` in a file; `None` where there is no file, or nothing proves that it holds
    /// this one.
    fn open(env: &Env, path: &Path, row: &SegmentRow) -> Result<Option<Self>, StoreError> {
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
    fn find(&self, wanted: &Extent) -> Option<Extent> {
        let Some(written) = &self.written else {
            return Some(*wanted);
        };
        let same = |extent: &&Extent| {
            (extent.stream, extent.from, extent.until) == (wanted.stream, wanted.from, wanted.until)
        };
        written.iter().find(same).copied()
    }

    /// Goes through an extent.
    fn parts(
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

/// Copies what holds of an extent, message by message, into as many extents as that takes.
struct Copying<'a> {
    source: &'a Source,
    extent: Extent,
    writer: &'a mut SegmentWriter,
    /// Messages that are in the new index, and whose bytes are not copied yet.
    pending: Option<Range<StreamPos>>,
    begun: bool,
}

impl<'a> Copying<'a> {
    fn new(source: &'a Source, extent: Extent, writer: &'a mut SegmentWriter) -> Self {
        Self {
            source,
            extent,
            writer,
            pending: None,
            begun: false,
        }
    }

    fn run(mut self) -> Result<(), StoreError> {
        let source = self.source;
        source.parts(self.extent, &mut |part| match part {
            Part::Message { from, mark } => self.message(from, mark),
            Part::Lost(_) => self.end(),
        })?;
        self.end()
    }

    fn message(&mut self, from: StreamPos, mark: MessageMark) -> Result<(), StoreError> {
        let len = u32::try_from(mark.end.since(from))
            .map_err(|_| StoreError::corrupt("a message of 4 GiB or more"))?;
        if !self.begun {
            self.writer.begin(self.extent.stream, from);
            self.begun = true;
        }
        self.writer.message(len, mark.starts_append, mark.at);
        let start = self.pending.as_ref().map_or(from, |pending| pending.start);
        self.pending = Some(start..mark.end);
        if mark.end.since(start) >= COPY_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        let offset = pending.start.since(self.extent.from);
        let at = FilePos(self.extent.data.get() + offset);
        let bytes = self
            .source
            .file
            .read(at, pending.end.since(pending.start))?;
        self.writer.data(&bytes)
    }

    fn end(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        if std::mem::take(&mut self.begun) {
            self.writer.end();
        }
        Ok(())
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

fn open(env: &Env, path: &Path) -> Result<Arc<dyn File>, StoreError> {
    let opened = env.disk.open(path, OpenMode::Read);
    opened.map_err(|error| StoreError::io(format!("open {}", path.display()), &error))
}

/// Up to `len` bytes at `at`: fewer where the file ends.
fn read_at(file: &dyn File, path: &Path, at: u64, len: u64) -> Result<Vec<u8>, StoreError> {
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
