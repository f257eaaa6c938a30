//! Carries out a commit on the tables: rows, and every index that follows from them.

use std::collections::{BTreeMap, BTreeSet};

use millrace_core::{
    Generation, Lsn, ProducerId, SegmentId, SlotId, StreamId, StreamPos, Timestamp,
    stream::{ProducerState, StreamState},
};
use redb::{ReadableTable, Table, WriteTransaction};

use super::{
    Manifest,
    commit::{Commit, Committed, Replaced},
    fault::Fault,
    number,
    row::{self, Head},
    tables::{
        DOOMED, EXPIRY, EXTENTS, FORKS, GENERATIONS, LOGS, META, META_COMMIT, META_MANIFEST,
        META_NEXT_SEGMENT, NAMES, PRODUCERS, SCATTERED, SCATTERED_EXTENTS, SEGMENTS, STREAMS,
        extent_in, extent_row, malformed,
    },
};
use crate::{
    StoreError,
    codec::{Encoder, Stored},
    segment::Extent,
    wal::LogId,
};

/// All tables, open to write, and what is settled at the end of a commit.
pub(super) struct Tables<'tx> {
    names: Table<'tx, &'static [u8], u64>,
    streams: Table<'tx, u64, &'static [u8]>,
    extents: Table<'tx, (u64, u64), &'static [u8]>,
    producers: Table<'tx, (u64, &'static [u8]), &'static [u8]>,
    expiry: Table<'tx, (u64, u64), ()>,
    forks: Table<'tx, (u64, u64), ()>,
    segments: Table<'tx, u64, (u64, u64, u64)>,
    doomed: Table<'tx, u64, ()>,
    scattered: Table<'tx, u64, ()>,
    logs: Table<'tx, u64, u64>,
    generations: Table<'tx, u16, u64>,
    meta: Table<'tx, &'static str, &'static [u8]>,
    /// By segment: live bytes gained and lost.
    live: BTreeMap<SegmentId, (u64, u64)>,
    /// Names of new streams, inserted in byte order at the end.
    new_names: Vec<(Vec<u8>, StreamId)>,
    /// Places in the expiry index that are left and taken, in the index's order at the end: one
    /// walk over its pages where single changes would jump about.
    expiry_left: Vec<(u64, u64)>,
    expiry_taken: Vec<(u64, u64)>,
}

/// What a commit says of one stream.
#[derive(Default)]
struct Change<'c> {
    state: Option<&'c StreamState>,
    extents: Vec<&'c Extent>,
}

