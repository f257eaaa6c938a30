//! What should be there: streams as byte vectors, forks as copies. Knows nothing of logs.

use std::collections::{BTreeMap, BTreeSet};

/// Names and what is under them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct World {
    streams: BTreeMap<u64, Stream>,
    names: BTreeMap<String, u64>,
    next: u64,
}

/// One stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) bytes: Vec<u8>,
    pub(super) closed: bool,
    /// Highest accepted sequence number, by producer; epochs stay 0.
    pub(super) producers: BTreeMap<String, u64>,
    /// The appends' ends, where a fork may branch.
    pub(super) ends: Vec<usize>,
    /// What lies before can be read no longer.
    pub(super) trimmed: usize,
    /// A document of its settings.
    pub(super) document: Option<String>,
    soft_deleted: bool,
    source: Option<u64>,
    forks: BTreeSet<u64>,
}

/// One change that is sure to be accepted.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Create {
        name: String,
        body: Vec<u8>,
    },
    Append {
        name: String,
        body: Vec<u8>,
        producer: Option<(String, u64)>,
        close: bool,
    },
    Fork {
        name: String,
        source: String,
        at: usize,
    },
    Trim {
        name: String,
        to: usize,
    },
    /// A snapshot takes the place of all that is there.
    Condense {
        name: String,
        body: Vec<u8>,
    },
    Configure {
        name: String,
        document: Option<String>,
    },
    Delete {
        name: String,
    },
}

impl Change {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Create { name, .. }
            | Self::Append { name, .. }
            | Self::Fork { name, .. }
            | Self::Trim { name, .. }
            | Self::Configure { name, .. }
            | Self::Condense { name, .. }
            | Self::Delete { name } => name,
        }
    }
}

impl Stream {
    /// What can be read.
    pub(super) fn shown(&self) -> &[u8] {
        &self.bytes[self.trimmed..]
    }
}

impl World {
    /// The stream that clients reach under `name`.
    pub(super) fn get(&self, name: &str) -> Option<&Stream> {
        self.names
            .get(name)
            .map(|id| &self.streams[id])
            .filter(|stream| !stream.soft_deleted)
    }

    /// Whether nothing holds the name, not even a deleted stream that forks need.
    pub(super) fn is_free(&self, name: &str) -> bool {
        !self.names.contains_key(name)
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Create { name, body } => {
                let mut stream = Stream {
                    bytes: body.clone(),
                    ..Stream::default()
                };
                stream.ends.push(body.len());
                self.add(name, stream);
            }
            Change::Append {
                name,
                body,
                producer,
                close,
            } => {
                let stream = self
                    .streams
                    .get_mut(&self.names[name])
                    .expect("it is there");
                stream.bytes.extend_from_slice(body);
                stream.ends.push(stream.bytes.len());
                stream.closed |= close;
                if let Some((producer, seq)) = producer {
                    stream.producers.insert(producer.clone(), *seq);
                }
            }
            Change::Fork { name, source, at } => {
                let source = self.names[source];
                let from = &self.streams[&source];
                let ends = from.ends.iter().copied().filter(|end| end <= at).collect();
                let trimmed = from.trimmed;
                let bytes = from.bytes[..*at].to_vec();
                let stream = Stream {
                    bytes,
                    ends,
                    trimmed,
                    source: Some(source),
                    ..Stream::default()
                };
                let fork = self.add(name, stream);
                self.streams
                    .get_mut(&source)
                    .expect("it is there")
                    .forks
                    .insert(fork);
            }
            Change::Trim { name, to } => {
                let stream = self
                    .streams
                    .get_mut(&self.names[name])
                    .expect("it is there");
                stream.trimmed = *to;
            }
            Change::Condense { name, body } => {
                let stream = self
                    .streams
                    .get_mut(&self.names[name])
                    .expect("it is there");
                stream.trimmed = stream.bytes.len();
                stream.bytes.extend_from_slice(body);
                stream.ends.push(stream.bytes.len());
            }
            Change::Configure { name, document } => {
                let stream = self
                    .streams
                    .get_mut(&self.names[name])
                    .expect("it is there");
                stream.document.clone_from(document);
            }
            Change::Delete { name } => {
                let id = self.names[name];
                if self.streams[&id].forks.is_empty() {
                    self.remove(id);
                } else {
                    self.streams.get_mut(&id).expect("it is there").soft_deleted = true;
                }
            }
        }
    }

    fn add(&mut self, name: &str, stream: Stream) -> u64 {
        self.next += 1;
        self.streams.insert(self.next, stream);
        self.names.insert(name.to_owned(), self.next);
        self.next
    }

    fn remove(&mut self, id: u64) {
        let stream = self.streams.remove(&id).expect("it is there");
        self.names.retain(|_, named| *named != id);
        let Some(source) = stream.source else { return };
        let Some(from) = self.streams.get_mut(&source) else {
            return;
        };
        from.forks.remove(&id);
        if from.soft_deleted && from.forks.is_empty() {
            self.remove(source);
        }
    }
}
