//! The [`Machine`] for the fuzz targets in `testing/fuzz`, in public types.

use std::sync::Arc;

use millrace_core::{
    Append, Body, Create, CreateSpec, ForkAnchor, ForkSource, Offset, Refusal, StreamName,
    StreamPos, stream::Outcome,
};
use millrace_env::{SimClock, SimDisk};
use millrace_store::StoreError;

use super::machine::{Machine, small_options};
use crate::{OpenError, shard::Command};

/// What a client is answered.
type Reply = Result<Outcome, Refusal>;

/// An engine without its loops.
pub struct Driver(Machine);

/// What is under a name, whether clients can reach it or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// All bytes, inherited ones too.
    pub bytes: Vec<u8>,
    /// The first offset.
    pub start: Offset,
    /// The offset after the last byte.
    pub tail: Offset,
    /// Whether it takes no more appends.
    pub closed: bool,
    /// Whether it was deleted while forks need it.
    pub soft_deleted: bool,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

impl Driver {
    /// Opens the data directory on `disk`, as a start does.
    pub fn open(
        disk: &Arc<SimDisk>,
        clock: &Arc<SimClock>,
        shards: u16,
        seed: u64,
    ) -> Result<Self, OpenError> {
        Machine::open(disk, clock, small_options(shards), seed).map(Self)
    }

    /// PUT. A fork's anchor must be a message boundary of its source.
    pub fn create(&mut self, name: &StreamName, spec: &CreateSpec, body: &Body) -> Reply {
        let source = self.fork_source(name, spec)?;
        self.0.submit(Command::Create(Box::new(Create {
            name: name.clone(),
            spec: spec.clone(),
            settings: Vec::new(),
            body: body.clone(),
            source,
        })))
    }

    /// POSTs that one turn takes.
    pub fn append(&mut self, name: &StreamName, appends: &[Append]) -> Vec<Reply> {
        append(&mut self.0, name, appends)
    }

    /// DELETE.
    pub fn delete(&mut self, name: &StreamName) -> Reply {
        self.0.submit(Command::Delete { name: name.clone() })
    }

    /// Flushes every shard; memory is let go of between the turns that follow.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.0.flush_and_let_go_later()
    }

    /// Flushes every shard, with POSTs in the middle of the freeze.
    pub fn flush_around(
        &mut self,
        name: &StreamName,
        appends: &[Append],
    ) -> (Vec<Reply>, Result<(), StoreError>) {
        let mut replies = Vec::new();
        let flushed = self
            .0
            .flush_around(|machine| replies = append(machine, name, appends));
        (replies, flushed)
    }

    /// Compacts.
    pub fn compact(&mut self) -> Result<(), StoreError> {
        self.0.compact()
    }

    /// Ends what has expired, and lets idle streams leave memory.
    pub fn sweep(&mut self) -> Result<(), StoreError> {
        self.0.sweep()
    }

    /// What is under `name`.
    pub fn find(&mut self, name: &StreamName) -> Option<Found> {
        let state = self.0.state(name)?;
        Some(Found {
            bytes: self.0.read(&state, StreamPos::ZERO),
            start: state.start_offset(),
            tail: state.tail_offset(),
            closed: state.is_closed(),
            soft_deleted: state.soft_deleted,
        })
    }

    /// The same steps as `engine.rs` and `fork.rs` take.
    fn fork_source(
        &mut self,
        name: &StreamName,
        spec: &CreateSpec,
    ) -> Result<Option<ForkSource>, Refusal> {
        let Some(request) = &spec.fork else {
            return Ok(None);
        };
        if self.0.state(name).is_some() {
            return Ok(None);
        }
        let state = match self.0.state(&request.source) {
            None => return Err(Refusal::SourceNotFound),
            Some(state) if state.soft_deleted => return Err(Refusal::SourceSoftDeleted),
            Some(state) => state,
        };
        let at = match request.anchor {
            ForkAnchor::Tail => state.tail,
            ForkAnchor::Start => StreamPos::ZERO,
            ForkAnchor::At(offset) if state.owns(offset) => offset.position,
            ForkAnchor::At(_) => return Err(Refusal::ForkPosition),
        };
        Ok(Some(self.0.fork_source(&request.source, at)))
    }
}

fn append(machine: &mut Machine, name: &StreamName, appends: &[Append]) -> Vec<Reply> {
    let command = |append: &Append| Command::Append {
        name: name.clone(),
        append: append.clone(),
    };
    machine.turn(appends.iter().map(command).collect())
}
