//! Appends to many streams in one request (`POST /v1/streams/_append`): newline-delimited JSON, a line
//! for each append, and as many lines of answers, in the same order.
//!
//! A line that cannot be read is answered like any other refusal, in its place: the others are none the
//! worse for it, unless the batch is atomic.
//!
//! Not here: what an append comes to (`millrace-core`), content types of streams (whoever looks them up).

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use millrace_core::{
    Append, Body, ContentType, ProducerClaim, ProducerId, StreamName,
    limits::{PRODUCER_NUMBER_MAX, STREAM_SEQ_BYTES_MAX},
    stream::Outcome,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    body::frame,
    cache::NO_STORE,
    headers::{
        PRODUCER_EPOCH, PRODUCER_EXPECTED_SEQ, PRODUCER_RECEIVED_SEQ, STREAM_CLOSED,
        STREAM_NEXT_OFFSET, expected_tail,
    },
    lines::CONTENT_TYPE,
    outcome::{Reply, appended_parts, status},
    problem::Problem,
    query::flag,
    refused::BadRequest,
};

/// The most lines of a request.
pub const LINES_MAX: usize = 10_000;

/// What the head of the request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHead {
    /// Whether all lines are carried out, or none.
    pub atomic: bool,
}

/// An append that a line asks for.
#[derive(Clone, Debug)]
pub struct Line {
    /// To which stream.
    pub name: StreamName,
    /// What.
    pub content: Content,
    append: Append,
}

/// A line that is not carried out: the stream it names, where it can be told, and why not.
pub type Unread = (Option<String>, Problem);

/// What a line brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing: it closes.
    Nothing,
    /// An array of messages, for a JSON stream.
    Messages(Bytes),
    /// A body of whatever type the stream has.
    Bytes(Bytes),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Given<'a> {
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    text: Option<String>,
    base64: Option<String>,
    seq: Option<String>,
    producer: Option<GivenProducer>,
    expected_offset: Option<String>,
    #[serde(default)]
    close: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenProducer {
    id: String,
    epoch: u64,
    seq: u64,
}

impl BatchHead {
    /// Reads query and headers.
    pub fn parse(query: Option<&str>, headers: &HeaderMap) -> Result<Self, BadRequest> {
        let content_type = headers.get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let is_lines = content_type
            .and_then(ContentType::new)
            .is_some_and(|own| Some(own) == ContentType::new(CONTENT_TYPE));
        if !is_lines {
            return Err(BadRequest::LinesType);
        }
        let atomic = flag(query, "atomic")?;
        Ok(Self { atomic })
    }
}

/// The lines of a request, each read or refused; empty ones are passed over.
pub fn lines(body: &[u8]) -> Result<Vec<Result<Line, Unread>>, BadRequest> {
    let is_empty = |line: &&[u8]| line.iter().all(u8::is_ascii_whitespace);
    let mut lines = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !is_empty(line));
    let read: Vec<_> = lines.by_ref().take(LINES_MAX).map(line).collect();
    match (read.len(), lines.next()) {
        (0, _) => Err(BadRequest::EmptyBody),
        (_, Some(_)) => Err(BadRequest::TooManyLines),
        (_, None) => Ok(read),
    }
}

fn line(text: &[u8]) -> Result<Line, Unread> {
    let given: Given<'_> = serde_json::from_slice(text)
        .map_err(|error| (None, BadRequest::Line(error.to_string()).into()))?;
    let stream = given.stream.clone().into_owned();
    Line::read(given).map_err(|refused| (Some(stream), Problem::from(refused)))
}

impl Line {
    fn read(given: Given<'_>) -> Result<Self, BadRequest> {
        let content = match (given.messages, given.text, given.base64) {
            (None, None, None) => Content::Nothing,
            (Some(messages), None, None) => {
                let text = messages.get();
                if !text.starts_with('[') {
                    return Err(BadRequest::line("`messages` is an array"));
                }
                Content::Messages(Bytes::copy_from_slice(text.as_bytes()))
            }
            (None, Some(text), None) => Content::Bytes(text.into()),
            (None, None, Some(base64)) => {
                let bytes = STANDARD.decode(base64);
                let bytes = bytes.map_err(|_| BadRequest::line("`base64` is padded base64"))?;
                Content::Bytes(bytes.into())
            }
            _ => {
                return Err(BadRequest::line(
                    "send one of `messages`, `text` and `base64`",
                ));
            }
        };
        let is_empty = match &content {
            Content::Nothing => true,
            Content::Messages(_) => false,
            Content::Bytes(bytes) => bytes.is_empty(),
        };
        if is_empty && !given.close {
            return Err(BadRequest::EmptyBody);
        }
        let append = Append {
            seq: given.seq.map(seq).transpose()?,
            producer: given.producer.as_ref().map(producer).transpose()?,
            expected: given
                .expected_offset
                .as_deref()
                .map(expected_tail)
                .transpose()?,
            close: given.close,
            ..Append::default()
        };
        Ok(Self {
            name: StreamName::new(&given.stream)?,
            content,
            append,
        })
    }

