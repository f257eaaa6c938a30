//! The tables of the catalog and the bytes of their rows; `docs/format.md` has them in full.

use millrace_core::{FilePos, SegmentId, StreamId, StreamPos};
use redb::TableDefinition;

use crate::{
    StoreError,
    codec::{Decoder, Encoder, Malformed},
    segment::Extent,
};

/// The newest format that is written and read.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Stream name to stream id. A soft-deleted stream keeps its name.
pub(crate) const NAMES: TableDefinition<'_, &[u8], u64> = TableDefinition::new("names");
/// Stream id to row (see `row.rs`).
pub(crate) const STREAMS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("streams");
/// (Stream id, first position) to extent.
pub(crate) const EXTENTS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("extents");
/// (Stream id, producer id) to producer state.
pub(crate) const PRODUCERS: TableDefinition<'_, (u64, &[u8]), &[u8]> =
    TableDefinition::new("producers");
/// Stream id to its settings, of the streams whose row says that there are.
pub(crate) const SETTINGS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("settings");
/// (Deadline, stream id): the streams that expire, in the order they do.
pub(crate) const EXPIRY: TableDefinition<'_, (u64, u64), ()> = TableDefinition::new("expiry");
/// (Source, fork): the forks of every row, so that they can be walked without the rows.
pub(crate) const FORKS: TableDefinition<'_, (u64, u64), ()> = TableDefinition::new("forks");
/// Segment id to (file length, live bytes, bytes of streams).
pub(crate) const SEGMENTS: TableDefinition<'_, u64, (u64, u64, u64)> =
    TableDefinition::new("segments");
/// Segments without a live byte whose files may still be there.
pub(crate) const DOOMED: TableDefinition<'_, u64, ()> = TableDefinition::new("doomed");
/// Streams whose extents became many since they were last looked at.
pub(crate) const SCATTERED: TableDefinition<'_, u64, ()> = TableDefinition::new("scattered");
/// Log id to the LSN up to which the catalog holds everything.
pub(crate) const LOGS: TableDefinition<'_, u64, u64> = TableDefinition::new("logs");
/// Slot to the highest generation ever used in it.
pub(crate) const GENERATIONS: TableDefinition<'_, u16, u64> = TableDefinition::new("generations");
/// Single values: `format`, `manifest`, `next segment`, `commit`.
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// The format stamp in [`META`].
pub(crate) const META_FORMAT: &str = "format";
/// The manifest in [`META`].
pub(crate) const META_MANIFEST: &str = "manifest";
/// The first segment id that was never used, in [`META`].
pub(crate) const META_NEXT_SEGMENT: &str = "next segment";
/// The number of the last commit, in [`META`]: tells whether a commit that failed took place.
pub(crate) const META_COMMIT: &str = "commit";

/// From how many extents on a stream is a candidate for compaction.
pub(crate) const SCATTERED_EXTENTS: u32 = 8;

/// The row of an extent.
pub(crate) fn extent_row(extent: &Extent) -> Vec<u8> {
    let mut out = Encoder::with_capacity(44);
    out.u64(extent.until.get());
    out.u64(extent.segment.get());
    out.u64(extent.data.get());
    out.u64(extent.index.get());
    out.u32(extent.index_pages);
    out.u64(extent.messages);
    out.finish()
}

/// Reads what [`extent_row`] wrote.
pub(crate) fn extent_in(key: (u64, u64), row: &[u8]) -> Result<Extent, Malformed> {
    let mut from = Decoder::new(row);
    let fault = from.malformed("an extent");
    let extent = Extent {
        stream: StreamId::from_raw(key.0),
        from: StreamPos(key.1),
        until: StreamPos(from.u64("an extent")?),
        segment: SegmentId(from.u64("an extent")?),
        data: FilePos(from.u64("an extent")?),
        index: FilePos(from.u64("an extent")?),
        index_pages: from.u32("an extent")?,
        messages: from.u64("an extent")?,
    };
    from.finish()?;
    (extent.from < extent.until).then_some(extent).ok_or(fault)
}

/// What is wrong with a row of a table.
pub(crate) fn malformed(table: &str, key: impl std::fmt::Display, fault: Malformed) -> StoreError {
    StoreError::corrupt(format!("the catalog, table {table}, row {key}: {fault}"))
}
