//! What a read brings.

use bytes::Bytes;
use millrace_core::ContentKind;
use millrace_wire::json;

use crate::offset::Offset;

/// A run of a stream's bytes, and where it goes on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// The offset it was asked from; of a page that was chosen by messages, that of its first byte.
    pub from: Offset,
    /// The offset after it.
    pub next: Offset,
    /// How its bytes are to be read.
    pub kind: ContentKind,
    /// The bytes; of a JSON stream one array.
    pub body: Bytes,
    /// Whether its end was the tail.
    pub up_to_date: bool,
    /// Whether its end is the end of a closed stream.
    pub closed: bool,
}

impl Page {
    /// Whether it brought nothing.
    pub fn is_empty(&self) -> bool {
        match self.kind {
            ContentKind::Json => self.body.trim_ascii() == b"[]" || self.body.is_empty(),
            _ => self.body.is_empty(),
        }
    }

    /// The messages of a page of a JSON stream, byte for byte; of any other, all of it as one.
    pub fn messages(&self) -> Vec<Bytes> {
        if self.is_empty() {
            return Vec::new();
        }
        if self.kind != ContentKind::Json {
            return vec![self.body.clone()];
        }
        let Ok(payload) = json::split(&self.body) else {
            return vec![self.body.clone()];
        };
        let mut rest = payload.bytes().clone();
        let lengths = payload.lengths();
        lengths
            .map(|len| {
                let message = rest.split_to(len as usize);
                message.slice(..message.len() - 1)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(kind: ContentKind, body: &'static str) -> Page {
        Page {
            from: Offset::start(),
            next: Offset::start(),
            kind,
            body: Bytes::from_static(body.as_bytes()),
            up_to_date: true,
            closed: false,
        }
    }

    #[test]
    fn messages_come_as_they_were_sent() {
        let messages = page(ContentKind::Json, r#"[{"a":1.0},[2],"3"]"#).messages();
        assert_eq!(messages, [r#"{"a":1.0}"#, "[2]", "\"3\""]);
        assert!(page(ContentKind::Json, "[]").messages().is_empty());
        assert_eq!(page(ContentKind::Text, "[]").messages(), ["[]"]);
    }
}
