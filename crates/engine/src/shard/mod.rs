//! A shard: the one owner of its streams, its write-ahead log and its turn.
//!
//! [`core::ShardCore`] is synchronous and does no waiting, so that a simulation can drive it I/O by
//! I/O; [`task`] is the loop around it that waits for commands. A turn takes all that waits, judges
//! it (`turn.rs`) against what is published plus the turn's own [`overlay`], writes one frame, syncs
//! once, publishes (`publish.rs`) and replies; at a start `replay.rs` publishes what the log holds. `flush.rs` moves what gathers into segments and the
//! catalog, `sweep.rs` ends and evicts what is idle.
//!
//! INVARIANT: state changes only in `publish.rs`, only from events that are durable.

mod atomic;
pub(crate) mod core;
mod flush;
mod mutants;
mod overlay;
mod publish;
mod replay;
mod sweep;
mod sync_pace;
pub(crate) mod task;
mod turn;

use std::sync::Arc;

use millrace_core::{
    Append, Body, Change, Create, Offset, Payload, Refusal, ShardId, StreamId, StreamName,
    StreamPos, Timestamp, stream::Outcome,
};
use tokio::sync::oneshot;

pub(crate) use self::{
    core::{CoreOptions, ShardCore},
    flush::{FlushDone, FlushStart, keep_reserve},
    replay::Gathered,
    turn::Turn,
};
use crate::{budget::Permit, live::Live};

/// The most messages that wait for a shard. BOUND: beyond it, clients are told to come back; bodies
/// that wait are bounded by the byte budget besides.
pub(crate) const INBOX_MAX: usize = 16 * 1024;

/// What reaches a shard.
#[derive(Debug)]
pub(crate) enum Message {
    /// To be judged.
    Command(Entry),
    /// To be judged one after the other, in one turn.
    Commands(Vec<Entry>),
    /// From another shard.
    Peer(Peer),
    /// Bring a stream into memory.
    Load {
        key: LoadKey,
        reply: oneshot::Sender<Result<Option<Arc<Live>>, Refusal>>,
    },
    /// Compaction moved bytes of some streams; tell when every view names the new places.
    Moved {
        moved: Arc<Moves>,
        done: oneshot::Sender<()>,
    },
    /// Finish what waits, flush, end; tell whether all of it is in the catalog.
    Stop(oneshot::Sender<bool>),
}

/// New extent lists of streams whose bytes were rewritten.
pub(crate) type Moves = Vec<(StreamId, Vec<millrace_store::Extent>)>;

/// Which stream to load.
#[derive(Clone, Debug)]
pub(crate) enum LoadKey {
    /// The one that has this name.
    Name(StreamName),
    /// The one with this identity, soft-deleted ones included.
    Id(StreamId),
}

/// A command and who waits for it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) command: Command,
    pub(crate) reply: Reply,
    /// The memory of its body, given back when the entry is dropped.
    pub(crate) permit: Option<Permit>,
}

/// What a shard judges.
#[derive(Debug)]
pub(crate) enum Command {
    /// PUT.
    Create(Box<Create>),
    /// PUT of a fork whose source's shard answered: it holds a reference to `fork`, or refused.
    CreateFork {
        create: Box<Create>,
        fork: StreamId,
        referenced: Result<(), Refusal>,
    },
    /// POST.
    Append { name: StreamName, append: Append },
    /// Several appends, all or none. Each has its own answer; the entry has nobody else to tell.
    Atomic(Vec<Entry>),
    /// DELETE.
    Delete { name: StreamName },
    /// Let nobody read what lies before an offset.
    Trim { name: StreamName, to: Offset },
    /// Let go of what a stream's retention does not keep, as found under those settings.
    Retain {
        stream: StreamId,
        to: StreamPos,
        revision: u64,
    },
    /// Put a snapshot in the place of all that it was made of.
    Condense {
        name: StreamName,
        fold: Payload,
        tail: Offset,
    },
    /// Change documents of a stream's settings.
    Configure {
        name: StreamName,
        change: Box<dyn Change>,
    },
    /// End a stream whose life is over.
    Expire { stream: StreamId },
    /// Log a deadline that reads moved.
    Touch {
        stream: StreamId,
        deadline: Timestamp,
    },
    /// Hold a reference from a fork that is about to be created.
    AddFork {
        source: StreamId,
        fork: StreamId,
        /// From where on the fork inherits.
        trimmed: StreamPos,
    },
    /// Take a fork's reference back.
    DropFork { source: StreamId, fork: StreamId },
    /// A defect, for tests.
    #[cfg(test)]
    Panic,
}

