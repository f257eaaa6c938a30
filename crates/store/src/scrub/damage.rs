//! What is damaged, and whose bytes they are.

use std::{collections::BTreeSet, ops::Range};

use millrace_core::{StreamId, StreamName};

use crate::{
    StoreError,
    catalog::Catalog,
    segment::{Extent, file::SegmentFile, index::PAGE_ENTRY_BYTES},
};

/// BOUND: how many streams of one file are named.
pub const STREAMS_NAMED: usize = 8;
/// BOUND: how many ranges of one file are written out.
pub const RANGES_SHOWN: usize = 8;

/// Bytes of one file that are not as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// How many blocks; 1 where that cannot be told.
    pub blocks: u64,
    /// Where they lie in the file, in order, adjacent ones as one; none where that cannot be told.
    pub ranges: Vec<Range<u64>>,
    /// What is wrong, of the first of them.
    pub what: String,
    /// Streams that have bytes, or the index of bytes, there; not all, and none where that cannot be
    /// told.
    pub streams: Vec<StreamName>,
    /// How many more there are.
    pub streams_more: u64,
}

impl Damage {
    /// Of a file as a whole, or of all of it from some place on; whose bytes they are cannot be told.
    pub(super) fn of_file(what: String, range: Option<Range<u64>>) -> Self {
        Self {
            blocks: 1,
            ranges: range.into_iter().collect(),
            what,
            streams: Vec::new(),
            streams_more: 0,
        }
    }

    /// The ranges in words.
    pub fn bytes_in_words(&self) -> String {
        let shown = self.ranges.iter().take(RANGES_SHOWN);
        let mut words: Vec<String> = shown
            .map(|range| format!("{} to {}", range.start, range.end))
            .collect();
        let more = self.ranges.len().saturating_sub(RANGES_SHOWN);
        if more > 0 {
            words.push(format!("{more} more"));
        }
        if words.is_empty() {
            return "unknown".to_owned();
        }
        words.join(", ")
    }

    /// The streams in words.
    pub fn streams_in_words(&self) -> String {
        let mut words: Vec<String> = self
            .streams
            .iter()
            .map(|name| name.as_str().to_owned())
            .collect();
        if self.streams_more > 0 {
            words.push(format!("{} more", self.streams_more));
        }
        if words.is_empty() {
            return "unknown".to_owned();
        }
        words.join(", ")
    }
}

/// Adds a block to ranges that all lie before it.
pub(super) fn add_block(ranges: &mut Vec<Range<u64>>, block: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == block.start => last.end = block.end,
        _ => ranges.push(block),
    }
}

/// The streams whose bytes, or the index of them, lie in `ranges` of a segment; and how many more. The
/// segment's directory says so, if that is whole.
pub(super) fn streams_in(
    file: &SegmentFile,
    catalog: &Catalog,
    ranges: &[Range<u64>],
) -> Result<(Vec<StreamName>, u64), StoreError> {
    let hit = extents_in(file, ranges)?;
    let streams: BTreeSet<StreamId> = catalog
        .still_named(&hit)?
        .iter()
        .map(|extent| extent.stream)
        .collect();
    let mut names = Vec::new();
    for stream in streams.iter().take(STREAMS_NAMED) {
        // It may be deleted meanwhile.
        names.extend(
            catalog
                .stream(*stream)?
                .map(|state| state.config.name.clone()),
        );
    }
    Ok((names, streams.len().saturating_sub(STREAMS_NAMED) as u64))
}

fn extents_in(file: &SegmentFile, ranges: &[Range<u64>]) -> Result<Vec<Extent>, StoreError> {
    let mut hit = file.extents()?;
    let mut index_from = file.trailer().index.get();
    hit.retain(|extent| {
        let data = extent.data.get()..extent.data.get().saturating_add(extent.bytes());
        let directory = u64::from(extent.index_pages) * PAGE_ENTRY_BYTES;
        let index = index_from..extent.index.get().saturating_add(directory);
        index_from = index.end;
        touches(ranges, &data) || touches(ranges, &index)
    });
    Ok(hit)
}

/// Whether one of `ranges`, which are in order, has a byte of `span`.
fn touches(ranges: &[Range<u64>], span: &Range<u64>) -> bool {
    let first = ranges.partition_point(|range| range.end <= span.start);
    ranges
        .get(first)
        .is_some_and(|range| range.start < span.end)
}
