//! What a client asks of one stream, already parsed and checked for syntax.

use std::{borrow::Borrow, fmt, sync::Arc};

use crate::{
    StreamId,
    content_type::ContentType,
    ids::{StreamPos, Timestamp},
    name::StreamName,
    offset::Offset,
    payload::Payload,
    settings::NewSettings,
    stream::{Ancestor, Generations},
};

/// PUT: create a stream, or find it as it was asked for.
#[derive(Clone, Debug)]
pub struct Create {
    /// The stream's name.
    pub name: StreamName,
    /// What was asked for; kept, so that the same request finds its stream again.
    pub spec: CreateSpec,
    /// The first content.
    pub body: Body,
    /// The documents it begins with.
    pub settings: NewSettings,
    /// Where a fork's bytes come from, once its source's shard holds a reference to the new stream.
    /// `None` for a plain stream.
    pub source: Option<ForkSource>,
}

/// The normalised request of a creation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateSpec {
    /// The content type, where one was sent.
    pub content_type: Option<ContentType>,
    /// How long the stream lives.
    pub lifetime: Lifetime,
    /// Whether it is created closed.
    pub closed: bool,
    /// What it is a fork of.
    pub fork: Option<ForkRequest>,
}

/// How long a stream lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is deleted.
    #[default]
    Unlimited,
    /// Until it has been idle for this many seconds.
    Ttl(u64),
    /// Until this moment.
    Until(Timestamp),
}

/// The fork headers of a PUT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkRequest {
    /// The source's name.
    pub source: StreamName,
    /// `Stream-Fork-Offset`.
    pub anchor: ForkAnchor,
    /// `Stream-Fork-Sub-Offset`; 0 when absent.
    pub sub_offset: u64,
}

/// Where a fork branches, as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForkAnchor {
    /// The source's tail when the request is judged (no header, or `now`).
    Tail,
    /// The source's start (`-1` and the all-zero token).
    Start,
    /// At a token.
    At(Offset),
}

/// A fork's source, resolved: immutable facts, because bytes below a tail never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkSource {
    /// The source stream.
    pub stream: StreamId,
    /// The resolved anchor, before the sub-offset.
    pub anchor: StreamPos,
    /// The first position that is the fork's own.
    pub at: StreamPos,
    /// The source's content type.
    pub content_type: ContentType,
    /// The source's lifetime, inherited where the request names none.
    pub lifetime: Lifetime,
    /// The first position of the source that can be read, and so of the fork.
    pub trimmed: StreamPos,
    /// The source's generations.
    pub generations: Generations,
    /// The streams that hold the bytes below `at`, in order; the source is the last.
    pub lineage: Arc<[Ancestor]>,
}

/// POST: append, close, or both.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// The body, already framed for `content_type`.
    pub body: Body,
    /// The request's content type; always there when the body is not empty.
    pub content_type: Option<ContentType>,
    /// `Stream-Seq`.
    pub seq: Option<Arc<str>>,
    /// The producer headers.
    pub producer: Option<ProducerClaim>,
    /// `Stream-Expected-Offset`: where the stream must end.
    pub expected: Option<ExpectedTail>,
    /// `Stream-Closed: true`.
    pub close: bool,
    /// The content revision of the settings that the body was judged under.
    pub judged_under: u64,
}

/// Where a stream must end for an append to be carried out: optimistic concurrency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedTail {
    /// At position 0: nothing was ever appended (the all-zero literal).
    Start,
    /// At this offset. One of another incarnation is never the tail.
    At(Offset),
}

/// A request's body. JSON is judged before the shard, but closure wins over its 400, so the
/// verdict travels with the command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// No bytes.
    #[default]
    Empty,
    /// Bytes framed for the request's content type; never empty.
    Framed(Payload),
    /// Bytes that are no valid content of the request's type.
    Invalid(BodyFault),
}

/// Why a body is no valid content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// Not JSON; the byte at which that shows.
    #[error("the body is not valid JSON (at byte {0})")]
    Syntax(u64),
    /// Nested deeper than [`crate::limits::JSON_DEPTH_MAX`].
    #[error("the body's JSON is nested too deeply")]
    Depth,
    /// Not UTF-8, or a lone surrogate escape.
    #[error("the body's JSON is not valid Unicode (at byte {0})")]
    Unicode(u64),
    /// An empty array appended: nothing to append.
    #[error("an empty JSON array appends nothing")]
    EmptyArray,
}

/// The three producer headers of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerClaim {
    /// `Producer-Id`.
    pub id: ProducerId,
    /// `Producer-Epoch`.
    pub epoch: u64,
    /// `Producer-Seq`.
    pub seq: u64,
}

/// A producer's name: 1 to [`crate::limits::PRODUCER_ID_BYTES_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(Arc<str>);

impl ProducerId {
    /// Checks the length.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=crate::limits::PRODUCER_ID_BYTES_MAX).contains(&text.len());
        fits.then(|| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ProducerId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Append {
    /// Whether this asks for nothing but closure.
    pub fn is_close_only(&self) -> bool {
        self.close && matches!(self.body, Body::Empty)
    }
}
