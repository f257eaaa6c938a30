//! The decoder of events, for the fuzz targets in `testing/fuzz`; not a part of the API.

use crate::events::{Decoder, Event, Raw, base64};

/// An event as the client understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The data of a data event, still in base64 where it is.
    Data(Vec<u8>),
    /// A control event: the next offset, the cursor, whether it is up to date, whether closed.
    Control(String, Option<String>, bool, bool),
    /// A control event that cannot be read.
    Malformed,
}

/// The events in `pieces`, which come one after the other.
pub fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Decoded> {
    let mut decoder = Decoder::default();
    let events = pieces.into_iter().flat_map(|piece| decoder.push(piece));
    let events = events.filter_map(Raw::of_stream);
    let decoded = events.map(|event| match event {
        Event::Data(data) => Decoded::Data(data),
        Event::Control(control) => Decoded::Control(
            control.stream_next_offset,
            control.stream_cursor,
            control.up_to_date,
            control.stream_closed,
        ),
        Event::Malformed => Decoded::Malformed,
    });
    decoded.collect()
}

/// The bytes behind the data of an event in base64.
pub fn decoded(data: &[u8]) -> Option<Vec<u8>> {
    base64(data)
}
