//! The only place where a shard's state changes: from events that are durable, just written or read
//! back at recovery, and in the same way.
//!
//! Next on the append walk: the reply, in the server's `handlers/append.rs`.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use millrace_core::{Event, Payload, StreamId, StreamPos, Timestamp, stream::StreamState};
use millrace_store::Frame;

use super::{
    core::{ProducerTable, ShardCore},
    overlay::Overlay,
    turn::TurnEnd,
};
use crate::live::Live;

/// What an append costs in memory beside its bytes, roughly: the flush threshold counts it.
const APPEND_OVERHEAD_BYTES: u64 = 96;

/// New bytes of a stream, in order.
pub(super) type NewBytes = BTreeMap<StreamId, Vec<(StreamPos, Payload, Timestamp)>>;

impl ShardCore {
    /// Publishes a turn whose frame is durable.
    pub(super) fn publish_turn(&mut self, overlay: Overlay, frame: &Frame, end: &mut TurnEnd) {
        // The frame's buffer is what stays in memory: the bodies that came in are let go.
        let held = self.budget.hold(frame.bytes.clone());
        let slices = frame.payloads.iter().map(|range| held.slice(range.clone()));
        let bytes = new_bytes(overlay.events.iter().zip(slices));
        end.changed = self.publish(overlay, bytes);
        self.feed.report(&end.changed);
        self.published = frame.lsn;
    }

    pub(super) fn publish(&mut self, overlay: Overlay, mut bytes: NewBytes) -> Vec<Arc<Live>> {
        let now = self.now();
        let Overlay {
            streams, producers, ..
        } = overlay;
        let (kept, gone): (Vec<_>, Vec<_>) =
            streams.into_iter().partition(|(_, state)| state.is_some());
        let mut changed = Vec::with_capacity(kept.len() + gone.len());
        // First what goes: a name may have gone to another stream in the same turn.
        for (stream, _) in gone {
            changed.extend(self.publish_gone(stream));
        }
        for (stream, state) in kept {
            let state = state.expect("partitioned");
            let appended = bytes.remove(&stream).unwrap_or_default();
            changed.push(self.publish_state(state, appended));
        }
        for ((stream, id), state) in producers {
            if !self.dirty.removed.contains(&stream) {
                let table = self.producers.entry(stream).or_default();
                table.known.insert(id.clone(), state);
                self.dirty.producers.insert((stream, id));
            }
        }
        self.dirty.since.get_or_insert(now);
        changed
    }

    fn publish_gone(&mut self, stream: StreamId) -> Option<Arc<Live>> {
        self.freeze_first(stream);
        self.dirty.streams.remove(&stream);
        self.dirty.removed.insert(stream);
        self.producers.remove(&stream);
        self.disarm(stream);
        self.retained.forget(stream);
        let live = self.directory.by_id(stream)?;
        let name = {
            let mut view = live.view();
            view.gone = true;
            view.state.config.name.clone()
        };
        if !name.is_internal() {
            self.metrics.streams_made.sub(1);
        }
        self.directory.remove(&name, stream);
        Some(live)
    }

    fn publish_state(
        &mut self,
        state: StreamState,
        appended: Vec<(StreamPos, Payload, Timestamp)>,
    ) -> Arc<Live> {
        let id = state.id;
        self.freeze_first(id);
        self.dirty.streams.insert(id);
        for (_, payload, _) in &appended {
            self.dirty.bytes += payload.len() + APPEND_OVERHEAD_BYTES;
        }
        let (live, is_new) = match self.directory.by_id(id) {
            Some(live) => (live, false),
            None => (
                Arc::new(Live::new(state.clone(), Vec::new(), self.config.booted_at)),
                true,
            ),
        };
        let (name, deadline) = (state.config.name.clone(), state.deadline);
        let brings_bytes = !appended.is_empty();
        {
            let mut view = live.view();
            // A trim of its own would have every stream looked at twice.
            if brings_bytes || is_new || view.state.settings != state.settings {
                self.retained.touch(&state);
            }
            for (from, payload, at) in appended {
                view.hot.push(from, payload, at);
            }
            let is_trimmed = state.trimmed > view.state.trimmed;
            view.state = state;
            if is_trimmed {
                view.let_go_of_trimmed();
            }
            view.published(self.durable_at);
        }
        if is_new {
            if !name.is_internal() {
                self.metrics.streams_made.add(1);
            }
            let table = ProducerTable {
                complete: true,
                ..ProducerTable::default()
            };
            self.producers.insert(id, table);
            self.directory.add_created(name, Arc::clone(&live));
            self.arm(id, deadline);
        }
        live
    }
}

/// The bytes that events bring, by stream, as slices of the memory that stays.
pub(super) fn new_bytes<'a>(events: impl Iterator<Item = (&'a Event, Bytes)>) -> NewBytes {
    let mut bytes = NewBytes::new();
    for (event, slice) in events {
        let (stream, from, payload, at) = match event {
            Event::Created(created) => {
                let from = created.origin.map(|origin| origin.at).unwrap_or_default();
                (created.stream, from, &created.payload, created.at)
            }
            Event::Appended(appended) => (
                appended.stream,
                appended.from,
                &appended.payload,
                appended.at,
            ),
            _ => continue,
        };
        if !payload.is_empty() {
            bytes
                .entry(stream)
                .or_default()
                .push((from, payload.rebased(slice), at));
        }
    }
    bytes
}
