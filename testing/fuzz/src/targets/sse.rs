//! Server-sent events. Whatever is in a stream, a reader that follows the HTML standard to the letter
//! gets it back: text with line breaks as LF, JSON as one array, anything else behind base64 (T52, DS
//! 209, 285), and nothing in it can end an event or begin a field. Our own client reads the same,
//! however the bytes are cut on the way.

use millrace_client::fuzzing::{self, Decoded};
use millrace_core::{ContentKind, Generation, Offset, Payload, StreamPos};
use millrace_wire::{
    Token, json,
    sse::{Control, control_event, data_event, text_event_len},
};

use crate::input::Input;

/// A byte of choices, a byte for the length of pieces, then the content of a stream.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choices = input.u8();
    let piece = usize::from(input.below(24)) + 1;
    let content = input.rest();
    match choices % 4 {
        0 => text(content, piece, choices & 4 != 0),
        1 => array(content),
        2 => binary(content, piece),
        _ => anything(content, piece),
    }
}

/// Text that comes piece by piece; `follows`: more is in the stream whenever some is sent.
fn text(content: &[u8], piece: usize, follows: bool) {
    let mut wire = Vec::new();
    let mut wanted = Vec::new();
    let mut held = Vec::new();
    for part in content.chunks(piece) {
        held.extend_from_slice(part);
        let len = text_event_len(&held, follows);
        assert!(held.len() - len <= 3, "little is held back");
        let rest = held.split_off(len);
        if !held.is_empty() {
            send(&mut wire, &mut wanted, ContentKind::Text, &held);
        }
        held = rest;
    }
    if !held.is_empty() {
        send(&mut wire, &mut wanted, ContentKind::Text, &held);
    }
    let data = received(&wire, &wanted, piece).concat();
    let whole = String::from_utf8_lossy(content);
    if follows {
        assert_eq!(data, lines(&whole), "cuts change nothing");
    }
}

fn array(content: &[u8]) {
    let Ok(payload) = json::split(content) else {
        return;
    };
    let mut wire = Vec::new();
    let mut wanted = Vec::new();
    send(&mut wire, &mut wanted, ContentKind::Json, payload.bytes());
    let data = received(&wire, &wanted, 7);
    let page = super::json::page(&payload);
    let read: Result<serde_json::Value, _> = serde_json::from_str(&data[0]);
    let stored: Result<serde_json::Value, _> = serde_json::from_slice(&page);
    assert_eq!(read.ok(), stored.ok(), "an event is a page");
}

fn binary(content: &[u8], piece: usize) {
    let mut wire = Vec::new();
    let mut wanted = Vec::new();
    for part in content.chunks(piece) {
        send(&mut wire, &mut wanted, ContentKind::Binary, part);
    }
    let data = received(&wire, &wanted, piece);
    let decoded = data.iter().map(|data| fuzzing::decoded(data.as_bytes()));
    let decoded: Option<Vec<Vec<u8>>> = decoded.collect();
    let parts: Vec<Vec<u8>> = content.chunks(piece).map(<[u8]>::to_vec).collect();
    assert_eq!(decoded, Some(parts), "each event decodes on its own");
}

/// Bytes that no server of ours sends: the client takes them, cut or whole, the same.
fn anything(wire: &[u8], piece: usize) {
    let whole = fuzzing::events([wire]);
    assert_eq!(fuzzing::events(wire.chunks(piece)), whole);
}

/// What a stream's reader is to see.
struct Wanted {
    data: String,
    next: Offset,
}

fn send(wire: &mut Vec<u8>, wanted: &mut Vec<Wanted>, kind: ContentKind, part: &[u8]) {
    let sent = wanted.len() as u64 + 1;
    let next = Offset {
        generation: Generation(sent),
        position: StreamPos(sent * 1000),
    };
    data_event(wire, kind, part, next);
    let control = Control {
        next,
        cursor: sent.is_multiple_of(2).then_some(sent),
        up_to_date: sent.is_multiple_of(3),
        closed: false,
    };
    control_event(wire, control);
    let data = match kind {
        ContentKind::Text => lines(&String::from_utf8_lossy(part)),
        ContentKind::Json => {
            let payload = Payload::single(bytes::Bytes::copy_from_slice(part));
            let page = super::json::page(&payload);
            lines(std::str::from_utf8(&page).expect("JSON is UTF-8"))
        }
        ContentKind::Binary => {
            // Checked by decoding it.
            String::new()
        }
    };
    wanted.push(Wanted { data, next });
}

/// The data of all data events, once everything else about them holds.
fn received(wire: &[u8], wanted: &[Wanted], piece: usize) -> Vec<String> {
    let events = standard::events(wire);
    assert_eq!(events.len(), wanted.len() * 2, "two events a piece");
    let mut data = Vec::new();
    let mut own = fuzzing::events(wire.chunks(piece)).into_iter();
    for (pair, wanted) in events.chunks(2).zip(wanted) {
        let token = Token::new(wanted.next);
        let [event, control] = pair else {
            unreachable!("there are two")
        };
        assert_eq!((&event.kind[..], &event.id[..]), ("data", token.as_str()));
        assert_eq!(
            (&control.kind[..], &control.id[..]),
            ("control", token.as_str())
        );
        if !wanted.data.is_empty() {
            assert_eq!(event.data, wanted.data);
        }
        assert_eq!(
            own.next(),
            Some(Decoded::Data(event.data.clone().into_bytes()))
        );
        let Some(Decoded::Control(next, ..)) = own.next() else {
            panic!("a control event follows")
        };
        assert_eq!(next, token.as_str());
        data.push(event.data.clone());
    }
    assert_eq!(own.next(), None);
    data
}

/// Every line break as LF.
fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// The HTML standard's way to read an event stream, step by step.
mod standard {
    /// A dispatched event.
    pub(super) struct Event {
        pub(super) kind: String,
        pub(super) data: String,
        /// The last event id at that time.
        pub(super) id: String,
    }

    pub(super) fn events(wire: &[u8]) -> Vec<Event> {
        let text = String::from_utf8_lossy(wire);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let mut events = Vec::new();
        let (mut kind, mut data, mut id) = (String::new(), String::new(), String::new());
        // What follows the last line end is no line.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.split('\n') {
            if line.is_empty() {
                let kind = std::mem::take(&mut kind);
                let data = std::mem::take(&mut data);
                if let Some(data) = data.strip_suffix('\n') {
                    events.push(Event {
                        kind,
                        data: data.to_owned(),
                        id: id.clone(),
                    });
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut kind),
                "data" => {
                    data.push_str(value);
                    data.push('\n');
                }
                "id" if !value.contains('\0') => value.clone_into(&mut id),
                _ => {}
            }
        }
        events
    }
}
