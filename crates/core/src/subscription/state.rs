//! A subscription's state, and how events make it up.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Ending, Path, SubscriptionConfig, SubscriptionEvent, SubscriptionId, WakeId};
use crate::{
    ids::{StreamId, Timestamp},
    name::StreamName,
    offset::Offset,
};

/// A subscription as the rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// What was asked for; never changes.
    pub config: SubscriptionConfig,
    /// Tells it from others that had this id.
    pub born: String,
    /// Scheme and authority at which its creator reached the server.
    pub origin: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// The streams that are meant by name.
    pub explicit: BTreeSet<StreamName>,
    /// Up to where streams were processed. A linked stream that is not in it came after the
    /// subscription, or was empty then: it is processed from its start.
    pub cursors: BTreeMap<StreamId, Offset>,
    /// The number of the last wake.
    pub generation: u64,
    /// What it is doing.
    pub phase: Phase,
    /// When it is tried again, after a failure.
    pub retry: Option<Retry>,
    /// Whether all of its creation, or of its snapshot, is there.
    pub complete: bool,
}

/// What a subscription is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing: no wake is in flight.
    Idle,
    /// A wake was announced, and nobody claimed it yet.
    Woken {
        /// The wake.
        wake_id: WakeId,
    },
    /// A worker is at it.
    Leased {
        /// The wake.
        wake_id: WakeId,
        /// The worker's name; a webhook has none.
        holder: Option<String>,
        /// When the lease ends.
        until: Timestamp,
    },
}

/// Deliveries fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// How many failed in a row.
    pub failures: u32,
    /// Nothing is tried before then.
    pub next_attempt_at: Timestamp,
}

impl Subscription {
    /// What a first event makes; `None` when it is not a creation.
    pub fn created(event: &SubscriptionEvent) -> Option<Self> {
        let SubscriptionEvent::Created {
            id,
            config,
            born,
            origin,
            at,
        } = event
        else {
            return None;
        };
        Some(Self {
            id: id.clone(),
            config: config.clone(),
            born: born.clone(),
            origin: origin.clone(),
            created_at: *at,
            explicit: BTreeSet::new(),
            cursors: BTreeMap::new(),
            generation: 0,
            phase: Phase::Idle,
            retry: None,
            complete: false,
        })
    }

    /// Takes an event up.
    pub fn apply(&mut self, event: &SubscriptionEvent) {
        use SubscriptionEvent as E;
        match event {
            // The first event made it; there is no second.
            E::Created { .. } => {}
            E::Linked { cursors } => self.cursors.extend(cursors.iter().copied()),
            E::Added { streams } => self.explicit.extend(streams.iter().cloned()),
            E::Removed { stream, forgets } => {
                self.explicit.remove(stream);
                if let Some(stream) = forgets {
                    self.cursors.remove(stream);
                }
            }
            E::Moved { origin } => self.origin.clone_from(origin),
            E::Woken {
                generation,
                wake_id,
                until,
            } => {
                self.generation = *generation;
                let wake_id = wake_id.clone();
                self.phase = match *until {
                    None => Phase::Woken { wake_id },
                    Some(until) => Phase::Leased {
                        wake_id,
                        holder: None,
                        until,
                    },
                };
            }
            E::Claimed { holder, until } => {
                if let Some(wake_id) = self.wake_id().cloned() {
                    self.phase = Phase::Leased {
                        wake_id,
                        holder: Some(holder.clone()),
                        until: *until,
                    };
                }
            }
            E::Acked { cursors, until } => {
                self.advance(cursors);
                if let Phase::Leased { until: own, .. } = &mut self.phase {
                    *own = *until;
                }
            }
            E::Ended { cursors, how } => {
                self.advance(cursors);
                self.phase = Phase::Idle;
                if let Ending::Failed { next_attempt_at } = *how {
                    let failures = self.retry.map_or(0, |retry| retry.failures);
                    self.retry = Some(Retry {
                        failures: failures.saturating_add(1),
                        next_attempt_at,
                    });
                }
            }
            E::Recovered => self.retry = None,
            E::State {
                generation,
                phase,
                retry,
            } => {
                self.generation = *generation;
                self.phase = phase.clone();
                self.retry = *retry;
            }
            E::Complete => self.complete = true,
        }
    }

    /// INVARIANT: a cursor never goes back.
    fn advance(&mut self, cursors: &[(StreamId, Offset)]) {
        for (stream, offset) in cursors {
            let own = self.cursors.entry(*stream).or_insert(*offset);
            *own = (*own).max(*offset);
        }
    }

    /// The wake in flight.
    pub fn wake_id(&self) -> Option<&WakeId> {
        match &self.phase {
            Phase::Idle => None,
            Phase::Woken { wake_id } | Phase::Leased { wake_id, .. } => Some(wake_id),
        }
    }

    /// Whether no wake is in flight.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// Whether a stream of this name is meant.
    pub fn is_linked(&self, name: &str) -> bool {
        self.explicit.contains(name) || self.config.globs(&Path::new(name))
    }

    /// Whether a stream has bytes that were not processed.
    pub fn is_pending(&self, stream: StreamId, start: Offset, tail: Offset) -> bool {
        self.cursors.get(&stream).copied().unwrap_or(start) < tail
    }

    /// When something is due that nobody asks for: the end of a lease, or another attempt.
    pub fn due(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Leased { until, .. } => Some(*until),
            Phase::Idle => self.retry.map(|retry| retry.next_attempt_at),
            Phase::Woken { .. } => None,
        }
    }
}
