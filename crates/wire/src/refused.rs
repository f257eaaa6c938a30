//! What is wrong with a request, found before any stream is looked at.
//!
//! Each message says which part, what is wrong with it, and what is accepted; it becomes the
//! `detail` of the answer (see [`crate::problem`]). Nothing that is refused here has any effect.

use millrace_core::{
    NameFault,
    limits::{PRODUCER_ID_BYTES_MAX, PRODUCER_NUMBER_MAX, STREAM_SEQ_BYTES_MAX, TTL_SECONDS_MAX},
};

use crate::{batch::LINES_MAX, query::LIST_LIMIT_MAX, settings::ATTRIBUTES_BYTES_MAX};

/// A request that breaks the rules of its form: always 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// The path names no possible stream.
    #[error(transparent)]
    Name(#[from] NameFault),
    /// A header that has one value came more than once.
    #[error("the header `{0}` was sent more than once; send it once")]
    RepeatedHeader(&'static str),
    /// A header's bytes are no text.
    #[error("the header `{0}` is not text; send UTF-8")]
    HeaderText(&'static str),
    /// A body without a content type.
    #[error("a body needs the header `Content-Type`, equal to the stream's")]
    ContentTypeMissing,
    /// Not a media type.
    #[error(
        "the header `Content-Type` is no media type; send `type/subtype`, as in `application/json`"
    )]
    ContentType,
    /// Not a number of seconds.
    #[error(
        "the header `Stream-TTL` is no whole number of seconds; send digits without sign, point or leading zeros, as in `3600`"
    )]
    Ttl,
    /// More seconds than can be kept.
    #[error(
        "the header `Stream-TTL` is over {TTL_SECONDS_MAX} seconds; leave it out for a stream that does not expire"
    )]
    TtlTooLong,
    /// Not a time.
    #[error(
        "the header `Stream-Expires-At` is no RFC 3339 time; send one with its offset, as in `2030-01-31T12:00:00Z`"
    )]
    ExpiresAt,
    /// Two lifetimes.
    #[error("the headers `Stream-TTL` and `Stream-Expires-At` exclude each other; send one")]
    TtlAndExpiresAt,
    /// A fork header without the one that makes a fork.
    #[error("the header `{0}` needs `Stream-Forked-From`, which names the source's path")]
    ForkWithoutSource(&'static str),
    /// The source's path is no path of a stream.
    #[error(
        "the header `Stream-Forked-From` is no path of a stream here; send the source's path, as in `/v1/stream/name`"
    )]
    ForkSourcePath,
    /// The source's path names no possible stream.
    #[error("the header `Stream-Forked-From` names no possible stream: {0}")]
    ForkSource(NameFault),
    /// The fork's offset is malformed.
    #[error(
        "the header `Stream-Fork-Offset` is no offset; send one that this server returned, `-1` or `now`"
    )]
    ForkOffset,
    /// The fork's sub-offset is malformed.
    #[error(
        "the header `Stream-Fork-Sub-Offset` is no count; send digits without sign or leading zeros, as in `3`"
    )]
    ForkSubOffset,
    /// A sub-offset past the tail.
    #[error(
        "the header `Stream-Fork-Sub-Offset` counts from `Stream-Fork-Offset`; send that too, because nothing follows the tail"
    )]
    SubOffsetWithoutOffset,
    /// Some producer headers, but not all.
    #[error(
        "the header `{0}` is missing: `Producer-Id`, `Producer-Epoch` and `Producer-Seq` go together"
    )]
    ProducerIncomplete(&'static str),
    /// The producer's id is empty or too long.
    #[error("the header `Producer-Id` must have 1 to {PRODUCER_ID_BYTES_MAX} bytes")]
    ProducerId,
    /// A producer number is none.
    #[error(
        "the header `{0}` is no whole number up to {PRODUCER_NUMBER_MAX}; send digits without sign or leading zeros"
    )]
    ProducerNumber(&'static str),
    /// The writer's sequence is empty or too long.
    #[error("the header `Stream-Seq` must have 1 to {STREAM_SEQ_BYTES_MAX} bytes")]
    StreamSeq,
    /// The expected offset is no tail.
    #[error(
        "the header `Stream-Expected-Offset` is no tail; send the `Stream-Next-Offset` of the last answer, or `0000000000000000_0000000000000000` for a stream that is still empty"
    )]
    ExpectedOffset,
    /// A stream to follow, without its offset.
    #[error(
        "the query parameter `follow` must be a name and an offset, as in `follow=chat/7,-1`; a comma before the offset"
    )]
    Follow,
    /// Nothing to follow.
    #[error(
        "name at least one stream to follow: `follow=<name>,<offset>`, or in a POST `{{\"follow\": [{{\"stream\", \"offset\"}}]}}`"
    )]
    FollowNothing,
    /// More streams than one connection follows.
    #[error("a connection follows at most {0} streams this way; use {1}")]
    FollowTooMany(usize, &'static str),
    /// A stream to follow twice.
    #[error("the stream `{0}` is followed already; name it once")]
    FollowTwice(String),
    /// The body of a POST is no list of streams.
    #[error("the body is no list of streams to follow: {0}")]
    FollowBody(String),
    /// The event id is of another request.
    #[error(
        "the header `Last-Event-ID` is of other streams; send the `id` of an event of the same request"
    )]
    FollowEventId,
    /// A trim without its offset.
    #[error(
        "the body must be `{{\"offset\": \"…\"}}`, with an offset that this server returned, or `now` for all there is"
    )]
    Trim,
    /// A batch is lines.
    #[error("a batch needs the header `Content-Type: application/x-ndjson`")]
    LinesType,
    /// More lines than are taken at once.
    #[error("a batch has at most {LINES_MAX} lines; send the rest in another")]
    TooManyLines,
    /// A line is no append.
    #[error("the line is no append: {0}")]
    Line(String),
    /// A request about a subscription is none.
    #[error("{0}")]
    Subscription(String),
    /// Not yes or no.
    #[error("the query parameter `{0}` must be `true` or `1`, or `false` or `0`")]
    Flag(&'static str),
    /// Not an age.
    #[error(
        "the header `Stream-Retention-Max-Age` must be a length of time above zero, as in `90s`, `12h` or `7d` (bare digits are seconds), or `none`"
    )]
    RetentionAge,
    /// Not a number of bytes or messages.
    #[error("the header `{0}` must be a whole number from 1, or `none`")]
    RetentionCount(&'static str),
    /// Not an object.
    #[error(
        "the header `Stream-Attributes` must be a JSON object, as in `{{\"team\":\"blue\"}}`, or `null`"
    )]
    Attributes,
    /// An object that is too long.
    #[error("the header `Stream-Attributes` has over {ATTRIBUTES_BYTES_MAX} bytes")]
    AttributesTooLarge,
    /// A PATCH of nothing.
    #[error(
        "a PATCH needs something to change: `Stream-Attributes`, `Stream-Retention-Max-Age`, `Stream-Retention-Max-Bytes`, `Stream-Retention-Max-Messages` or `Stream-Compact-After-Bytes`"
    )]
    NothingToChange,
    /// An append of nothing.
    #[error(
        "the body is empty; send the bytes to append, or `Stream-Closed: true` to close the stream"
    )]
    EmptyBody,
    /// A query parameter that has one value came more than once.
    #[error("the query parameter `{0}` was sent more than once; send it once")]
    RepeatedParameter(&'static str),
    /// A query parameter's escapes are broken.
    #[error(
        "the query parameter `{0}` is not percent-encoded UTF-8; encode it as `encodeURIComponent` does"
    )]
    ParameterEncoding(&'static str),
    /// The offset is malformed.
    #[error(
        "the query parameter `offset` is no offset; send one that this server returned, `-1` for the start or `now` for the tail"
    )]
    Offset,
    /// The event id is malformed.
    #[error("the header `Last-Event-ID` is no offset; send the `id` of an event of this stream")]
    LastEventId,
    /// The offset to read up to is malformed.
    #[error(
        "the query parameter `before` is no offset; send one that this server returned, or `now` for the tail"
    )]
    Before,
    /// Reading backwards, live.
    #[error("`before` reads what is there already; leave out `live`")]
    BeforeLive,
    /// Several places to read at.
    #[error(
        "the query parameters `offset`, `last`, `since` and `before` exclude each other; send one"
    )]
    TwoPlaces,
    /// Not a number of messages.
    #[error("the query parameter `{0}` must be a whole number of messages, from 1")]
    Count(&'static str),
    /// Not a moment.
    #[error(
        "the query parameter `since` is no moment; send an RFC 3339 time, as in `2030-01-31T12:00:00Z` (a `+` is written `%2B`), or milliseconds since 1970"
    )]
    Since,
    /// An unknown form.
    #[error(
        "the query parameter `format` must be `messages`; leave it out for the content as it is"
    )]
    Format,
    /// What only pages have.
    #[error("`limit` and `format=messages` are for pages; leave them out with `live=sse`")]
    PagesOnly,
    /// A live read from nowhere.
    #[error("a live read needs `offset`; send one that this server returned, `-1` or `now`")]
    OffsetRequired,
    /// An unknown way to read.
    #[error(
        "the query parameter `live` must be `long-poll`, `true` or `1`; `sse`; or `false` or `0`"
    )]
    Live,
    /// Not a length of time.
    #[error(
        "the query parameter `{0}` is no length of time; send digits with `ms`, `s`, `m`, `h` or `d`, as in `20s` (bare digits are seconds; in `timeout_ms`, milliseconds)"
    )]
    Timeout(&'static str),
    /// Two lengths of time.
    #[error("the query parameters `timeout` and `timeout_ms` exclude each other; send one")]
    TimeoutTwice,
    /// Not a number of names.
    #[error("the query parameter `limit` must be a whole number from 1 to {LIST_LIMIT_MAX}")]
    Limit,
}

