//! What a commit does to streams: their rows, and the names, extents, deadlines, forks and producers
//! that follow from them.

use std::collections::{BTreeMap, BTreeSet};

use millrace_core::{
    ProducerId, StreamId, StreamPos, Timestamp,
    stream::{ProducerState, StreamState},
};
use redb::ReadableTable;

use super::Tables;
use crate::{
    StoreError,
    catalog::{
        commit::{Commit, Replaced},
        fault::Fault,
        row::{self, Head},
        tables::{SCATTERED_EXTENTS, extent_in, extent_row, malformed},
    },
    codec::{Encoder, Stored},
    segment::Extent,
};

/// What a commit says of one stream.
#[derive(Default)]
pub(super) struct Change<'c> {
    state: Option<&'c StreamState>,
    extents: Vec<&'c Extent>,
}

impl Tables<'_> {
    /// Takes a stream out of every table. One that is not there was created and removed between
    /// two flushes.
    pub(super) fn remove_stream(&mut self, id: StreamId) -> Result<(), Fault> {
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
        if head.settings > 0 {
            self.settings.remove(id.get())?;
        }
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
        if !extent.is_lost() {
            self.live.entry(extent.segment).or_default().1 += extent.bytes();
        }
        Ok(())
    }

    fn insert_extent(&mut self, extent: &Extent) -> Result<(), Fault> {
        let key = (extent.stream.get(), extent.from.get());
        self.extents.insert(key, &extent_row(extent)[..])?;
        if !extent.is_lost() {
            self.live.entry(extent.segment).or_default().0 += extent.bytes();
        }
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
    pub(super) fn change_stream(&mut self, id: StreamId, change: &Change<'_>) -> Result<(), Fault> {
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
                trimmed: false,
                settings: 0,
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
        self.drop_trimmed(id, &mut head, state)?;
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
        self.change_settings(id, &head, state)?;
        self.streams.insert(id.get(), &row::row(&head, state)[..])?;
        Ok(())
    }

    /// Puts the settings where they are not those of the row that was.
    fn change_settings(
        &mut self,
        id: StreamId,
        was: &Head,
        state: &StreamState,
    ) -> Result<(), Fault> {
        if let Some(settings) = &state.settings
            && settings.revision() != was.settings
        {
            let mut out = Encoder::new();
            settings.put(&mut out);
            self.settings.insert(id.get(), &out.finish()[..])?;
        }
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

    /// Gives extents back that lie before all that anybody may still need. One that is cut by that
    /// stays whole.
    fn drop_trimmed(
        &mut self,
        id: StreamId,
        head: &mut Head,
        state: &StreamState,
    ) -> Result<(), Fault> {
        let needed_from = state.needed_from();
        if state.trimmed == StreamPos::ZERO || needed_from == state.own_from() {
            return Ok(());
        }
        let mut gone = Vec::new();
        for entry in self
            .extents
            .range((id.get(), 0)..(id.get(), needed_from.get()))?
        {
            let (key, value) = entry?;
            let extent = extent_in(key.value(), value.value());
            let extent = extent.map_err(|fault| malformed("extents", id, fault))?;
            if extent.until > needed_from {
                break;
            }
            gone.push(extent);
        }
        for extent in &gone {
            self.remove_extent(extent)?;
        }
        head.extents -= count(&gone);
        Ok(())
    }

    fn move_deadline(&mut self, id: StreamId, from: Option<Timestamp>, to: Option<Timestamp>) {
        if from != to {
            let place = |at: Timestamp| (at.get(), id.get());
            self.expiry_left.extend(from.map(place));
            self.expiry_taken.extend(to.map(place));
        }
    }

    pub(super) fn settle_expiry(&mut self) -> Result<(), Fault> {
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

    pub(super) fn insert_names(&mut self) -> Result<(), Fault> {
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

    pub(super) fn put_producers(
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
    pub(super) fn replace(&mut self, swap: &Replaced) -> Result<bool, Fault> {
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
}

/// What a commit says, stream by stream in the order of their ids.
pub(super) fn changes<'c>(
    commit: &'c Commit,
    removed: &BTreeSet<StreamId>,
) -> BTreeMap<StreamId, Change<'c>> {
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