    /// Whether it closes its stream.
    pub fn closes(&self) -> bool {
        self.append.close
    }

    /// The command, for a stream of this type. What it is does not matter to messages, which are JSON
    /// whatever the stream says.
    pub fn into_append(self, own: Option<ContentType>) -> (StreamName, Append) {
        let (content_type, bytes) = match self.content {
            Content::Nothing => (None, Bytes::new()),
            Content::Messages(bytes) => (ContentType::new("application/json"), bytes),
            Content::Bytes(bytes) => (own, bytes),
        };
        let body = match bytes.len() {
            0 => Body::Empty,
            _ => frame(content_type.as_ref(), bytes),
        };
        let append = Append {
            body,
            content_type,
            ..self.append
        };
        (self.name, append)
    }
}

fn seq(text: String) -> Result<std::sync::Arc<str>, BadRequest> {
    let fits = (1..=STREAM_SEQ_BYTES_MAX).contains(&text.len());
    fits.then(|| text.into()).ok_or(BadRequest::StreamSeq)
}

fn producer(given: &GivenProducer) -> Result<ProducerClaim, BadRequest> {
    let number = |number: u64, name| {
        let fits = number <= PRODUCER_NUMBER_MAX;
        fits.then_some(number)
            .ok_or(BadRequest::ProducerNumber(name))
    };
    Ok(ProducerClaim {
        id: ProducerId::new(&given.id).ok_or(BadRequest::ProducerId)?,
        epoch: number(given.epoch, "Producer-Epoch")?,
        seq: number(given.seq, "Producer-Seq")?,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    stream: Option<&'a str>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    closed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    producer: Option<ToldProducer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ToldError<'a>>,
}

#[derive(Serialize)]
struct ToldProducer {
    epoch: u64,
    seq: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToldError<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_seq: Option<u64>,
}

/// The head of the answer.
pub fn reply() -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    Reply {
        status: StatusCode::OK,
        headers,
    }
}

/// Adds a line for an append that was carried out, or had been before.
///
/// # Panics
/// Never: a line is texts and numbers.
pub fn tell(out: &mut Vec<u8>, stream: &str, outcome: &Outcome, brought_bytes: bool) {
    let token = appended_parts(outcome).map(|(summary, producer)| {
        (
            crate::offset::Token::new(summary.tail),
            summary.closed,
            producer,
        )
    });
    let told = Told {
        stream: Some(stream),
        status: status(outcome, brought_bytes).as_u16(),
        next_offset: token.as_ref().map(|(token, ..)| token.as_str()),
        closed: token.as_ref().is_some_and(|(_, closed, _)| *closed),
        producer: token
            .as_ref()
            .and_then(|(.., producer)| *producer)
            .map(|(epoch, seq)| ToldProducer { epoch, seq }),
        error: None,
    };
    write(out, &told);
}

/// Adds a line for one that was refused.
///
/// # Panics
/// Never: a line is texts and numbers.
pub fn refuse(out: &mut Vec<u8>, stream: Option<&str>, problem: &Problem) {
    let headers = problem.headers();
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
    let number = |name| text(name)?.parse().ok();
    let entry = problem.code.entry();
    let told = Told {
        stream,
        status: entry.status,
        next_offset: text(&STREAM_NEXT_OFFSET),
        closed: headers.contains_key(STREAM_CLOSED),
        producer: None,
        error: Some(ToldError {
            code: entry.code,
            message: &problem.detail,
            current_epoch: number(&PRODUCER_EPOCH),
            expected_seq: number(&PRODUCER_EXPECTED_SEQ),
            received_seq: number(&PRODUCER_RECEIVED_SEQ),
        }),
    };
    write(out, &told);
}

fn write(out: &mut Vec<u8>, told: &Told<'_>) {
    serde_json::to_writer(&mut *out, told).expect("texts and numbers are JSON");
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use millrace_core::ExpectedTail;

    use super::*;

    fn one(text: &str) -> Result<Line, String> {
        let mut all = lines(text.as_bytes()).unwrap();
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0)
            .map_err(|(_, problem)| problem.detail.into_owned())
    }

    #[test]
    fn a_line_says_what_a_post_says() {
        let line = one(
            r#"{"stream":"a/b","messages":[1, {"x":2}],"producer":{"id":"p","epoch":1,"seq":0},"expectedOffset":"0000000000000000_0000000000000000","close":true}"#,
        )
        .unwrap();
        assert!(line.closes());
        let (name, append) = line.into_append(None);
        assert_eq!(name.as_str(), "a/b");
        assert_eq!(append.expected, Some(ExpectedTail::Start));
        assert_eq!(
            append.producer.map(|claim| (claim.epoch, claim.seq)),
            Some((1, 0))
        );
        let Body::Framed(payload) = append.body else {
            panic!("framed");
        };
        assert_eq!(&payload.bytes()[..], br#"1,{"x":2},"#);
    }

    #[test]
    fn texts_and_bytes_are_of_the_streams_own_type() {
        for (text, want) in [
            (r#"{"stream":"a","text":"[1]"}"#, &b"[1]"[..]),
            (r#"{"stream":"a","base64":"AP8="}"#, b"\0\xff"),
        ] {
            let line = one(text).unwrap();
            let own = ContentType::new("text/plain");
            let (_, append) = line.clone().into_append(own.clone());
            assert_eq!(append.content_type, own);
            let Body::Framed(payload) = append.body else {
                panic!("framed");
            };
            assert_eq!(&payload.bytes()[..], want);
        }
        let line = one(r#"{"stream":"a","text":"[1,2]"}"#).unwrap();
        let (_, append) = line.into_append(ContentType::new("application/json"));
        let Body::Framed(payload) = append.body else {
            panic!("framed");
        };
        assert_eq!(payload.message_count(), 2);
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_of_it() {
        for (text, word) in [
            ("{", "EOF"),
            ("[]", "invalid"),
            (r#"{"messages":[1]}"#, "stream"),
            (r#"{"stream":"a","message":[1]}"#, "message"),
            (r#"{"stream":"a"}"#, "empty"),
            (r#"{"stream":"a","text":""}"#, "empty"),
            (r#"{"stream":"a","messages":1}"#, "array"),
            (r#"{"stream":"a","messages":[1],"text":"x"}"#, "one of"),
            (r#"{"stream":"a","base64":"%"}"#, "base64"),
            (r#"{"stream":"a/../b","text":"x"}"#, "segment"),
            (
                r#"{"stream":"a","text":"x","expectedOffset":"now"}"#,
                "tail",
            ),
            (
                r#"{"stream":"a","text":"x","producer":{"id":"","epoch":0,"seq":0}}"#,
                "Producer-Id",
            ),
            (
                r#"{"stream":"a","text":"x","producer":{"id":"p","epoch":0}}"#,
                "seq",
            ),
        ] {
            let detail = one(text).expect_err(text);
            assert!(detail.contains(word), "{text}: {detail}");
        }
    }

    #[test]
    fn a_body_is_lines_and_not_too_many() {
        let line = "{\"stream\":\"a\",\"text\":\"x\"}\n";
        assert_eq!(lines(b"\n \r\n").err(), Some(BadRequest::EmptyBody));
        assert_eq!(lines(line.repeat(2).as_bytes()).unwrap().len(), 2);
        assert_eq!(lines(line.trim_end().as_bytes()).unwrap().len(), 1);
        assert_eq!(
            lines(line.repeat(LINES_MAX).as_bytes()).unwrap().len(),
            LINES_MAX
        );
        let more = line.repeat(LINES_MAX + 1);
        assert_eq!(lines(more.as_bytes()).err(), Some(BadRequest::TooManyLines));
    }

    #[test]
    fn a_refused_line_says_what_a_refused_post_says() {
        let mut out = Vec::new();
        let refusal = millrace_core::Refusal::SeqGap {
            expected: 3,
            received: 5,
        };
        refuse(&mut out, Some("a"), &Problem::from(refusal));
        let told: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            (&told["stream"], &told["status"]),
            (&"a".into(), &409.into())
        );
        assert_eq!(told["error"]["code"], "producer-seq-gap");
        assert_eq!(told["error"]["expectedSeq"], 3);
        assert_eq!(told["error"]["receivedSeq"], 5);
    }
}
