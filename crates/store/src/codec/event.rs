//! The log's facts as bytes.
//!
//! A record is a kind byte and the fields of that kind in a fixed order; another layout takes
//! another kind, so that a kind is also a version. A payload is the last field, so that its bytes
//! are one range of the frame and nobody copies them again.

use std::ops::Range;

use bytes::Bytes;
use millrace_core::{
    Appended, Created, Event, Generation, Payload, StreamId, StreamPos, Timestamp,
};

use super::{
    Decoder, Encoder, Malformed, Stored,
    parts::{
        put_changes, put_generations, put_lineage, put_seq, take_changes, take_generations,
        take_lineage, take_seq,
    },
};

const CREATED: u8 = 1;
const APPENDED: u8 = 2;
const DELETED: u8 = 3;
const TOUCHED: u8 = 4;
const FORK_ADDED: u8 = 5;
const FORK_DROPPED: u8 = 6;
const GENERATION_RAISED: u8 = 7;
const TRIMMED: u8 = 8;
const CONFIGURED: u8 = 9;

/// More than any record's fields of bounded size take, texts and lists not counted.
const FIXED_BYTES_MAX: u64 = 192;
/// A fork's ancestor is an id and a position, a generation is two numbers.
const LIST_ITEM_BYTES_MAX: u64 = 20;
/// A message length is a 32-bit varint.
const LENGTH_BYTES_MAX: u64 = 5;

/// Appends a record and says where its payload's bytes lie (an empty range when it has none).
pub fn put_event(event: &Event, out: &mut Encoder) -> Range<usize> {
    match event {
        Event::Created(created) => return put_created(created, out),
        Event::Appended(appended) => return put_appended(appended, out),
        Event::Deleted { stream, reason } => {
            put_head(DELETED, *stream, out);
            reason.put(out);
        }
        Event::Touched { stream, deadline } => {
            put_head(TOUCHED, *stream, out);
            deadline.put(out);
        }
        Event::ForkAdded { stream, fork } => {
            put_head(FORK_ADDED, *stream, out);
            fork.put(out);
        }
        Event::ForkDropped { stream, fork } => {
            put_head(FORK_DROPPED, *stream, out);
            fork.put(out);
        }
        Event::Trimmed { stream, to } => {
            put_head(TRIMMED, *stream, out);
            to.put(out);
        }
        Event::Configured { stream, changes } => {
            put_head(CONFIGURED, *stream, out);
            put_changes(changes, out);
        }
        Event::GenerationRaised { stream, generation } => {
            put_head(GENERATION_RAISED, *stream, out);
            generation.put(out);
        }
    }
    out.len()..out.len()
}

/// Reads a record of `frame`, over which `from` runs. A payload is a slice of `frame`.
pub fn take_event(frame: &Bytes, from: &mut Decoder<'_>) -> Result<Event, Malformed> {
    let fault = from.malformed("an event kind");
    let kind = from.u8("an event kind")?;
    let stream = StreamId::take(from)?;
    Ok(match kind {
        CREATED => Event::Created(Box::new(take_created(stream, frame, from)?)),
        APPENDED => Event::Appended(take_appended(stream, frame, from)?),
        DELETED => Event::Deleted {
            stream,
            reason: Stored::take(from)?,
        },
        TOUCHED => Event::Touched {
            stream,
            deadline: Timestamp::take(from)?,
        },
        FORK_ADDED => Event::ForkAdded {
            stream,
            fork: StreamId::take(from)?,
        },
        FORK_DROPPED => Event::ForkDropped {
            stream,
            fork: StreamId::take(from)?,
        },
        TRIMMED => Event::Trimmed {
            stream,
            to: StreamPos::take(from)?,
        },
        CONFIGURED => Event::Configured {
            stream,
            changes: take_changes(from)?,
        },
        GENERATION_RAISED => Event::GenerationRaised {
            stream,
            generation: Generation::take(from)?,
        },
        _ => return Err(fault),
    })
}