impl<'tx> Tables<'tx> {
    pub(super) fn open(tx: &'tx WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            names: tx.open_table(NAMES)?,
            streams: tx.open_table(STREAMS)?,
            extents: tx.open_table(EXTENTS)?,
            producers: tx.open_table(PRODUCERS)?,
            expiry: tx.open_table(EXPIRY)?,
            forks: tx.open_table(FORKS)?,
            segments: tx.open_table(SEGMENTS)?,
            doomed: tx.open_table(DOOMED)?,
            scattered: tx.open_table(SCATTERED)?,
            logs: tx.open_table(LOGS)?,
            generations: tx.open_table(GENERATIONS)?,
            meta: tx.open_table(META)?,
            live: BTreeMap::new(),
            new_names: Vec::new(),
            expiry_left: Vec::new(),
            expiry_taken: Vec::new(),
        })
    }

    pub(super) fn apply(&mut self, commit: &Commit) -> Result<Committed, Fault> {
        let removed: BTreeSet<StreamId> = commit.removed.iter().copied().collect();
        for id in &removed {
            self.remove_stream(*id)?;
        }
        for meta in &commit.segments {
            self.segments
                .insert(meta.id.get(), (meta.len, 0, meta.bytes))?;
            self.live.entry(meta.id).or_default();
        }
        for (id, change) in changes(commit, &removed) {
            self.change_stream(id, &change)?;
        }
        self.insert_names()?;
        self.settle_expiry()?;
        self.put_producers(&commit.producers, &removed)?;
        for id in &commit.gathered {
            self.scattered.remove(id.get())?;
        }
        let mut replaced = Vec::with_capacity(commit.replaced.len());
        for swap in &commit.replaced {
            replaced.push(self.replace(swap)?);
        }
        let doomed = self.settle_segments()?;
        for id in &commit.forget_doomed {
            self.doomed.remove(id.get())?;
        }
        self.put_generations(&commit.generations)?;
        if let Some(manifest) = &commit.manifest {
            self.put_manifest(manifest)?;
        }
        if let Some((log, lsn)) = commit.log {
            self.advance_log(log, lsn)?;
        }
        Ok(Committed { doomed, replaced })
    }

    /// Takes a stream out of every table. One that is not there was created and removed between
    /// two flushes.
    fn remove_stream(&mut self, id: StreamId) -> Result<(), Fault> {
        let Some(old) = self
            .streams
            .remove(id.get())?
            .map(|row| row.value().to_vec())
        else {
            return Ok(());
        };
        let fault = |fault| malformed("streams", id, fault);
        let head = Head::take(&old).map_err(fault)?;
        let state = row::state_in(&old, id).map_err(fault)?;
        let name = state.config.name.as_str().as_bytes();
        let named = self.names.get(name)?.map(|value| value.value());
        if named == Some(id.get()) {
            self.names.remove(name)?;
        }
        self.move_deadline(id, head.deadline, None);
        for fork in self.forks_of(id)? {
            self.forks.remove((id.get(), fork))?;
        }
        self.remove_extents(id)?;
        self.remove_producers(id)?;
        self.scattered.remove(id.get())?;
        Ok(())
    }

    fn remove_extents(&mut self, id: StreamId) -> Result<(), Fault> {
        let mut gone = Vec::new();
        for entry in self.extents.range((id.get(), 0)..=(id.get(), u64::MAX))? {
            let (key, value) = entry?;
            let extent = extent_in(key.value(), value.value());
            gone.push(extent.map_err(|fault| malformed("extents", id, fault))?);
        }
        for extent in gone {
            self.remove_extent(&extent)?;
        }
        Ok(())
    }

    fn remove_extent(&mut self, extent: &Extent) -> Result<(), Fault> {
        self.extents
            .remove((extent.stream.get(), extent.from.get()))?;
        self.live.entry(extent.segment).or_default().1 += extent.bytes();
        Ok(())
    }

    fn insert_extent(&mut self, extent: &Extent) -> Result<(), Fault> {
        let key = (extent.stream.get(), extent.from.get());
        self.extents.insert(key, &extent_row(extent)[..])?;
        self.live.entry(extent.segment).or_default().0 += extent.bytes();
        Ok(())
    }

    fn remove_producers(&mut self, id: StreamId) -> Result<(), Fault> {
        let mut gone = Vec::new();
        for entry in self.producers.range((id.get(), &[][..])..)? {
            let (key, _) = entry?;
            let (of, producer) = key.value();
            if of != id.get() {
                break;
            }
            gone.push(producer.to_vec());
        }
        for producer in gone {
            self.producers.remove((id.get(), &producer[..]))?;
        }
        Ok(())
    }

    /// Puts a stream's row and all that follows from it.
    fn change_stream(&mut self, id: StreamId, change: &Change<'_>) -> Result<(), Fault> {
        let old = match self.streams.get(id.get())? {
            Some(row) => {
                let head = Head::take(row.value()).map_err(|f| malformed("streams", id, f))?;
                // The rest is needed only where the commit does not bring it.
                let rest = change.state.is_none().then(|| row.value().to_vec());
                Some((head, rest))
            }
            None => None,
        };
        let mut head = match (&old, change.state) {
            (Some((head, _)), _) => *head,
            (None, Some(state)) => Head {
                extents: 0,
                forks: 0,
                deadline: None,
                sealed: state.own_from(),
            },
            (None, None) => {
                let what = format!("extents of stream {id}, which the catalog does not have");
                return Err(StoreError::corrupt(what).into());
            }
        };
        self.add_extents(id, &mut head, &change.extents)?;
        let Some(state) = change.state else {
            let (_, rest) = old.expect("without a state there was a row");
            let row = row::with_head(&head, &rest.expect("kept where there is no state"));
            self.streams.insert(id.get(), &row[..])?;
            return Ok(());
        };
        if head.sealed > state.tail {
            let what = format!(
                "stream {id}: extents end at {}, its tail is {}",
                head.sealed, state.tail
            );
            return Err(StoreError::corrupt(what).into());
        }
        let deadline = row::deadline_of(state);
        self.move_deadline(id, head.deadline, deadline);
        head.deadline = deadline;
        if head.forks > 0 || !state.forks.is_empty() {
            self.change_forks(id, state)?;
        }
        head.forks = row::forks_of(state);
        if old.is_none() {
            let name = state.config.name.as_str().as_bytes().to_vec();
            self.new_names.push((name, id));
        }
        self.streams.insert(id.get(), &row::row(&head, state)[..])?;
        Ok(())
    }

    fn add_extents(
        &mut self,
        id: StreamId,
        head: &mut Head,
        extents: &[&Extent],
    ) -> Result<(), Fault> {
        for extent in extents {
            // INVARIANT: a stream's extents are contiguous.
            if extent.from != head.sealed || extent.from >= extent.until {
                let (sealed, from) = (head.sealed, extent.from);
                let what =
                    format!("stream {id} is sealed up to {sealed}, a new extent is at {from}");
                return Err(StoreError::corrupt(what).into());
            }
            self.insert_extent(extent)?;
            head.sealed = extent.until;
            head.extents += 1;
        }
        if head.extents > SCATTERED_EXTENTS && !extents.is_empty() {
            self.scattered.insert(id.get(), ())?;
        }
        Ok(())
    }

    fn move_deadline(&mut self, id: StreamId, from: Option<Timestamp>, to: Option<Timestamp>) {
        if from != to {
            let place = |at: Timestamp| (at.get(), id.get());
            self.expiry_left.extend(from.map(place));
            self.expiry_taken.extend(to.map(place));
        }
    }

    fn settle_expiry(&mut self) -> Result<(), Fault> {
        self.expiry_left.sort_unstable();
        self.expiry_taken.sort_unstable();
        for place in std::mem::take(&mut self.expiry_left) {
            self.expiry.remove(place)?;
        }
        for place in std::mem::take(&mut self.expiry_taken) {
            self.expiry.insert(place, ())?;
        }
        Ok(())
    }

    fn forks_of(&self, id: StreamId) -> Result<BTreeSet<u64>, Fault> {
        let range = self.forks.range((id.get(), 0)..=(id.get(), u64::MAX))?;
        range.map(|entry| Ok(entry?.0.value().1)).collect()
    }

    fn change_forks(&mut self, id: StreamId, state: &StreamState) -> Result<(), Fault> {
        let old = self.forks_of(id)?;
        let new: BTreeSet<u64> = state.forks.iter().map(|fork| fork.get()).collect();
        for fork in old.difference(&new) {
            self.forks.remove((id.get(), *fork))?;
        }
        for fork in new.difference(&old) {
            self.forks.insert((id.get(), *fork), ())?;
        }
        Ok(())
    }

    fn insert_names(&mut self) -> Result<(), Fault> {
        self.new_names.sort_unstable();
        for (name, id) in std::mem::take(&mut self.new_names) {
            let taken = self
                .names
                .insert(&name[..], id.get())?
                .map(|old| old.value());
            if let Some(by) = taken.filter(|by| *by != id.get()) {
                let name = String::from_utf8_lossy(&name).into_owned();
                let by = StreamId::from_raw(by);
                let what = format!("stream {id} is named {name}, and so is stream {by}");
                return Err(StoreError::corrupt(what).into());
            }
        }
        Ok(())
    }

    fn put_producers(
        &mut self,
        producers: &[(StreamId, ProducerId, Option<ProducerState>)],
        removed: &BTreeSet<StreamId>,
    ) -> Result<(), Fault> {
        let mut producers: Vec<_> = producers.iter().collect();
        // Stable: of two words about one producer the last one counts.
        producers.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        for (id, producer, state) in producers {
            if removed.contains(id) {
                continue;
            }
            let key = (id.get(), producer.as_str().as_bytes());
            match state {
                Some(state) => {
                    let mut out = Encoder::new();
                    state.put(&mut out);
                    self.producers.insert(key, &out.finish()[..])?;
                }
                None => {
                    self.producers.remove(key)?;
                }
            }
        }
        Ok(())
    }

    /// Exchanges extents, if the old ones are still there. A stream that was deleted meanwhile, or
    /// an extent that is not what it was, is left alone.
    fn replace(&mut self, swap: &Replaced) -> Result<bool, Fault> {
        let id = swap.stream;
        let row = self.streams.get(id.get())?.map(|row| row.value().to_vec());
        let Some(row) = row else { return Ok(false) };
        for old in &swap.old {
            let key = (id.get(), old.from.get());
            let value = self.extents.get(key)?.map(|value| value.value().to_vec());
            if value != Some(extent_row(old)) {
                return Ok(false);
            }
        }
        if !covers_the_same(swap) {
            let what = format!("extents of stream {id} would be replaced by others");
            return Err(StoreError::corrupt(what).into());
        }
        for old in &swap.old {
            self.remove_extent(old)?;
        }
        for new in &swap.new {
            self.insert_extent(new)?;
        }
        let mut head = Head::take(&row).map_err(|fault| malformed("streams", id, fault))?;
        head.extents = head.extents - count(&swap.old) + count(&swap.new);
        self.streams
            .insert(id.get(), &row::with_head(&head, &row)[..])?;
        Ok(true)
    }

    /// Brings the segments' live bytes up to date, and dooms those that have none any more.
    fn settle_segments(&mut self) -> Result<Vec<SegmentId>, Fault> {
        let mut doomed = Vec::new();
        for (id, (gained, lost)) in std::mem::take(&mut self.live) {
            let Some((len, live, total)) = self.segments.get(id.get())?.map(|row| row.value())
            else {
                let what = format!("the catalog does not have segment {:016x}", id.get());
                return Err(StoreError::corrupt(what).into());
            };
            let Some(live) = (live + gained)
                .checked_sub(lost)
                .filter(|live| *live <= total)
            else {
                let what = format!("the live bytes of segment {:016x} are wrong", id.get());
                return Err(StoreError::corrupt(what).into());
            };
            if live == 0 {
                self.segments.remove(id.get())?;
                self.doomed.insert(id.get(), ())?;
                doomed.push(id);
            } else {
                self.segments.insert(id.get(), (len, live, total))?;
            }
        }
        Ok(doomed)
    }

    fn put_generations(&mut self, generations: &[(SlotId, Generation)]) -> Result<(), Fault> {
        for (slot, generation) in generations {
            let known = self.generations.get(slot.get())?.map(|value| value.value());
            if known.is_none_or(|known| known < generation.get()) {
                self.generations.insert(slot.get(), generation.get())?;
            }
        }
        Ok(())
    }

    fn put_manifest(&mut self, manifest: &Manifest) -> Result<(), Fault> {
        let mut out = Encoder::new();
        manifest.put(&mut out);
        self.meta.insert(META_MANIFEST, &out.finish()[..])?;
        self.set_next_segment(manifest.next_segment.get())?;
        let listed: BTreeMap<u64, u64> = manifest
            .logs
            .iter()
            .map(|(log, lsn)| (log.0, lsn.get()))
            .collect();
        let mut known = BTreeMap::new();
        for entry in self.logs.iter()? {
            let (log, lsn) = entry?;
            known.insert(log.value(), lsn.value());
        }
        for log in known.keys().filter(|log| !listed.contains_key(log)) {
            self.logs.remove(*log)?;
        }
        for (log, lsn) in listed {
            // A flush that came in between may know better.
            let lsn = known.get(&log).copied().unwrap_or(0).max(lsn);
            self.logs.insert(log, lsn)?;
        }
        Ok(())
    }

    fn advance_log(&mut self, log: LogId, lsn: Lsn) -> Result<(), Fault> {
        let known = self.logs.get(log.0)?.map(|value| value.value());
        let has_manifest = self.meta.get(META_MANIFEST)?.is_some();
        match known {
            Some(known) if known > lsn.get() => {
                let what = format!("log {log} is flushed to {known}, and was to go back to {lsn}");
                return Err(StoreError::corrupt(what).into());
            }
            None if has_manifest => {
                let what = format!("log {log}, which the manifest does not name,");
                return Err(StoreError::missing(what).into());
            }
            _ => {}
        }
        self.logs.insert(log.0, lsn.get())?;
        Ok(())
    }

    /// Segment ids below `next` were given out. Never falls.
    pub(super) fn set_next_segment(&mut self, next: u64) -> Result<(), Fault> {
        let known = self.meta.get(META_NEXT_SEGMENT)?;
        let known = known.and_then(|value| number(value.value())).unwrap_or(0);
        if next > known {
            self.meta
                .insert(META_NEXT_SEGMENT, &next.to_le_bytes()[..])?;
        }
        Ok(())
    }

    /// The number of this commit.
    pub(super) fn count_commit(&mut self) -> Result<u64, Fault> {
        let last = self.meta.get(META_COMMIT)?;
        let last = last.and_then(|value| number(value.value())).unwrap_or(0);
        let this = last + 1;
        self.meta.insert(META_COMMIT, &this.to_le_bytes()[..])?;
        Ok(this)
    }
}

