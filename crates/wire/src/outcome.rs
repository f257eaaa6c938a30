//! Success: status and headers of every answer that is not a problem.
//!
//! Not here: refusals ([`crate::problem`]), security and cross-origin headers ([`crate::cors`]),
//! `Content-Length` (the server knows the body).

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use millrace_core::{
    ContentKind, ContentType, Lifetime, Offset, Settings, StreamName, Timestamp,
    stream::{Outcome, decide::Summary},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    cache::{NO_CACHE, NO_STORE},
    etag::ETag,
    headers::{
        PRODUCER_EPOCH, PRODUCER_SEQ, STREAM_CLOSED, STREAM_CURSOR, STREAM_EARLIEST_OFFSET,
        STREAM_EXPIRES_AT, STREAM_NEXT_OFFSET, STREAM_SSE_DATA_ENCODING, STREAM_START_OFFSET,
        STREAM_TTL, STREAM_UP_TO_DATE,
    },
    lines,
    offset::Token,
    path,
    query::Format,
    settings,
};

const TRUE: &[u8] = b"true";

/// The first line and the headers of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
}

/// Answers PUT. `origin` is what comes before the path in `Location`: scheme and authority, or
/// `--public-url`, without a slash at its end.
///
/// # Panics
/// When `origin` is no text for a header.
pub fn put(outcome: &Outcome, origin: &str, name: &StreamName) -> Reply {
    let mut headers = HeaderMap::new();
    let status = put_with(outcome, origin, name, |name, value| {
        insert(&mut headers, name, value);
    });
    Reply { status, headers }
}

/// The same answer without a map: `put` gets the names and values one by one. For who writes them to
/// a socket at once.
pub fn put_with(
    outcome: &Outcome,
    origin: &str,
    name: &StreamName,
    mut put: impl FnMut(HeaderName, &[u8]),
) -> StatusCode {
    if let Some((summary, producer)) = appended_parts(outcome) {
        appended(summary, producer, &mut put);
        if let Outcome::Created(_) | Outcome::Exists(_) = outcome {
            let content_type = summary.content_type.as_str();
            put(header::CONTENT_TYPE, content_type.as_bytes());
        }
    }
    let status = status(outcome, true);
    if status == StatusCode::CREATED {
        let location = format!("{origin}{}", path::location(name));
        put(header::LOCATION, location.as_bytes());
    }
    status
}

/// Answers POST. PROTOCOL 5.2.1: a producer's append that brought bytes is 200, all else 204.
pub fn post(outcome: &Outcome, brought_bytes: bool) -> Reply {
    reply(outcome, brought_bytes)
}

/// The same answer without a map, as [`put_with`].
pub fn post_with(
    outcome: &Outcome,
    brought_bytes: bool,
    put: impl FnMut(HeaderName, &[u8]),
) -> StatusCode {
    if let Some((summary, producer)) = appended_parts(outcome) {
        appended(summary, producer, put);
    }
    status(outcome, brought_bytes)
}

/// Answers DELETE.
pub fn delete(outcome: &Outcome) -> Reply {
    reply(outcome, false)
}

fn reply(outcome: &Outcome, brought_bytes: bool) -> Reply {
    let mut headers = HeaderMap::new();
    if let Some((summary, producer)) = appended_parts(outcome) {
        appended(summary, producer, |name, value| {
            insert(&mut headers, name, value);
        });
    }
    Reply {
        status: status(outcome, brought_bytes),
        headers,
    }
}

pub(crate) fn status(outcome: &Outcome, brought_bytes: bool) -> StatusCode {
    match outcome {
        Outcome::Created(_) => StatusCode::CREATED,
        Outcome::Exists(_) => StatusCode::OK,
        Outcome::Appended { producer, .. } if producer.is_some() && brought_bytes => StatusCode::OK,
        Outcome::Appended { .. }
        | Outcome::Duplicate { .. }
        | Outcome::AlreadyClosed(_)
        | Outcome::Deleted
        | Outcome::Done => StatusCode::NO_CONTENT,
    }
}

