//! The judge: it is told of everything clients sent, were answered and read, and says what cannot be.
//!
//! Pure, so that its own tests can feed it every fault it is there to find. Its knowledge of a stream
//! is one [`Incarnation`]: what was sent to it and what came of it, and *marks*, the hash of all
//! bytes before a position that some client has seen. Two clients that saw different bytes before
//! one position, or one client that was moved past bytes it did not get, disagree about a mark.

mod incarnation;
mod whole;

#[cfg(test)]
mod tests;

pub use incarnation::{Closing, Deleting, Fate, Incarnation, Mark};

use crate::message::{Key, Kind, fold};

/// An incarnation's number in the judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub u32);

/// A moment in the order in which the judge was told of things.
pub type Tick = u64;

/// Everything the judge knows.
#[derive(Debug, Default)]
pub struct Judge {
    incarnations: Vec<Option<Incarnation>>,
    clock: Tick,
    violations: Vec<String>,
    /// What was counted, for the summary.
    pub counts: Counts,
}

/// What was counted, for the summary.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Appends that were acknowledged.
    pub acked: u64,
    /// Of these, those whose acknowledgement was that of a duplicate.
    pub duplicates: u64,
    /// Appends of which nobody knows.
    pub unknown: u64,
    /// Responses and events that a reader took.
    pub delivered: u64,
    /// Bytes these carried.
    pub delivered_bytes: u64,
    /// Whole streams that were compared with everything known of them.
    pub verified: u64,
}

/// A whole stream as it was read from its start.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Its wire bytes.
    pub bytes: Vec<u8>,
    /// The offset after them.
    pub tail: String,
    /// Whether it was said to be closed.
    pub closed: bool,
}

impl Judge {
    /// A stream is about to be created.
    pub fn open(&mut self, name: String, kind: Kind) -> Id {
        let id = u32::try_from(self.incarnations.len()).expect("a run makes few streams");
        let incarnation = Incarnation::new(id, name, kind);
        self.incarnations.push(Some(incarnation));
        Id(id)
    }

    /// An incarnation that has not been forgotten.
    pub fn get(&self, id: Id) -> Option<&Incarnation> {
        self.incarnations[id.0 as usize].as_ref()
    }

    /// Whether nobody asked for this incarnation's deletion. After that its name may stand for
    /// another one, so that an answer says nothing about this one.
    pub fn lives(&self, id: Id) -> bool {
        self.get(id)
            .is_some_and(|found| found.deleting == Deleting::No)
    }

    fn get_mut(&mut self, id: Id) -> Option<&mut Incarnation> {
        self.incarnations[id.0 as usize].as_mut()
    }

    /// Nothing more will be said of this incarnation.
    pub fn forget(&mut self, id: Id) {
        self.incarnations[id.0 as usize] = None;
    }

    /// The present moment.
    pub fn now(&mut self) -> Tick {
        self.clock += 1;
        self.clock
    }

    /// Notes that something happened that must not.
    pub fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    /// What happened that must not.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// An append is about to be sent for the first time; `wire` is what it will look like.
    pub fn sending(&mut self, id: Id, key: Key, of: u32, wire: &[u8]) {
        let now = self.now();
        if let Some(incarnation) = self.get_mut(id) {
            incarnation.sending(key, of, wire, now);
        }
    }

    /// What became of an append; `end` is the offset it was answered with, where that is its own.
    pub fn settle(&mut self, id: Id, key: Key, fate: Settled, end: Option<&str>) {
        let now = self.now();
        match fate {
            Settled::Acked => self.counts.acked += 1,
            Settled::Duplicate => {
                self.counts.acked += 1;
                self.counts.duplicates += 1;
            }
            Settled::Unknown => self.counts.unknown += 1,
            Settled::Refused => {}
        }
        let fate = match fate {
            Settled::Acked | Settled::Duplicate => Fate::Acked {
                at: now,
                end: end.and_then(position),
            },
            Settled::Unknown => Fate::Unknown,
            Settled::Refused => Fate::Refused,
        };
        let told = self.get_mut(id).map(|found| found.settle(key, fate));
        self.note(told.unwrap_or(Ok(())));
    }

    /// A close is about to be sent.
    pub fn closing(&mut self, id: Id) {
        if let Some(incarnation) = self.get_mut(id) {
            incarnation.close_asked();
        }
    }

    /// A client was told that the stream is closed.
    pub fn closed(&mut self, id: Id) {
        let now = self.now();
        let told = self.get_mut(id).map(|found| found.close_seen(now));
        self.note(told.unwrap_or(Ok(())));
    }

    /// A deletion is about to be sent, or was answered.
    pub fn deleting(&mut self, id: Id, state: Deleting) {
        if let Some(incarnation) = self.get_mut(id) {
            incarnation.deleting = state;
        }
    }

    /// Where a reader may begin: the start, or one of the marks, by chance.
    pub fn pick(&self, id: Id, which: usize) -> Mark {
        self.get(id)
            .map_or_else(Mark::start, |found| found.pick(which))
    }

    /// A fork begins with what its source has before `mark`.
    pub fn inherits(&mut self, id: Id, mark: &Mark) {
        let now = self.now();
        if let Some(incarnation) = self.get_mut(id) {
            incarnation.inherit(mark, now);
        }
    }

    /// A response carried `wire` from `from` on and said that the reader is at `next` now. Gives the
    /// reader's new place; `None` when the stream is being deleted, so that nothing can be said.
    pub fn delivered(&mut self, id: Id, from: &Mark, wire: &[u8], next: &str) -> Option<Mark> {
        self.counts.delivered += 1;
        self.counts.delivered_bytes += wire.len() as u64;
        let now = self.now();
        let incarnation = self.get_mut(id)?;
        if incarnation.deleting != Deleting::No {
            return None;
        }
        let place = incarnation.delivered(from, wire, next, now);
        match place {
            Ok(mark) => Some(mark),
            Err(what) => {
                self.violation(what);
                None
            }
        }
    }

    /// Compares a whole stream with everything that was known at `asof`, before it was read.
    pub fn verify(&mut self, id: Id, whole: &Whole, asof: Tick) {
        let Some(incarnation) = self.get(id) else {
            return;
        };
        if incarnation.deleting != Deleting::No {
            return;
        }
        let found = whole::verify(incarnation, whole, asof);
        self.counts.verified += 1;
        self.violations.extend(found);
    }

    fn note(&mut self, result: Result<(), String>) {
        if let Err(what) = result {
            self.violation(what);
        }
    }
}

/// What a writer learned of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is in the stream, by this request.
    Acked,
    /// It is in the stream, by an earlier sending of the same request.
    Duplicate,
    /// It was refused and is not in the stream.
    Refused,
    /// Nobody knows; it is there once or not at all.
    Unknown,
}

/// The position in a token (see `docs/format.md`): what follows the `-`.
pub fn position(token: &str) -> Option<u64> {
    token.rsplit_once('-')?.1.parse().ok()
}

/// The mark after `wire`, which was read at `from`.
fn advance(from: &Mark, wire: &[u8], token: &str) -> Mark {
    Mark {
        token: token.to_owned(),
        position: from.position + wire.len() as u64,
        hash: fold(from.hash, wire),
    }
}
