//! A turn's events as one frame, and back.

use std::ops::Range;

use bytes::Bytes;
use millrace_core::{Event, Lsn};

use super::format::{
    Chain, FRAME_ALIGN, FRAME_HEADER_BYTES, FRAME_HEADER_LEN, FrameHeader, FrameKind,
    SegmentNumber, salted,
};
use crate::codec::{
    Decoder, Encoder, Malformed,
    event::{event_bytes_max, put_event, take_event},
};

/// At least what a record takes beside its payload, unless it creates a fork.
pub const RECORD_BYTES_MAX: u64 = 4096;

/// A turn, ready to be written.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its place in the log.
    pub lsn: Lsn,
    /// All of it, as it will lie in the segment.
    pub bytes: Bytes,
    /// Where in `bytes` the payload of each event lies; empty for an event that has none.
    pub payloads: Vec<Range<usize>>,
    /// What it follows; a frame fits one place of one segment only.
    pub(super) previous: Chain,
    /// What the next one follows.
    pub(super) chain: Chain,
}

/// Where in which log a frame goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub segment: SegmentNumber,
    pub salt: u64,
    pub lsn: Lsn,
    pub previous: Chain,
    pub after_unsynced: bool,
}

/// The frame that holds `events`.
pub(super) fn encode(place: Place, events: &[Event]) -> Frame {
    let room = usize::try_from(frame_bytes_max(events)).unwrap_or_default();
    let mut out = Encoder::with_capacity(room);
    out.raw(&[0; FRAME_HEADER_LEN]);
    let payloads = events
        .iter()
        .map(|event| put_event(event, &mut out))
        .collect();
    out.align(FRAME_ALIGN);
    let records = u32::try_from(events.len()).expect("a turn is bounded");
    let (bytes, chain) = close(place, FrameKind::Data, records, out);
    Frame {
        lsn: place.lsn,
        bytes,
        payloads,
        previous: place.previous,
        chain,
    }
}

/// A frame without records.
pub(super) fn marker(place: Place, kind: FrameKind) -> (Bytes, Chain) {
    let mut out = Encoder::with_capacity(FRAME_HEADER_LEN);
    out.raw(&[0; FRAME_HEADER_LEN]);
    close(place, kind, 0, out)
}

fn close(place: Place, kind: FrameKind, records: u32, mut out: Encoder) -> (Bytes, Chain) {
    let (head, body) = out.as_mut_slice().split_at_mut(FRAME_HEADER_LEN);
    let header = FrameHeader {
        len: u32::try_from(head.len() + body.len()).expect("appends are at most 1 GiB"),
        lsn: place.lsn,
        segment: place.segment,
        previous: place.previous,
        records,
        kind,
        after_unsynced: place.after_unsynced,
        body_crc: salted(place.salt, body),
    };
    let (header, chain) = header.encode(place.salt);
    head.copy_from_slice(&header);
    (Bytes::from(out.finish()), chain)
}

/// At least as many bytes as the frame of `events` has.
pub(super) fn frame_bytes_max(events: &[Event]) -> u64 {
    let records: u64 = events.iter().map(event_bytes_max).sum();
    FRAME_HEADER_BYTES + records + FRAME_ALIGN as u64
}

/// The events of a frame whose checksum holds. Payloads are slices of `frame`.
pub(super) fn decode(frame: &Bytes, records: u32) -> Result<Vec<Event>, Malformed> {
    let mut from = Decoder::starting_at(frame, FRAME_HEADER_LEN);
    let mut events = Vec::new();
    for _ in 0..records {
        events.push(take_event(frame, &mut from)?);
    }
    let fault = from.malformed("a frame's end");
    let rest = from.raw(from.remaining(), "a frame's end")?;
    let padded = rest.len() < FRAME_ALIGN && rest.iter().all(|byte| *byte == 0);
    padded.then_some(events).ok_or(fault)
}
