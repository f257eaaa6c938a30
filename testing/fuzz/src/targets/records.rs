//! The bytes of the log's records and of the catalog's rows. Any bytes are refused or have one meaning:
//! what was read is written back as exactly the bytes that it was read from, so two readers of one
//! file cannot disagree, and a count never makes room for more than the bytes that are there.

use bytes::Bytes;
use millrace_core::{Event, ProducerClaim, StreamId, stream::ProducerState};
use millrace_store::{
    Manifest,
    codec::{
        Decoder, Encoder, Malformed, Stored,
        event::{event_bytes_max, put_event, take_event},
    },
    fuzzing,
};

use crate::input::Input;

/// The first byte says what the rest is read as.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.below(6);
    let rest = input.rest();
    match kind {
        0 => event(rest),
        1 => row(rest),
        2 => extent(rest),
        3 => stored::<ProducerState>(rest),
        4 => stored::<Manifest>(rest),
        _ => stored::<ProducerClaim>(rest),
    }
}

fn event(bytes: &[u8]) {
    let frame = Bytes::copy_from_slice(bytes);
    let mut from = Decoder::new(&frame);
    let Ok(event) = take_event(&frame, &mut from) else {
        return;
    };
    let read = &frame[..from.position()];
    let mut out = Encoder::new();
    let payload = put_event(&event, &mut out);
    let written = out.finish();
    assert_eq!(written, read, "{event:?}");
    assert!(event_bytes_max(&event) >= written.len() as u64, "{event:?}");
    if let Some(content) = content(&event) {
        assert_eq!(&written[payload], content, "where its payload lies");
    }
    if let Event::Appended(appended) = &event {
        let tail = appended.from.get().checked_add(appended.payload.len());
        assert!(tail.is_some(), "what follows it has a position: {event:?}");
    }
}

fn content(event: &Event) -> Option<&Bytes> {
    event.payload().map(millrace_core::Payload::bytes)
}

fn row(bytes: &[u8]) {
    let id = StreamId::from_raw(7);
    let Ok((state, again)) = fuzzing::stream_row(bytes, id) else {
        return;
    };
    // A deadline that a head does not have is not looked at.
    let mut canonical = bytes.to_vec();
    if canonical[17] == 0 {
        canonical[18..26].fill(0);
    }
    assert_eq!(again, canonical, "{state:?}");
}

fn extent(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let key = (input.u64(), input.u64());
    let row = input.rest();
    if let Ok((extent, again)) = fuzzing::extent_row(key, row) {
        assert_eq!(again, row, "{extent:?}");
        assert!(extent.from < extent.until, "an extent is never empty");
    }
}

fn stored<T: Stored + std::fmt::Debug>(bytes: &[u8]) {
    let mut from = Decoder::new(bytes);
    let read: Result<T, Malformed> = T::take(&mut from);
    let Ok(value) = read else { return };
    let mut out = Encoder::new();
    value.put(&mut out);
    assert_eq!(out.finish(), &bytes[..from.position()], "{value:?}");
}
