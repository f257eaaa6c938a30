//! How bytes of a stream look in bodies: positions count *wire bytes*, which for JSON are the messages
//! with one comma after each.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use memchr::memmem;
use serde_json::value::RawValue;

/// How a stream's bytes are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Text,
    Binary,
}

impl Kind {
    /// That of a content type.
    pub(crate) fn of(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let essence = essence.to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Self::Json,
            _ if essence.starts_with("text/") => Self::Text,
            _ => Self::Binary,
        }
    }

    /// The wire bytes of a body that a client sends; `None` when it is none that is accepted.
    pub(crate) fn sent(self, body: &[u8]) -> Option<Vec<u8>> {
        if self != Self::Json || body.is_empty() {
            return Some(body.to_vec());
        }
        let list: Result<Vec<&RawValue>, _> = serde_json::from_slice(body);
        let messages = match list {
            Ok(messages) => messages,
            Err(_) => vec![serde_json::from_slice(body).ok()?],
        };
        let each = messages.iter().map(|message| message.get().trim_ascii());
        Some(each.flat_map(|text| text.bytes().chain([b','])).collect())
    }

    /// The wire bytes of a page that the server sends; `None` when a page of JSON is no array.
    pub(crate) fn page(self, body: &[u8]) -> Option<Vec<u8>> {
        if self != Self::Json {
            return Some(body.to_vec());
        }
        let inside = body.strip_prefix(b"[")?.strip_suffix(b"]")?;
        if inside.trim_ascii().is_empty() {
            return Some(Vec::new());
        }
        Some([inside, b","].concat())
    }
}

/// What an event carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// These wire bytes.
    Exactly(Vec<u8>),
    /// So many wire bytes at least and at most: line breaks and broken text do not survive events.
    About(u64, u64),
}

impl Carried {
    /// Reads the data of an event, whose encoding is base64 or not.
    pub(crate) fn of(kind: Option<Kind>, base64: bool, data: &str) -> Option<Self> {
        if base64 {
            let text: String = data.split_ascii_whitespace().collect();
            return STANDARD.decode(text).ok().map(Self::Exactly);
        }
        let Some(kind) = kind else {
            let (least, most) = bounds(data);
            // As JSON, it is a byte less: two brackets go, one comma comes.
            return Some(Self::About(least.saturating_sub(1), most));
        };
        let wire = kind.page(data.as_bytes())?;
        let is_exact = memchr::memchr(b'\n', data.as_bytes()).is_none()
            && memmem::find(data.as_bytes(), "\u{fffd}".as_bytes()).is_none();
        if is_exact {
            return Some(Self::Exactly(wire));
        }
        let (least, most) = bounds(data);
        let less = data.len() as u64 - wire.len() as u64;
        Some(Self::About(least - less.min(least), most - less))
    }
}

/// How many bytes a text may stand for: a line break is one or two, and U+FFFD is one to three.
fn bounds(data: &str) -> (u64, u64) {
    let len = data.len() as u64;
    let breaks = data.matches('\n').count() as u64;
    let replaced = data.matches('\u{fffd}').count() as u64;
    (len - 2 * replaced, len + breaks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_and_pages_of_json_are_messages_with_a_comma_each() {
        let wire = |body: &str| Kind::Json.sent(body.as_bytes());
        for (body, want) in [
            (" {\"a\": 1} ", "{\"a\": 1},"),
            ("[1 , [2],\n\"x\"]", "1,[2],\"x\","),
            ("[]", ""),
            ("7", "7,"),
        ] {
            assert_eq!(wire(body), Some(want.as_bytes().to_vec()), "{body}");
        }
        assert_eq!(wire("{"), None);
        assert_eq!(Kind::Json.page(b"[1,[2]]"), Some(b"1,[2],".to_vec()));
        assert_eq!(Kind::Json.page(b"[]"), Some(Vec::new()));
        assert_eq!(Kind::Json.page(b""), None);
        assert_eq!(Kind::Text.page(b"[1]"), Some(b"[1]".to_vec()));
    }

    #[test]
    fn events_carry_exact_bytes_unless_they_cannot() {
        let exact = |bytes: &[u8]| Some(Carried::Exactly(bytes.to_vec()));
        assert_eq!(Carried::of(Some(Kind::Text), false, "abc"), exact(b"abc"));
        assert_eq!(
            Carried::of(Some(Kind::Json), false, "[1,2]"),
            exact(b"1,2,")
        );
        assert_eq!(Carried::of(None, true, "AAEC"), exact(&[0, 1, 2]));
        let about = |least, most| Some(Carried::About(least, most));
        assert_eq!(Carried::of(Some(Kind::Text), false, "a\nb"), about(3, 4));
        assert_eq!(
            Carried::of(Some(Kind::Text), false, "\u{fffd}"),
            about(1, 3)
        );
        assert_eq!(Carried::of(Some(Kind::Json), false, "[1\n]"), about(3, 4));
        assert_eq!(Carried::of(None, false, "[1]"), about(2, 3));
    }
}
