//! What the log keeps: facts that [`crate::stream::apply`] turns into state, when they are made
//! durable and again at every recovery.

use std::sync::Arc;

use crate::{
    command::{CreateSpec, Lifetime, ProducerClaim, ProducerId},
    content_type::ContentType,
    ids::{Generation, StreamId, StreamPos, Timestamp},
    name::StreamName,
    payload::Payload,
    settings::NewSettings,
    stream::{Ancestor, GenerationStart},
};

/// One fact about one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A stream came to be, with its first content.
    Created(Box<Created>),
    /// Bytes were appended, or the stream was closed, or both.
    Appended(Appended),
    /// A stream was deleted or expired. It stays, unreachable, while forks refer to it.
    Deleted {
        /// The stream.
        stream: StreamId,
        /// Why.
        reason: DeleteReason,
    },
    /// The sliding deadline moved.
    Touched {
        /// The stream.
        stream: StreamId,
        /// The new deadline.
        deadline: Timestamp,
    },
    /// A fork refers to this stream from now on.
    ForkAdded {
        /// The source.
        stream: StreamId,
        /// The fork.
        fork: StreamId,
    },
    /// A fork refers to this stream no longer; a deleted stream without forks is gone with this.
    ForkDropped {
        /// The source.
        stream: StreamId,
        /// The fork.
        fork: StreamId,
    },
    /// Bytes before this position can be read no longer.
    Trimmed {
        /// The stream.
        stream: StreamId,
        /// The first position that can.
        to: StreamPos,
    },
    /// Documents of its settings changed.
    Configured {
        /// The stream.
        stream: StreamId,
        /// The new documents, and with `None` those that go.
        changes: NewSettings,
    },
    /// Bytes past the tail may once have been seen: positions from here on are of a new generation.
    GenerationRaised {
        /// The stream.
        stream: StreamId,
        /// The new generation.
        generation: Generation,
    },
}

/// A stream's creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The new stream.
    pub stream: StreamId,
    /// Its name.
    pub name: StreamName,
    /// What was asked for.
    pub spec: CreateSpec,
    /// What it has: asked for, inherited, or the default.
    pub content_type: ContentType,
    /// What it has: asked for or inherited.
    pub lifetime: Lifetime,
    /// Where a fork branched from its source.
    pub origin: Option<ForkPoint>,
    /// The streams that hold a fork's inherited bytes, in order.
    pub lineage: Arc<[Ancestor]>,
    /// The generations of its positions; the last is its own.
    pub generations: Arc<[GenerationStart]>,
    /// The first content.
    pub payload: Payload,
    /// When.
    pub at: Timestamp,
}

/// Where a fork branched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkPoint {
    /// The source stream.
    pub source: StreamId,
    /// The anchor, before the sub-offset.
    pub anchor: StreamPos,
    /// The first position that is the fork's own.
    pub at: StreamPos,
}

/// An append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The stream.
    pub stream: StreamId,
    /// Where its bytes begin: the tail before this event.
    pub from: StreamPos,
    /// Its bytes; empty when the stream was only closed.
    pub payload: Payload,
    /// Which producer's which request this was.
    pub producer: Option<ProducerClaim>,
    /// Whether the stream did not know that producer.
    pub introduces_producer: bool,
    /// A long-idle producer forgotten to make room for this one.
    pub forgets: Option<ProducerId>,
    /// The writer's `Stream-Seq`.
    pub seq: Option<Arc<str>>,
    /// Whether the stream is closed with it.
    pub closes: bool,
    /// When.
    pub at: Timestamp,
}

/// Why a stream was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteReason {
    /// A client asked.
    Request,
    /// Its lifetime ended.
    Expiry,
}

impl Event {
    /// The stream it is about.
    pub fn stream(&self) -> StreamId {
        match self {
            Self::Created(created) => created.stream,
            Self::Appended(appended) => appended.stream,
            Self::Deleted { stream, .. }
            | Self::Touched { stream, .. }
            | Self::ForkAdded { stream, .. }
            | Self::ForkDropped { stream, .. }
            | Self::Trimmed { stream, .. }
            | Self::Configured { stream, .. }
            | Self::GenerationRaised { stream, .. } => *stream,
        }
    }

    /// The bytes it brings, if it is of a kind that brings any.
    pub fn payload(&self) -> Option<&Payload> {
        match self {
            Self::Created(created) => Some(&created.payload),
            Self::Appended(appended) => Some(&appended.payload),
            _ => None,
        }
    }
}
