//! What is known of one stream, from its creation to its deletion.

use std::collections::{BTreeMap, HashMap};

use super::{Tick, advance, position};
use crate::message::{HASH_START, Key, Kind, fold};

/// A place in a stream, and the hash of all bytes before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The offset token.
    pub token: String,
    /// Its position.
    pub position: u64,
    /// The hash of the bytes before it.
    pub hash: u64,
}

impl Mark {
    /// A stream's start.
    pub fn start() -> Self {
        Self {
            token: "-1".into(),
            position: 0,
            hash: HASH_START,
        }
    }
}

/// Whether a stream is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Nobody asked for it.
    Open,
    /// A close was sent.
    Asked,
    /// Some client was told so, first at this moment: from then on it stays so.
    Closed(Tick),
}

/// Whether a stream is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleting {
    /// Nobody asked for it.
    No,
    /// A deletion was sent.
    Asked,
    /// It was answered: from here on it stays so.
    Done,
}

/// What is known of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was sent, and no answer has settled it.
    Open,
    /// It was acknowledged.
    Acked {
        /// When.
        at: Tick,
        /// The position after it, where the answer said it.
        end: Option<u64>,
    },
    /// It was given up; it is there once or not at all.
    Unknown,
    /// It was refused.
    Refused,
}

/// One append.
#[derive(Clone, Copy, Debug)]
pub(super) struct Append {
    pub(super) of: u32,
    pub(super) hash: u64,
    pub(super) sent: Tick,
    pub(super) fate: Fate,
}

/// What is known of one stream.
#[derive(Debug)]
pub struct Incarnation {
    /// Its number, which its messages carry.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Whether it is closed.
    pub closing: Closing,
    /// Whether it is deleted.
    pub deleting: Deleting,
    pub(super) inherited: u64,
    pub(super) appends: HashMap<Key, Append>,
    /// By position, each with the moment it was first seen.
    pub(super) marks: BTreeMap<u64, (Tick, Mark)>,
}

impl Incarnation {
    pub(super) fn new(number: u32, name: String, kind: Kind) -> Self {
        Self {
            number,
            name,
            kind,
            closing: Closing::Open,
            deleting: Deleting::No,
            inherited: 0,
            appends: HashMap::new(),
            marks: BTreeMap::new(),
        }
    }

    pub(super) fn sending(&mut self, key: Key, of: u32, wire: &[u8], sent: Tick) {
        let append = Append {
            of,
            hash: fold(HASH_START, wire),
            sent,
            fate: Fate::Open,
        };
        self.appends.insert(key, append);
    }

    pub(super) fn settle(&mut self, key: Key, fate: Fate) -> Result<(), String> {
        match self.appends.get_mut(&key) {
            Some(append) => {
                append.fate = fate;
                Ok(())
            }
            None => Err(self.says(&format!("{key:?} was answered but never sent"))),
        }
    }

    pub(super) fn close_asked(&mut self) {
        if self.closing == Closing::Open {
            self.closing = Closing::Asked;
        }
    }

    pub(super) fn close_seen(&mut self, at: Tick) -> Result<(), String> {
        match self.closing {
            Closing::Open if self.deleting == Deleting::No => {
                return Err(self.says("it is said to be closed, and nobody closed it"));
            }
            Closing::Closed(_) => {}
            Closing::Open | Closing::Asked => self.closing = Closing::Closed(at),
        }
        Ok(())
    }

    /// The farthest position anybody was told of.
    pub fn farthest(&self) -> u64 {
        let seen = self.marks.last_key_value().map_or(0, |(at, _)| *at);
        let acked = self
            .appends
            .values()
            .filter_map(|append| match append.fate {
                Fate::Acked { end, .. } => end,
                _ => None,
            });
        acked.fold(seen, u64::max)
    }

    pub(super) fn pick(&self, which: usize) -> Mark {
        match which % (self.marks.len() + 1) {
            0 => Mark::start(),
            nth => self
                .marks
                .values()
                .nth(nth - 1)
                .expect("below the length")
                .1
                .clone(),
        }
    }

    pub(super) fn inherit(&mut self, mark: &Mark, at: Tick) {
        self.inherited = mark.position;
        if mark.position > 0 {
            self.marks.insert(mark.position, (at, mark.clone()));
        }
    }

    pub(super) fn delivered(
        &mut self,
        from: &Mark,
        wire: &[u8],
        next: &str,
        now: Tick,
    ) -> Result<Mark, String> {
        let mark = advance(from, wire, next);
        let at = position(next).ok_or_else(|| self.says(&format!("{next:?} is no offset")))?;
        if at != mark.position {
            let carried = wire.len();
            return Err(self.says(&format!(
                "a response of {carried} bytes moved the reader from {} to {next}",
                from.token
            )));
        }
        match self.marks.get(&at) {
            Some((_, known)) if known.hash != mark.hash => Err(self.says(&format!(
                "two readers saw different bytes before {next}; one began at {}",
                from.token
            ))),
            Some((_, known)) if known.token != mark.token => Err(self.says(&format!(
                "one position has two tokens, {} and {next}",
                known.token
            ))),
            Some(_) => Ok(mark),
            None => {
                self.marks.insert(at, (now, mark.clone()));
                Ok(mark)
            }
        }
    }

    /// A sentence about this stream.
    pub(super) fn says(&self, what: &str) -> String {
        format!("{} (incarnation {}): {what}", self.name, self.number)
    }
}
