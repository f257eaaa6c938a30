//! Tests of the rules: the precedence table row by row, then creation, lifetimes, forks, producers
//! and generations, each a table of facts.

mod append;
mod create;
mod forks;
mod generations;
mod lifetime;
mod producers;
mod trims;

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{
    Closure, Decision, Judge, Outcome, ProducerState, Producers, StreamState, apply, decide,
};
use crate::{
    Append, Body, BodyFault, ContentType, Create, CreateSpec, DeleteReason, Event, ExpectedTail,
    ForkAnchor, ForkRequest, ForkSource, Generation, Lifetime, Offset, Payload, ProducerClaim,
    ProducerId, Refusal, SlotId, StreamId, StreamName, StreamPos, Timestamp,
};

const NOW: Timestamp = Timestamp(1_000_000);
const SLOT: SlotId = SlotId(7);

fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a name")
}

fn content_type(text: &str) -> ContentType {
    ContentType::new(text).expect("a content type")
}

fn at(generation: u64, position: u64) -> Offset {
    Offset {
        generation: Generation(generation),
        position: StreamPos(position),
    }
}

fn bytes(text: &'static str) -> Body {
    Body::Framed(Payload::single(Bytes::from_static(text.as_bytes())))
}

fn claim(id: &str, epoch: u64, seq: u64) -> ProducerClaim {
    let id = ProducerId::new(id).expect("an id");
    ProducerClaim { id, epoch, seq }
}

/// A request to create a `text/plain` stream that lives for ever.
fn plain() -> CreateSpec {
    CreateSpec {
        content_type: Some(content_type("text/plain")),
        lifetime: Lifetime::Unlimited,
        closed: false,
        fork: None,
    }
}

fn with_lifetime(lifetime: Lifetime) -> CreateSpec {
    CreateSpec {
        lifetime,
        ..plain()
    }
}

/// An append of `body` as `text/plain`, and nothing else.
fn append(body: Body) -> Append {
    Append {
        body,
        content_type: Some(content_type("text/plain")),
        seq: None,
        producer: None,
        expected: None,
        close: false,
        judged_under: 0,
    }
}

fn close() -> Append {
    Append {
        content_type: None,
        close: true,
        ..append(Body::Empty)
    }
}

/// A stream, its producers and a clock: what a shard is to one stream.
struct Bench {
    state: Option<StreamState>,
    producers: Remembered,
    now: Timestamp,
    /// What reads and live readers have made of the deadline; `None` goes by the state's.
    expired: Option<bool>,
    generation: u64,
}

#[derive(Default)]
struct Remembered {
    known: BTreeMap<ProducerId, ProducerState>,
    asked_for_idle: Cell<bool>,
}

impl Producers for Remembered {
    fn get(&self, id: &ProducerId) -> Option<ProducerState> {
        self.known.get(id).copied()
    }

    fn longest_idle(&self) -> Option<(ProducerId, ProducerState)> {
        self.asked_for_idle.set(true);
        let idle = self.known.iter().min_by_key(|(_, state)| state.used_at)?;
        Some((idle.0.clone(), *idle.1))
    }
}

impl Bench {
    fn empty() -> Self {
        Self {
            state: None,
            producers: Remembered::default(),
            now: NOW,
            expired: None,
            generation: 1,
        }
    }

    /// A stream `s` made as `spec` says, without content, under generation 1.
    fn of(spec: CreateSpec) -> Self {
        let mut bench = Self::empty();
        let outcome = bench.create(spec).expect("is created");
        assert!(matches!(outcome, Outcome::Created(_)));
        bench
    }

    fn judge(&self) -> Judge {
        let deadline = self.state.as_ref().and_then(|state| state.deadline);
        let passed = deadline.is_some_and(|deadline| deadline <= self.now);
        Judge {
            now: self.now,
            expired: self.expired.unwrap_or(passed),
        }
    }

