//! How pages are printed: for people, raw, or as JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use millrace_client::{ContentKind, Data, Message, Page, StreamName};
use millrace_wire::outcome::rfc3339;
use serde_json::Value;

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// JSON: one message a line. Anything else: the bytes.
    Plain,
    /// The bytes as they came.
    Raw,
    /// One JSON object a page.
    Json,
}

impl Style {
    pub(crate) fn new(raw: bool, json: bool) -> Self {
        match (raw, json) {
            (_, true) => Self::Json,
            (true, false) => Self::Raw,
            (false, false) => Self::Plain,
        }
    }

    /// What to print.
    pub(crate) fn print(self, name: &StreamName, page: &Page) -> Bytes {
        match self {
            Self::Raw if page.is_empty() => Bytes::new(),
            Self::Raw if page.kind == ContentKind::Json => {
                let mut body = page.body.to_vec();
                body.push(b'\n');
                body.into()
            }
            Self::Plain if page.kind == ContentKind::Json => lines(page),
            Self::Raw | Self::Plain => page.body.clone(),
            Self::Json => object(name, page),
        }
    }
}

/// A message a line. Line breaks inside a message are whitespace between its tokens.
fn lines(page: &Page) -> Bytes {
    let mut out = Vec::with_capacity(page.body.len() + 1);
    for message in page.messages() {
        one_line(&mut out, &message);
        out.push(b'\n');
    }
    out.into()
}

fn one_line(out: &mut Vec<u8>, message: &[u8]) {
    out.extend(message.iter().map(|byte| match byte {
        b'\n' | b'\r' => b' ',
        other => *other,
    }));
}

/// What an event of one of many streams is printed as: each message, or line of text, behind the
/// stream's name; bytes in base64.
pub(crate) fn prefixed(name: &StreamName, page: &Page) -> Bytes {
    let mut out = Vec::with_capacity(page.body.len() + 64);
    let mut line = |text: &[u8]| {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        one_line(&mut out, text);
        out.push(b'\n');
    };
    match page.kind {
        _ if page.is_empty() => {}
        ContentKind::Json => page.messages().iter().for_each(|message| line(message)),
        ContentKind::Text => {
            let text = page.body.strip_suffix(b"\n").unwrap_or(&page.body);
            let lines = text.split(|byte| *byte == b'\n');
            lines.for_each(|text| line(text.strip_suffix(b"\r").unwrap_or(text)));
        }
        ContentKind::Binary => line(STANDARD.encode(&page.body).as_bytes()),
    }
    out.into()
}

/// The same as an object, which has no content when nothing was appended.
pub(crate) fn event(name: &StreamName, page: &Page) -> Bytes {
    let mut out = head(name, page);
    if page.is_empty() {
        out.pop();
    } else {
        content(&mut out, page);
    }
    out.extend_from_slice(b"}\n");
    out.into()
}

/// A line as `format=messages` has it, byte for byte.
pub(crate) fn message(out: &mut Vec<u8>, message: &Message) {
    let text = |text: &str| Value::from(text).to_string();
    let (offset, time) = (message.offset.as_str(), rfc3339(message.time));
    let head = format!("{{\"offset\":{},\"time\":{},", text(offset), text(&time));
    out.extend_from_slice(head.as_bytes());
    match &message.data {
        Data::Json(json) => {
            out.extend_from_slice(b"\"data\":");
            out.extend_from_slice(json);
        }
        Data::Bytes(bytes) => {
            let base64 = STANDARD.encode(bytes);
            let data = format!("\"encoding\":\"base64\",\"data\":\"{base64}\"");
            out.extend_from_slice(data.as_bytes());
        }
    }
    out.extend_from_slice(b"}\n");
}

fn object(name: &StreamName, page: &Page) -> Bytes {
    let mut out = head(name, page);
    content(&mut out, page);
    out.extend_from_slice(b"}\n");
    out.into()
}

/// Written by hand around the messages, so that every byte of them stays. Ends with a comma.
fn head(name: &StreamName, page: &Page) -> Vec<u8> {
    let mut out = Vec::with_capacity(page.body.len() + 200);
    let text = |text: &str| Value::from(text).to_string();
    let head = format!(
        r#"{{"stream":{},"offset":{},"next_offset":{},"up_to_date":{},"closed":{},"#,
        text(name.as_str()),
        text(page.from.as_str()),
        text(page.next.as_str()),
        page.up_to_date,
        page.closed
    );
    out.extend_from_slice(head.as_bytes());
    out
}

fn content(out: &mut Vec<u8>, page: &Page) {
    match page.kind {
        ContentKind::Json => {
            out.extend_from_slice(br#""messages":["#);
            for (i, message) in page.messages().iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                one_line(out, message);
            }
            out.push(b']');
        }
        _ => match std::str::from_utf8(&page.body) {
            Ok(body) if page.kind == ContentKind::Text => {
                let body = Value::from(body);
                out.extend_from_slice(format!(r#""text":{body}"#).as_bytes());
            }
            _ => {
                let base64 = STANDARD.encode(&page.body);
                out.extend_from_slice(format!(r#""base64":"{base64}""#).as_bytes());
            }
        },
    }
}