/// What an outcome says of the stream's end and of a producer.
pub(crate) fn appended_parts(outcome: &Outcome) -> Option<(&Summary, Option<(u64, u64)>)> {
    match outcome {
        Outcome::Created(summary) | Outcome::Exists(summary) | Outcome::AlreadyClosed(summary) => {
            Some((summary, None))
        }
        Outcome::Appended { summary, producer } => Some((summary, *producer)),
        Outcome::Duplicate { summary, producer } => Some((summary, Some(*producer))),
        Outcome::Deleted | Outcome::Done => None,
    }
}

fn appended(
    summary: &Summary,
    producer: Option<(u64, u64)>,
    mut put: impl FnMut(HeaderName, &[u8]),
) {
    put(STREAM_NEXT_OFFSET, Token::new(summary.tail).as_bytes());
    if summary.closed {
        put(STREAM_CLOSED, TRUE);
    }
    if let Some((epoch, seq)) = producer {
        put(PRODUCER_EPOCH, epoch.to_string().as_bytes());
        put(PRODUCER_SEQ, seq.to_string().as_bytes());
    }
}

/// Values written here are digits, hyphens, letters, and what was checked to be visible ASCII.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    let value = HeaderValue::from_bytes(value).expect("visible ASCII");
    headers.insert(name, value);
}

/// What HEAD says of a stream.
#[derive(Clone, Debug)]
pub struct HeadFacts {
    /// Its content type.
    pub content_type: ContentType,
    /// Its tail.
    pub tail: Offset,
    /// Whether it is closed.
    pub closed: bool,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// The first offset that can be read, where the stream was trimmed.
    pub earliest: Option<Offset>,
    /// Its documents, where it has any.
    pub settings: Option<Arc<Settings>>,
}

/// Answers HEAD (PROTOCOL 5.5).
pub fn head(facts: &HeadFacts) -> Reply {
    let mut headers = HeaderMap::new();
    let status = head_with(facts, |name, value| insert(&mut headers, name, value));
    Reply { status, headers }
}

/// The same answer without a map, as [`put_with`].
pub fn head_with(facts: &HeadFacts, mut put: impl FnMut(HeaderName, &[u8])) -> StatusCode {
    put(header::CONTENT_TYPE, facts.content_type.as_str().as_bytes());
    put(header::CACHE_CONTROL, NO_STORE.as_bytes());
    put(STREAM_NEXT_OFFSET, Token::new(facts.tail).as_bytes());
    if facts.closed {
        put(STREAM_CLOSED, TRUE);
    }
    if let Some(earliest) = facts.earliest {
        put(STREAM_EARLIEST_OFFSET, Token::new(earliest).as_bytes());
    }
    match facts.lifetime {
        Lifetime::Unlimited => {}
        Lifetime::Ttl(seconds) => put(STREAM_TTL, seconds.to_string().as_bytes()),
        Lifetime::Until(at) => put(STREAM_EXPIRES_AT, rfc3339(at).as_bytes()),
    }
    if let Some(settings) = &facts.settings {
        settings::head_with(settings, put);
    }
    StatusCode::OK
}

/// Answers a trim: where the stream begins now, and where it ends.
pub fn trimmed(earliest: Offset, tail: Offset) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(STREAM_EARLIEST_OFFSET, Token::new(earliest).into());
    headers.insert(STREAM_NEXT_OFFSET, Token::new(tail).into());
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    Reply {
        status: StatusCode::NO_CONTENT,
        headers,
    }
}

/// Answers a compaction of keys; the body is [`condensed_body`].
pub fn condensed(earliest: Offset, tail: Offset) -> Reply {
    let mut reply = trimmed(earliest, tail);
    let json = HeaderValue::from_static("application/json");
    reply.headers.insert(header::CONTENT_TYPE, json);
    reply.status = StatusCode::OK;
    reply
}

/// What a compaction of keys came to: how many keys have a value, and the bytes before and after.
pub fn condensed_body(keys: u64, bytes_before: u64, bytes_after: u64) -> Vec<u8> {
    let body = format!(
        "{{\"keys\":{keys},\"bytes_before\":{bytes_before},\"bytes_after\":{bytes_after}}}"
    );
    body.into_bytes()
}

