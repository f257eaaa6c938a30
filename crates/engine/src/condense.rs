//! Key compaction: a stream whose messages replace each other is told anew with fewer.
//!
//! The stream is read from its start to its tail and folded; what comes out is appended, and all that went
//! in is trimmed, in one event of the log and one change of what readers see. A reader that was at the tail
//! reads on into the snapshot, one that was before it is told 410 and finds the snapshot at the start.
//!
//! INVARIANT: nothing is trimmed that was not folded. The shard carries it out only where the stream still
//! ends where the fold does; where it has grown, the fold goes on from there.
//!
//! BOUND: a fold is one append, so at most `append_bytes_max`, and takes its memory from the budget as it
//! grows.
//!
//! Not here: what messages mean (a [`Fold`] knows), when it is done by itself (`retention`).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use millrace_core::{
    ContentKind, Offset, Payload, Refusal, SettingFault, SettingKey, StreamName, fold::Fold,
    stream::StreamState,
};

use crate::{
    budget::Permit,
    engine::{Engine, Shared},
    read::{From, Reader},
    shard::Command,
    stream::Stream,
};

/// About how much is read at a time.
const PAGE_BYTES: u64 = 1 << 20;
/// How often a fold catches up with a stream that grows meanwhile. Each time it has less to read.
const ATTEMPTS: usize = 64;

/// What a compaction came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condensed {
    /// How many keys have a value.
    pub keys: u64,
    /// How many bytes there were.
    pub bytes_before: u64,
    /// How many say the same now.
    pub bytes_after: u64,
    /// Where the stream begins now: at the snapshot.
    pub start: Offset,
    /// Where the snapshot ends.
    pub tail: Offset,
}

/// A fold, and the memory that it holds.
struct Folding {
    fold: Box<dyn Fold>,
    permits: Vec<Permit>,
    permitted: u64,
}

impl Engine {
    /// Replaces what a stream holds by a snapshot of the latest value of each key. Nothing changes
    /// where that cannot be: [`Refusal::Setting`] says why.
    pub async fn condense(&self, name: &StreamName) -> Result<Condensed, Refusal> {
        let stream = self.open(name).await?;
        condense(&stream, name).await
    }
}

/// The same for a stream that is at hand.
pub(crate) async fn condense(stream: &Stream, name: &StreamName) -> Result<Condensed, Refusal> {
    let shared = &stream.shared;
    let state = stream.state();
    can_be(&state)?;
    let Some(new_fold) = shared.options.fold else {
        return Err(refused(
            "no-fold",
            "this program does not know how to fold streams",
        ));
    };
    let mut folding = Folding {
        fold: new_fold(),
        permits: Vec::new(),
        permitted: 0,
    };
    let mut reader = stream.read_from(From::Start).await?;
    let start = reader.offset();
    for _ in 0..ATTEMPTS {
        folding.take_all(shared, &mut reader).await?;
        let tail = reader.offset();
        let fold = payload(&folding.fold.messages());
        let bytes_after = fold.len();
        let command = Command::Condense {
            name: name.clone(),
            fold,
            tail,
        };
        let shard = shared.shard_of_name(name);
        match shared.command(shard, command, None).await {
            Ok(_) => {
                let state = stream.state();
                let end = millrace_core::StreamPos(tail.position.get() + bytes_after);
                return Ok(Condensed {
                    keys: folding.fold.keys(),
                    bytes_before: tail.position.since(start.position),
                    bytes_after,
                    start: tail,
                    tail: state.generations.offset_at(end),
                });
            }
            Err(Refusal::ExpectedOffset { .. }) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Err(Refusal::Overloaded)
}

fn can_be(state: &StreamState) -> Result<(), Refusal> {
    if state.kind() != ContentKind::Json {
        return Err(refused(
            "not-state",
            "only a JSON stream of the State Protocol has keys to compact",
        ));
    }
    if state.setting(SettingKey::SCHEMA).is_some() {
        return Err(refused(
            "has-schema",
            "the stream has a schema, under which its older values may not be valid; it cannot be compacted",
        ));
    }
    if state.is_closed() {
        return Err(Refusal::Closed {
            tail: state.tail_offset(),
        });
    }
    Ok(())
}

fn refused(code: &'static str, message: impl Into<Arc<str>>) -> Refusal {
    Refusal::Setting(SettingFault::conflict(code, message))
}

impl Folding {
    /// Takes what there is up to the tail.
    async fn take_all(&mut self, shared: &Shared, reader: &mut Reader) -> Result<(), Refusal> {
        loop {
            let batch = reader.next(PAGE_BYTES).await?;
            let is_last = batch.up_to_date;
            let base = batch.from.position;
            let ends = reader.messages(&batch).await?;
            let bytes = batch.collect().await?;
            let mut from = 0;
            for end in ends {
                let until =
                    usize::try_from(end.next.position.since(base)).expect("a page in memory");
                // A message ends with its separator.
                let message = &bytes[from..until.saturating_sub(1).max(from)];
                self.fold.take(message).map_err(|why| {
                    let message = format!(
                        "the message that ends at position {} cannot be folded: {why}",
                        end.next.position
                    );
                    refused("not-state", message)
                })?;
                from = until;
            }
            self.make_room(shared).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    async fn make_room(&mut self, shared: &Shared) -> Result<(), Refusal> {
        let bytes = self.fold.bytes();
        if bytes > shared.options.append_bytes_max {
            let message = format!(
                "the snapshot would have over {} bytes; raise `--append-bytes-max`, or delete keys",
                shared.options.append_bytes_max
            );
            return Err(refused("snapshot-too-large", message));
        }
        // Twice: the values, and the snapshot that is made of them.
        let wanted = bytes.saturating_mul(2);
        if wanted > self.permitted {
            let more = wanted - self.permitted;
            self.permits
                .push(shared.budget.admit(more, &*shared.env.clock).await?);
            self.permitted = wanted;
        }
        Ok(())
    }
}

/// The messages as they are stored, each with its separator.
fn payload(messages: &[Bytes]) -> Payload {
    let bytes = messages.iter().map(|message| message.len() + 1).sum();
    let mut out = BytesMut::with_capacity(bytes);
    let mut lengths = Vec::with_capacity(messages.len());
    for message in messages {
        out.extend_from_slice(message);
        out.extend_from_slice(b",");
        let length = u32::try_from(message.len() + 1);
        lengths.push(length.expect("an append has at most 1 GiB"));
    }
    Payload::from_lengths(out.freeze(), &lengths)
}
