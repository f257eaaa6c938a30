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
}

impl Overlay {
    pub(super) fn new() -> Self {
        Self {
            streams: BTreeMap::new(),
            names: HashMap::with_hasher(FixedState::default()),
            producers: BTreeMap::new(),
            events: Vec::new(),
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
                    self.names.insert(name, Some(stream));
                }
                _ if !is_there => {
                    self.names.insert(name, None);
                }
                _ => {}
            }
        }
        self.streams.insert(stream, after);
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
            self.producers
                .insert((stream, claim.id.clone()), Some(state));
        }
        if let Some(forgotten) = &appended.forgets {
            self.producers.insert((stream, forgotten.clone()), None);
        }
    }
}
