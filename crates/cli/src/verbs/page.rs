//! How pages are printed: for people, raw, or as JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use millrace_client::{ContentKind, Page, StreamName};
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

/// Written by hand around the messages, so that every byte of them stays.
fn object(name: &StreamName, page: &Page) -> Bytes {
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
    match page.kind {
        ContentKind::Json => {
            out.extend_from_slice(br#""messages":["#);
            for (i, message) in page.messages().iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                one_line(&mut out, message);
            }
            out.push(b']');
        }
        _ => match std::str::from_utf8(&page.body) {
            Ok(body) if page.kind == ContentKind::Text => {
                out.extend_from_slice(format!(r#""text":{}"#, text(body)).as_bytes());
            }
            _ => {
                let base64 = STANDARD.encode(&page.body);
                out.extend_from_slice(format!(r#""base64":"{base64}""#).as_bytes());
            }
        },
    }
    out.extend_from_slice(b"}\n");
    out.into()
}
