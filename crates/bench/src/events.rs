//! Server-sent events, as they come in. What a data event carries is handed on piece by piece; only
//! control events are gathered.

use memchr::memchr;

/// A part of the event stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Bytes of a data event's lines.
    Data(&'a [u8]),
    /// A data event is whole.
    DataEnd,
    /// What a control event says.
    Control(&'a [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Event,
    Data,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Name,
    /// The blank after the colon, which belongs to neither.
    Blank(Field),
    Value(Field),
}

/// Takes bytes, gives parts.
#[derive(Debug)]
pub(crate) struct Events {
    state: State,
    /// The name of a field, or what must be whole to be understood.
    kept: Vec<u8>,
    is_control: bool,
    has_data: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            state: State::Name,
            kept: Vec::new(),
            is_control: false,
            has_data: false,
        }
    }
}

impl Events {
    /// Goes through `bytes`; `take` is called with each part in turn.
    pub(crate) fn feed<E>(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(first) = bytes.first() {
            match self.state {
                State::Name => bytes = self.name(bytes, &mut take)?,
                State::Blank(field) => {
                    bytes = &bytes[usize::from(*first == b' ')..];
                    self.state = State::Value(field);
                }
                State::Value(field) => bytes = self.value(field, bytes, &mut take)?,
            }
        }
        Ok(())
    }

    fn name<'a, E>(
        &mut self,
        bytes: &'a [u8],
        take: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<&'a [u8], E> {
        let end = bytes.iter().position(|byte| matches!(byte, b':' | b'\n'));
        let Some(end) = end else {
            self.kept.extend_from_slice(bytes);
            return Ok(&[]);
        };
        self.kept.extend_from_slice(&bytes[..end]);
        if bytes[end] == b':' {
            let field = match self.kept.as_slice() {
                b"event" => Field::Event,
                b"data" => Field::Data,
                _ => Field::Other,
            };
            self.state = State::Blank(field);
        } else if self.kept.is_empty() || self.kept == b"\r" {
            self.event_end(take)?;
        }
        self.kept.clear();
        Ok(&bytes[end + 1..])
    }

    fn event_end<E>(&mut self, take: &mut impl FnMut(Part<'_>) -> Result<(), E>) -> Result<(), E> {
        self.is_control = false;
        if std::mem::take(&mut self.has_data) {
            take(Part::DataEnd)?;
        }
        Ok(())
    }

    fn value<'a, E>(
        &mut self,
        field: Field,
        bytes: &'a [u8],
        take: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<&'a [u8], E> {
        let end = memchr(b'\n', bytes);
        let (now, rest) = match end {
            Some(end) => (&bytes[..end], &bytes[end + 1..]),
            None => (bytes, &bytes[bytes.len()..]),
        };
        let is_data = field == Field::Data && !self.is_control;
        if is_data {
            self.has_data = true;
            take(Part::Data(now))?;
        } else if field != Field::Other {
            self.kept.extend_from_slice(now);
        }
        if end.is_some() {
            let kept = self.kept.trim_ascii_end();
            match field {
                Field::Event => self.is_control = kept == b"control",
                Field::Data if self.is_control => take(Part::Control(kept))?,
                _ => {}
            }
            self.kept.clear();
            self.state = State::Name;
        }
        Ok(rest)
    }
}

/// The offset that a control event names.
pub(crate) fn next_offset(control: &[u8]) -> Option<&[u8]> {
    const KEY: &[u8] = b"\"streamNextOffset\"";
    let at = memchr::memmem::find(control, KEY)? + KEY.len();
    let rest = control[at..].trim_ascii_start().strip_prefix(b":")?;
    let rest = rest.trim_ascii_start().strip_prefix(b"\"")?;
    Some(&rest[..memchr(b'"', rest)?])
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Seen {
        data: Vec<String>,
        controls: Vec<String>,
    }

    fn seen(text: &str, by: usize) -> Seen {
        let mut events = Events::default();
        let (mut seen, mut data) = (Seen::default(), Vec::new());
        for part in text.as_bytes().chunks(by) {
            let Ok(()) = events.feed(part, |part| {
                match part {
                    Part::Data(bytes) => data.extend_from_slice(bytes),
                    Part::DataEnd => {
                        let text = String::from_utf8(std::mem::take(&mut data));
                        seen.data.push(text.expect("text"));
                    }
                    Part::Control(bytes) => {
                        let text = String::from_utf8(bytes.to_vec());
                        seen.controls.push(text.expect("text"));
                    }
                }
                Ok::<(), Infallible>(())
            });
        }
        seen
    }

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let text = "event: data\nid: 7\ndata: one\n\nevent: control\ndata: {\"streamNextOffset\":\"7\"}\n\n\
            : alive\n\nevent:data\ndata:two\ndata:three\n\nevent:control\ndata:{}\n\n";
        for by in [1, 2, 5, 9, text.len()] {
            let seen = seen(text, by);
            assert_eq!(seen.data, ["one", "twothree"], "by {by}");
            assert_eq!(seen.controls, ["{\"streamNextOffset\":\"7\"}", "{}"]);
        }
    }

    #[test]
    fn a_control_event_names_the_offset() {
        let control = br#"{"streamNextOffset":"12_3","upToDate":true}"#;
        assert_eq!(next_offset(control), Some(&b"12_3"[..]));
        assert_eq!(
            next_offset(br#"{"streamNextOffset" : "a"}"#),
            Some(&b"a"[..])
        );
        assert_eq!(next_offset(b"{}"), None);
    }
}