impl BadRequest {
    pub(crate) fn line(why: &str) -> Self {
        Self::Line(why.to_owned())
    }
}

/// What the server refuses for reasons of its own, before or beside the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpFault {
    /// No such route.
    #[error("nothing lives at this path; streams live at `/v1/stream/{{name}}`")]
    NoRoute,
    /// The route does not know the method.
    #[error("this path does not know the method; see the header `Allow`")]
    Method {
        /// The methods it knows, as the header lists them.
        allow: &'static str,
    },
    /// The body is longer than allowed.
    #[error("the body is over {bytes_max} bytes; split it, or raise `--append-bytes-max`")]
    BodyTooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// The connection ended, or broke its framing, inside the body.
    #[error("the body broke off; nothing was appended, send it again")]
    BodyBroken,
    /// The body did not come in time.
    #[error("the body did not arrive in time; nothing was appended, send it again")]
    BodyTimeout,
    /// Plain HTTP where TLS is spoken.
    #[error("use `https://`; this port speaks TLS")]
    TlsRequired,
    /// No credentials, or wrong ones.
    #[error("send the API key as `Authorization: Bearer <key>`")]
    Unauthorized,
    /// Known, and not allowed to do this.
    #[error("what was shown does not allow {action} here; show a key or token that allows it")]
    Forbidden {
        /// What was asked for, as a noun.
        action: &'static str,
    },
    /// The server is still recovering, or stopping.
    #[error("the server is not ready: {reason}; try again")]
    NotReady {
        /// Why, as a clause.
        reason: String,
    },
    /// A defect of the server.
    #[error("the server failed to answer; the request can be sent again")]
    Internal,
}
