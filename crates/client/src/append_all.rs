//! Appends to many streams in one request (`POST /v1/streams/_append`), each answered on its own.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, header};
use millrace_core::StreamName;
use millrace_wire::{lines::CONTENT_TYPE, path};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    client::{Ask, Client, Repeat},
    error::{Error, Refused},
    offset::Offset,
    stream::Appended,
};

/// Whether lines depend on one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Together {
    /// Each line stands for itself.
    #[default]
    Each,
    /// All of them are carried out or none, across any crash. Only of streams with equal hash tags,
    /// the part of the name in braces.
    AllOrNothing,
}

/// An append to one of many streams.
#[derive(Clone, Debug)]
pub struct AppendLine {
    /// To which stream.
    pub stream: StreamName,
    /// What.
    pub content: AppendContent,
    /// The producer's name, epoch and sequence number: carried out once, however often it is sent.
    pub producer: Option<(String, u64, u64)>,
    /// The writer's sequence, which only grows; 1 to 256 bytes.
    pub seq: Option<String>,
    /// Where the stream must end, or nothing is appended.
    pub expected_offset: Option<Offset>,
    /// Whether the stream is closed after that.
    pub close: bool,
}

/// What a line brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendContent {
    /// Nothing: it closes.
    Nothing,
    /// A JSON array, whose elements are appended to a JSON stream.
    Messages(Bytes),
    /// A body, of whatever content type the stream has.
    Bytes(Bytes),
}

/// What became of a line.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LineAnswer {
    /// The stream it named; `None` of a line that the server could not read.
    pub stream: Option<String>,
    /// What became of it.
    pub outcome: LineOutcome,
}

/// What became of a line.
#[derive(Clone, Debug)]
pub enum LineOutcome {
    /// It was carried out.
    Appended(Appended),
    /// It had been carried out before, perhaps by an earlier try of the same request.
    Duplicate(Appended),
    /// It was not, and the refusal says why: `batch-refused` where another line of an atomic request
    /// was at fault. It has the current epoch, the sequence numbers and the tail where the headers of
    /// a refused POST would have them.
    Refused(Box<Refused>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    stream: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    producer: Option<AskedProducer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_offset: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    close: bool,
}

#[derive(Serialize)]
struct AskedProducer<'a> {
    id: &'a str,
    epoch: u64,
    seq: u64,
}

/// What of a line decides how its answer is read.
#[derive(Deserialize)]
struct Peeked {
    producer: Option<IgnoredAny>,
    messages: Option<IgnoredAny>,
    text: Option<IgnoredAny>,
    base64: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    stream: Option<Cow<'a, str>>,
    status: u16,
    next_offset: Option<&'a str>,
    #[serde(default)]
    closed: bool,
    producer: Option<ToldProducer>,
    error: Option<ToldError>,
}

#[derive(Deserialize)]
struct ToldProducer {
    seq: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToldError {
    code: String,
    message: String,
    current_epoch: Option<u64>,
    expected_seq: Option<u64>,
    received_seq: Option<u64>,
}

impl AppendLine {
    /// An append without conditions.
    pub fn new(stream: StreamName, content: AppendContent) -> Self {
        Self {
            stream,
            content,
            producer: None,
            seq: None,
            expected_offset: None,
            close: false,
        }
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let no_messages =
            |why: &str| Error::Setup(format!("the messages for {} are no {why}", self.stream));
        let (messages, base64) = match &self.content {
            AppendContent::Nothing => (None, None),
            AppendContent::Bytes(bytes) => (None, Some(STANDARD.encode(bytes))),
            AppendContent::Messages(array) => {
                let array = array.trim_ascii();
                let array: &RawValue =
                    serde_json::from_slice(array).map_err(|_| no_messages("JSON"))?;
                let is_array = array.get().starts_with('[');
                let array = is_array.then_some(array);
                (Some(array.ok_or_else(|| no_messages("array"))?), None)
            }
        };
        let producer = self.producer.as_ref();
        let asked = Asked {
            stream: self.stream.as_str(),
            messages,
            base64,
            producer: producer.map(|(id, epoch, seq)| AskedProducer {
                id,
                epoch: *epoch,
                seq: *seq,
            }),
            seq: self.seq.as_deref(),
            expected_offset: self.expected_offset.as_ref().map(Offset::as_str),
            close: self.close,
        };
        let start = out.len();
        serde_json::to_writer(&mut *out, &asked).expect("texts, numbers and JSON are JSON");
        // Line breaks can stand only between the parts of a value, where a space says the same.
        for byte in &mut out[start..] {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        out.push(b'\n');
        Ok(())
    }
}

impl LineOutcome {
    /// Why it was refused, if it was.
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused(refused) => Some(refused),
            Self::Appended(_) | Self::Duplicate(_) => None,
        }
    }
}

