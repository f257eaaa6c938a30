//! Reads message by message: `format=messages`, a line for each with its offset and time.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use millrace_core::Timestamp;
use millrace_wire::headers::timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    error::Error,
    offset::Offset,
    reader::{Reader, Stretch},
};

/// Reads what is there, message by message.
#[derive(Debug)]
pub struct MessageReader {
    reader: Reader,
}

/// Messages that follow one another: at most 4,096, and about 256 KiB of them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MessagePage {
    /// The offset before the first of them.
    pub from: Offset,
    /// The offset after the last of them.
    pub next: Offset,
    /// The messages.
    pub messages: Vec<Message>,
    /// Whether its end was the tail.
    pub up_to_date: bool,
    /// Whether its end is the end of a closed stream.
    pub closed: bool,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The offset after it: reading on from it begins with the next.
    pub offset: Offset,
    /// When it was appended, by the server's clock.
    pub time: Timestamp,
    /// What was appended.
    pub data: Data,
}

/// What a message holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// JSON on one line: of a JSON stream the value as it was sent, of a text stream a string, in
    /// which bytes that are no UTF-8 are U+FFFD.
    Json(Bytes),
    /// The bytes, of a stream of any other type.
    Bytes(Bytes),
}

#[derive(Deserialize)]
struct Line<'a> {
    offset: &'a str,
    time: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
    encoding: Option<&'a str>,
}

impl Data {
    /// The value; bytes are none.
    pub fn parse<T: DeserializeOwned>(&self) -> Option<T> {
        match self {
            Self::Json(json) => serde_json::from_slice(json).ok(),
            Self::Bytes(_) => None,
        }
    }
}

impl MessageReader {
    pub(crate) fn new(reader: Reader) -> Self {
        Self { reader }
    }

    /// At most so many messages a page, from 1 on.
    #[must_use]
    pub fn limit(self, messages: u64) -> Self {
        Self::new(self.reader.limit(messages))
    }

    /// Where the next page begins; `None` until a first page has told.
    pub fn offset(&self) -> Option<&Offset> {
        self.reader.offset()
    }

    /// The next page, as of [`Reader::next`].
    pub async fn next(&mut self) -> Result<Option<MessagePage>, Error> {
        if self.reader.is_done() {
            return Ok(None);
        }
        let answer = self.reader.answer("&format=messages").await?;
        let Stretch {
            from,
            next,
            up_to_date,
            closed,
        } = self.reader.stretch(&answer)?;
        let lines = answer.body.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        let messages: Option<Vec<Message>> = lines.map(message).collect();
        let client = self.reader.stream().client();
        let page = MessagePage {
            from,
            next,
            messages: messages.ok_or_else(|| client.answer("a line that is no message"))?,
            up_to_date,
            closed,
        };
        self.reader.advance(&page.next, page.up_to_date);
        Ok(Some(page))
    }
}

fn message(line: &[u8]) -> Option<Message> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    let data = line.data.get();
    Some(Message {
        offset: Offset::new(line.offset)?,
        time: timestamp(line.time)?,
        data: match line.encoding {
            None => Data::Json(Bytes::copy_from_slice(data.as_bytes())),
            Some("base64") => {
                let text: &str = serde_json::from_str(data).ok()?;
                Data::Bytes(STANDARD.decode(text).ok()?.into())
            }
            Some(_) => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use millrace_core::{ContentKind, Generation, Offset, StreamPos};
    use millrace_wire::lines::Lines;

    use super::*;

    fn read(kind: ContentKind, wire: &[u8]) -> Message {
        let next = Offset {
            generation: Generation(7),
            position: StreamPos(42),
        };
        let mut lines = Lines::with_capacity(kind, 1, wire.len());
        lines.push(wire, next, Timestamp(1_700_000_000_123));
        message(lines.finish().trim_ascii_end()).expect("a message")
    }

    #[test]
    fn what_the_server_writes_is_read() {
        let number = read(ContentKind::Json, b"{\"a\":\n1e400},");
        assert_eq!(number.offset.as_str(), "0000000000007-0000000000000042");
        assert_eq!(number.time, Timestamp(1_700_000_000_123));
        assert_eq!(
            number.data,
            Data::Json(Bytes::from_static(b"{\"a\": 1e400}"))
        );
        let text = read(ContentKind::Text, b"a\n\"b\"").data;
        assert_eq!(text.parse(), Some("a\n\"b\"".to_owned()));
        let bytes = read(ContentKind::Binary, b"\0\xff").data;
        assert_eq!(bytes, Data::Bytes(Bytes::from_static(b"\0\xff")));
        assert_eq!(bytes.parse::<String>(), None);
    }

    #[test]
    fn what_no_server_writes_is_refused() {
        for line in [
            "",
            "[]",
            r#"{"offset":"1","time":"2030-01-31T12:00:00Z"}"#,
            r#"{"offset":"1","time":"noon","data":1}"#,
            r#"{"offset":"","time":"2030-01-31T12:00:00Z","data":1}"#,
            r#"{"offset":"1","time":"2030-01-31T12:00:00Z","encoding":"base64","data":"%"}"#,
            r#"{"offset":"1","time":"2030-01-31T12:00:00Z","encoding":"rot13","data":"a"}"#,
        ] {
            assert_eq!(message(line.as_bytes()), None, "{line}");
        }
    }
}