/// What a commit says, stream by stream in the order of their ids.
fn changes<'c>(commit: &'c Commit, removed: &BTreeSet<StreamId>) -> BTreeMap<StreamId, Change<'c>> {
    let mut changes: BTreeMap<StreamId, Change<'c>> = BTreeMap::new();
    for state in commit
        .upserts
        .iter()
        .filter(|state| !removed.contains(&state.id))
    {
        changes.entry(state.id).or_default().state = Some(state);
    }
    let extents = commit.extents.iter();
    for extent in extents.filter(|extent| !removed.contains(&extent.stream)) {
        changes
            .entry(extent.stream)
            .or_default()
            .extents
            .push(extent);
    }
    for change in changes.values_mut() {
        change.extents.sort_by_key(|extent| extent.from);
    }
    changes
}

/// Whether the new extents are one run over the same positions as the old ones.
fn covers_the_same(swap: &Replaced) -> bool {
    let span = |extents: &[Extent]| -> Option<(StreamPos, StreamPos)> {
        let joined = extents.windows(2).all(|pair| pair[0].until == pair[1].from);
        let own = extents.iter().all(|extent| extent.stream == swap.stream);
        let (first, last) = (extents.first()?, extents.last()?);
        (joined && own).then_some((first.from, last.until))
    };
    span(&swap.old).is_some() && span(&swap.old) == span(&swap.new)
}

fn count(extents: &[Extent]) -> u32 {
    u32::try_from(extents.len()).expect("fewer than 2^32 extents")
}
