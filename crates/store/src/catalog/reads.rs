//! What can be asked of the catalog. Every answer is of one commit, the last one when it was asked.

use std::{ops::Bound, sync::Arc};

use millrace_core::{
    Generation, Lsn, ProducerId, SegmentId, Settings, StreamId, StreamName, Timestamp,
    slot::SLOTS,
    stream::{ProducerState, StreamState},
};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata};

use super::{
    Catalog, Manifest,
    fault::Fault,
    number, row,
    tables::{
        DOOMED, EXPIRY, EXTENTS, FORKS, GENERATIONS, LOGS, META, META_MANIFEST, META_NEXT_SEGMENT,
        NAMES, PRODUCERS, SCATTERED, SEGMENTS, SETTINGS, STREAMS, extent_in, malformed,
    },
};
use crate::{
    StoreError,
    codec::{Decoder, Malformed, Stored},
    segment::Extent,
    wal::LogId,
};

/// A segment as the catalog has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRow {
    /// Its id.
    pub id: SegmentId,
    /// The length of the file in bytes.
    pub len: u64,
    /// How many bytes of streams that still exist it holds.
    pub live: u64,
    /// How many bytes of streams were written to it.
    pub total: u64,
}

/// A stream as the catalog has it.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamRow {
    /// What it is.
    pub state: StreamState,
    /// Where its bytes are, in order: contiguous, from its own first position on.
    pub extents: Vec<Extent>,
}

impl Catalog {
    /// The head of the data directory; `None` before the first one was committed.
    pub fn manifest(&self) -> Result<Option<Manifest>, StoreError> {
        self.read(|tx| {
            let meta = tx.open_table(META)?;
            let Some(value) = meta.get(META_MANIFEST)? else {
                return Ok(None);
            };
            let mut manifest = Manifest::take(&mut Decoder::new(value.value()))?;
            let next = meta.get(META_NEXT_SEGMENT)?;
            let next = next.and_then(|value| number(value.value())).unwrap_or(0);
            manifest.next_segment = SegmentId(next);
            for entry in tx.open_table(LOGS)?.iter()? {
                let (log, lsn) = entry?;
                manifest.logs.push((LogId(log.value()), Lsn(lsn.value())));
            }
            Ok(Some(manifest))
        })
    }

    /// The stream of a name; a soft-deleted one too.
    pub fn row_by_name(&self, name: &str) -> Result<Option<StreamRow>, StoreError> {
        self.read(|tx| {
            let id = tx.open_table(NAMES)?.get(name.as_bytes())?;
            let Some(id) = id.map(|value| StreamId::from_raw(value.value())) else {
                return Ok(None);
            };
            let state = state_in(tx, &tx.open_table(STREAMS)?, id)?.ok_or_else(|| {
                let what =
                    format!("the catalog names stream {id} ({name}), which it does not have");
                StoreError::corrupt(what)
            })?;
            let extents = extents_in(&tx.open_table(EXTENTS)?, id)?;
            Ok(Some(StreamRow { state, extents }))
        })
    }

    /// A stream; a soft-deleted one too.
    pub fn stream(&self, id: StreamId) -> Result<Option<StreamState>, StoreError> {
        self.read(|tx| state_in(tx, &tx.open_table(STREAMS)?, id))
    }

    /// A stream's extents in order: contiguous, from its own first position on.
    pub fn extents(&self, stream: StreamId) -> Result<Vec<Extent>, StoreError> {
        self.read(|tx| extents_in(&tx.open_table(EXTENTS)?, stream))
    }

    /// Those of `ids` that there are, in the order of `ids`: cheaper than one after the other, most
    /// of all when they are sorted.
    pub fn rows(&self, ids: &[StreamId]) -> Result<Vec<StreamRow>, StoreError> {
        self.read(|tx| {
            let streams = tx.open_table(STREAMS)?;
            let extents = tx.open_table(EXTENTS)?;
            let mut found = Vec::with_capacity(ids.len());
            for &id in ids {
                if let Some(state) = state_in(tx, &streams, id)? {
                    let extents = extents_in(&extents, id)?;
                    found.push(StreamRow { state, extents });
                }
            }
            Ok(found)
        })
    }

