//! From the frames that hold to the states of their streams: a replay that can go on behind a loss.
//!
//! Up to the first lost frame it is what a start does. Behind it an event is taken for what it proves:
//! - An append begins where its stream ended. Positions between the known end and that are lost.
//! - A creation proves that the name was free: a stream that had it is gone.
//! - An event of a stream that nobody knows belongs to one whose creation is lost; it is lost as well.
//! - A fork proves that its source has the bytes it inherits, and is referred to by it. Where the source is
//!   lost, a stand-in without bytes takes its place.
//!
//! What contradicts that is an error: no damage to one history looks so, the parts are of two.
//!
//! BOUND: what the catalog does not have yet is in memory at once, payloads included; a server that runs
//! flushes when that is a fraction of its memory.
//!
//! Layout: this file (events), `folded` (one stream), `forks` (what forks need of their sources).

mod folded;
mod forks;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use millrace_core::{
    Appended, Created, Event, Generation, Lsn, ProducerId, SlotId, StreamId, StreamName, StreamPos,
    stream::{ProducerState, apply},
};

pub(super) use self::folded::{Folded, Piece};
use super::plan::Lost;
use crate::{
    StoreError,
    catalog::Catalog,
    segment::Chunk,
    wal::{LogId, salvage::Remains},
};

/// What the logs say beyond the catalog.
#[derive(Debug)]
pub(super) struct Fold {
    catalog: Catalog,
    pub(super) streams: BTreeMap<StreamId, Folded>,
    /// Streams that were created, by name.
    names: BTreeMap<StreamName, StreamId>,
    pub(super) producers: BTreeMap<(StreamId, ProducerId), Option<ProducerState>>,
    pub(super) generations: BTreeMap<SlotId, Generation>,
    /// Whether any were lost.
    pub(super) lost_frames: bool,
    /// Bytes of streams whose creation is lost.
    unknown: BTreeMap<StreamId, u64>,
    lost: Vec<Lost>,
}

/// One log as it is read.
struct Reading {
    log: LogId,
    last: Lsn,
    /// Frames before the next one are lost.
    gapped: bool,
}

impl Reading {
    /// What no log of this server holds.
    fn contradiction(&self, what: impl std::fmt::Display) -> StoreError {
        let (log, lsn) = (self.log.dir(), self.last);
        StoreError::corrupt(format!(
            "frame {lsn} of {} {what}: catalog and logs are of different histories",
            log.display()
        ))
    }
}

impl Fold {
    /// Reads the logs that the manifest names, each from what is flushed of it.
    pub(super) fn read(
        catalog: &Catalog,
        remains: &Remains,
        logs: &[(LogId, Lsn)],
    ) -> Result<Self, StoreError> {
        let mut fold = Self {
            catalog: catalog.clone(),
            streams: BTreeMap::new(),
            names: BTreeMap::new(),
            producers: BTreeMap::new(),
            generations: BTreeMap::new(),
            lost_frames: false,
            unknown: BTreeMap::new(),
            lost: Vec::new(),
        };
        for (log, flushed) in logs {
            fold.read_log(remains, *log, *flushed)?;
        }
        if fold.lost_frames {
            fold.hold_what_forks_need()?;
            fold.count_producers()?;
        }
        fold.let_go();
        Ok(fold)
    }

    /// The highest generation that the logs speak of.
    pub(super) fn highest_generation(&self) -> Generation {
        self.generations.values().copied().max().unwrap_or_default()
    }

    /// All that is lost.
    pub(super) fn losses(&self) -> Vec<Lost> {
        let mut losses = self.lost.clone();
        for (stream, bytes) in &self.unknown {
            let what = format!(
                "its creation is lost, and with it its name: nothing of it can be kept, {bytes} bytes that were found included"
            );
            losses.push(Lost::Stream {
                stream: *stream,
                what,
            });
        }
        for (stream, folded) in &self.streams {
            let Some(state) = &folded.state else { continue };
            for piece in &folded.pieces {
                if let Piece::Lost { from, until } = piece {
                    losses.push(Lost::Bytes {
                        stream: *stream,
                        name: Some(state.config.name.clone()),
                        from: *from,
                        until: *until,
                        file: "wal".to_owned(),
                    });
                }
            }
        }
        losses
    }

