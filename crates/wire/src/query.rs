//! Query strings: how a stream is to be read, and what is to be listed.
//!
//! Values are decoded as every client library encodes them (`application/x-www-form-urlencoded`):
//! `+` is a space, `%2B` a plus. Unknown parameters are ignored (PROTOCOL 11.1), and a key with
//! broken escapes is unknown; a known parameter with broken escapes, or sent twice, is refused.

use std::{borrow::Cow, time::Duration};

use millrace_core::Timestamp;

use crate::{
    cursor,
    headers::{Fields, LAST_EVENT_ID, single_text, timestamp},
    offset::OffsetArg,
    path::percent_decoded,
    refused::BadRequest,
};

/// The most names one listing holds.
pub const LIST_LIMIT_MAX: usize = 1000;
/// How many names a listing holds when nothing is asked.
pub const LIST_LIMIT_DEFAULT: usize = 100;
/// The longest time a request can ask to wait.
pub const TIMEOUT_MAX: Duration = Duration::from_mins(1);

/// How a stream is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadQuery {
    /// From where, and which way; from the start when nothing is named.
    pub place: Place,
    /// Whether it goes on when the tail is reached.
    pub live: Live,
    /// The cursor that the client echoes, if it is one.
    pub cursor: Option<u64>,
    /// How long a long-poll may wait, where the request says; at most [`TIMEOUT_MAX`].
    pub timeout: Option<Duration>,
    /// The most messages of a page; `u64::MAX` for any number.
    pub limit: u64,
    /// In which form a page is answered.
    pub format: Format,
    /// Whether the offset came as `Last-Event-ID`: an EventSource that reconnects, which only a 204
    /// ends when the stream is closed and nothing is left.
    pub reconnects: bool,
}

/// Which bytes are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// From an offset on.
    From(OffsetArg),
    /// The last messages, and what follows them.
    Last(u64),
    /// From the first message on that was appended at this time or later.
    Since(Timestamp),
    /// The last messages before an offset.
    Before(OffsetArg),
}

impl Place {
    /// Whether it names one position for ever, so that what follows (or precedes) it may be cached.
    pub fn is_concrete(self) -> bool {
        match self {
            Self::From(offset) | Self::Before(offset) => offset.is_concrete(),
            Self::Last(_) | Self::Since(_) => false,
        }
    }
}

/// The form of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As the protocol has it: an array, or the bytes.
    Content,
    /// A line for each message, with its offset and time.
    Messages,
}

/// What happens at the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// The answer ends.
    CatchUp,
    /// The answer waits for the next bytes.
    LongPoll,
    /// The answer goes on as server-sent events.
    Sse,
}

/// What is to be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// What names begin with; empty for all.
    pub prefix: String,
    /// The name after which the listing goes on.
    pub after: Option<String>,
    /// The most names.
    pub limit: usize,
}

/// The parameters of a read, and their places.
const READ_KEYS: [&str; 10] = [
    "live",
    "offset",
    "cursor",
    "timeout_ms",
    "timeout",
    "limit",
    "last",
    "since",
    "before",
    "format",
];
const LIVE: usize = 0;
const OFFSET: usize = 1;
const CURSOR: usize = 2;
const TIMEOUT_MS: usize = 3;
const TIMEOUT: usize = 4;
const LIMIT: usize = 5;
const LAST: usize = 6;
const SINCE: usize = 7;
const BEFORE: usize = 8;
const FORMAT: usize = 9;

type Asked<'a> = Query<'a, 10>;

impl ReadQuery {
    /// Reads the query, and `Last-Event-ID` for server-sent events, where it beats `offset`: a bare
    /// EventSource repeats its first URL when it reconnects.
    pub fn parse(query: Option<&str>, headers: &impl Fields) -> Result<Self, BadRequest> {
        let query = Query::new(query, READ_KEYS);
        let live = live(query.one(LIVE)?.as_deref())?;
        let named = place(&query)?;
        let resumed = match live {
            Live::Sse => last_event_id(headers)?,
            _ => None,
        };
        let place = match resumed.map(Place::From).or(named) {
            Some(Place::Before(_)) if live != Live::CatchUp => return Err(BadRequest::BeforeLive),
            Some(place) => place,
            None if live == Live::CatchUp => Place::From(OffsetArg::Start),
            None => return Err(BadRequest::OffsetRequired),
        };
        let limit = count(&query, LIMIT)?;
        let format = format(&query)?;
        if live == Live::Sse && (limit.is_some() || format == Format::Messages) {
            return Err(BadRequest::PagesOnly);
        }
        Ok(Self {
            place,
            limit: limit.unwrap_or(u64::MAX),
            format,
            live,
            cursor: query.first(CURSOR).and_then(|text| cursor::parse(&text)),
            timeout: timeout(&query)?,
            reconnects: resumed.is_some(),
        })
    }
}