    /// What a stream remembers of a producer.
    pub fn producer(
        &self,
        stream: StreamId,
        producer: &str,
    ) -> Result<Option<ProducerState>, StoreError> {
        self.read(|tx| {
            let table = tx.open_table(PRODUCERS)?;
            let Some(value) = table.get((stream.get(), producer.as_bytes()))? else {
                return Ok(None);
            };
            Ok(Some(producer_in(value.value())?))
        })
    }

    /// All producers of a stream, in the order of their ids.
    pub fn producers(
        &self,
        stream: StreamId,
    ) -> Result<Vec<(ProducerId, ProducerState)>, StoreError> {
        self.read(|tx| producers_of(tx, stream))
    }

    /// The producer of a stream that has been idle for longest. Looks at all of them; asked only when
    /// a stream remembers as many as it may.
    pub fn longest_idle_producer(
        &self,
        stream: StreamId,
    ) -> Result<Option<(ProducerId, ProducerState)>, StoreError> {
        self.read(|tx| {
            let producers = producers_of(tx, stream)?;
            Ok(producers.into_iter().min_by_key(|(_, state)| state.used_at))
        })
    }

    /// Up to `limit` names that begin with `prefix` and come behind `after`, in byte order; those of
    /// soft-deleted and expired streams too.
    pub fn names(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(StreamName, StreamId)>, StoreError> {
        self.read(|tx| {
            let table = tx.open_table(NAMES)?;
            let start = match after {
                Some(after) if after >= prefix => Bound::Excluded(after.as_bytes()),
                _ => Bound::Included(prefix.as_bytes()),
            };
            let mut names = Vec::new();
            for entry in table.range::<&[u8]>((start, Bound::Unbounded))? {
                let (name, id) = entry?;
                if names.len() == limit || !name.value().starts_with(prefix.as_bytes()) {
                    break;
                }
                names.push((name_in(name.value())?, StreamId::from_raw(id.value())));
            }
            Ok(names)
        })
    }

    /// Up to `limit` streams whose deadline is `until` or earlier and that come behind `after`, by
    /// deadline.
    pub fn due(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, StreamId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, StreamId)>, StoreError> {
        self.read(|tx| {
            let table = tx.open_table(EXPIRY)?;
            let start = match after {
                // A range must not end before it begins.
                Some((at, _)) if at > until => return Ok(Vec::new()),
                Some((at, id)) => Bound::Excluded((at.get(), id.get())),
                None => Bound::Unbounded,
            };
            let end = Bound::Included((until.get(), u64::MAX));
            let mut due = Vec::new();
            for entry in table.range((start, end))?.take(limit) {
                let (at, id) = entry?.0.value();
                due.push((Timestamp(at), StreamId::from_raw(id)));
            }
            Ok(due)
        })
    }

    /// The highest generation ever used in every slot.
    pub fn slot_generations(&self) -> Result<Vec<Generation>, StoreError> {
        self.read(|tx| {
            let mut generations = vec![Generation::ZERO; usize::from(SLOTS)];
            for entry in tx.open_table(GENERATIONS)?.iter()? {
                let (slot, generation) = entry?;
                let slot = slot.value();
                *generations.get_mut(usize::from(slot)).ok_or_else(|| {
                    StoreError::corrupt(format!("the catalog has a generation of slot {slot}"))
                })? = Generation(generation.value());
            }
            Ok(generations)
        })
    }

    /// Every reference of a source to a fork.
    pub fn forks(&self) -> Result<Vec<(StreamId, StreamId)>, StoreError> {
        self.read(|tx| {
            let mut forks = Vec::new();
            for entry in tx.open_table(FORKS)?.iter()? {
                let (source, fork) = entry?.0.value();
                forks.push((StreamId::from_raw(source), StreamId::from_raw(fork)));
            }
            Ok(forks)
        })
    }

    /// Up to `limit` streams behind `after`, in the order of their ids; soft-deleted ones too.
    pub fn streams(
        &self,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<StreamState>, StoreError> {
        self.read(|tx| {
            let table = tx.open_table(STREAMS)?;
            let start = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.get()));
            let mut states = Vec::new();
            for entry in table.range((start, Bound::Unbounded))?.take(limit) {
                let (id, value) = entry?;
                let id = StreamId::from_raw(id.value());
                states.push(state_of(tx, value.value(), id)?);
            }
            Ok(states)
        })
    }

