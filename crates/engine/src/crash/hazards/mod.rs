//! Defects that other stream servers shipped (`T` numbers), each as a test of the whole engine on the
//! simulated disk. Those of single files are tested in `millrace-store`, those of delivery in
//! `millrace-server`.

mod forks;
mod lifetimes;
mod names;
mod producers;
mod storage;

use std::{sync::Arc, time::Duration};

use millrace_core::{
    Lifetime, ProducerClaim, ProducerId, Refusal, StreamName, StreamPos, stream::Outcome,
};
use millrace_env::{
    SimClock, SimDisk,
    sim::{Fault, FaultError, FaultOp},
};

use super::machine::{Machine, append, create, fork, small_options};
use crate::{Durability, Options, shard::Command};

/// A machine with what it runs on.
pub(super) struct Bench {
    disk: Arc<SimDisk>,
    clock: Arc<SimClock>,
    options: Options,
    machine: Option<Machine>,
}

impl Bench {
    fn new(seed: u64) -> Self {
        Self::with(seed, small_options(1))
    }

    fn with(seed: u64, options: Options) -> Self {
        let (disk, clock) = (
            SimDisk::new(seed),
            Arc::new(SimClock::new(1_800_000_000_000)),
        );
        let mut bench = Self {
            disk,
            clock,
            options,
            machine: None,
        };
        bench.open();
        bench
    }

    fn open(&mut self) {
        let opened = Machine::open(&self.disk, &self.clock, self.options.clone(), 1);
        self.machine = Some(opened.expect("the data directory opens"));
    }

    /// Power loss and a start.
    fn crash(&mut self) {
        self.machine = None;
        self.disk = self.disk.crash();
        self.open();
    }

    fn at(&mut self) -> &mut Machine {
        self.machine.as_mut().expect("it is open")
    }

    fn create(&mut self, text: &str, body: &[u8]) {
        let created = self
            .at()
            .submit(create(&name(text), body, Lifetime::Unlimited));
        assert!(matches!(created, Ok(Outcome::Created(_))), "{created:?}");
    }

    fn append(&mut self, text: &str, body: &[u8]) -> Result<Outcome, Refusal> {
        self.at().submit(append(&name(text), body, None, false))
    }

    fn delete(&mut self, text: &str) -> Result<Outcome, Refusal> {
        self.at().submit(Command::Delete { name: name(text) })
    }

    fn fork(&mut self, text: &str, source: &str, at: u64) -> Result<Outcome, Refusal> {
        let resolved = self.at().fork_source(&name(source), StreamPos(at));
        self.at().submit(fork(&name(text), &name(source), resolved))
    }

    fn bytes(&mut self, text: &str) -> Option<Vec<u8>> {
        self.at().find(&name(text)).map(|found| found.bytes)
    }
}

fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a name")
}

#[expect(clippy::unnecessary_wraps, reason = "what `append` takes")]
fn claim(id: &str, seq: u64) -> Option<ProducerClaim> {
    Some(ProducerClaim {
        id: ProducerId::new(id).expect("an id"),
        epoch: 0,
        seq,
    })
}