    fn read_log(&mut self, remains: &Remains, log: LogId, flushed: Lsn) -> Result<(), StoreError> {
        let mut reading = Reading {
            log,
            last: flushed,
            gapped: false,
        };
        let gaps = remains.read(log, flushed, &mut |lsn, events| {
            reading.gapped |= lsn.get() != reading.last.get() + 1;
            reading.last = lsn;
            for (at, event) in events.iter().enumerate() {
                self.event(&reading, event, &events[at..])?;
            }
            Ok(())
        })?;
        self.lost_frames |= !gaps.is_empty();
        let lost = gaps.into_iter().map(|gap| Lost::Frames {
            log,
            from: gap.from,
            until: gap.until,
            place: gap.place,
        });
        self.lost.extend(lost);
        Ok(())
    }

    /// `frame` is the rest of the frame, from this event on.
    fn event(
        &mut self,
        reading: &Reading,
        event: &Event,
        frame: &[Event],
    ) -> Result<(), StoreError> {
        let stream = event.stream();
        if let Event::Created(created) = event {
            return self.created(reading, created, event);
        }
        let known = self.known(stream)?;
        let Some(state) = known.state.as_mut() else {
            return self.unheard_of(reading, event);
        };
        match event {
            Event::Created(_) => unreachable!("taken above"),
            Event::Appended(appended) => return self.appended(reading, appended, event),
            Event::Deleted { .. } => known.deleted = true,
            Event::ForkDropped { fork, .. } => {
                Arc::make_mut(&mut state.forks).remove(fork);
            }
            Event::GenerationRaised { generation, .. } => {
                let generation = *generation;
                // It is raised where the append begins that it was raised for.
                if let Some(from) = begins(frame, stream) {
                    known.skip_to(from, reading)?;
                }
                known.raise(event, generation, reading)?;
                self.saw(stream.slot(), generation);
            }
            Event::Trimmed { to, .. } => {
                // It ended there at least.
                if *to > state.tail {
                    known.skip_to(*to, reading)?;
                }
                known.state = apply(known.state.take(), event);
            }
            Event::Touched { .. } | Event::ForkAdded { .. } | Event::Configured { .. } => {
                known.state = apply(known.state.take(), event);
            }
        }
        Ok(())
    }

    fn created(
        &mut self,
        reading: &Reading,
        created: &Created,
        event: &Event,
    ) -> Result<(), StoreError> {
        let stream = created.stream;
        let known = self.known(stream)?;
        if known.state.is_some() || known.stored {
            return Err(reading.contradiction(format!("creates stream {stream} a second time")));
        }
        if let Some(holder) = self.holder(&created.name)? {
            let held = self.known(holder)?;
            if !held.is_gone() && !reading.gapped {
                return Err(reading
                    .contradiction(format!("gives stream {stream} the name of stream {holder}")));
            }
            // The name was free: whatever was lost, a deletion was in it.
            held.state = None;
        }
        let state = apply(None, event);
        let from = created.origin.map(|origin| origin.at).unwrap_or_default();
        let known = self.known(stream)?;
        known.state = state;
        known.push(Chunk {
            from,
            payload: created.payload.clone(),
            at: created.at,
        });
        self.names.insert(created.name.clone(), stream);
        let own = created.generations.last().map(|start| start.generation);
        self.saw(stream.slot(), own.unwrap_or_default());
        Ok(())
    }

