//! Who may do what with a wake, and when. Pure: each rule answers with the events to be kept, or a
//! refusal.
//!
//! INVARIANT: a generation is given out once. INVARIANT: only who holds the current wake moves cursors.

use serde::{Deserialize, Serialize};

use super::{Delivery, Ending, Phase, Subscription, SubscriptionEvent, SubscriptionRefusal, retry};
use crate::{
    ids::{StreamId, Timestamp},
    offset::Offset,
};

/// A wake's id: unique, whatever subscription it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WakeId(pub String);

/// What a request says of the wake that it means, token included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed<'a> {
    /// The generation that the token is for.
    pub token_generation: u64,
    /// The wake that the token is for.
    pub token_wake: &'a str,
    /// The generation that the request names.
    pub generation: u64,
    /// The wake that the request names.
    pub wake_id: &'a str,
}

/// What an ack brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Up to where streams were processed.
    pub cursors: Vec<(StreamId, Offset)>,
    /// Whether the work is done.
    pub done: bool,
}

impl Subscription {
    /// Begins a wake of an idle subscription; `None` when it is not idle, or not to be tried yet.
    pub fn wake(&self, wake_id: WakeId, now: Timestamp) -> Option<SubscriptionEvent> {
        let is_early = self.retry.is_some_and(|retry| now < retry.next_attempt_at);
        if !self.is_idle() || is_early {
            return None;
        }
        Some(SubscriptionEvent::Woken {
            generation: self.generation + 1,
            wake_id,
            until: match self.config.delivery {
                Delivery::Webhook { .. } => Some(self.lease_from(now)),
                Delivery::PullWake { .. } => None,
            },
        })
    }

    /// Takes the wake in flight for a worker; the wake of a subscription that is idle and has work is
    /// begun with it, as `fresh`.
    pub fn claim(
        &self,
        worker: &str,
        fresh: Option<WakeId>,
        now: Timestamp,
    ) -> Result<Vec<SubscriptionEvent>, SubscriptionRefusal> {
        if matches!(self.config.delivery, Delivery::Webhook { .. }) {
            return Err(SubscriptionRefusal::OtherDelivery);
        }
        let mut events: Vec<SubscriptionEvent> = self.expire(now).into_iter().collect();
        if let (Phase::Leased { holder, .. }, true) = (&self.phase, events.is_empty()) {
            return Err(SubscriptionRefusal::AlreadyClaimed {
                holder: holder.clone().unwrap_or_default(),
                generation: self.generation,
            });
        }
        if !matches!(self.phase, Phase::Woken { .. }) {
            events.push(SubscriptionEvent::Woken {
                generation: self.generation + 1,
                wake_id: fresh.ok_or(SubscriptionRefusal::NoPendingWork)?,
                until: None,
            });
        }
        events.push(SubscriptionEvent::Claimed {
            holder: worker.to_owned(),
            until: self.lease_from(now),
        });
        Ok(events)
    }

    /// Judges an ack or callback: heartbeats extend the lease, `done` ends the wake.
    pub fn ack(
        &self,
        claimed: Claimed<'_>,
        ack: Ack,
        now: Timestamp,
    ) -> Result<SubscriptionEvent, SubscriptionRefusal> {
        self.holds(claimed, now)?;
        let cursors = ack.cursors;
        Ok(if ack.done {
            let how = Ending::Done;
            SubscriptionEvent::Ended { cursors, how }
        } else {
            let until = self.lease_from(now);
            SubscriptionEvent::Acked { cursors, until }
        })
    }

    /// Judges a release.
    pub fn release(
        &self,
        claimed: Claimed<'_>,
        now: Timestamp,
    ) -> Result<SubscriptionEvent, SubscriptionRefusal> {
        self.holds(claimed, now)?;
        Ok(ended(Ending::Released))
    }

    /// The end of a lease that has run out.
    pub fn expire(&self, now: Timestamp) -> Option<SubscriptionEvent> {
        match &self.phase {
            Phase::Leased { until, .. } if *until <= now => Some(ended(Ending::Expired)),
            _ => None,
        }
    }

    /// A delivery of this wake failed; `None` when the wake is over already. `draw` is a random number
    /// below [`retry::DRAWS`].
    pub fn failed(&self, wake_id: &WakeId, now: Timestamp, draw: u64) -> Option<SubscriptionEvent> {
        if self.wake_id() != Some(wake_id) {
            return None;
        }
        let failures = self.retry.map_or(0, |retry| retry.failures) + 1;
        let next_attempt_at = now.plus_millis(retry::delay_millis(failures, draw));
        Some(ended(Ending::Failed { next_attempt_at }))
    }

    /// A delivery of this wake was taken; `done` names what was processed with it, when it was. Nothing
    /// when the wake is over already.
    pub fn delivered(
        &self,
        wake_id: &WakeId,
        done: Option<Vec<(StreamId, Offset)>>,
        now: Timestamp,
    ) -> Vec<SubscriptionEvent> {
        if self.wake_id() != Some(wake_id) || self.expire(now).is_some() {
            return Vec::new();
        }
        let recovered = self.retry.map(|_| SubscriptionEvent::Recovered);
        let ended = done.map(|cursors| {
            let how = Ending::Done;
            SubscriptionEvent::Ended { cursors, how }
        });
        recovered.into_iter().chain(ended).collect()
    }

    /// What an unclean clock may have made of a lease: it never lasts longer than one from now on.
    pub fn clamp_lease(&mut self, now: Timestamp) {
        let most = self.lease_from(now);
        if let Phase::Leased { until, .. } = &mut self.phase {
            *until = (*until).min(most);
        }
    }

    /// PROTOCOL 7.3: all of token, generation and wake agree with the current state.
    fn holds(&self, claimed: Claimed<'_>, now: Timestamp) -> Result<(), SubscriptionRefusal> {
        let is_current = match &self.phase {
            Phase::Leased { wake_id, until, .. } => {
                *until > now && wake_id.0 == claimed.wake_id && wake_id.0 == claimed.token_wake
            }
            _ => false,
        };
        let is_generation =
            claimed.generation == self.generation && claimed.token_generation == self.generation;
        if is_current && is_generation {
            Ok(())
        } else {
            Err(SubscriptionRefusal::Fenced)
        }
    }

    fn lease_from(&self, now: Timestamp) -> Timestamp {
        now.plus_millis(self.config.lease_ttl_ms)
    }
}

fn ended(how: Ending) -> SubscriptionEvent {
    SubscriptionEvent::Ended {
        cursors: Vec::new(),
        how,
    }
}
