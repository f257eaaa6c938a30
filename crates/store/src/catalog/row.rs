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
/// The layout of the row of a stream that has settings: which ones is in the head, and where the stream
/// begins follows the rest.
const VERSION_SETTINGS: u8 = 3;
/// The length of a row's head without settings.
const HEAD_BYTES: usize = 26;
/// What settings add to it.
const REVISION_BYTES: usize = 8;

/// What a commit needs of the row that it replaces, to keep the indexes in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Whether the state says where the stream was trimmed.
    pub(crate) trimmed: bool,
    /// The revision of its settings, which have a row of their own; 0 where it never had any.
    pub(crate) settings: u64,
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
        out.u8(match (self.settings, self.trimmed) {
            (0, false) => VERSION,
            (0, true) => VERSION_TRIMMED,
            _ => VERSION_SETTINGS,
        });
        out.u32(self.extents);
        out.u32(self.forks);
        out.u64(self.sealed.get());
        self.deadline.is_some().put(out);
        out.u64(self.deadline.unwrap_or_default().get());
        if self.settings > 0 {
            out.u64(self.settings);
        }
    }

    /// Its length.
    fn bytes(&self) -> usize {
        match self.settings {
            0 => HEAD_BYTES,
            _ => HEAD_BYTES + REVISION_BYTES,
        }
    }

    /// Reads the head of a row.
    pub(crate) fn take(row: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::new(row);
        let fault = from.malformed("the version of a stream's row");
        let (trimmed, has_settings) = match from.u8("a stream's row")? {
            VERSION => (false, false),
            VERSION_TRIMMED => (true, false),
            VERSION_SETTINGS => (true, true),
            _ => return Err(fault),
        };
        let extents = from.u32("the extents")?;
        let forks = from.u32("the forks")?;
        let sealed = StreamPos(from.u64("the sealed position")?);
        let expires = bool::take(&mut from)?;
        let deadline = Timestamp(from.u64("the deadline")?);
        let settings = if has_settings {
            from.u64("the revision of the settings")?
        } else {
            0
        };
        if has_settings && settings == 0 {
            return Err(fault);
        }
        Ok(Self {
            trimmed,
            settings,
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

/// The revision of a stream's settings; 0 where it never had any.
pub(crate) fn revision_of(state: &StreamState) -> u64 {
    let settings = state.settings.as_ref();
    settings.map_or(0, |settings| settings.revision())
}

/// A whole row.
pub(crate) fn row(head: &Head, state: &StreamState) -> Vec<u8> {
    let mut out = Encoder::with_capacity(256);
    let settings = revision_of(state);
    let head = Head {
        trimmed: state.trimmed > StreamPos::ZERO || settings > 0,
        settings,
        ..*head
    };
    head.put(&mut out);
    put_state(state, &mut out);
    if head.trimmed {
        state.trimmed.put(&mut out);
    }
    out.finish()
}

/// A row with another head and the same state.
pub(crate) fn with_head(head: &Head, row: &[u8]) -> Vec<u8> {
    let mut out = Encoder::with_capacity(row.len());
    head.put(&mut out);
    out.raw(&row[head.bytes()..]);
    out.finish()
}

/// The state in a row, but for its settings.
pub(crate) fn state_in(row: &[u8], id: StreamId) -> Result<StreamState, Malformed> {
    let head = Head::take(row)?;
    let mut from = Decoder::starting_at(row, head.bytes());
    let mut state = take_state(&mut from, id)?;
    if head.trimmed {
        let fault = from.malformed("where a stream was trimmed");
        state.trimmed = Stored::take(&mut from)?;
        let is_zero = state.trimmed == StreamPos::ZERO && head.settings == 0;
        if is_zero || state.trimmed > state.tail {
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
        settings: None,
    })
}
