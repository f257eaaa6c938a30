//! Header names, and what the headers of PUT and POST ask for.
//!
//! A header that has one value and came more than once is refused rather than guessed at: proxies
//! and servers differ in which one they take, and that is how requests are smuggled (T94).
//!
//! Headers that an operation does not know are ignored, on PUT the producer headers among them.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use millrace_core::{
    Append, Body, ContentType, CreateSpec, ExpectedTail, ForkAnchor, ForkRequest, Lifetime,
    ProducerClaim, ProducerId, Timestamp,
    limits::{PRODUCER_NUMBER_MAX, STREAM_SEQ_BYTES_MAX, TTL_SECONDS_MAX},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{body::frame, offset::OffsetArg, path, refused::BadRequest, settings::SettingsHead};

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: HeaderName = HeaderName::from_static($text);)*
    };
}

names! {
    /// The offset to read from next.
    STREAM_NEXT_OFFSET = "stream-next-offset";
    /// Present when an answer reaches the tail.
    STREAM_UP_TO_DATE = "stream-up-to-date";
    /// `true` closes a stream in a request and says that it is closed in an answer.
    STREAM_CLOSED = "stream-closed";
    /// The cursor to echo.
    STREAM_CURSOR = "stream-cursor";
    /// The writer's sequence.
    STREAM_SEQ = "stream-seq";
    /// The sliding lifetime, in seconds.
    STREAM_TTL = "stream-ttl";
    /// The absolute expiry.
    STREAM_EXPIRES_AT = "stream-expires-at";
    /// The path of a fork's source.
    STREAM_FORKED_FROM = "stream-forked-from";
    /// Where a fork branches.
    STREAM_FORK_OFFSET = "stream-fork-offset";
    /// How far past that.
    STREAM_FORK_SUB_OFFSET = "stream-fork-sub-offset";
    /// How the data of server-sent events is encoded, where it is.
    STREAM_SSE_DATA_ENCODING = "stream-sse-data-encoding";
    /// On 410: the first offset that can be read.
    STREAM_EARLIEST_OFFSET = "stream-earliest-offset";
    /// The offset of the first byte that an answer carries.
    STREAM_START_OFFSET = "stream-start-offset";
    /// On a listing: the name after which the next one begins.
    STREAM_LIST_NEXT = "stream-list-next";
    /// Where the stream must end for an append to be carried out.
    STREAM_EXPECTED_OFFSET = "stream-expected-offset";
    /// What the owner says of a stream, a JSON object.
    STREAM_ATTRIBUTES = "stream-attributes";
    /// How old a message may be.
    STREAM_RETENTION_MAX_AGE = "stream-retention-max-age";
    /// How many bytes are kept.
    STREAM_RETENTION_MAX_BYTES = "stream-retention-max-bytes";
    /// How many messages are kept.
    STREAM_RETENTION_MAX_MESSAGES = "stream-retention-max-messages";
    /// After how many bytes a stream's keys are compacted.
    STREAM_COMPACT_AFTER_BYTES = "stream-compact-after-bytes";
    /// The producer's name.
    PRODUCER_ID = "producer-id";
    /// The producer's session.
    PRODUCER_EPOCH = "producer-epoch";
    /// The producer's count of requests.
    PRODUCER_SEQ = "producer-seq";
    /// On 409: the count that comes next.
    PRODUCER_EXPECTED_SEQ = "producer-expected-seq";
    /// On 409: the count that came.
    PRODUCER_RECEIVED_SEQ = "producer-received-seq";
    /// Where an EventSource goes on.
    LAST_EVENT_ID = "last-event-id";
}

/// What the headers of a PUT ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateHead {
    /// The request, normalised.
    pub spec: CreateSpec,
    /// The documents to begin with.
    pub settings: SettingsHead,
}

/// What the headers of a POST ask for. The content type is judged only with a body, because a
/// close-only request may carry any (PROTOCOL 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendHead {
    content_type: Result<Option<ContentType>, BadRequest>,
    /// `Stream-Seq`.
    pub seq: Option<Arc<str>>,
    /// The producer headers.
    pub producer: Option<ProducerClaim>,
    /// `Stream-Expected-Offset`.
    pub expected: Option<ExpectedTail>,
    /// `Stream-Closed: true`.
    pub close: bool,
}

impl CreateHead {
    /// Reads the headers of a PUT.
    pub fn parse(headers: &impl Fields) -> Result<Self, BadRequest> {
        let spec = CreateSpec {
            content_type: content_type(headers)?,
            lifetime: lifetime(headers)?,
            closed: closes(headers)?,
            fork: fork(headers)?,
        };
        let settings = SettingsHead::parse(headers)?;
        Ok(Self { spec, settings })
    }

