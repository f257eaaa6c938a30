//! Server-sent events, decoded: the other half of `millrace_wire::sse`.
//!
//! Pure: bytes go in, events come out. A field that is not known and a comment are skipped; an event
//! that a connection cut off is never given out.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

/// An event as it comes: its name, and its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raw {
    name: Vec<u8>,
    /// Lines are joined by LF.
    pub(crate) data: Vec<u8>,
}

/// An event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Bytes, as text or still in base64.
    Data(Vec<u8>),
    /// What a control event says.
    Control(Control),
    /// A control event that cannot be read.
    Malformed,
}

/// What a control event says.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Control {
    pub(crate) stream_next_offset: String,
    pub(crate) stream_cursor: Option<String>,
    pub(crate) up_to_date: bool,
    pub(crate) stream_closed: bool,
}

/// Takes bytes as they come.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// A line that is not whole yet.
    line: Vec<u8>,
    /// Whether the last byte was a CR, after which an LF belongs to the same line end.
    after_cr: bool,
    name: Vec<u8>,
    data: Option<Vec<u8>>,
}

impl Raw {
    /// The event of a stream that it is, if it is one.
    pub(crate) fn of_stream(self) -> Option<Event> {
        match &self.name[..] {
            b"data" => Some(Event::Data(self.data)),
            b"control" => Some(match serde_json::from_slice(&self.data) {
                Ok(control) => Event::Control(control),
                Err(_) => Event::Malformed,
            }),
            _ => None,
        }
    }

    /// Whether it has no name, as those of many streams on one connection.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.name.is_empty()
    }
}

impl Decoder {
    /// The events that are whole with `bytes`.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Vec<Raw> {
        let mut events = Vec::new();
        while let Some(&first) = bytes.first() {
            if self.after_cr && first == b'\n' {
                bytes = &bytes[1..];
            }
            self.after_cr = false;
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
                self.line.extend_from_slice(bytes);
                break;
            };
            self.line.extend_from_slice(&bytes[..end]);
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            events.extend(self.line(&line));
        }
        events
    }

    fn line(&mut self, line: &[u8]) -> Option<Raw> {
        if line.is_empty() {
            return self.dispatch();
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = match colon {
            None => (line, &[][..]),
            Some(at) => (&line[..at], &line[at + 1..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => self.name = value.to_vec(),
            b"data" => match &mut self.data {
                None => self.data = Some(value.to_vec()),
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Raw> {
        let name = std::mem::take(&mut self.name);
        let data = self.data.take()?;
        Some(Raw { name, data })
    }
}

/// The bytes behind base64, in which line breaks do not count.
pub(crate) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    if text.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        let text: Vec<u8> = text
            .iter()
            .copied()
            .filter(|byte| !matches!(byte, b'\r' | b'\n'))
            .collect();
        return STANDARD.decode(text).ok();
    }
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use millrace_core::{ContentKind, Generation, Offset, StreamPos};
    use millrace_wire::sse;

    use super::*;

    fn wire() -> (Vec<u8>, Vec<Event>) {
        let next = Offset {
            generation: Generation(1),
            position: StreamPos(9),
        };
        let mut out = Vec::new();
        out.extend_from_slice(sse::KEEP_ALIVE);
        sse::data_event(&mut out, ContentKind::Text, b" a\nb", next);
        let control = sse::Control {
            next,
            cursor: Some(7),
            up_to_date: true,
            closed: false,
        };
        sse::control_event(&mut out, control);
        let events = vec![
            Event::Data(b" a\nb".to_vec()),
            Event::Control(Control {
                stream_next_offset: "0000000000001-0000000000000009".to_owned(),
                stream_cursor: Some("7".to_owned()),
                up_to_date: true,
                stream_closed: false,
            }),
        ];
        (out, events)
    }

    #[test]
    fn what_the_server_writes_is_read_however_it_is_cut() {
        let (wire, want) = wire();
        for size in 1..wire.len() {
            let mut decoder = Decoder::default();
            let pieces = wire.chunks(size);
            let events = pieces.flat_map(|piece| decoder.push(piece));
            let events: Vec<Event> = events.filter_map(Raw::of_stream).collect();
            assert_eq!(events, want, "{size}");
        }
    }

    #[test]
    fn line_ends_of_all_three_kinds_are_read() {
        let want = vec![Raw {
            name: b"data".to_vec(),
            data: b"x\ny".to_vec(),
        }];
        for text in [
            "event: data\ndata:x\ndata: y\n\n",
            "event:data\r\ndata:x\r\ndata:y\r\n\r\n",
        ] {
            assert_eq!(Decoder::default().push(text.as_bytes()), want);
        }
        let cr = "event:data\rdata:x\rdata:y\r\r";
        assert_eq!(Decoder::default().push(cr.as_bytes()), want);
    }

    #[test]
    fn what_was_cut_off_is_not_given_out() {
        let (wire, _) = wire();
        let cut = &wire[..sse::KEEP_ALIVE.len() + 20];
        assert!(Decoder::default().push(cut).is_empty());
    }

    #[test]
    fn base64_is_read_across_lines() {
        assert_eq!(base64(b"AAEC").as_deref(), Some(&[0, 1, 2][..]));
        assert_eq!(base64(b"AA\nEC").as_deref(), Some(&[0, 1, 2][..]));
        assert_eq!(base64(b"?"), None);
    }
}
