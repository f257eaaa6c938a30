//! A page as lines, one for each message (`format=messages`): newline-delimited JSON with the offset
//! after the message, the time when it was appended, and the message.
//!
//! A message of a JSON stream stands there as it was sent; of a text stream, as a JSON string, with what
//! is no UTF-8 replaced; of any other, in base64, which the line says.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use millrace_core::{ContentKind, Offset, Timestamp};

use crate::{offset::Token, outcome::rfc3339};

/// The content type of such a page.
pub const CONTENT_TYPE: &str = "application/x-ndjson";

/// The most bytes of a line beside its message.
const FRAME_BYTES: usize = 128;

/// Writes lines.
#[derive(Debug)]
pub struct Lines {
    kind: ContentKind,
    text: Vec<u8>,
}

impl Lines {
    /// A page of a stream of this kind, with room for that many messages of that many bytes together.
    pub fn with_capacity(kind: ContentKind, messages: usize, bytes: usize) -> Self {
        let bytes = match kind {
            ContentKind::Binary => bytes / 3 * 4,
            ContentKind::Json | ContentKind::Text => bytes,
        };
        Self {
            kind,
            text: Vec::with_capacity(messages * FRAME_BYTES + bytes),
        }
    }

    /// Adds a message: its wire bytes, the offset after it, and when it was appended.
    ///
    /// # Panics
    /// When a JSON message's wire bytes do not end in its comma.
    pub fn push(&mut self, wire: &[u8], next: Offset, at: Timestamp) {
        let text = &mut self.text;
        text.extend_from_slice(b"{\"offset\":\"");
        text.extend_from_slice(Token::new(next).as_bytes());
        text.extend_from_slice(b"\",\"time\":\"");
        text.extend_from_slice(rfc3339(at).as_bytes());
        text.extend_from_slice(b"\",");
        match self.kind {
            ContentKind::Json => {
                let value = wire.strip_suffix(b",").expect("a message and its comma");
                text.extend_from_slice(b"\"data\":");
                one_line(value, text);
            }
            ContentKind::Text => {
                text.extend_from_slice(b"\"data\":");
                let string = String::from_utf8_lossy(wire);
                serde_json::to_writer(&mut *text, &string).expect("memory takes all bytes");
            }
            ContentKind::Binary => {
                text.extend_from_slice(b"\"encoding\":\"base64\",\"data\":\"");
                text.extend_from_slice(STANDARD.encode(wire).as_bytes());
                text.push(b'"');
            }
        }
        text.extend_from_slice(b"}\n");
    }

    /// The page.
    pub fn finish(self) -> Bytes {
        self.text.into()
    }
}

/// A JSON value on one line: line breaks can stand only between its parts, where a space says the same.
pub(crate) fn one_line(value: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(value);
    for byte in &mut out[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_core::{Generation, StreamPos};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn line(kind: ContentKind, wire: &[u8]) -> String {
        let next = Offset {
            generation: Generation(7),
            position: StreamPos(42),
        };
        let mut lines = Lines::with_capacity(kind, 1, wire.len());
        lines.push(wire, next, Timestamp(1_700_000_000_123));
        String::from_utf8(lines.finish().to_vec()).expect("text")
    }

    #[test]
    fn a_line_is_offset_time_and_message() {
        let said =
            r#"{"offset":"0000000000007-0000000000000042","time":"2023-11-14T22:13:20.123Z","#;
        for (kind, wire, rest) in [
            (
                ContentKind::Json,
                &b"{\"a\": 1e400},"[..],
                r#""data":{"a": 1e400}}"#,
            ),
            (ContentKind::Json, b"[1,\n\r 2],", r#""data":[1,   2]}"#),
            (ContentKind::Text, b"a\n\"b\"", r#""data":"a\n\"b\""}"#),
            (ContentKind::Text, b"\xff", "\"data\":\"\u{fffd}\"}"),
            (
                ContentKind::Binary,
                b"\0\xff",
                r#""encoding":"base64","data":"AP8="}"#,
            ),
        ] {
            assert_eq!(line(kind, wire), format!("{said}{rest}\n"));
        }
    }

    proptest! {
        #[test]
        fn every_message_is_one_line_that_reads_back(text in "\\PC{0,20}[\n\r\u{2028}\0]{0,3}\\PC{0,5}") {
            let json = serde_json::to_vec_pretty(&json!({"text": text, "list": [text, 1]})).unwrap();
            let wire = [&json[..], b","].concat();
            for (kind, wire, want) in [
                (ContentKind::Json, wire, serde_json::from_slice(&json).unwrap()),
                (ContentKind::Text, text.clone().into_bytes(), json!(text)),
            ] {
                let line = line(kind, &wire);
                prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
                let read: Value = serde_json::from_str(&line).unwrap();
                prop_assert_eq!(&read["data"], &want);
            }
        }
    }
}
