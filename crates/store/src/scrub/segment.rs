//! A segment: footer and trailer, then every block against its checksum, then whether header,
//! directory and index say what can be.

use std::{io, ops::Range, path::PathBuf, sync::Arc};

use millrace_core::SegmentId;
use millrace_env::{Env, File, OpenMode};

use super::{
    Damage, Found, PIECE_BYTES, Piece,
    damage::{add_block, streams_in},
    twice,
};
use crate::{
    StoreError,
    catalog::{Catalog, SegmentRow},
    segment::{
        Extent,
        file::{SegmentEnd, SegmentFile},
        format::{BLOCK_BYTES, TRAILER_BYTES},
        segment_path,
        walk::IndexWalk,
    },
};

/// How many blocks are read at once.
const BLOCKS: u64 = PIECE_BYTES / BLOCK_BYTES;

/// A segment, and how far it was looked at.
#[derive(Debug)]
pub(super) struct SegmentScrub {
    row: SegmentRow,
    /// Read by the first piece; the file itself is opened anew by each.
    end: Option<Arc<SegmentEnd>>,
    next_block: u64,
    damaged: Vec<Range<u64>>,
    damaged_blocks: u64,
    /// Of the first damaged block.
    what: Option<String>,
    /// Once all blocks were found to be whole.
    index: Option<IndexWalk>,
}

impl SegmentScrub {
    pub(super) fn new(row: SegmentRow) -> Self {
        Self {
            row,
            end: None,
            next_block: 0,
            damaged: Vec::new(),
            damaged_blocks: 0,
            what: None,
            index: None,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        segment_path(self.row.id)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.row.len
    }

    /// Looks at the next piece of it.
    pub(super) fn piece(&mut self, env: &Env, catalog: &Catalog) -> Piece {
        let file = match env.disk.open(&self.path(), OpenMode::ReadOnce) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let missing = Damage::of_file("the file is missing".into(), None);
                return Piece::last(0, self.judge(catalog, missing));
            }
            Err(error) => return Piece::last(0, Found::Unread(error.to_string())),
        };
        let Some(end) = &self.end else {
            return self.end(&*file, catalog);
        };
        let file = Arc::new(SegmentFile::new(file, Arc::clone(end)));
        if self.next_block < file.blocks() {
            return self.blocks(&file, catalog);
        }
        match twice(|| self.index(&file)) {
            Ok(piece) => piece,
            Err(error) => {
                let damage = Damage::of_file(error.to_string(), None);
                Piece::last(0, self.judge(catalog, damage))
            }
        }
    }

    fn end(&mut self, file: &dyn File, catalog: &Catalog) -> Piece {
        match twice(|| SegmentEnd::read(file, self.row.id)) {
            Ok(end) => {
                let footer = self.row.len.saturating_sub(end.covered());
                self.end = Some(Arc::new(end));
                Piece::more(footer)
            }
            Err(error) => {
                let damage = Damage::of_file(error.to_string(), None);
                Piece::last(TRAILER_BYTES, self.judge(catalog, damage))
            }
        }
    }

    fn blocks(&mut self, file: &SegmentFile, catalog: &Catalog) -> Piece {
        let first = self.next_block;
        let last = (first + BLOCKS).min(file.blocks()) - 1;
        let covered = file.trailer().footer.get();
        let place = |block: u64| block * BLOCK_BYTES..((block + 1) * BLOCK_BYTES).min(covered);
        let bytes = place(last).end - place(first).start;
        // The whole piece at once; only where something is wrong, block by block.
        if file.read_blocks(first, last).is_err() {
            for block in first..=last {
                if let Err(error) = file.read_blocks(block, block) {
                    add_block(&mut self.damaged, place(block));
                    self.damaged_blocks += 1;
                    self.what.get_or_insert_with(|| error.to_string());
                }
            }
        }
        self.next_block = last + 1;
        match self.what.take_if(|_| self.next_block == file.blocks()) {
            Some(what) => Piece::last(bytes, self.damaged_blocks(file, catalog, what)),
            None => Piece::more(bytes),
        }
    }

    fn damaged_blocks(&mut self, file: &SegmentFile, catalog: &Catalog, what: String) -> Found {
        let ranges = std::mem::take(&mut self.damaged);
        // Whose bytes they are is worth knowing, but nothing rests on it.
        let (streams, streams_more) = streams_in(file, catalog, &ranges).unwrap_or_default();
        let damage = Damage {
            blocks: self.damaged_blocks,
            ranges,
            what,
            streams,
            streams_more,
        };
        self.judge(catalog, damage)
    }

    /// Every byte is as it was written; now whether that makes sense.
    fn index(&mut self, file: &Arc<SegmentFile>) -> Result<Piece, StoreError> {
        let trailer = file.trailer();
        let Some(index) = &mut self.index else {
            file.check_header()?;
            let index = IndexWalk::new(file)?;
            let total: u64 = index.extents().iter().map(Extent::bytes).sum();
            if (trailer.file_len(), total) != (self.row.len, self.row.total) {
                let what = "its length or content is not what the catalog knows of it";
                return Err(file.corrupt(what));
            }
            self.index = Some(index);
            let directory = trailer.footer.get() - trailer.directory.get();
            return Ok(Piece::more(directory));
        };
        let index_bytes = trailer.directory.get() - trailer.index.get();
        let pages: u64 = index
            .extents()
            .iter()
            .map(|extent| u64::from(extent.index_pages))
            .sum();
        // As many pages as lie in a piece, by their average length.
        let at_once = pages * PIECE_BYTES / index_bytes.max(PIECE_BYTES);
        let at_once = u32::try_from(at_once.max(1)).unwrap_or(u32::MAX);
        let bytes = index_bytes.min(PIECE_BYTES);
        Ok(if index.walk(file, at_once)? {
            Piece::more(bytes)
        } else {
            Piece::last(bytes, Found::Whole)
        })
    }

    /// A segment that nothing names any more may be as it likes.
    fn judge(&self, catalog: &Catalog, damage: Damage) -> Found {
        match is_named(catalog, self.row.id) {
            Ok(true) => Found::Damaged(damage),
            Ok(false) => Found::Gone,
            Err(error) => Found::Unread(error.to_string()),
        }
    }
}

fn is_named(catalog: &Catalog, id: SegmentId) -> Result<bool, StoreError> {
    Ok(catalog.segments()?.iter().any(|row| row.id == id))
}
