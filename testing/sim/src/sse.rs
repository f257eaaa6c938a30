//! Server-sent events, taken from a chunked body as they come.

use std::io;

use base64::Engine as _;

use crate::http::Line;

/// One whole event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// `data`, `control`, or another name.
    pub(crate) name: String,
    /// The data lines, joined.
    pub(crate) data: String,
    /// `id:`.
    pub(crate) id: Option<String>,
}

impl Event {
    /// The data of a stream whose events are base64.
    pub(crate) fn base64(&self) -> Result<Vec<u8>, String> {
        let text: String = self.data.split('\n').collect();
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|error| format!("an event is no base64: {error}"))
    }
}

/// The events of one response.
#[derive(Debug)]
pub(crate) struct Events {
    line: Line,
    pending: Vec<u8>,
}

impl Events {
    /// Of the response whose head was taken from `line`.
    pub(crate) fn new(line: Line) -> Self {
        let pending = Vec::new();
        Self { line, pending }
    }

    /// The next event, or sign of life, which is `None`; [`io::ErrorKind::UnexpectedEof`] after the
    /// last one.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            let mut pairs = self.pending.windows(2);
            if let Some(end) = pairs.position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.pending.drain(..end + 2).collect();
                return Ok(parse(&String::from_utf8_lossy(&block)));
            }
            match self.line.chunk().await? {
                Some(chunk) => self.pending.extend(chunk),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}

fn parse(block: &str) -> Option<Event> {
    let (mut name, mut data, mut id) = (String::from("message"), Vec::new(), None);
    for line in block.lines() {
        let Some((field, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut name),
            "data" => data.push(value),
            "id" => id = Some(value.to_owned()),
            _ => {}
        }
    }
    (!data.is_empty()).then(|| Event {
        name,
        data: data.join("\n"),
        id,
    })
}
