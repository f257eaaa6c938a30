//! What a turn has decided so far: seen by the turn's later commands, by nobody else, and dropped
//! whole if the turn fails. It holds what changed, never a copy of what did not.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;
use millrace_core::{
    Event, ProducerId, StreamId, StreamName,
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

    /// Takes an event up, which follows from `before`.
    pub(super) fn push(
        &mut self,
        before: Option<StreamState>,
        event: Event,
    ) -> Option<StreamState> {
        let stream = event.stream();
        let name = match (&before, &event) {
            (Some(state), _) => Some(state.config.name.clone()),
            (None, Event::Created(created)) => Some(created.name.clone()),
            _ => None,
        };
        let after = apply(before, &event);
        if let Event::Appended(appended) = &event {
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
        if let Some(name) = name {
            match (&event, &after) {
                (Event::Created(_), _) => {
                    self.names.insert(name, Some(stream));
                }
                (_, None) => {
                    self.names.insert(name, None);
                }
                _ => {}
            }
        }
        self.streams.insert(stream, after.clone());
        self.events.push(event);
        after
    }
}
