//! The engine against the oracle: any operations on a few streams, with flushes, compactions, expiry,
//! restarts, full disks and power loss at any I/O in between, recovery included. Every answer is the model's; after
//! power loss what was acknowledged is there, what was under way is there whole or not at all, and an
//! offset never comes to mean anything else.
//!
//! Time passes, then all that is due is ended, in both: who finds it first is no matter here.

mod compare;
mod operations;

use std::{sync::Arc, time::Duration};

use millrace_core::{Refusal, Timestamp};
use millrace_engine::fuzzing::{Driver, Found};
use millrace_env::{SimClock, SimDisk};
use millrace_model::{Model, Reply, Tokens};
use millrace_store::StoreError;

use self::{
    compare::{between, same},
    operations::{Change, Operation},
};
use super::specimen::named;
use crate::input::Input;

/// More operations teach little and cost much.
const OPERATIONS_MAX: usize = 48;
const NAMES: [&str; 4] = ["a", "b", "{tag}/c", "{tag}/d"];
const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// The input is a list of operations.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut run = Run::new(1 + u16::from(input.below(2)));
    for _ in 0..OPERATIONS_MAX {
        if input.is_empty() {
            break;
        }
        let operation = Operation::from(&mut input, &run.models[0], &run.tokens);
        run.carry_out(operation);
        if run.disk.is_down() {
            run.restart(&mut input);
        }
    }
    run.restart(&mut input);
}

struct Run {
    disk: Arc<SimDisk>,
    clock: Arc<SimClock>,
    shards: u16,
    /// Counts the starts, each of which has random numbers of its own.
    starts: u64,
    engine: Option<Driver>,
    /// The disk has little room left, or none.
    is_full: bool,
    /// What may be: more than one only after power was lost in the middle of a change.
    models: Vec<Model>,
    tokens: Tokens,
}

impl Run {
    fn new(shards: u16) -> Self {
        let mut run = Self {
            disk: SimDisk::new(1),
            clock: Arc::new(SimClock::new(NOW.get())),
            shards,
            starts: 0,
            engine: None,
            is_full: false,
            models: vec![Model::at(NOW)],
            tokens: Tokens::default(),
        };
        run.start();
        run
    }

    fn engine(&mut self) -> &mut Driver {
        self.engine.as_mut().expect("it was started")
    }

    fn start(&mut self) {
        self.starts += 1;
        let opened = Driver::open(&self.disk, &self.clock, self.shards, self.starts);
        match opened {
            Ok(engine) => self.engine = Some(engine),
            Err(error) => assert!(self.disk.is_down(), "recovery fails: {error}"),
        }
    }

    fn carry_out(&mut self, operation: Operation) {
        let done = match operation {
            Operation::Change(change) => {
                self.change(&change, carry_out);
                Ok(())
            }
            Operation::FlushAround(change) => {
                let mut flushed = Ok(());
                self.change(&change, |engine, change| {
                    let Change::Append(name, appends) = change else {
                        unreachable!("made so")
                    };
                    let (replies, done) = engine.flush_around(name, appends);
                    flushed = done;
                    replies
                });
                flushed
            }
            Operation::Flush => self.engine().flush(),
            Operation::Compact => self.engine().compact(),
            Operation::Wait(by) => return self.wait(by),
            Operation::LosePowerIn(ios) => {
                self.disk.crash_after(ios);
                Ok(())
            }
            Operation::Fill(room) => {
                self.is_full = true;
                self.disk.set_capacity(Some(self.disk.used() + room));
                Ok(())
            }
            Operation::MakeRoom => {
                self.make_room();
                Ok(())
            }
            Operation::Kill => {
                self.engine = None;
                self.make_room();
                self.disk = self.disk.kill();
                self.reopened();
                Ok(())
            }
        };
        match done {
            Ok(()) => {}
            Err(StoreError::Full) if self.is_full => {}
            Err(error) => assert!(self.disk.is_down(), "maintenance fails: {error}"),
        }
        if !self.disk.is_down() {
            self.compare();
        }
    }