impl Client {
    /// Appends to many streams in one request: at most 10,000 lines, and as many bytes as an append
    /// may have. Lines to one stream are appended in their order. An answer for each, in the same
    /// order; an error is about the request as a whole, and then nothing was appended, unless it is
    /// one that leaves open whether it was carried out.
    ///
    /// Sent again after a lost answer only when all lines have producers.
    pub async fn append_all(
        &self,
        lines: &[AppendLine],
        together: Together,
    ) -> Result<Vec<LineAnswer>, Error> {
        let mut body = Vec::new();
        for line in lines {
            line.write(&mut body)?;
        }
        self.append_lines(body.into(), together).await
    }

    /// The same with lines as they are sent (`docs/extensions.md`, Appends to many streams). Empty
    /// ones are passed over, and have no answer; the server says what is wrong with others.
    pub async fn append_lines(
        &self,
        lines: Bytes,
        together: Together,
    ) -> Result<Vec<LineAnswer>, Error> {
        let peeked: Vec<Option<Peeked>> = lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty())
            .map(|line| serde_json::from_slice(line).ok())
            .collect();
        let has_producer = |line: &Option<Peeked>| match line {
            Some(line) => line.producer.is_some(),
            // The server refuses it every time.
            None => true,
        };
        let repeat = if peeked.iter().all(has_producer) {
            Repeat::Freely
        } else {
            Repeat::IfUnchanged
        };
        let target = match together {
            Together::Each => path::BATCH.to_owned(),
            Together::AllOrNothing => format!("{}?atomic=true", path::BATCH),
        };
        let mut ask = Ask::new(Method::POST, target, repeat);
        let ndjson = HeaderValue::from_static(CONTENT_TYPE);
        ask.headers.insert(header::CONTENT_TYPE, ndjson);
        ask.body = lines;
        let answer = self.whole(ask).await?;
        self.answers(&peeked, &answer.body)
    }

    fn answers(&self, asked: &[Option<Peeked>], body: &[u8]) -> Result<Vec<LineAnswer>, Error> {
        let lines = body.split(|byte| *byte == b'\n');
        let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
        if lines.len() != asked.len() {
            let (came, sent) = (lines.len(), asked.len());
            return Err(self.answer(format!("{came} answers to {sent} lines")));
        }
        let answers = asked.iter().zip(lines);
        answers
            .map(|(asked, line)| {
                let told: Told<'_> = serde_json::from_slice(line)
                    .map_err(|error| self.answer(format!("an answer to a line: {error}")))?;
                let brings = asked.as_ref().is_some_and(Peeked::brings_bytes);
                told.read(brings)
                    .ok_or_else(|| self.answer("an answer to a line without an offset"))
            })
            .collect()
    }
}

impl Peeked {
    fn brings_bytes(&self) -> bool {
        self.messages.is_some() || self.text.is_some() || self.base64.is_some()
    }
}