    /// Every stream that has settings, with them, in the order of their ids: up to `limit` behind
    /// `after`.
    pub fn settings(
        &self,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<(StreamId, Settings)>, StoreError> {
        self.read(|tx| {
            let Some(table) = settings_table(tx)? else {
                return Ok(Vec::new());
            };
            let start = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.get()));
            let mut found = Vec::new();
            for entry in table.range((start, Bound::Unbounded))?.take(limit) {
                let (id, value) = entry?;
                let id = StreamId::from_raw(id.value());
                let settings = decoded_settings(value.value());
                found.push((id, settings.map_err(|f| malformed("settings", id, f))?));
            }
            Ok(found)
        })
    }

    /// How many streams there are, soft-deleted ones included.
    pub fn stream_count(&self) -> Result<u64, StoreError> {
        self.read(|tx| Ok(tx.open_table(STREAMS)?.len()?))
    }

    /// Every segment that holds bytes of streams.
    pub fn segments(&self) -> Result<Vec<SegmentRow>, StoreError> {
        self.read(|tx| {
            let mut rows = Vec::new();
            for entry in tx.open_table(SEGMENTS)?.iter()? {
                let (id, value) = entry?;
                let (len, live, total) = value.value();
                let id = SegmentId(id.value());
                rows.push(SegmentRow {
                    id,
                    len,
                    live,
                    total,
                });
            }
            Ok(rows)
        })
    }

    /// Segments that hold nothing any more and whose files may still be there.
    pub fn doomed(&self) -> Result<Vec<SegmentId>, StoreError> {
        self.read(|tx| {
            let ids = tx.open_table(DOOMED)?;
            ids.iter()?
                .map(|entry| Ok(SegmentId(entry?.0.value())))
                .collect()
        })
    }

    /// Up to `limit` streams whose extents became many since they were last looked at.
    pub(crate) fn scattered(&self, limit: usize) -> Result<Vec<StreamId>, StoreError> {
        self.read(|tx| {
            let ids = tx.open_table(SCATTERED)?;
            ids.iter()?
                .take(limit)
                .map(|entry| Ok(StreamId::from_raw(entry?.0.value())))
                .collect()
        })
    }

    /// Those of `extents` that are named exactly so.
    pub(crate) fn still_named(&self, extents: &[Extent]) -> Result<Vec<Extent>, StoreError> {
        self.read(|tx| {
            let table = tx.open_table(EXTENTS)?;
            let mut named = Vec::new();
            for extent in extents {
                let key = (extent.stream.get(), extent.from.get());
                if let Some(value) = table.get(key)?
                    && extent_in(key, value.value())? == *extent
                {
                    named.push(*extent);
                }
            }
            Ok(named)
        })
    }

    /// Calls `look` with one transaction over all tables: for `check` and `dump`.
    pub(crate) fn inspect<T>(
        &self,
        look: impl Fn(&ReadTransaction) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.read(look)
    }
}

type Streams = ReadOnlyTable<u64, &'static [u8]>;
type Extents = ReadOnlyTable<(u64, u64), &'static [u8]>;

