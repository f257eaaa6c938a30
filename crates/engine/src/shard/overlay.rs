//! What a turn has decided so far: seen by the turn's later commands, by nobody else, and dropped
//! whole if the turn fails. It holds what changed, never a copy of what did not.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;
use millrace_core::{
    Appended, Event, ProducerId, StreamId, StreamName,
    stream::{ProducerState, StreamState, apply},
};

/// The outcome of a turn's events so far.
#[derive(Debug)]
pub(super) struct Overlay {
    /// Streams that changed; `None` is gone. In order of identity, so that publishing is
    /// deterministic.
    pub(super) streams: BTreeMap<StreamId, Option<StreamState>>,
    /// Names that changed hands; `None` is free.
    pub(super) names: HashMap<StreamName, Option<StreamId>, FixedState>,
    /// Producers that were seen; `None` was forgotten.
    pub(super) producers: BTreeMap<(StreamId, ProducerId), Option<ProducerState>>,
    /// What to log, in order.
    pub(super) events: Vec<Event>,
    /// What to put back, latest last, if what is decided now comes to nothing.
    undo: Option<Undo>,
}

/// How the overlay was.
#[derive(Debug, Default)]
struct Undo {
    events: usize,
    streams: Vec<(StreamId, Was<Option<StreamState>>)>,
    names: Vec<(StreamName, Was<Option<StreamId>>)>,
    producers: Vec<(ProducerKey, Was<Option<ProducerState>>)>,
}

type ProducerKey = (StreamId, ProducerId);

/// What the overlay said of something.
#[derive(Debug)]
enum Was<T> {
    Nothing,
    Said(T),
}

impl<T> From<Option<T>> for Was<T> {
    fn from(was: Option<T>) -> Self {
        was.map_or(Self::Nothing, Self::Said)
    }
}

impl Overlay {
    pub(super) fn new() -> Self {
        Self {
            streams: BTreeMap::new(),
            names: HashMap::with_hasher(FixedState::default()),
            producers: BTreeMap::new(),
            events: Vec::new(),
            undo: None,
        }
    }

    /// From here on it remembers how it was.
    pub(super) fn begin_attempt(&mut self) {
        self.undo = Some(Undo {
            events: self.events.len(),
            ..Undo::default()
        });
    }

    /// What was decided since the attempt began stands.
    pub(super) fn keep_attempt(&mut self) {
        self.undo = None;
    }

    /// It is as it was when the attempt began.
    pub(super) fn drop_attempt(&mut self) {
        let Some(undo) = self.undo.take() else {
            return;
        };
        self.events.truncate(undo.events);
        for (stream, was) in undo.streams.into_iter().rev() {
            match was {
                Was::Said(was) => self.streams.insert(stream, was),
                Was::Nothing => self.streams.remove(&stream),
            };
        }
        for (name, was) in undo.names.into_iter().rev() {
            match was {
                Was::Said(was) => self.names.insert(name, was),
                Was::Nothing => self.names.remove(&name),
            };
        }
        for (producer, was) in undo.producers.into_iter().rev() {
            match was {
                Was::Said(was) => self.producers.insert(producer, was),
                Was::Nothing => self.producers.remove(&producer),
            };
        }
    }

    fn set_name(&mut self, name: StreamName, stream: Option<StreamId>) {
        let kept = self.undo.is_some().then(|| name.clone());
        let was = self.names.insert(name, stream);
        if let (Some(undo), Some(name)) = (&mut self.undo, kept) {
            undo.names.push((name, was.into()));
        }
    }

    fn set_producer(&mut self, producer: ProducerKey, state: Option<ProducerState>) {
        let kept = self.undo.is_some().then(|| producer.clone());
        let was = self.producers.insert(producer, state);
        if let (Some(undo), Some(producer)) = (&mut self.undo, kept) {
            undo.producers.push((producer, was.into()));
        }
    }

    /// Takes an event up, which follows from `before`. Whether the stream is there after it.
    pub(super) fn push(&mut self, before: Option<StreamState>, event: Event) -> bool {
        let stream = event.stream();
        // Only what may end a stream needs its name.
        let name = match (&before, &event) {
            (_, Event::Appended(_)) => None,
            (Some(state), _) => Some(state.config.name.clone()),
            (None, Event::Created(created)) => Some(created.name.clone()),
            _ => None,
        };
        let after = apply(before, &event);
        let is_there = after.is_some();
        if let Event::Appended(appended) = &event {
            self.take_producers(stream, appended);
        }
        if let Some(name) = name {
            match &event {
                Event::Created(_) => {
                    self.set_name(name, Some(stream));
                }
                _ if !is_there => {
                    self.set_name(name, None);
                }
                _ => {}
            }
        }
        let was = self.streams.insert(stream, after);
        if let Some(undo) = &mut self.undo {
            undo.streams.push((stream, was.into()));
        }
        self.events.push(event);
        is_there
    }

    fn take_producers(&mut self, stream: StreamId, appended: &Appended) {
        if let Some(claim) = &appended.producer {
            let state = ProducerState {
                epoch: claim.epoch,
                seq: claim.seq,
                used_at: appended.at,
            };
            self.set_producer((stream, claim.id.clone()), Some(state));
        }
        if let Some(forgotten) = &appended.forgets {
            self.set_producer((stream, forgotten.clone()), None);
        }
    }
}
