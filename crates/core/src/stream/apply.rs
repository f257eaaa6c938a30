//! Turns a logged event into the next state. Total: what was decided can always be applied.

use std::{collections::BTreeSet, sync::Arc};

use super::state::{Closure, Generations, StreamConfig, StreamState};
use crate::{
    event::{Appended, Created, Event},
    ids::{StreamPos, Timestamp},
};

/// The state after `event`; `None` when the stream is gone with it.
///
/// # Panics
/// When the event does not follow from the state: a stream's event without the stream, or an append
/// that does not begin at the tail. Recovery checks before it calls; anywhere else it is a defect,
/// and the shard is poisoned rather than going on from a state that nobody decided.
pub fn apply(state: Option<StreamState>, event: &Event) -> Option<StreamState> {
    let Some(mut state) = state else {
        let Event::Created(created) = event else {
            panic!("{event:?} without its stream")
        };
        return Some(create(created));
    };
    assert_eq!(state.id, event.stream(), "an event of this stream");
    match event {
        Event::Created(_) => panic!("{} is created twice", state.id),
        Event::Appended(appended) => append(&mut state, appended),
        Event::Deleted { .. } if state.forks.is_empty() => return None,
        Event::Deleted { .. } => state.soft_deleted = true,
        Event::Touched { deadline, .. } => state.deadline = Some(*deadline),
        Event::ForkAdded { fork, .. } => {
            Arc::make_mut(&mut state.forks).insert(*fork);
        }
        Event::ForkDropped { fork, .. } => {
            Arc::make_mut(&mut state.forks).remove(fork);
            if state.soft_deleted && state.forks.is_empty() {
                return None;
            }
        }
        Event::Configured { changes, .. } => {
            let settings = state.settings.as_deref().cloned().unwrap_or_default();
            state.settings = Some(Arc::new(settings.changed(changes)));
        }
        Event::Trimmed { to, .. } => state.trimmed = state.trimmed.max(*to),
        Event::GenerationRaised { generation, .. } => {
            state.generations = state.generations.raised(state.tail, *generation);
        }
    }
    Some(state)
}

fn create(created: &Created) -> StreamState {
    let own_from = created.origin.map(|origin| origin.at).unwrap_or_default();
    StreamState {
        id: created.stream,
        config: Arc::new(StreamConfig {
            name: created.name.clone(),
            spec: created.spec.clone(),
            content_type: created.content_type.clone(),
            lifetime: created.lifetime,
            origin: created.origin,
            lineage: Arc::clone(&created.lineage),
            created_at: created.at,
        }),
        generations: Generations::new(Arc::clone(&created.generations)),
        tail: own_from.advance(created.payload.len()),
        closure: if created.spec.closed {
            Closure::Closed(None)
        } else {
            Closure::Open
        },
        last_seq: None,
        soft_deleted: false,
        forks: Arc::new(BTreeSet::new()),
        deadline: created.lifetime.deadline(created.at),
        producer_count: 0,
        written_at: created.at,
        trimmed: StreamPos::ZERO,
        settings: None,
    }
}

fn append(state: &mut StreamState, appended: &Appended) {
    assert_eq!(
        state.tail, appended.from,
        "an append begins at the tail of {}",
        state.id
    );
    state.tail = state.tail.advance(appended.payload.len());
    if let Some(seq) = &appended.seq {
        state.last_seq = Some(Arc::clone(seq));
    }
    if appended.closes {
        state.closure = Closure::Closed(appended.producer.clone().map(Arc::new));
    }
    if appended.introduces_producer {
        state.producer_count += 1;
    }
    if appended.forgets.is_some() {
        state.producer_count = state.producer_count.saturating_sub(1);
    }
    slide(state, appended.at);
}

fn slide(state: &mut StreamState, now: Timestamp) {
    state.written_at = state.written_at.max(now);
    state.deadline = state.config.lifetime.deadline(now).max(state.deadline);
}
