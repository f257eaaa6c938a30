//! What reads see.

use millrace_core::{ContentKind, ContentType, Lifetime, Offset, Refusal, Timestamp};

use crate::stream::Stream;

/// What a read from an offset to the tail sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The stream's content type.
    pub content_type: ContentType,
    /// Where it was read from.
    pub from: Offset,
    /// The bytes, as they are stored.
    pub bytes: Vec<u8>,
    /// The offset after them.
    pub next: Offset,
    /// Whether that is the end for ever.
    pub closed: bool,
}

/// What HEAD tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The content type.
    pub content_type: ContentType,
    /// The first offset.
    pub start: Offset,
    /// The offset after the last byte.
    pub tail: Offset,
    /// Whether it takes no more appends.
    pub closed: bool,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// When it expires unless it is used.
    pub expires_at: Option<Timestamp>,
}

impl Content {
    /// The body of a response that carries all of it: for JSON an array of the messages.
    pub fn page(&self) -> Vec<u8> {
        if self.content_type.kind() != ContentKind::Json {
            return self.bytes.clone();
        }
        let inside = self
            .bytes
            .split_last()
            .map_or(&[][..], |(_comma, inside)| inside);
        [b"[", inside, b"]"].concat()
    }
}

impl Stream {
    pub(crate) fn head(&self) -> Head {
        Head {
            content_type: self.content_type.clone(),
            start: self.start(),
            tail: self.tail(),
            closed: self.is_closed(),
            lifetime: self.lifetime,
            expires_at: self.deadline.map(Timestamp),
        }
    }

    pub(crate) fn content_from(&self, from: Offset) -> Result<Content, Refusal> {
        if !self.owns(from) || from.position.get() < self.trimmed {
            return Err(Refusal::OffsetGone {
                earliest: self.start(),
            });
        }
        if !self.can_be_read_from(from) {
            return Err(Refusal::OffsetNotABoundary);
        }
        let skip = usize::try_from(from.position.get()).expect("in memory");
        Ok(Content {
            content_type: self.content_type.clone(),
            from,
            bytes: self.bytes().split_off(skip),
            next: self.tail(),
            closed: self.is_closed(),
        })
    }

    /// JSON can be read from message boundaries alone.
    pub(crate) fn can_be_read_from(&self, offset: Offset) -> bool {
        let position = offset.position.get();
        let is_boundary = position == 0 || self.ends().contains(&position);
        is_boundary || self.content_type.kind() != ContentKind::Json
    }
}