fn state_in(
    tx: &ReadTransaction,
    table: &Streams,
    id: StreamId,
) -> Result<Option<StreamState>, Fault> {
    match table.get(id.get())? {
        Some(value) => Ok(Some(state_of(tx, value.value(), id)?)),
        None => Ok(None),
    }
}

/// The state in a row, with its settings.
fn state_of(tx: &ReadTransaction, row: &[u8], id: StreamId) -> Result<StreamState, Fault> {
    let in_row = |fault| malformed("streams", id, fault);
    let mut state = row::state_in(row, id).map_err(in_row)?;
    let revision = row::Head::take(row).map_err(in_row)?.settings;
    if revision > 0 {
        state.settings = Some(Arc::new(settings_in(tx, id, revision)?));
    }
    Ok(state)
}

/// A stream's settings, which its row says are there, of this revision.
fn settings_in(tx: &ReadTransaction, id: StreamId, revision: u64) -> Result<Settings, Fault> {
    let missing = || {
        let what = format!("the catalog does not have the settings of stream {id}");
        StoreError::corrupt(what)
    };
    let table = tx.open_table(SETTINGS)?;
    let value = table.get(id.get())?.ok_or_else(missing)?;
    let settings = decoded_settings(value.value()).map_err(|f| malformed("settings", id, f))?;
    if settings.revision() != revision {
        return Err(missing().into());
    }
    Ok(settings)
}

/// A catalog that was made before there were settings has no table of them until its first commit.
pub(crate) fn settings_table(
    tx: &ReadTransaction,
) -> Result<Option<ReadOnlyTable<u64, &'static [u8]>>, Fault> {
    match tx.open_table(SETTINGS) {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn decoded_settings(value: &[u8]) -> Result<Settings, Malformed> {
    let mut from = Decoder::new(value);
    let settings = Settings::take(&mut from)?;
    from.finish()?;
    Ok(settings)
}

pub(crate) fn extents_in(table: &Extents, id: StreamId) -> Result<Vec<Extent>, Fault> {
    let mut extents: Vec<Extent> = Vec::new();
    for entry in table.range((id.get(), 0)..=(id.get(), u64::MAX))? {
        let (key, value) = entry?;
        let extent = extent_in(key.value(), value.value())
            .map_err(|fault| malformed("extents", id, fault))?;
        if extents.last().is_some_and(|last| last.until != extent.from) {
            let what = format!(
                "the extents of stream {id} have a gap before {}",
                extent.from
            );
            return Err(StoreError::corrupt(what).into());
        }
        extents.push(extent);
    }
    Ok(extents)
}

fn producers_of(
    tx: &ReadTransaction,
    stream: StreamId,
) -> Result<Vec<(ProducerId, ProducerState)>, Fault> {
    let table = tx.open_table(PRODUCERS)?;
    let mut producers = Vec::new();
    for entry in table.range((stream.get(), &[][..])..)? {
        let (key, value) = entry?;
        let (of, producer) = key.value();
        if of != stream.get() {
            break;
        }
        let id = std::str::from_utf8(producer).ok().and_then(ProducerId::new);
        let id = id.ok_or_else(|| {
            StoreError::corrupt(format!(
                "the catalog has a malformed producer id of stream {stream}"
            ))
        })?;
        producers.push((id, producer_in(value.value())?));
    }
    Ok(producers)
}

fn producer_in(value: &[u8]) -> Result<ProducerState, Fault> {
    let mut from = Decoder::new(value);
    let state = ProducerState::take(&mut from)?;
    from.finish()?;
    Ok(state)
}

pub(crate) fn name_in(bytes: &[u8]) -> Result<StreamName, Fault> {
    let name = std::str::from_utf8(bytes).ok();
    let name = name.and_then(|text| StreamName::stored(text).ok());
    name.ok_or_else(|| StoreError::corrupt("the catalog holds a malformed stream name").into())
}
