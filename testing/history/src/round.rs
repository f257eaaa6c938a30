//! What the clients of a round have in common: the names, where the server is, and what they tell each
//! other, so that they get in each other's way.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use millrace_monitor::tee;

use crate::{
    history::{Append, Item, Offset, Operation, Record, Refusal, Verdict},
    place::Place,
};

/// What the clients of all rounds share.
#[derive(Debug, Default)]
pub struct Shared {
    /// The last item's number.
    items: AtomicU32,
    /// Requests that were cut off half way.
    pub cut: AtomicU64,
    /// Sees all that passes between the clients and every life of the server.
    pub watcher: tee::Shared,
    /// Answers that must not be, whatever else happened.
    pub broken: Mutex<Vec<String>>,
}

/// What the clients of a round tell each other, so that they get in each other's way.
#[derive(Debug)]
pub struct Round<'a> {
    /// Where the server is.
    pub place: &'a Place,
    /// What outlives the round.
    pub shared: &'a Shared,
    /// The names.
    pub names: Vec<String>,
    heard: Mutex<Heard>,
}

/// What somebody was told.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Offsets that somebody was told, and under which name.
    pub(crate) offsets: Vec<(String, Offset)>,
    /// By name and producer: its epoch and what it would send next.
    pub(crate) producers: HashMap<(String, u32), (u64, u64)>,
    /// The highest `Stream-Seq` so far.
    pub(crate) seq: u64,
}

impl Heard {
    /// Takes up what the others may use of an answer.
    pub(crate) fn take(&mut self, record: &Record) {
        let Some(answer) = &record.answer else { return };
        let told = answer.tail.map(|tail| (record.name.clone(), tail));
        self.offsets.extend(told);
        let Operation::Append(Append {
            producer: Some(claim),
            ..
        }) = record.operation
        else {
            return;
        };
        let next = match answer.verdict {
            Verdict::Refused(Refusal::SeqGap { expected }) => (claim.epoch, expected),
            Verdict::Refused(Refusal::StaleEpoch { current }) => (current, claim.seq + 1),
            Verdict::Refused(Refusal::NotFound) => (0, 0),
            Verdict::Duplicate { highest } => (claim.epoch, highest + 1),
            _ => return,
        };
        self.producers.insert((record.name.clone(), claim.id), next);
    }
}

impl<'a> Round<'a> {
    /// A round over these names.
    pub fn new(place: &'a Place, shared: &'a Shared, names: Vec<String>) -> Self {
        Self {
            place,
            shared,
            names,
            heard: Mutex::default(),
        }
    }

    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an answer that must not be.
    pub(crate) fn broken(&self, what: String) {
        let broken = self.shared.broken.lock();
        broken.unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// An item that nobody has sent.
    pub(crate) fn item(&self) -> Item {
        Item::new(self.shared.items.fetch_add(1, Ordering::Relaxed))
    }
}

/// A record whose end is not known yet where it has no answer: that of the server's life.
#[derive(Debug)]
pub struct Open {
    pub(crate) record: Record,
    pub(crate) life: usize,
}

impl Open {
    /// The record, once the server's life is over or nothing more is asked of it.
    pub fn close(mut self, place: &Place) -> Record {
        if self.record.answer.is_none() {
            self.record.until = place.end_of(self.life);
        }
        self.record
    }
}

/// The records of a round, once all that was asked in it is over.
pub fn close(open: Vec<Open>, place: &Place) -> Vec<Record> {
    open.into_iter().map(|open| open.close(place)).collect()
}