/// At least as many bytes as [`put_event`] writes, without writing them.
pub fn event_bytes_max(event: &Event) -> u64 {
    let variable = match event {
        Event::Created(created) => {
            let lists = created.lineage.len() + created.generations.len();
            let texts = created.name.as_str().len()
                + created.content_type.as_str().len()
                + created
                    .spec
                    .content_type
                    .as_ref()
                    .map_or(0, |own| own.as_str().len())
                + created
                    .spec
                    .fork
                    .as_ref()
                    .map_or(0, |fork| fork.source.as_str().len());
            texts as u64 + lists as u64 * LIST_ITEM_BYTES_MAX + payload_bytes_max(&created.payload)
        }
        Event::Appended(appended) => {
            let texts = appended
                .producer
                .as_ref()
                .map_or(0, |claim| claim.id.as_str().len())
                + appended.forgets.as_ref().map_or(0, |id| id.as_str().len())
                + appended.seq.as_ref().map_or(0, |seq| seq.len());
            texts as u64 + payload_bytes_max(&appended.payload)
        }
        Event::Configured { changes, .. } => {
            let documents = changes.iter();
            let documents = documents.filter_map(|(_, document)| document.as_ref());
            let bytes: u64 = documents.map(|document| document.len() as u64).sum();
            bytes + changes.len() as u64 * LIST_ITEM_BYTES_MAX
        }
        _ => 0,
    };
    FIXED_BYTES_MAX + variable
}

fn payload_bytes_max(payload: &Payload) -> u64 {
    payload.message_count() * LENGTH_BYTES_MAX + payload.len()
}

fn put_head(kind: u8, stream: StreamId, out: &mut Encoder) {
    out.u8(kind);
    stream.put(out);
}

fn put_created(created: &Created, out: &mut Encoder) -> Range<usize> {
    put_head(CREATED, created.stream, out);
    created.at.put(out);
    created.name.put(out);
    created.spec.put(out);
    created.content_type.put(out);
    created.lifetime.put(out);
    created.origin.put(out);
    put_lineage(&created.lineage, out);
    put_generations(&created.generations, out);
    put_payload(&created.payload, out)
}

fn take_created(
    stream: StreamId,
    frame: &Bytes,
    from: &mut Decoder<'_>,
) -> Result<Created, Malformed> {
    let fault = from.malformed("a creation");
    let created = Created {
        stream,
        at: Stored::take(from)?,
        name: Stored::take(from)?,
        spec: Stored::take(from)?,
        content_type: Stored::take(from)?,
        lifetime: Stored::take(from)?,
        origin: Stored::take(from)?,
        lineage: take_lineage(from)?,
        generations: take_generations(from)?,
        payload: take_payload(frame, from)?,
    };
    let own_from = created.origin.map_or(StreamPos::ZERO, |origin| origin.at);
    ends_within(own_from, &created.payload)
        .then_some(created)
        .ok_or(fault)
}

fn put_appended(appended: &Appended, out: &mut Encoder) -> Range<usize> {
    put_head(APPENDED, appended.stream, out);
    appended.from.put(out);
    appended.at.put(out);
    appended.producer.put(out);
    appended.introduces_producer.put(out);
    appended.forgets.put(out);
    put_seq(appended.seq.as_ref(), out);
    appended.closes.put(out);
    put_payload(&appended.payload, out)
}

fn take_appended(
    stream: StreamId,
    frame: &Bytes,
    from: &mut Decoder<'_>,
) -> Result<Appended, Malformed> {
    let fault = from.malformed("an append");
    let appended = Appended {
        stream,
        from: StreamPos::take(from)?,
        at: Stored::take(from)?,
        producer: Stored::take(from)?,
        introduces_producer: Stored::take(from)?,
        forgets: Stored::take(from)?,
        seq: take_seq(from)?,
        closes: Stored::take(from)?,
        payload: take_payload(frame, from)?,
    };
    ends_within(appended.from, &appended.payload)
        .then_some(appended)
        .ok_or(fault)
}

/// Whether the position after `payload` is still a number, so that applying never overflows.
fn ends_within(from: StreamPos, payload: &Payload) -> bool {
    from.get().checked_add(payload.len()).is_some()
}

/// How many messages, the length of each, then their bytes.
fn put_payload(payload: &Payload, out: &mut Encoder) -> Range<usize> {
    out.varint(payload.message_count());
    for length in payload.lengths() {
        out.varint(u64::from(length));
    }
    let start = out.len();
    out.raw(payload.bytes());
    start..out.len()
}

fn take_payload(frame: &Bytes, from: &mut Decoder<'_>) -> Result<Payload, Malformed> {
    let fault = from.malformed("a payload");
    // A message is one byte of length and one of content at least.
    let count = from.count(2, "a payload")?;
    let mut lengths = Vec::with_capacity(count);
    let mut total = 0usize;
    for _ in 0..count {
        let length = from.varint_u32("a message length")?;
        // Cannot overflow: fewer than 2^32 lengths below 2^32 each.
        total += usize::try_from(length).map_err(|_| fault)?;
        lengths.push(length);
    }
    let range = from.range(total, "a payload")?;
    if lengths.contains(&0) {
        return Err(fault);
    }
    Ok(Payload::from_lengths(frame.slice(range), &lengths))
}
