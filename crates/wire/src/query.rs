//! Query strings: how a stream is to be read, and what is to be listed.
//!
//! Values are decoded as every client library encodes them (`application/x-www-form-urlencoded`):
//! `+` is a space, `%2B` a plus. Unknown parameters are ignored (PROTOCOL 11.1), and a key with
//! broken escapes is unknown; a known parameter with broken escapes, or sent twice, is refused.

use std::{borrow::Cow, time::Duration};

use crate::{
    cursor,
    headers::{Fields, LAST_EVENT_ID, single_text},
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
    /// From where; the start when nothing is named.
    pub offset: OffsetArg,
    /// Whether it goes on when the tail is reached.
    pub live: Live,
    /// The cursor that the client echoes, if it is one.
    pub cursor: Option<u64>,
    /// How long a long-poll may wait, where the request says; at most [`TIMEOUT_MAX`].
    pub timeout: Option<Duration>,
    /// Whether the offset came as `Last-Event-ID`: an EventSource that reconnects, which only a 204
    /// ends when the stream is closed and nothing is left.
    pub reconnects: bool,
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
const READ_KEYS: [&str; 5] = ["live", "offset", "cursor", "timeout_ms", "timeout"];
const LIVE: usize = 0;
const OFFSET: usize = 1;
const CURSOR: usize = 2;
const TIMEOUT_MS: usize = 3;
const TIMEOUT: usize = 4;

impl ReadQuery {
    /// Reads the query, and `Last-Event-ID` for server-sent events, where it beats `offset`: a bare
    /// EventSource repeats its first URL when it reconnects.
    pub fn parse(query: Option<&str>, headers: &impl Fields) -> Result<Self, BadRequest> {
        let query = Query::new(query, READ_KEYS);
        let live = live(query.one(LIVE)?.as_deref())?;
        let named = match query.one(OFFSET)? {
            None => None,
            Some(text) => Some(OffsetArg::parse(&text).ok_or(BadRequest::Offset)?),
        };
        let resumed = match live {
            Live::Sse => last_event_id(headers)?,
            _ => None,
        };
        let offset = match resumed.or(named) {
            Some(offset) => offset,
            None if live == Live::CatchUp => OffsetArg::Start,
            None => return Err(BadRequest::OffsetRequired),
        };
        Ok(Self {
            offset,
            live,
            cursor: query.first(CURSOR).and_then(|text| cursor::parse(&text)),
            timeout: timeout(&query)?,
            reconnects: resumed.is_some(),
        })
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

fn timeout(query: &Query<'_, 5>) -> Result<Option<Duration>, BadRequest> {
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
fn duration_millis(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
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