    fn state(&self) -> &StreamState {
        self.state.as_ref().expect("the stream is there")
    }

    fn command(spec: CreateSpec) -> Create {
        Create {
            name: name("s"),
            spec,
            settings: Vec::new(),
            body: Body::Empty,
            source: None,
        }
    }

    fn decide_create(&self, command: &Create) -> Decision {
        let generation = Generation(self.generation);
        decide::create(self.state.as_ref(), command, SLOT, generation, self.judge())
    }

    fn create(&mut self, spec: CreateSpec) -> Result<Outcome, Refusal> {
        self.create_with(&Self::command(spec))
    }

    fn create_with(&mut self, command: &Create) -> Result<Outcome, Refusal> {
        let decision = self.decide_create(command);
        self.generation += 1;
        self.take(decision)
    }

    fn decide_append(&self, command: &Append) -> Decision {
        decide::append(self.state.as_ref(), &self.producers, command, self.judge())
    }

    fn append(&mut self, command: &Append) -> Result<Outcome, Refusal> {
        let decision = self.decide_append(command);
        self.take(decision)
    }

    fn delete(&mut self) -> Result<Outcome, Refusal> {
        let decision = decide::delete(self.state.as_ref(), self.judge());
        self.take(decision)
    }

    fn trim(&mut self, to: Offset) -> Result<Outcome, Refusal> {
        let decision = decide::trim(self.state.as_ref(), to, self.judge());
        self.take(decision)
    }

    fn add_fork(&mut self, fork: StreamId) -> Result<Outcome, Refusal> {
        let decision = decide::add_fork(self.state.as_ref(), fork, StreamPos::ZERO, self.judge());
        self.take(decision)
    }

    fn drop_fork(&mut self, fork: StreamId) -> Result<Outcome, Refusal> {
        let decision = decide::drop_fork(self.state.as_ref(), fork);
        self.take(decision)
    }

    /// Applies a decision as a shard would, and hands its reply on.
    fn take(&mut self, decision: Decision) -> Result<Outcome, Refusal> {
        for event in &decision.events {
            self.state = apply(self.state.take(), event);
            if let Event::Appended(appended) = event {
                if let Some(id) = &appended.forgets {
                    self.producers.known.remove(id);
                }
                if let Some(ProducerClaim { id, epoch, seq }) = appended.producer.clone() {
                    let used_at = appended.at;
                    let state = ProducerState {
                        epoch,
                        seq,
                        used_at,
                    };
                    self.producers.known.insert(id, state);
                }
            }
        }
        decision.reply
    }

    /// What a source tells of itself to a fork at `position`.
    fn as_source(&self, position: u64) -> ForkSource {
        let state = self.state();
        ForkSource {
            stream: state.id,
            anchor: StreamPos(position),
            at: StreamPos(position),
            content_type: state.config.content_type.clone(),
            lifetime: state.config.lifetime,
            trimmed: state.trimmed,
            generations: state.generations.clone(),
            lineage: state.lineage_until(StreamPos(position)),
        }
    }
}

/// A request for a fork of `source` at `position`, whatever content type and lifetime that has.
fn fork_of(source: &Bench, position: u64) -> Create {
    let fork = ForkRequest {
        source: source.state().config.name.clone(),
        anchor: ForkAnchor::At(source.state().generations.offset_at(StreamPos(position))),
        sub_offset: 0,
    };
    Create {
        name: name("f"),
        spec: CreateSpec {
            content_type: None,
            fork: Some(fork),
            ..plain()
        },
        settings: Vec::new(),
        body: Body::Empty,
        source: Some(source.as_source(position)),
    }
}

/// A stream `f` that is a fork of `source` at `position`, under its source's next generation.
fn forked(source: &Bench, position: u64) -> Bench {
    let mut bench = Bench::empty();
    bench.generation = source.generation;
    bench
        .create_with(&fork_of(source, position))
        .expect("is created");
    bench
}
