//! Server-sent events as they come, in whatever pieces.

use memchr::memmem;

/// BOUND: an event that is longer is not read, nor is what comes after it.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) data: String,
    pub(crate) id: Option<String>,
}

/// What has come and is no whole event yet.
#[derive(Debug, Default)]
pub(crate) struct Events {
    come: Vec<u8>,
    /// Up to where no event ends.
    looked: usize,
    broken: bool,
}

impl Events {
    /// The events that are whole with these bytes.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<Event> {
        if self.broken {
            return Vec::new();
        }
        self.come.extend_from_slice(bytes);
        let mut found = Vec::new();
        while let Some(at) = memmem::find(&self.come[self.looked..], b"\n\n") {
            let block: Vec<u8> = self.come.drain(..self.looked + at + 2).collect();
            self.looked = 0;
            found.extend(event(&String::from_utf8_lossy(&block)));
        }
        self.looked = self.come.len().saturating_sub(1);
        if self.come.len() > EVENT_BYTES_MAX {
            (self.come, self.broken) = (Vec::new(), true);
        }
        found
    }
}

/// Reads the lines of an event; none of one without data.
fn event(block: &str) -> Option<Event> {
    let mut event = Event::default();
    let mut data: Vec<&str> = Vec::new();
    for line in block.split('\n') {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut event.kind),
            "data" => data.push(value),
            "id" => event.id = Some(value.to_owned()),
            _ => {}
        }
    }
    event.data = data.join("\n");
    (!data.is_empty()).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_wherever_they_are_cut() {
        let text = b": hello\n\nevent: data\ndata:a\ndata: b\nid:7\n\nevent: control\ndata:{}\n\nevent: da";
        let want = [("data", "a\nb", Some("7")), ("control", "{}", None)];
        for size in 1..text.len() {
            let mut events = Events::default();
            let found: Vec<Event> = text
                .chunks(size)
                .flat_map(|part| events.take(part))
                .collect();
            let found: Vec<_> = found
                .iter()
                .map(|event| {
                    (
                        event.kind.as_str(),
                        event.data.as_str(),
                        event.id.as_deref(),
                    )
                })
                .collect();
            assert_eq!(found, want, "in pieces of {size}");
        }
    }
}