/// Where a read begins, if the query says so. `offset` beats `since`: whoever resumes a read repeats
/// its first URL.
fn place(query: &Asked<'_>) -> Result<Option<Place>, BadRequest> {
    let offset = |at: usize, fault| match query.one(at)? {
        None => Ok(None),
        Some(text) => OffsetArg::parse(&text).map(Some).ok_or(fault),
    };
    let from = offset(OFFSET, BadRequest::Offset)?;
    let before = offset(BEFORE, BadRequest::Before)?;
    let last = count(query, LAST)?;
    let since = match query.one(SINCE)? {
        None => None,
        Some(text) => Some(moment(&text).ok_or(BadRequest::Since)?),
    };
    let since = since.filter(|_| from.is_none());
    let places = [
        from.map(Place::From),
        last.map(Place::Last),
        since.map(Place::Since),
        before.map(Place::Before),
    ];
    let mut named = places.into_iter().flatten();
    match (named.next(), named.next()) {
        (_, Some(_)) => Err(BadRequest::TwoPlaces),
        (place, None) => Ok(place),
    }
}

/// A number of messages: from 1 on.
fn count(query: &Asked<'_>, at: usize) -> Result<Option<u64>, BadRequest> {
    let Some(text) = query.one(at)? else {
        return Ok(None);
    };
    match number(&text) {
        None | Some(0) => Err(BadRequest::Count(READ_KEYS[at])),
        count => Ok(count),
    }
}

/// RFC 3339, or milliseconds since 1970.
fn moment(text: &str) -> Option<Timestamp> {
    number(text).map(Timestamp).or_else(|| timestamp(text))
}

/// `raw` and `json` are what another server calls the content as it is.
fn format(query: &Asked<'_>) -> Result<Format, BadRequest> {
    match query.one(FORMAT)?.as_deref() {
        None | Some("raw" | "json") => Ok(Format::Content),
        Some("messages") => Ok(Format::Messages),
        Some(_) => Err(BadRequest::Format),
    }
}

fn live(text: Option<&str>) -> Result<Live, BadRequest> {
    match text {
        None | Some("false" | "0") => Ok(Live::CatchUp),
        Some("long-poll" | "true" | "1") => Ok(Live::LongPoll),
        Some("sse") => Ok(Live::Sse),
        Some(_) => Err(BadRequest::Live),
    }
}

/// An empty id is what an EventSource has before its first event: none.
fn last_event_id(headers: &impl Fields) -> Result<Option<OffsetArg>, BadRequest> {
    match single_text(headers, &LAST_EVENT_ID, "Last-Event-ID")? {
        None | Some("") => Ok(None),
        Some(text) => OffsetArg::parse(text)
            .map(Some)
            .ok_or(BadRequest::LastEventId),
    }
}

fn timeout(query: &Asked<'_>) -> Result<Option<Duration>, BadRequest> {
    let millis = match query.one(TIMEOUT_MS)? {
        None => None,
        Some(text) => Some(number(&text).ok_or(BadRequest::Timeout("timeout_ms"))?),
    };
    let with_unit = match query.one(TIMEOUT)? {
        None => None,
        Some(text) => Some(duration_millis(&text).ok_or(BadRequest::Timeout("timeout"))?),
    };
    if millis.is_some() && with_unit.is_some() {
        return Err(BadRequest::TimeoutTwice);
    }
    let millis = millis.or(with_unit);
    Ok(millis.map(|millis| Duration::from_millis(millis).min(TIMEOUT_MAX)))
}