    /// Whether the body can be framed only after the source's content type is known: a fork that
    /// names no type inherits its source's.
    pub fn inherits_content_type(&self) -> bool {
        self.spec.fork.is_some() && self.spec.content_type.is_none()
    }
}

impl AppendHead {
    /// Reads the headers of a POST.
    pub fn parse(headers: &impl Fields) -> Result<Self, BadRequest> {
        Ok(Self {
            content_type: content_type(headers),
            seq: stream_seq(headers)?,
            producer: producer(headers)?,
            expected: single_text(headers, &STREAM_EXPECTED_OFFSET, "Stream-Expected-Offset")?
                .map(expected_tail)
                .transpose()?,
            close: closes(headers)?,
        })
    }

    /// The command, now that the body is there: it needs a content type, and may be empty only to
    /// close.
    pub fn with_body(self, body: Bytes) -> Result<Append, BadRequest> {
        if body.is_empty() && !self.close {
            return Err(BadRequest::EmptyBody);
        }
        let (content_type, body) = if body.is_empty() {
            (self.content_type.unwrap_or_default(), Body::Empty)
        } else {
            let content_type = self.content_type?.ok_or(BadRequest::ContentTypeMissing)?;
            let body = frame(Some(&content_type), body);
            (Some(content_type), body)
        };
        Ok(Append {
            body,
            content_type,
            seq: self.seq,
            producer: self.producer,
            expected: self.expected,
            close: self.close,
            judged_under: 0,
        })
    }
}

/// The header fields of a request, however they are kept: parsed into a map, or as they lie in a
/// connection's buffer.
pub trait Fields {
    /// The value of a field that has one.
    fn find(&self, name: &HeaderName) -> Found<'_>;
}

/// What there is of a field that should come once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// It did not come.
    Nothing,
    /// It came once.
    Value(&'a [u8]),
    /// It came more than once.
    Repeated,
}

impl<'a> Found<'a> {
    /// What the values of a field come to.
    pub fn of(mut values: impl Iterator<Item = &'a [u8]>) -> Self {
        match (values.next(), values.next()) {
            (None, _) => Self::Nothing,
            (Some(value), None) => Self::Value(value),
            (Some(_), Some(_)) => Self::Repeated,
        }
    }
}

impl Fields for HeaderMap {
    fn find(&self, name: &HeaderName) -> Found<'_> {
        Found::of(self.get_all(name).iter().map(HeaderValue::as_bytes))
    }
}

/// The one value of a header, as text; `shown` is its name in messages.
pub(crate) fn single_text<'a>(
    headers: &'a impl Fields,
    name: &HeaderName,
    shown: &'static str,
) -> Result<Option<&'a str>, BadRequest> {
    let value = match headers.find(name) {
        Found::Nothing => return Ok(None),
        Found::Value(value) => value,
        Found::Repeated => return Err(BadRequest::RepeatedHeader(shown)),
    };
    let text = std::str::from_utf8(value).map_err(|_| BadRequest::HeaderText(shown))?;
    Ok(Some(text.trim_matches([' ', '\t'])))
}

fn content_type(headers: &impl Fields) -> Result<Option<ContentType>, BadRequest> {
    match single_text(headers, &header::CONTENT_TYPE, "Content-Type")? {
        None => Ok(None),
        Some(text) => ContentType::new(text)
            .map(Some)
            .ok_or(BadRequest::ContentType),
    }
}

/// PROTOCOL 4.1: anything but `true` is as if the header were absent.
fn closes(headers: &impl Fields) -> Result<bool, BadRequest> {
    let text = single_text(headers, &STREAM_CLOSED, "Stream-Closed")?;
    Ok(text.is_some_and(|text| text.eq_ignore_ascii_case("true")))
}

fn lifetime(headers: &impl Fields) -> Result<Lifetime, BadRequest> {
    let ttl = single_text(headers, &STREAM_TTL, "Stream-TTL")?;
    let expires_at = single_text(headers, &STREAM_EXPIRES_AT, "Stream-Expires-At")?;
    match (ttl, expires_at) {
        (None, None) => Ok(Lifetime::Unlimited),
        (Some(_), Some(_)) => Err(BadRequest::TtlAndExpiresAt),
        (Some(ttl), None) => seconds(ttl).map(Lifetime::Ttl),
        (None, Some(at)) => timestamp(at)
            .map(Lifetime::Until)
            .ok_or(BadRequest::ExpiresAt),
    }
}