impl Told<'_> {
    fn read(self, brought_bytes: bool) -> Option<LineAnswer> {
        let next_offset = self.next_offset.and_then(Offset::new);
        let outcome = if let Some(error) = self.error {
            let refused = Refused::within(self.status, error.code, error.message);
            LineOutcome::Refused(Box::new(Refused {
                next_offset,
                epoch: error.current_epoch,
                expected_seq: error.expected_seq,
                received_seq: error.received_seq,
                closed: self.closed,
                ..refused
            }))
        } else {
            // PROTOCOL 5.2.1: a producer's 200 brought bytes, 204 had been there.
            let is_duplicate = self.status == 204 && brought_bytes && self.producer.is_some();
            let appended = Appended {
                next_offset: next_offset?,
                closed: self.closed,
                producer_seq: self.producer.map(|producer| producer.seq),
                is_duplicate,
            };
            if is_duplicate {
                LineOutcome::Duplicate(appended)
            } else {
                LineOutcome::Appended(appended)
            }
        };
        let stream = self.stream.map(Cow::into_owned);
        Some(LineAnswer { stream, outcome })
    }
}

#[cfg(test)]
mod tests {
    use millrace_wire::batch;

    use super::*;

    fn line(content: AppendContent) -> AppendLine {
        let stream = StreamName::new("a/\"b\"").expect("a name");
        AppendLine::new(stream, content)
    }

    fn written(line: &AppendLine) -> Result<String, Error> {
        let mut out = Vec::new();
        line.write(&mut out)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn what_is_asked_is_one_line_that_the_server_reads() {
        let full = AppendLine {
            producer: Some(("p".to_owned(), 1, 2)),
            seq: Some("s".to_owned()),
            expected_offset: Offset::new("0000000000000000_0000000000000000"),
            close: true,
            ..line(AppendContent::Messages(" [1,\n2e400]\r\n".into()))
        };
        let text = written(&full).expect("a line");
        assert_eq!(text.find('\n'), Some(text.len() - 1), "{text}");
        let read = batch::lines(text.as_bytes()).expect("lines").remove(0);
        let read = read.expect("a line");
        assert!(read.closes());
        let want = batch::Content::Messages("[1, 2e400]".into());
        assert_eq!(read.content, want);
        let bytes = written(&line(AppendContent::Bytes("\0\n".into()))).expect("a line");
        let read = batch::lines(bytes.as_bytes()).expect("lines").remove(0);
        let want = batch::Content::Bytes("\0\n".into());
        assert_eq!(read.expect("a line").content, want);
    }

    #[test]
    fn messages_that_are_none_never_leave() {
        for text in ["", "1", "[1", "[1]]", "[1],\"close\":true,\"x\":[", "{}"] {
            let refused = written(&line(AppendContent::Messages(text.into())));
            assert!(matches!(refused, Err(Error::Setup(_))), "{text}");
        }
    }

    #[test]
    fn an_answer_is_appended_duplicate_or_refused() {
        let read = |text: &str, brought_bytes| {
            let told: Told<'_> = serde_json::from_str(text).expect("an answer");
            told.read(brought_bytes).map(|answer| answer.outcome)
        };
        let with_producer = |status| {
            format!(
                r#"{{"stream":"a","status":{status},"nextOffset":"9","producer":{{"epoch":1,"seq":2}}}}"#
            )
        };
        assert!(matches!(
            read(&with_producer(200), true),
            Some(LineOutcome::Appended(appended)) if appended.producer_seq == Some(2)
        ));
        assert!(matches!(
            read(&with_producer(204), true),
            Some(LineOutcome::Duplicate(_))
        ));
        assert!(matches!(
            read(&with_producer(204), false),
            Some(LineOutcome::Appended(_))
        ));
        let plain = r#"{"stream":"a","status":204,"nextOffset":"9"}"#;
        assert!(matches!(read(plain, true), Some(LineOutcome::Appended(_))));
        assert!(read(r#"{"stream":"a","status":204}"#, true).is_none());
        let gap = r#"{"stream":"a","status":409,"error":{"code":"producer-seq-gap","message":"m","expectedSeq":3,"receivedSeq":5}}"#;
        let Some(LineOutcome::Refused(refused)) = read(gap, true) else {
            panic!("refused");
        };
        assert_eq!(
            (refused.expected_seq, refused.received_seq),
            (Some(3), Some(5))
        );
        assert_eq!(refused.to_string(), "m");
    }
}
