//! A stream's row: a fixed head that a commit reads and rewrites without decoding the rest, then the
//! state.

use std::sync::Arc;

use millrace_core::{
    StreamId, StreamPos, Timestamp,
    stream::{Generations, StreamConfig, StreamState},
};

use crate::codec::{
    Decoder, Encoder, Malformed, Stored,
    parts::{
        put_forks, put_generations, put_lineage, put_seq, take_forks, take_generations,
        take_lineage, take_seq,
    },
};

/// The layout of a row.
const VERSION: u8 = 1;
/// The layout of the row of a stream that was trimmed: where it begins follows the rest.
const VERSION_TRIMMED: u8 = 2;
/// The length of a row's head.
pub(crate) const HEAD_BYTES: usize = 26;

/// What a commit needs of the row that it replaces, to keep the indexes in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Whether the state says where the stream was trimmed.
    pub(crate) trimmed: bool,
    /// How many extents the stream has.
    pub(crate) extents: u32,
    /// How many forks refer to it.
    pub(crate) forks: u32,
    /// Its place in the expiry index, if it has one.
    pub(crate) deadline: Option<Timestamp>,
    /// The end of its last extent; where its own bytes begin if it has none.
    pub(crate) sealed: StreamPos,
}

impl Head {
    fn put(&self, out: &mut Encoder) {
        out.u8(if self.trimmed {
            VERSION_TRIMMED
        } else {
            VERSION
        });
        out.u32(self.extents);
        out.u32(self.forks);
        out.u64(self.sealed.get());
        self.deadline.is_some().put(out);
        out.u64(self.deadline.unwrap_or_default().get());
    }

    /// Reads the head of a row.
    pub(crate) fn take(row: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::new(row);
        let fault = from.malformed("the version of a stream's row");
        let trimmed = match from.u8("a stream's row")? {
            VERSION => false,
            VERSION_TRIMMED => true,
            _ => return Err(fault),
        };
        let extents = from.u32("the extents")?;
        let forks = from.u32("the forks")?;
        let sealed = StreamPos(from.u64("the sealed position")?);
        let expires = bool::take(&mut from)?;
        let deadline = Timestamp(from.u64("the deadline")?);
        Ok(Self {
            trimmed,
            extents,
            forks,
            deadline: expires.then_some(deadline),
            sealed,
        })
    }
}

/// The place of a stream in the expiry index. What was deleted expires no more.
pub(crate) fn deadline_of(state: &StreamState) -> Option<Timestamp> {
    state.deadline.filter(|_| !state.soft_deleted)
}

/// How many forks a head counts.
pub(crate) fn forks_of(state: &StreamState) -> u32 {
    u32::try_from(state.forks.len()).expect("fewer than 2^32 forks of one stream")
}

/// A whole row.
pub(crate) fn row(head: &Head, state: &StreamState) -> Vec<u8> {
    let mut out = Encoder::with_capacity(256);
    let head = Head {
        trimmed: state.trimmed > StreamPos::ZERO,
        ..*head
    };
    head.put(&mut out);
    put_state(state, &mut out);
    out.finish()
}

/// A row with another head and the same state.
pub(crate) fn with_head(head: &Head, row: &[u8]) -> Vec<u8> {
    let mut out = Encoder::with_capacity(row.len());
    head.put(&mut out);
    out.raw(&row[HEAD_BYTES..]);
    out.finish()
}

/// The state in a row.
pub(crate) fn state_in(row: &[u8], id: StreamId) -> Result<StreamState, Malformed> {
    let head = Head::take(row)?;
    let mut from = Decoder::starting_at(row, HEAD_BYTES);
    let mut state = take_state(&mut from, id)?;
    if head.trimmed {
        let fault = from.malformed("where a stream was trimmed");
        state.trimmed = Stored::take(&mut from)?;
        if state.trimmed == StreamPos::ZERO || state.trimmed > state.tail {
            return Err(fault);
        }
    }
    from.finish()?;
    Ok(state)
}

fn put_state(state: &StreamState, out: &mut Encoder) {
    let config = &state.config;
    config.name.put(out);
    config.spec.put(out);
    config.content_type.put(out);
    config.lifetime.put(out);
    config.origin.put(out);
    put_lineage(&config.lineage, out);
    config.created_at.put(out);
    put_generations(state.generations.as_slice(), out);
    state.tail.put(out);
    state.closure.put(out);
    put_seq(state.last_seq.as_ref(), out);
    state.soft_deleted.put(out);
    put_forks(&state.forks, out);
    state.deadline.put(out);
    out.varint(u64::from(state.producer_count));
    state.written_at.put(out);
    if state.trimmed > StreamPos::ZERO {
        state.trimmed.put(out);
    }
}

fn take_state(from: &mut Decoder<'_>, id: StreamId) -> Result<StreamState, Malformed> {
    let config = StreamConfig {
        name: Stored::take(from)?,
        spec: Stored::take(from)?,
        content_type: Stored::take(from)?,
        lifetime: Stored::take(from)?,
        origin: Stored::take(from)?,
        lineage: take_lineage(from)?,
        created_at: Stored::take(from)?,
    };
    Ok(StreamState {
        id,
        config: Arc::new(config),
        generations: Generations::new(take_generations(from)?),
        tail: Stored::take(from)?,
        closure: Stored::take(from)?,
        last_seq: take_seq(from)?,
        soft_deleted: Stored::take(from)?,
        forks: Arc::new(take_forks(from)?),
        deadline: Stored::take(from)?,
        producer_count: from.varint_u32("the number of producers")?,
        written_at: Stored::take(from)?,
        trimmed: StreamPos::ZERO,
    })
}
