//! Content types: kept as sent, compared by their essence.
//!
//! Two content types are the same when type and subtype agree without regard to case; parameters
//! such as `charset` do not make them differ (T42).

use std::{fmt, sync::Arc};

use crate::limits::CONTENT_TYPE_BYTES_MAX;

/// How a content type's bytes are framed and delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentKind {
    /// `application/json`: messages are JSON values, pages are arrays.
    Json,
    /// `text/*`: bytes, delivered as text over SSE.
    Text,
    /// All else: bytes, delivered as base64 over SSE.
    Binary,
}

/// A content type as the client sent it, trimmed.
#[derive(Clone, Debug)]
pub struct ContentType {
    text: Arc<str>,
    /// Known from the text, and asked at every read.
    kind: ContentKind,
}

impl ContentType {
    /// What a stream has when its creator names none.
    pub const DEFAULT: &str = "application/octet-stream";

    /// Checks and keeps `text`; `None` when it is not `type/subtype` of visible ASCII with optional
    /// parameters, or too long.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() > CONTENT_TYPE_BYTES_MAX {
            return None;
        }
        let visible = |byte: u8| (0x20..0x7f).contains(&byte) || byte == b'\t';
        let is_token =
            |part: &[u8]| !part.is_empty() && part.iter().all(|b| TOKEN[usize::from(*b)]);
        let (essence, parameters) = match text.bytes().position(|byte| byte == b';') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let essence = essence.trim().as_bytes();
        let slash = essence.iter().position(|byte| *byte == b'/')?;
        let tokens = is_token(&essence[..slash]) && is_token(&essence[slash + 1..]);
        (tokens && parameters.bytes().all(visible)).then(|| Self::of(text))
    }

    /// The text as sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How its bytes are framed.
    pub fn kind(&self) -> ContentKind {
        self.kind
    }

    fn of(text: &str) -> Self {
        let essence = essence(text);
        let kind = if essence.eq_ignore_ascii_case("application/json") {
            ContentKind::Json
        } else if essence.len() >= 5 && essence.as_bytes()[..5].eq_ignore_ascii_case(b"text/") {
            ContentKind::Text
        } else {
            ContentKind::Binary
        };
        let text = text.into();
        Self { text, kind }
    }
}

impl Default for ContentType {
    fn default() -> Self {
        Self::of(Self::DEFAULT)
    }
}

impl PartialEq for ContentType {
    fn eq(&self, other: &Self) -> bool {
        // Clients mostly repeat what they created a stream with.
        self.text == other.text || essence(&self.text).eq_ignore_ascii_case(essence(&other.text))
    }
}

impl Eq for ContentType {}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn essence(text: &str) -> &str {
    text.split(';').next().unwrap_or_default().trim()
}

/// Which bytes a token may hold: RFC 9110 section 5.6.2.
const TOKEN: [bool; 256] = {
    let mut is_token = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        is_token[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < marks.len() {
        is_token[marks[at] as usize] = true;
        at += 1;
    }
    is_token
};

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> ContentType {
        ContentType::new(text).expect("a content type")
    }

    #[test]
    fn t42_parameters_and_case_do_not_make_a_difference() {
        assert_eq!(
            of("Application/JSON; charset=utf-8"),
            of("application/json")
        );
        assert_ne!(of("application/json"), of("application/ndjson"));
    }

    #[test]
    fn kinds() {
        assert_eq!(
            of("application/json;charset=utf-8").kind(),
            ContentKind::Json
        );
        assert_eq!(of("TEXT/plain").kind(), ContentKind::Text);
        assert_eq!(of("application/x-protobuf").kind(), ContentKind::Binary);
        assert_eq!(ContentType::default().kind(), ContentKind::Binary);
    }

    #[test]
    fn malformed_types_are_refused() {
        for text in [
            "",
            "json",
            "/json",
            "text/",
            "te xt/plain",
            "text/plain\u{7f}",
            "é/x",
        ] {
            assert!(ContentType::new(text).is_none(), "{text:?}");
        }
    }
}