/// Answers PATCH: how the settings are now.
pub fn patched(settings: Option<&Settings>) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    if let Some(settings) = settings {
        settings::head_with(settings, |name, value| insert(&mut headers, name, value));
    }
    Reply {
        status: StatusCode::NO_CONTENT,
        headers,
    }
}

/// What a page or the end of a wait says of itself.
#[derive(Clone, Debug)]
pub struct ReadFacts {
    /// How the read ended.
    pub end: ReadEnd,
    /// The stream's content type.
    pub content_type: ContentType,
    /// The offset of the first byte, where the request asked for more than to read on from one.
    pub start: Option<Offset>,
    /// The form of the page.
    pub format: Format,
    /// The offset after the bytes that the answer carries; never past them.
    pub next: Offset,
    /// Whether that was the tail.
    pub up_to_date: bool,
    /// Whether that was the tail of a closed stream.
    pub closed: bool,
    /// The cursor, in live modes while the stream is open.
    pub cursor: Option<u64>,
    /// The page's tag, where it has one.
    pub etag: Option<ETag>,
    /// From [`crate::cache::cache_control`].
    pub cache_control: HeaderValue,
}

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadEnd {
    /// With a page, empty or not: 200.
    Page,
    /// With what the client has already: 304.
    NotModified,
    /// With nothing, in time or because nothing can come: 204.
    Nothing,
}

/// Answers a catch-up or long-poll GET (PROTOCOL 5.6 and 5.7).
pub fn read(facts: &ReadFacts) -> Reply {
    // With room for those that every answer has: growing the map costs more than filling it.
    let mut headers = HeaderMap::with_capacity(READ_HEADERS);
    let status = read_with(facts, |name, value| insert(&mut headers, name, value));
    Reply { status, headers }
}

/// The same answer without a map, as [`put_with`].
pub fn read_with(facts: &ReadFacts, mut put: impl FnMut(HeaderName, &[u8])) -> StatusCode {
    put(header::CACHE_CONTROL, facts.cache_control.as_bytes());
    put(STREAM_NEXT_OFFSET, Token::new(facts.next).as_bytes());
    if let Some(start) = facts.start {
        put(STREAM_START_OFFSET, Token::new(start).as_bytes());
    }
    if facts.up_to_date {
        put(STREAM_UP_TO_DATE, TRUE);
    }
    if facts.closed && facts.up_to_date {
        put(STREAM_CLOSED, TRUE);
    }
    if let Some(cursor) = facts.cursor {
        put(STREAM_CURSOR, cursor.to_string().as_bytes());
    }
    if let Some(etag) = &facts.etag {
        put(header::ETAG, etag.as_bytes());
    }
    match facts.end {
        ReadEnd::Page => {
            let content_type = match facts.format {
                Format::Content => facts.content_type.as_str(),
                Format::Messages => lines::CONTENT_TYPE,
            };
            put(header::CONTENT_TYPE, content_type.as_bytes());
            StatusCode::OK
        }
        ReadEnd::NotModified => StatusCode::NOT_MODIFIED,
        ReadEnd::Nothing => StatusCode::NO_CONTENT,
    }
}

/// About how many headers an answer to a read has in the end.
const READ_HEADERS: usize = 12;

/// Answers an SSE GET (PROTOCOL 5.8), before its events. `X-Accel-Buffering` keeps nginx from
/// holding them back.
pub fn sse(kind: ContentKind) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, NO_CACHE);
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if kind == ContentKind::Binary {
        headers.insert(STREAM_SSE_DATA_ENCODING, HeaderValue::from_static("base64"));
    }
    Reply {
        status: StatusCode::OK,
        headers,
    }
}

/// A moment as RFC 3339, in UTC. Moments after the year 9999 are written as its end.
pub fn rfc3339(at: Timestamp) -> String {
    const LAST: &str = "9999-12-31T23:59:59.999Z";
    let nanos = i128::from(at.get()) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| LAST.to_owned())
}

#[cfg(test)]
mod tests;