    fn appended(
        &mut self,
        reading: &Reading,
        appended: &Appended,
        event: &Event,
    ) -> Result<(), StoreError> {
        let stream = appended.stream;
        let known = self.known(stream)?;
        known.skip_to(appended.from, reading)?;
        known.state = apply(known.state.take(), event);
        known.push(Chunk {
            from: appended.from,
            payload: appended.payload.clone(),
            at: appended.at,
        });
        if let Some(claim) = &appended.producer {
            let state = ProducerState {
                epoch: claim.epoch,
                seq: claim.seq,
                used_at: appended.at,
            };
            self.producers
                .insert((stream, claim.id.clone()), Some(state));
        }
        if let Some(forgotten) = &appended.forgets {
            self.producers.insert((stream, forgotten.clone()), None);
        }
        Ok(())
    }

    /// An event of a stream that is not there.
    fn unheard_of(&mut self, reading: &Reading, event: &Event) -> Result<(), StoreError> {
        let stream = event.stream();
        let known = self.known(stream)?;
        if known.stored || !reading.gapped {
            return Err(
                reading.contradiction(format!("speaks of stream {stream}, which does not exist"))
            );
        }
        if let Event::GenerationRaised { generation, .. } = event {
            self.saw(stream.slot(), *generation);
        }
        self.saw(stream.slot(), stream.birth());
        if let Event::Deleted { .. } = event {
            self.unknown.remove(&stream);
            return Ok(());
        }
        let bytes = event.payload().map_or(0, millrace_core::Payload::len);
        *self.unknown.entry(stream).or_default() += bytes;
        Ok(())
    }

    /// A stream as it is so far.
    fn known(&mut self, stream: StreamId) -> Result<&mut Folded, StoreError> {
        let entry = match self.streams.entry(stream) {
            std::collections::btree_map::Entry::Occupied(entry) => return Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => entry,
        };
        let state = self.catalog.stream(stream)?;
        Ok(entry.insert(Folded {
            stored: state.is_some(),
            state,
            ..Folded::default()
        }))
    }

    /// The stream that has a name.
    fn holder(&mut self, name: &StreamName) -> Result<Option<StreamId>, StoreError> {
        let created = self.names.get(name).copied();
        let stored = match created {
            Some(_) => None,
            None => self.catalog.row_by_name(name.as_str())?,
        };
        let holder = created.or(stored.map(|row| row.state.id));
        let Some(holder) = holder else {
            return Ok(None);
        };
        Ok(self.known(holder)?.state.is_some().then_some(holder))
    }

    fn saw(&mut self, slot: SlotId, generation: Generation) {
        let last = self.generations.entry(slot).or_default();
        *last = generation.max(*last);
    }

    /// Where frames are lost, introductions of producers may be too: they are counted anew.
    fn count_producers(&mut self) -> Result<(), StoreError> {
        let changed: BTreeSet<StreamId> = self.producers.keys().map(|(id, _)| *id).collect();
        for stream in changed {
            let stored = self.catalog.producers(stream)?;
            let mut all: BTreeSet<ProducerId> = stored.into_iter().map(|(id, _)| id).collect();
            for ((of, id), state) in &self.producers {
                if *of == stream {
                    match state {
                        Some(_) => drop(all.insert(id.clone())),
                        None => drop(all.remove(id)),
                    }
                }
            }
            if let Some(state) = &mut self.known(stream)?.state {
                state.producer_count = u32::try_from(all.len()).unwrap_or(u32::MAX);
            }
        }
        Ok(())
    }

    /// Streams that were deleted go, unless a fork needs them.
    fn let_go(&mut self) {
        for folded in self.streams.values_mut() {
            if folded.is_gone() {
                folded.state = None;
            }
            if let Some(state) = &mut folded.state {
                state.soft_deleted |= folded.deleted;
            }
        }
    }
}

/// Where the next append to a stream begins in the rest of a frame.
fn begins(frame: &[Event], stream: StreamId) -> Option<StreamPos> {
    frame.iter().find_map(|event| match event {
        Event::Appended(appended) if appended.stream == stream => Some(appended.from),
        _ => None,
    })
}
