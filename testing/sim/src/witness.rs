//! What clients write, the judge of all they were told, and the watcher of all that passes on their
//! connections: those of `testing/monitor`. All are pure and have tests of their own; others can take
//! their place here.
//!
//! The judge knows of every stream what was sent to it and what came of that, and the hash of all bytes
//! before every position that some client has seen. The watcher knows what passed, and no more.

use std::ops::{Deref, DerefMut};

use millrace_monitor::{judge::Judge, tee};

pub(crate) use millrace_monitor::{
    judge::{Closing, Counts, Deleting, Id, Incarnation, Mark, Settled, Whole, position},
    message::{Found, HASH_START, Key, Kind, encode, fold},
    tee::Passing,
};

/// The judge, and the watcher beside it.
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    judge: Judge,
    watcher: tee::Shared,
    /// How many of the watcher's violations the judge was told of.
    told: usize,
}

impl Monitor {
    /// A connection that begins, for the watcher to be told of what passes on it.
    pub(crate) fn passing(&self) -> Passing {
        Passing::new(self.watcher.clone())
    }

    /// The watcher, for who sees what passes on no connection.
    pub(crate) fn watcher(&self) -> tee::Shared {
        self.watcher.clone()
    }

    /// What happened that must not, whoever noticed.
    pub(crate) fn violations(&mut self) -> &[String] {
        let seen = self.watcher.lock().violations().to_vec();
        for violation in &seen[self.told..] {
            self.judge.violation(violation.to_string());
        }
        self.told = seen.len();
        self.judge.violations()
    }

    /// How much the watcher saw.
    pub(crate) fn watched(&self) -> [(&'static str, u64); 2] {
        let counts = self.watcher.lock().counts();
        [
            ("answers watched", counts.answered),
            ("events watched", counts.events),
        ]
    }
}

impl Deref for Monitor {
    type Target = Judge;

    fn deref(&self) -> &Judge {
        &self.judge
    }
}

impl DerefMut for Monitor {
    fn deref_mut(&mut self) -> &mut Judge {
        &mut self.judge
    }
}