impl Command {
    /// Whether it gives space back or ends something, and so may use the space that is kept for that
    /// on a full disk.
    pub(crate) fn is_urgent(&self) -> bool {
        match self {
            Self::Create(_)
            | Self::CreateFork { .. }
            | Self::AddFork { .. }
            | Self::Configure { .. }
            | Self::Condense { .. }
            | Self::Touch { .. } => false,
            Self::Append { append, .. } => append.is_close_only(),
            Self::Atomic(entries) => entries.iter().all(|entry| entry.command.is_urgent()),
            Self::Delete { .. }
            | Self::Trim { .. }
            | Self::Retain { .. }
            | Self::Expire { .. }
            | Self::DropFork { .. } => true,
            #[cfg(test)]
            Self::Panic => false,
        }
    }
}

impl Command {
    /// The bytes it would append.
    pub(crate) fn payload_bytes(&self) -> u64 {
        let body = match self {
            Self::Condense { fold, .. } => return fold.len(),
            Self::Create(create) | Self::CreateFork { create, .. } => &create.body,
            Self::Append { append, .. } => &append.body,
            Self::Atomic(entries) => {
                let each = entries.iter().map(|entry| entry.command.payload_bytes());
                return each.sum();
            }
            _ => return 0,
        };
        match body {
            Body::Framed(payload) => payload.len(),
            Body::Empty | Body::Invalid(_) => 0,
        }
    }

    /// The most bytes it can take in the log: its payload, its message lengths, and what else an
    /// event says, generously.
    pub(crate) fn log_bytes_max(&self) -> u64 {
        let (body, rest) = match self {
            Self::Create(create) | Self::CreateFork { create, .. } => {
                let source = create.source.as_ref();
                let lineage = source.map_or(0, |source| {
                    source.lineage.len() + source.generations.as_slice().len() + 2
                });
                let documents = create.settings.bytes_max();
                (
                    Some(&create.body),
                    8 * 1024 + 40 * lineage as u64 + documents,
                )
            }
            Self::Append { append, .. } => (Some(&append.body), 2 * 1024),
            Self::Atomic(entries) => {
                let each = entries.iter().map(|entry| entry.command.log_bytes_max());
                return each.sum();
            }
            Self::Condense { fold, .. } => (None, 2 * 1024 + fold.len() + 5 * fold.message_count()),
            Self::Configure { change, .. } => (None, 512 + change.bytes_max()),
            _ => (None, 256),
        };
        let messages = match body {
            Some(Body::Framed(payload)) => payload.len() + 5 * payload.message_count(),
            _ => 0,
        };
        messages + rest
    }
}

/// Who waits for a command.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A request. A dropped receiver is fine: the command is carried out all the same.
    Client(oneshot::Sender<Result<Outcome, Refusal>>),
    /// Another shard (or this one), which goes on with the creation of a fork.
    Fork(ShardId, StreamId),
    /// Nobody.
    Nobody,
}

/// What shards tell each other, sent once the turn that gave rise to it is durable. A shard may be
/// its own peer: forks within one shard take the same path.
#[derive(Debug)]
pub(crate) enum Peer {
    /// Hold a reference to a fork that is about to be created, and answer.
    AddFork {
        source: StreamId,
        fork: StreamId,
        trimmed: StreamPos,
        from: ShardId,
    },
    /// The answer.
    Referenced {
        fork: StreamId,
        answer: Result<(), Refusal>,
    },
    /// Take a reference back.
    DropFork { source: StreamId, fork: StreamId },
}

/// A message on its way to a shard.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) to: ShardId,
    pub(crate) peer: Peer,
}