fn seconds(text: &str) -> Result<u64, BadRequest> {
    if !is_canonical(text) {
        return Err(BadRequest::Ttl);
    }
    let fits = text.parse().ok().filter(|ttl| *ttl <= TTL_SECONDS_MAX);
    fits.ok_or(BadRequest::TtlTooLong)
}

/// A moment in RFC 3339, to the millisecond; one before 1970 is as past as 1970 is.
pub fn timestamp(text: &str) -> Option<Timestamp> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let millis = at.unix_timestamp_nanos() / 1_000_000;
    Some(Timestamp(u64::try_from(millis).unwrap_or(0)))
}

fn fork(headers: &impl Fields) -> Result<Option<ForkRequest>, BadRequest> {
    let source = single_text(headers, &STREAM_FORKED_FROM, "Stream-Forked-From")?;
    let offset = single_text(headers, &STREAM_FORK_OFFSET, "Stream-Fork-Offset")?;
    let sub_offset = single_text(headers, &STREAM_FORK_SUB_OFFSET, "Stream-Fork-Sub-Offset")?;
    let Some(source) = source else {
        return match (offset, sub_offset) {
            (None, None) => Ok(None),
            (Some(_), _) => Err(BadRequest::ForkWithoutSource("Stream-Fork-Offset")),
            (None, Some(_)) => Err(BadRequest::ForkWithoutSource("Stream-Fork-Sub-Offset")),
        };
    };
    let anchor = match offset {
        None => ForkAnchor::Tail,
        Some(text) => OffsetArg::parse(text)
            .ok_or(BadRequest::ForkOffset)?
            .anchor(),
    };
    let sub_offset = match sub_offset {
        None => 0,
        Some(text) if is_canonical(text) => {
            // A count beyond 64 bits overshoots any stream, and so does the largest.
            text.parse().unwrap_or(u64::MAX)
        }
        Some(_) => return Err(BadRequest::ForkSubOffset),
    };
    if sub_offset > 0 && offset.is_none() {
        return Err(BadRequest::SubOffsetWithoutOffset);
    }
    Ok(Some(ForkRequest {
        source: path::fork_source(source)?,
        anchor,
        sub_offset,
    }))
}

fn stream_seq(headers: &impl Fields) -> Result<Option<Arc<str>>, BadRequest> {
    match single_text(headers, &STREAM_SEQ, "Stream-Seq")? {
        None => Ok(None),
        Some(text) if (1..=STREAM_SEQ_BYTES_MAX).contains(&text.len()) => Ok(Some(text.into())),
        Some(_) => Err(BadRequest::StreamSeq),
    }
}

/// Decision 13: the all-zero literal is a stream that nothing was appended to; `-1` and `now` name no
/// tail that somebody saw.
pub(crate) fn expected_tail(text: &str) -> Result<ExpectedTail, BadRequest> {
    match (text, OffsetArg::parse(text)) {
        ("-1", _) | (_, None | Some(OffsetArg::Now)) => Err(BadRequest::ExpectedOffset),
        (_, Some(OffsetArg::Start)) => Ok(ExpectedTail::Start),
        (_, Some(OffsetArg::At(offset))) => Ok(ExpectedTail::At(offset)),
    }
}

fn producer(headers: &impl Fields) -> Result<Option<ProducerClaim>, BadRequest> {
    const ID: &str = "Producer-Id";
    const EPOCH: &str = "Producer-Epoch";
    const SEQ: &str = "Producer-Seq";
    let id = single_text(headers, &PRODUCER_ID, ID)?;
    let epoch = single_text(headers, &PRODUCER_EPOCH, EPOCH)?;
    let seq = single_text(headers, &PRODUCER_SEQ, SEQ)?;
    if id.is_none() && epoch.is_none() && seq.is_none() {
        return Ok(None);
    }
    let id = id.ok_or(BadRequest::ProducerIncomplete(ID))?;
    let epoch = epoch.ok_or(BadRequest::ProducerIncomplete(EPOCH))?;
    let seq = seq.ok_or(BadRequest::ProducerIncomplete(SEQ))?;
    Ok(Some(ProducerClaim {
        id: ProducerId::new(id).ok_or(BadRequest::ProducerId)?,
        epoch: producer_number(epoch).ok_or(BadRequest::ProducerNumber(EPOCH))?,
        seq: producer_number(seq).ok_or(BadRequest::ProducerNumber(SEQ))?,
    }))
}

fn producer_number(text: &str) -> Option<u64> {
    let number = is_canonical(text).then(|| text.parse().ok()).flatten()?;
    (number <= PRODUCER_NUMBER_MAX).then_some(number)
}

/// `0|[1-9][0-9]*`
fn is_canonical(text: &str) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits && (text == "0" || !text.starts_with('0'))
}

#[cfg(test)]
mod tests;
