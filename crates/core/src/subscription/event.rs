//! What is kept of a subscription: facts that make up its state, in order.

use serde::{Deserialize, Serialize};

use super::{SubscriptionConfig, SubscriptionId, WakeId};
use crate::{
    ids::{StreamId, Timestamp},
    name::StreamName,
    offset::Offset,
};

/// One fact about one subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionEvent {
    /// It came to be. Its links follow.
    Created {
        /// Its id.
        id: SubscriptionId,
        /// What was asked for.
        config: SubscriptionConfig,
        /// Tells it from others that had this id.
        born: String,
        /// Scheme and authority at which its creator reached the server.
        origin: String,
        /// When.
        at: Timestamp,
    },
    /// Up to where streams were processed, or are taken to be: links at a tail, and what a snapshot
    /// holds.
    Linked {
        /// Stream and offset.
        cursors: Vec<(StreamId, Offset)>,
    },
    /// Streams are meant by name.
    Added {
        /// Their names.
        streams: Vec<StreamName>,
    },
    /// A stream is no longer meant by name.
    Removed {
        /// Its name.
        stream: StreamName,
        /// The stream, where its cursor goes too.
        forgets: Option<StreamId>,
    },
    /// Its creator reached the server elsewhere.
    Moved {
        /// Scheme and authority.
        origin: String,
    },
    /// A wake began.
    Woken {
        /// Its number.
        generation: u64,
        /// Its id.
        wake_id: WakeId,
        /// When its lease ends, where it has one from the start.
        until: Option<Timestamp>,
    },
    /// A worker took the wake.
    Claimed {
        /// Its name.
        holder: String,
        /// When its lease ends.
        until: Timestamp,
    },
    /// The worker processed something, or showed that it lives.
    Acked {
        /// Up to where.
        cursors: Vec<(StreamId, Offset)>,
        /// When its lease ends now.
        until: Timestamp,
    },
    /// The wake is over.
    Ended {
        /// What was processed with it.
        cursors: Vec<(StreamId, Offset)>,
        /// Why.
        how: Ending,
    },
    /// The webhook took a delivery, after one that failed.
    Recovered,
    /// The state as a whole, but for its cursors: what a snapshot says.
    State {
        /// The last generation.
        generation: u64,
        /// What it is doing.
        phase: super::Phase,
        /// When it is tried again, after a failure.
        retry: Option<super::Retry>,
    },
    /// All that came before is complete: a creation or a snapshot counts from here.
    Complete,
}

/// Why a wake is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The work is done.
    Done,
    /// The worker gave it back.
    Released,
    /// The lease ran out.
    Expired,
    /// The webhook could not be delivered to; nothing is tried before that time.
    Failed {
        /// When it is tried again.
        next_attempt_at: Timestamp,
    },
}