    /// A change: the replies are the model's, or the power went and it may or may not have happened.
    fn change(&mut self, change: &Change, by: impl FnOnce(&mut Driver, &Change) -> Vec<Reply>) {
        let before = self.models[0].clone();
        let mut after = before.clone();
        let wanted = change.to(&mut after);
        let replies = by(self.engine(), change);
        assert_eq!(replies.len(), wanted.len());
        let mut tokens = self.tokens.clone();
        let pairs = wanted.iter().zip(&replies);
        let agreed: Result<Vec<()>, String> = pairs
            .map(|(wanted, reply)| tokens.agree(wanted, reply))
            .collect();
        match agreed {
            Ok(_) => {
                self.tokens = tokens;
                self.models = vec![after];
            }
            Err(_) if self.is_full && !self.disk.is_down() => {
                self.models = vec![self.without_refused(change, &replies)];
            }
            Err(what) => {
                assert!(self.disk.is_down(), "{what} to {change:?}");
                let acknowledged = replies.iter().any(Result::is_ok);
                assert!(!acknowledged, "a turn is acknowledged whole: {replies:?}");
                self.models = vec![before, after];
            }
        }
    }

    /// What the model comes to where changes for which there was no space did not happen (T13, T14).
    fn without_refused(&mut self, change: &Change, replies: &[Reply]) -> Model {
        let mut model = self.models[0].clone();
        for (nth, reply) in replies.iter().enumerate() {
            if *reply == Err(Refusal::StorageFull) {
                continue;
            }
            let wanted = change.one(nth, &mut model);
            let agreed = self.tokens.agree(&wanted, reply);
            agreed.expect("what is not refused for want of space is done");
        }
        model
    }

    fn make_room(&mut self) {
        self.is_full = false;
        self.disk.set_capacity(None);
    }

    fn wait(&mut self, by: Duration) {
        self.clock.advance(by);
        let mut after = self.models[0].clone();
        after.advance(by);
        let before = after.clone();
        after.sweep();
        let swept = self.engine().sweep();
        // Each expiry is a turn of its own, and nobody is told of it: a part of them may be done.
        if self.disk.is_down() {
            self.models = between(&before);
            return;
        }
        swept.expect("sweeping works");
        if self.is_full {
            self.models = between(&before);
            self.find_the_true_one();
        } else {
            self.models = vec![after];
        }
    }

    /// The end of the process by loss of power, perhaps in recovery too.
    fn restart(&mut self, input: &mut Input<'_>) {
        self.engine = None;
        self.make_room();
        self.disk = self.disk.crash();
        for _ in 0..input.below(3) {
            self.disk.crash_after(u64::from(input.u8()));
            self.start();
            self.engine = None;
            self.disk = self.disk.crash();
        }
        self.reopened();
    }

    fn reopened(&mut self) {
        self.start();
        for model in &mut self.models {
            model.reboot();
        }
        self.find_the_true_one();
        self.compare();
        // What came to its end meanwhile is ended first, in both.
        self.wait(Duration::ZERO);
    }

    /// One of the models that may be true is.
    fn find_the_true_one(&mut self) {
        let found = self.found();
        let models = std::mem::take(&mut self.models);
        let true_one = models.iter().find(|model| same(model, &found).is_ok());
        let Some(model) = true_one else {
            let differ: Vec<_> = models.iter().map(|model| same(model, &found)).collect();
            panic!("none of what may be there is: {differ:?}")
        };
        self.models = vec![model.clone()];
    }

    fn found(&mut self) -> Vec<Option<Found>> {
        let names = NAMES.map(named);
        names.iter().map(|name| self.engine().find(name)).collect()
    }

    /// Everything under every name, and the offsets of its ends.
    fn compare(&mut self) {
        let found = self.found();
        let model = &self.models[0];
        same(model, &found).expect("what is read was written");
        for (name, found) in NAMES.map(named).iter().zip(&found) {
            if let (Some(stream), Some(found)) = (model.stream(name), found) {
                let start = self.tokens.pair(stream.start(), found.start);
                let tail = self.tokens.pair(stream.tail(), found.tail);
                start.and(tail).expect("an offset keeps its meaning");
            }
        }
    }
}

fn carry_out(engine: &mut Driver, change: &Change) -> Vec<Reply> {
    match change {
        Change::Create(name, spec, body) => vec![engine.create(name, &spec.real, body)],
        Change::Append(name, appends) => engine.append(name, appends),
        Change::Delete(name) => vec![engine.delete(name)],
    }
}

impl Change {
    fn to(&self, model: &mut Model) -> Vec<Reply> {
        let count = match self {
            Self::Append(_, appends) => appends.len(),
            Self::Create(..) | Self::Delete(_) => 1,
        };
        (0..count).map(|nth| self.one(nth, model)).collect()
    }

    /// The n-th request of it.
    fn one(&self, nth: usize, model: &mut Model) -> Reply {
        match self {
            Self::Create(name, spec, body) => model.create(name, &spec.model, body),
            Self::Append(name, appends) => model.append(name, &appends[nth]),
            Self::Delete(name) => model.delete(name),
        }
    }
}
