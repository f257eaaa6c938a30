//! Server-sent events, taken from a chunked body as they come.

use std::{io, time::Duration};

use base64::Engine as _;

use crate::http::{Connection, Head};

/// One whole event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `data`, `control`, or another name.
    pub name: String,
    /// The data lines, joined.
    pub data: String,
    /// `id:`.
    pub id: Option<String>,
}

impl Event {
    /// The data of a stream whose events are base64.
    pub fn base64(&self) -> Result<Vec<u8>, String> {
        let text: String = self.data.split('\n').collect();
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|error| format!("an event is no base64: {error}"))
    }
}

/// What came of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A whole event.
    Event(Event),
    /// Nothing, for as long as the reader had patience.
    Nothing,
    /// The server ended the response.
    End,
}

/// The events of one response.
#[derive(Debug)]
pub struct Events {
    connection: Connection,
    chunked: bool,
    pending: Vec<u8>,
}

impl Events {
    /// Reads the body that follows `head` on `connection`.
    pub fn new(connection: Connection, head: &Head) -> Self {
        Self {
            connection,
            chunked: head.header("transfer-encoding").is_some(),
            pending: Vec::new(),
        }
    }

    /// The next event.
    pub fn take(&mut self, patience: Duration) -> io::Result<Taken> {
        loop {
            while let Some(end) = self.pending.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.pending.drain(..end + 2).collect();
                if let Some(event) = parse(&String::from_utf8_lossy(&block)) {
                    return Ok(Taken::Event(event));
                }
            }
            if !self.connection.wait(patience)? {
                return Ok(Taken::Nothing);
            }
            let more = if self.chunked {
                self.connection.chunk()?
            } else {
                self.connection.rest()?
            };
            match more {
                Some(chunk) => self.pending.extend_from_slice(&chunk),
                None => return Ok(Taken::End),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_its_lines_joined_and_comments_are_none() {
        let event = parse("event: data\nid: 7\ndata:[\ndata: {},\ndata:]\n\n").unwrap();
        assert_eq!(event.name, "data");
        assert_eq!(event.data, "[\n{},\n]");
        assert_eq!(event.id.as_deref(), Some("7"));
        assert_eq!(parse(": keep-alive\n\n"), None);
    }
}
