//! Server-sent events (PROTOCOL 5.8): what is written for bytes, for control, and to keep alive.
//!
//! Lines end in LF. A data event holds a run of wire bytes: JSON as one array, text as text,
//! anything else as base64 that decodes on its own (T52). Each is followed by its control event.
//! Both end with `id:`, the offset after the event, so that a bare EventSource resumes; `id:` comes
//! last, so that no client takes it for a part of an event that was cut off.
//!
//! CR, LF and CRLF in text become line breaks of the event, which clients give back as LF; a payload
//! can never add a field of its own. No space stands between `data:` and the value, except before a
//! value that begins with one, because clients take one space off (DS 209, 285).
//!
//! Text that is not UTF-8 is sent with U+FFFD in its place, exactly where a browser's decoder would
//! put it: refusing it would stall the stream for ever, and a clean read of the bytes is a GET
//! without SSE.
//!
//! Not here: when to send what (`millrace-server`); the encoders are pure and append to a buffer.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use millrace_core::{ContentKind, Offset};

use crate::offset::Token;

/// Keeps a connection alive between events; clients ignore it.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// What a control event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// The offset to go on from.
    pub next: Offset,
    /// The cursor; left out once the stream is closed.
    pub cursor: Option<u64>,
    /// Whether everything there is has been sent.
    pub up_to_date: bool,
    /// Whether nothing more will come.
    pub closed: bool,
}

/// Appends the data event of `wire`, which ends at `next`. For JSON the range consists of whole
/// messages; for text it ends on a code point (see [`text_event_len`]).
pub fn data_event(out: &mut Vec<u8>, kind: ContentKind, wire: &[u8], next: Offset) {
    out.reserve(wire.len() + wire.len() / 2 + 80);
    out.extend_from_slice(b"event: data\n");
    match kind {
        ContentKind::Json => json_lines(out, wire),
        ContentKind::Text => text_lines(out, wire),
        ContentKind::Binary => base64_line(out, wire),
    }
    end_event(out, next);
}

/// Appends a control event.
pub fn control_event(out: &mut Vec<u8>, control: Control) {
    let Control { next, closed, .. } = control;
    out.extend_from_slice(b"event: control\ndata:{\"streamNextOffset\":\"");
    out.extend_from_slice(Token::new(next).as_str().as_bytes());
    out.push(b'"');
    if let (Some(cursor), false) = (control.cursor, closed) {
        out.extend_from_slice(b",\"streamCursor\":\"");
        out.extend_from_slice(cursor.to_string().as_bytes());
        out.push(b'"');
    }
    if control.up_to_date || closed {
        out.extend_from_slice(b",\"upToDate\":true");
    }
    if closed {
        out.extend_from_slice(b",\"streamClosed\":true");
    }
    out.extend_from_slice(b"}\n");
    end_event(out, next);
}

fn end_event(out: &mut Vec<u8>, next: Offset) {
    out.extend_from_slice(b"id:");
    out.extend_from_slice(Token::new(next).as_str().as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// An array of the messages. Line breaks in accepted JSON are whitespace between tokens, so they
/// may become line breaks of the event.
fn json_lines(out: &mut Vec<u8>, wire: &[u8]) {
    let messages = wire.strip_suffix(b",").unwrap_or(wire);
    out.extend_from_slice(b"data:[");
    push_lines(out, messages);
    out.extend_from_slice(b"]\n");
}

fn text_lines(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(b"data:");
    let text = String::from_utf8_lossy(text);
    if text.starts_with(' ') {
        out.push(b' ');
    }
    push_lines(out, text.as_bytes());
    out.push(b'\n');
}

/// Appends `text`, with each line break in it made a new `data:` line.
fn push_lines(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(end) = text.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        out.extend_from_slice(&text[..end]);
        out.extend_from_slice(b"\ndata:");
        let is_pair = text[end..].starts_with(b"\r\n");
        text = &text[end + 1 + usize::from(is_pair)..];
        if text.starts_with(b" ") {
            out.push(b' ');
        }
    }
    out.extend_from_slice(text);
}

fn base64_line(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"data:");
    let from = out.len();
    out.resize(from + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD
        .encode_slice(bytes, &mut out[from..])
        .expect("four characters for three bytes");
    out.truncate(from + written);
    out.push(b'\n');
}

/// How many bytes of `text` an event takes; the rest, at most 3 bytes, waits for what follows it.
///
/// Held back is the beginning of a code point that is not whole yet, and, when `more_follows` in
/// the stream, a CR, which may be half of a CRLF. A CR at the tail is not held back: terminal
/// output ends in one. When the stream is closed, nothing follows any more: send all of it.
pub fn text_event_len(text: &[u8], more_follows: bool) -> usize {
    match text {
        [.., b'\r'] if more_follows => text.len() - 1,
        _ => text.len() - incomplete_len(text),
    }
}

/// The length of the code point's beginning that `text` ends with, if it ends with one.
fn incomplete_len(text: &[u8]) -> usize {
    let from = text.len().saturating_sub(3);
    (from..text.len())
        .find_map(|start| match std::str::from_utf8(&text[start..]) {
            // No length: the input ended before the code point did.
            Err(fault) if fault.valid_up_to() == 0 && fault.error_len().is_none() => {
                Some(text.len() - start)
            }
            _ => None,
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
