//! Raw rows and extents, for the fuzz targets in `testing/fuzz`; not a part of the API.

use std::{collections::BTreeMap, sync::Arc};

use millrace_core::{SegmentId, Settings, StreamId, stream::StreamState};
use redb::ReadableTable as _;

use crate::{
    Catalog, Extent, Segments, StoreError,
    catalog::{row, tables},
    codec::Malformed,
};

/// A table whose rows are bytes of our own.
#[derive(Clone, Copy, Debug)]
pub enum Table {
    /// The rows of streams.
    Streams,
    /// Extents.
    Extents,
    /// Producers.
    Producers,
    /// The manifest.
    Manifest,
}

/// All extents that were written to a segment.
pub fn extents(segments: &Segments, id: SegmentId) -> Result<Vec<Extent>, StoreError> {
    segments.pin(id).extents()
}

/// The state in a stream's row, and the row that is made of it again.
pub fn stream_row(row: &[u8], id: StreamId) -> Result<(StreamState, Vec<u8>), Malformed> {
    let mut state = row::state_in(row, id)?;
    let head = row::Head::take(row)?;
    // Settings are in a table of their own; the row says which.
    state.settings = Settings::stored(head.settings, 0, BTreeMap::new()).map(Arc::new);
    let again = row::row(&head, &state);
    Ok((state, again))
}

/// The extent in a row, and the row that is made of it again.
pub fn extent_row(key: (u64, u64), row: &[u8]) -> Result<(Extent, Vec<u8>), Malformed> {
    let extent = tables::extent_in(key, row)?;
    Ok((extent, tables::extent_row(&extent)))
}

/// Puts `value` in the place of the first row of a table, past all rules. Nothing changes when the
/// table has none.
pub fn replace_row(catalog: &Catalog, table: Table, value: &[u8]) {
    catalog.tamper(&|tx| match table {
        Table::Streams => {
            let mut rows = tx.open_table(tables::STREAMS).expect("it opens");
            let first = rows
                .first()
                .expect("it is read")
                .map(|(key, _)| key.value());
            if let Some(key) = first {
                rows.insert(key, value).expect("it is written");
            }
        }
        Table::Extents => {
            let mut rows = tx.open_table(tables::EXTENTS).expect("it opens");
            let first = rows
                .first()
                .expect("it is read")
                .map(|(key, _)| key.value());
            if let Some(key) = first {
                rows.insert(key, value).expect("it is written");
            }
        }
        Table::Producers => {
            let mut rows = tx.open_table(tables::PRODUCERS).expect("it opens");
            let first = rows.first().expect("it is read").map(|(key, _)| {
                let (stream, producer) = key.value();
                (stream, producer.to_vec())
            });
            if let Some((stream, producer)) = first {
                rows.insert((stream, &producer[..]), value)
                    .expect("it is written");
            }
        }
        Table::Manifest => {
            let mut rows = tx.open_table(tables::META).expect("it opens");
            rows.insert(tables::META_MANIFEST, value)
                .expect("it is written");
        }
    });
}