/// Digits with a unit; bare digits are seconds (PROTOCOL 5.7).
pub fn duration_millis(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(number(digits)?.saturating_mul(scale))
}

/// Digits; a number too large for 64 bits is as good as the largest.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

impl ListQuery {
    /// Reads the query.
    pub fn parse(query: Option<&str>) -> Result<Self, BadRequest> {
        let query = Query::new(query, ["prefix", "after", "limit"]);
        let [prefix, after, limit] = [0, 1, 2];
        let limit = match query.one(limit)? {
            None => LIST_LIMIT_DEFAULT,
            Some(text) => number(&text)
                .and_then(|limit| usize::try_from(limit).ok())
                .filter(|limit| (1..=LIST_LIMIT_MAX).contains(limit))
                .ok_or(BadRequest::Limit)?,
        };
        Ok(Self {
            prefix: query.one(prefix)?.unwrap_or_default().into_owned(),
            after: query
                .one(after)?
                .filter(|after| !after.is_empty())
                .map(Cow::into_owned),
            limit,
        })
    }
}

/// Whether a parameter that can only be so or not is set; it is not when it is not there.
pub(crate) fn flag(query: Option<&str>, name: &'static str) -> Result<bool, BadRequest> {
    match Query::new(query, [name]).one(0)?.as_deref() {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(BadRequest::Flag(name)),
    }
}

/// Every value of a parameter that may come more than once, decoded.
pub(crate) fn every<'a>(
    query: Option<&'a str>,
    name: &'static str,
) -> Result<Vec<Cow<'a, str>>, BadRequest> {
    let mut values = Vec::new();
    let mut rest = query;
    while let Some(text) = rest {
        let (pair, after) = cut(text, b'&');
        rest = after;
        let (key, value) = cut(pair, b'=');
        if form_decoded(key).is_some_and(|key| key == name) {
            let value = form_decoded(value.unwrap_or_default());
            values.push(value.ok_or(BadRequest::ParameterEncoding(name))?);
        }
    }
    Ok(values)
}

/// What a query string says of a few parameters.
struct Query<'a, const N: usize> {
    keys: [&'static str; N],
    /// The first value of each, still encoded.
    values: [Option<&'a str>; N],
    /// Which came more than once.
    repeated: [bool; N],
}

impl<'a, const N: usize> Query<'a, N> {
    fn new(query: Option<&'a str>, keys: [&'static str; N]) -> Self {
        let mut found = Self {
            keys,
            values: [None; N],
            repeated: [false; N],
        };
        let mut rest = query;
        while let Some(text) = rest {
            let (pair, after) = cut(text, b'&');
            rest = after;
            let (name, value) = cut(pair, b'=');
            let Some(name) = form_decoded(name) else {
                continue;
            };
            if let Some(at) = keys.iter().position(|key| *key == name) {
                found.repeated[at] = found.values[at].is_some();
                found.values[at].get_or_insert(value.unwrap_or_default());
            }
        }
        found
    }

    /// The decoded value of the parameter at `at`, which may stand there once.
    fn one(&self, at: usize) -> Result<Option<Cow<'a, str>>, BadRequest> {
        if self.repeated[at] {
            return Err(BadRequest::RepeatedParameter(self.keys[at]));
        }
        match self.values[at] {
            None => Ok(None),
            Some(value) => form_decoded(value)
                .map(Some)
                .ok_or(BadRequest::ParameterEncoding(self.keys[at])),
        }
    }

    /// The decoded value of the first that stands there, if it can be decoded.
    fn first(&self, at: usize) -> Option<Cow<'a, str>> {
        self.values[at].and_then(form_decoded)
    }
}

/// `text` up to the first `mark`, and what follows that, if there is one. Parts are a few bytes long, for
/// which the searchers of the standard library take longer to set up than to look.
fn cut(text: &str, mark: u8) -> (&str, Option<&str>) {
    match text.bytes().position(|byte| byte == mark) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

fn is_encoded(text: &str) -> bool {
    text.bytes().any(|byte| byte == b'%' || byte == b'+')
}

fn form_decoded(text: &str) -> Option<Cow<'_, str>> {
    if is_encoded(text) {
        percent_decoded(&text.replace('+', " ")).map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(text))
    }
}

#[cfg(test)]
mod tests;
