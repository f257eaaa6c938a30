//! Judges a command against a stream's state. Pure: the order of the checks below is the documented
//! precedence (`docs/protocol.md`), tested row by row.

use std::sync::Arc;

use super::state::{Closure, ProducerState, StreamState};
use crate::{
    command::{
        Append, Body, BodyFault, Create, CreateSpec, ExpectedTail, ForkAnchor, ForkRequest,
        Lifetime, ProducerClaim, ProducerId,
    },
    condense::Condensing,
    content_type::ContentType,
    event::{Appended, Created, DeleteReason, Event, ForkPoint},
    ids::{Generation, SlotId, StreamId, StreamPos, Timestamp},
    limits::{FORK_DEPTH_MAX, PRODUCER_IDLE_MILLIS_MIN, PRODUCERS_PER_STREAM_MAX},
    offset::Offset,
    payload::Payload,
    refusal::Refusal,
    settings::{self, Change, SettingKey, Standing},
    stream::state::{Ancestor, GenerationStart},
};

/// What a command comes to. Its events are logged, durable and applied before anyone sees the reply;
/// a refusal may carry events too (a stream found expired).
#[derive(Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to log, in order, all or nothing.
    pub events: Vec<Event>,
    /// What to answer.
    pub reply: Result<Outcome, Refusal>,
}

/// A command carried out, or found to be carried out already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The stream was created.
    Created(Summary),
    /// The stream was there, as asked for.
    Exists(Summary),
    /// Appended, closed, or both.
    Appended {
        /// The stream afterwards.
        summary: Summary,
        /// The producer's epoch and highest sequence number.
        producer: Option<(u64, u64)>,
    },
    /// A producer's request that was carried out before.
    Duplicate {
        /// The stream.
        summary: Summary,
        /// The producer's epoch and highest sequence number.
        producer: (u64, u64),
    },
    /// A close of a stream that was closed.
    AlreadyClosed(Summary),
    /// The stream was deleted.
    Deleted,
    /// An internal command was carried out, or had nothing to do.
    Done,
}

/// What replies say of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its tail.
    pub tail: Offset,
    /// Whether it is closed.
    pub closed: bool,
    /// Its content type.
    pub content_type: ContentType,
}

/// What a decision rests on beside the stream and the command.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    /// The time of the turn.
    pub now: Timestamp,
    /// Whether the stream's life is over: its deadline, as last moved by reads, has passed and nobody
    /// reads it live.
    pub expired: bool,
}

/// What a stream remembers of its producers.
pub trait Producers {
    /// A producer's state, if it is remembered.
    fn get(&self, id: &ProducerId) -> Option<ProducerState>;
    /// The producer that has been idle for longest. Asked only when the stream remembers as many
    /// as it may.
    fn longest_idle(&self) -> Option<(ProducerId, ProducerState)>;
}

impl Decision {
    fn refuse(refusal: Refusal) -> Self {
        Self {
            events: Vec::new(),
            reply: Err(refusal),
        }
    }

    fn reply(outcome: Outcome) -> Self {
        Self {
            events: Vec::new(),
            reply: Ok(outcome),
        }
    }

    fn log(event: Event, outcome: Outcome) -> Self {
        Self {
            events: vec![event],
            reply: Ok(outcome),
        }
    }
}

/// What replies say of `state`.
pub fn summary(state: &StreamState) -> Summary {
    Summary {
        tail: state.tail_offset(),
        closed: state.is_closed(),
        content_type: state.config.content_type.clone(),
    }
}

/// Judges a creation. The new stream takes `generation`: the next one of the slot and, for a fork,
/// above all that it inherits. It is not looked at when the stream is there.
pub fn create(
    state: Option<&StreamState>,
    command: &Create,
    slot: SlotId,
    generation: Generation,
    judge: Judge,
) -> Decision {
    match state {
        Some(state) if !judge.expired || state.soft_deleted => found(state, command),
        Some(state) if !state.forks.is_empty() => Decision {
            events: vec![expiry(state)],
            reply: Err(Refusal::NameHeld),
        },
        Some(state) => {
            let mut decision = make(command, slot, generation, judge);
            // Expiry and creation are one frame: the name is never seen without either.
            decision.events.insert(0, expiry(state));
            decision
        }
        None => make(command, slot, generation, judge),
    }
}

fn found(state: &StreamState, command: &Create) -> Decision {
    if state.soft_deleted {
        return Decision::refuse(Refusal::NameHeld);
    }
    let asked = command.settings.iter();
    let mut asked = asked.filter(|(key, _)| *key == SettingKey::ASKED);
    let asked = asked.next().and_then(|(_, asked)| asked.as_ref());
    if asked != state.setting(SettingKey::ASKED) {
        return Decision::refuse(Refusal::Config {
            differs: "attributes or retention",
        });
    }
    match difference(state, &command.spec) {
        Some(differs) => Decision::refuse(Refusal::Config { differs }),
        None => Decision::reply(Outcome::Exists(summary(state))),
    }
}

/// PROTOCOL 5.1 and 4.2: which part of a repeated PUT differs from the stream's creation.
fn difference(state: &StreamState, asked: &CreateSpec) -> Option<&'static str> {
    let config = &state.config;
    let forks_agree = match (&config.spec.fork, &asked.fork) {
        (None, None) => true,
        (Some(was), Some(is)) => {
            // A source that was trimmed begins elsewhere than at 0.
            let same_anchor = was.anchor == is.anchor || anchor_matches(state, is);
            was.source == is.source && was.sub_offset == is.sub_offset && same_anchor
        }
        _ => false,
    };
    if !forks_agree {
        return Some("fork source or offset");
    }
    let inherits = asked.fork.is_some();
    let type_agrees = match &asked.content_type {
        Some(content_type) => *content_type == config.content_type,
        None => inherits || config.content_type == ContentType::default(),
    };
    if !type_agrees {
        return Some("content type");
    }
    // A fork that inherited its lifetime is found by the request that named none and by one that
    // names what it has.
    let as_inherited = inherits && asked.lifetime == config.lifetime;
    if asked.lifetime != config.spec.lifetime && !as_inherited {
        return Some("lifetime");
    }
    (asked.closed != state.is_closed()).then_some("closure")
}

fn anchor_matches(state: &StreamState, asked: &ForkRequest) -> bool {
    let Some(origin) = state.config.origin else {
        return false;
    };
    match asked.anchor {
        ForkAnchor::Tail => true,
        ForkAnchor::Start => origin.anchor == StreamPos::ZERO,
        ForkAnchor::At(offset) => {
            let known = origin.anchor == StreamPos::ZERO
                || state.generations.offset_at(origin.anchor) == offset;
            offset.position == origin.anchor && known
        }
    }
}

fn make(command: &Create, slot: SlotId, generation: Generation, judge: Judge) -> Decision {
    if command.name.is_sub_resource() {
        return Decision::refuse(Refusal::ReservedName);
    }
    let payload = match &command.body {
        // PROTOCOL 9.1.3: PUT with `[]` creates an empty stream.
        Body::Empty | Body::Invalid(BodyFault::EmptyArray) => Payload::EMPTY,
        Body::Framed(payload) => payload.clone(),
        Body::Invalid(fault) => return Decision::refuse(Refusal::Body(*fault)),
    };
    let spec = command.spec.clone();
    let made = match &command.source {
        None => plain(&spec, generation),
        Some(source) => {
            if spec
                .content_type
                .as_ref()
                .is_some_and(|own| *own != source.content_type)
            {
                return Decision::refuse(Refusal::ForkContentType);
            }
            if source.lineage.len() > FORK_DEPTH_MAX {
                return Decision::refuse(Refusal::ForkDepth);
            }
            fork(&spec, source, generation)
        }
    };
    if let Lifetime::Until(at) = made.lifetime
        && at <= judge.now
    {
        return Decision::refuse(Refusal::ExpiresInThePast);
    }
    let created = Created {
        stream: StreamId::new(slot, made.birth),
        name: command.name.clone(),
        spec,
        content_type: made.content_type,
        lifetime: made.lifetime,
        origin: made.origin,
        lineage: made.lineage,
        generations: made.generations,
        payload,
        at: judge.now,
    };
    let stream = created.stream;
    let event = Event::Created(Box::new(created));
    let state = super::apply(None, &event).expect("a creation leaves a stream");
    let mut decision = Decision::log(event, Outcome::Created(summary(&state)));
    let trimmed = command.source.as_ref().map(|source| source.trimmed);
    if let Some(to) = trimmed.filter(|to| *to > StreamPos::ZERO) {
        decision.events.push(Event::Trimmed { stream, to });
    }
    if !command.settings.is_empty() {
        let changes = command.settings.clone();
        decision.events.push(Event::Configured { stream, changes });
    }
    decision
}

struct Made {
    birth: Generation,
    content_type: ContentType,
    lifetime: Lifetime,
    origin: Option<ForkPoint>,
    lineage: Arc<[Ancestor]>,
    generations: Arc<[GenerationStart]>,
}

fn plain(spec: &CreateSpec, birth: Generation) -> Made {
    Made {
        birth,
        content_type: spec.content_type.clone().unwrap_or_default(),
        lifetime: spec.lifetime,
        origin: None,
        lineage: Arc::new([]),
        generations: Arc::new([GenerationStart {
            generation: birth,
            from: StreamPos::ZERO,
        }]),
    }
}

fn fork(spec: &CreateSpec, source: &crate::ForkSource, birth: Generation) -> Made {
    // PROTOCOL 4.2: the table of inherited lifetimes is "what the request names, else the source's".
    let lifetime = match spec.lifetime {
        Lifetime::Unlimited => source.lifetime,
        own => own,
    };
    Made {
        birth,
        content_type: source.content_type.clone(),
        lifetime,
        origin: Some(ForkPoint {
            source: source.stream,
            anchor: source.anchor,
            at: source.at,
        }),
        lineage: Arc::clone(&source.lineage),
        generations: source.generations.forked(source.at, birth),
    }
}

/// Judges an append, a close, or both.
pub fn append(
    state: Option<&StreamState>,
    producers: &dyn Producers,
    command: &Append,
    judge: Judge,
) -> Decision {
    let state = match reachable(state, judge) {
        Ok(state) => state,
        Err(decision) => return decision,
    };
    if let Closure::Closed(by) = &state.closure {
        return append_to_closed(state, by.as_deref(), command);
    }
    let introduction = match &command.producer {
        None => None,
        Some(claim) => match judge_producer(state, producers, claim, judge.now) {
            Ok(introduction) => Some(introduction),
            Err(decision) => return decision,
        },
    };
    if command.judged_under != state.content_revision() && !matches!(command.body, Body::Empty) {
        return Decision::refuse(Refusal::JudgedUnderOther);
    }
    let payload = match append_payload(state, command) {
        Ok(payload) => payload,
        Err(refusal) => return Decision::refuse(refusal),
    };
    if let (Some(last), Some(seq)) = (&state.last_seq, &command.seq)
        && seq.as_bytes() <= last.as_bytes()
    {
        return Decision::refuse(Refusal::SeqRegression);
    }
    if command.expected.is_some_and(|tail| !ends_at(state, tail)) {
        return Decision::refuse(Refusal::ExpectedOffset {
            tail: state.tail_offset(),
        });
    }
    accept(state, command, payload, introduction, judge)
}

fn ends_at(state: &StreamState, expected: ExpectedTail) -> bool {
    match expected {
        ExpectedTail::Start => state.tail == StreamPos::ZERO,
        ExpectedTail::At(offset) => state.tail_offset() == offset,
    }
}

fn accept(
    state: &StreamState,
    command: &Append,
    payload: Payload,
    introduction: Option<Introduction>,
    judge: Judge,
) -> Decision {
    let tail = state.tail.advance(payload.len());
    let summary = Summary {
        tail: state.generations.offset_at(tail),
        closed: command.close,
        content_type: state.config.content_type.clone(),
    };
    let (introduces_producer, forgets) = match introduction {
        Some(Introduction::New { forgets }) => (true, forgets),
        _ => (false, None),
    };
    let event = Event::Appended(Appended {
        stream: state.id,
        from: state.tail,
        payload,
        producer: command.producer.clone(),
        introduces_producer,
        forgets,
        seq: command.seq.clone(),
        closes: command.close,
        at: judge.now,
    });
    let producer = command
        .producer
        .as_ref()
        .map(|claim| (claim.epoch, claim.seq));
    Decision::log(event, Outcome::Appended { summary, producer })
}

/// PROTOCOL 5.2 and 5.2.1: closing again is fine, and so is the request that closed; all else is not.
fn append_to_closed(state: &StreamState, by: Option<&ProducerClaim>, command: &Append) -> Decision {
    if let (Some(by), Some(claim)) = (by, &command.producer)
        && by == claim
    {
        let producer = (claim.epoch, claim.seq);
        return Decision::reply(Outcome::Duplicate {
            summary: summary(state),
            producer,
        });
    }
    if command.is_close_only() {
        return Decision::reply(Outcome::AlreadyClosed(summary(state)));
    }
    Decision::refuse(Refusal::Closed {
        tail: state.tail_offset(),
    })
}

fn append_payload(state: &StreamState, command: &Append) -> Result<Payload, Refusal> {
    let type_agrees = command
        .content_type
        .as_ref()
        .is_some_and(|own| *own == state.config.content_type);
    match &command.body {
        Body::Empty => Ok(Payload::EMPTY),
        _ if !type_agrees => Err(Refusal::ContentType),
        Body::Framed(payload) => Ok(payload.clone()),
        Body::Invalid(fault) => Err(Refusal::Body(*fault)),
    }
}

/// How an accepted request's producer relates to those the stream remembers.
enum Introduction {
    Known,
    New { forgets: Option<ProducerId> },
}

/// PROTOCOL 5.2.1, validation logic.
fn judge_producer(
    state: &StreamState,
    producers: &dyn Producers,
    claim: &ProducerClaim,
    now: Timestamp,
) -> Result<Introduction, Decision> {
    let Some(known) = producers.get(&claim.id) else {
        return introduce(state, producers, claim, now);
    };
    if claim.epoch < known.epoch {
        return Err(Decision::refuse(Refusal::StaleEpoch {
            current: known.epoch,
        }));
    }
    if claim.epoch > known.epoch {
        let starts = claim.seq == 0;
        return starts
            .then_some(Introduction::Known)
            .ok_or_else(|| Decision::refuse(Refusal::NewEpochNotAtZero));
    }
    if claim.seq <= known.seq {
        let producer = (known.epoch, known.seq);
        return Err(Decision::reply(Outcome::Duplicate {
            summary: summary(state),
            producer,
        }));
    }
    if claim.seq > known.seq + 1 {
        let refusal = Refusal::SeqGap {
            expected: known.seq + 1,
            received: claim.seq,
        };
        return Err(Decision::refuse(refusal));
    }
    Ok(Introduction::Known)
}

fn introduce(
    state: &StreamState,
    producers: &dyn Producers,
    claim: &ProducerClaim,
    now: Timestamp,
) -> Result<Introduction, Decision> {
    if claim.seq != 0 {
        return Err(Decision::refuse(Refusal::SeqGap {
            expected: 0,
            received: claim.seq,
        }));
    }
    if state.producer_count < PRODUCERS_PER_STREAM_MAX {
        return Ok(Introduction::New { forgets: None });
    }
    match producers.longest_idle() {
        Some((id, idle)) if idle.used_at.plus_millis(PRODUCER_IDLE_MILLIS_MIN) < now => {
            Ok(Introduction::New { forgets: Some(id) })
        }
        _ => Err(Decision::refuse(Refusal::TooManyProducers)),
    }
}

/// Judges a deletion.
pub fn delete(state: Option<&StreamState>, judge: Judge) -> Decision {
    match reachable(state, judge) {
        Err(decision) => decision,
        Ok(state) => {
            let event = Event::Deleted {
                stream: state.id,
                reason: DeleteReason::Request,
            };
            Decision::log(event, Outcome::Deleted)
        }
    }
}

/// Judges a trim up to `to`, which must be an offset of the stream that can be read from. One that
/// changes nothing is fine.
pub fn trim(state: Option<&StreamState>, to: Offset, judge: Judge) -> Decision {
    let state = match reachable(state, judge) {
        Ok(state) => state,
        Err(decision) => return decision,
    };
    if !state.owns(to) {
        return Decision::refuse(Refusal::OffsetGone {
            earliest: state.start_offset(),
        });
    }
    if to.position <= state.trimmed {
        return Decision::reply(Outcome::Done);
    }
    let event = Event::Trimmed {
        stream: state.id,
        to: to.position,
    };
    Decision::log(event, Outcome::Done)
}

/// Trims up to `to`, which was found under the settings of `revision`; nothing to do where they changed
/// since, or it is trimmed already.
pub fn retain(state: Option<&StreamState>, to: StreamPos, revision: u64, judge: Judge) -> Decision {
    let due = |state: &&StreamState| {
        let settings = state.settings.as_ref();
        let is_same = settings.is_some_and(|settings| settings.revision() == revision);
        is_same && !state.soft_deleted && state.trimmed < to && to <= state.tail
    };
    match state.filter(due) {
        Some(state) if !judge.expired => {
            let stream = state.id;
            Decision::log(Event::Trimmed { stream, to }, Outcome::Done)
        }
        _ => Decision::reply(Outcome::Done),
    }
}

/// Judges the replacement of all that is there by a snapshot that says the same: `fold` is what was made of
/// the stream from its start to `tail`, which must be where it ends.
pub fn condense(
    state: Option<&StreamState>,
    fold: &Payload,
    tail: Offset,
    judge: Judge,
) -> Decision {
    let state = match reachable(state, judge) {
        Ok(state) => state,
        Err(decision) => return decision,
    };
    if state.is_closed() {
        return Decision::refuse(Refusal::Closed {
            tail: state.tail_offset(),
        });
    }
    if state.tail_offset() != tail {
        return Decision::refuse(Refusal::ExpectedOffset {
            tail: state.tail_offset(),
        });
    }
    let stream = state.id;
    let append = Append {
        body: Body::Framed(fold.clone()),
        ..Append::default()
    };
    let mut decision = accept(state, &append, fold.clone(), None, judge);
    // One frame, and one change of what readers see: the snapshot is there, and all before it is not.
    decision.events.push(Event::Trimmed {
        stream,
        to: state.tail,
    });
    if let Some(policy) = Condensing::of(state) {
        let policy = Condensing {
            folded_until: state.tail.advance(fold.len()),
            folded_bytes: fold.len(),
            ..policy
        };
        let document = Some(policy.document().into());
        let changes = vec![(SettingKey::COMPACTION, document)];
        decision.events.push(Event::Configured { stream, changes });
    }
    decision
}

/// Judges a change of the settings. One that changes nothing is fine.
pub fn configure(state: Option<&StreamState>, change: &dyn Change, judge: Judge) -> Decision {
    let state = match reachable(state, judge) {
        Ok(state) => state,
        Err(decision) => return decision,
    };
    let standing = Standing {
        stream: state,
        now: judge.now,
    };
    match settings::judged(change, standing) {
        Ok(changes) if changes.is_empty() => Decision::reply(Outcome::Done),
        Ok(changes) => {
            let stream = state.id;
            Decision::log(Event::Configured { stream, changes }, Outcome::Done)
        }
        Err(fault) => Decision::refuse(Refusal::Setting(fault)),
    }
}

/// Ends a stream whose life is over; nothing to do when it is not, or is gone.
pub fn expire(state: Option<&StreamState>, judge: Judge) -> Decision {
    match state {
        Some(state) if judge.expired && !state.soft_deleted => {
            Decision::log(expiry(state), Outcome::Done)
        }
        _ => Decision::reply(Outcome::Done),
    }
}

/// Judges a fork's reference to its source, before the fork exists. It inherits from `trimmed` on.
pub fn add_fork(
    state: Option<&StreamState>,
    fork: StreamId,
    trimmed: StreamPos,
    judge: Judge,
) -> Decision {
    match reachable(state, judge) {
        // What it is to inherit may be gone by now: it is to look again.
        Ok(state) if state.trimmed > trimmed => Decision::refuse(Refusal::Unavailable),
        Ok(state) => Decision::log(
            Event::ForkAdded {
                stream: state.id,
                fork,
            },
            Outcome::Done,
        ),
        Err(Decision { events, reply }) => {
            let reply = reply.map_err(|refusal| match refusal {
                Refusal::SoftDeleted => Refusal::SourceSoftDeleted,
                Refusal::NotFound => Refusal::SourceNotFound,
                other => other,
            });
            Decision { events, reply }
        }
    }
}

/// Takes a fork's reference back; nothing to do when there is none.
pub fn drop_fork(state: Option<&StreamState>, fork: StreamId) -> Decision {
    match state {
        Some(state) if state.forks.contains(&fork) => Decision::log(
            Event::ForkDropped {
                stream: state.id,
                fork,
            },
            Outcome::Done,
        ),
        _ => Decision::reply(Outcome::Done),
    }
}

/// Moves a sliding deadline forward; an absolute one never moves.
pub fn touch(state: Option<&StreamState>, deadline: Timestamp) -> Decision {
    let moves = |state: &StreamState| {
        let slides = matches!(state.config.lifetime, Lifetime::Ttl(_));
        slides && !state.soft_deleted && state.deadline.is_some_and(|was| was < deadline)
    };
    match state {
        Some(state) if moves(state) => Decision::log(
            Event::Touched {
                stream: state.id,
                deadline,
            },
            Outcome::Done,
        ),
        _ => Decision::reply(Outcome::Done),
    }
}

/// The stream, where clients may reach it; else the answer.
fn reachable(state: Option<&StreamState>, judge: Judge) -> Result<&StreamState, Decision> {
    match state {
        None => Err(Decision::refuse(Refusal::NotFound)),
        Some(state) if state.soft_deleted => Err(Decision::refuse(Refusal::SoftDeleted)),
        Some(state) if judge.expired => {
            let refusal = if state.forks.is_empty() {
                Refusal::NotFound
            } else {
                Refusal::SoftDeleted
            };
            Err(Decision {
                events: vec![expiry(state)],
                reply: Err(refusal),
            })
        }
        Some(state) => Ok(state),
    }
}

fn expiry(state: &StreamState) -> Event {
    Event::Deleted {
        stream: state.id,
        reason: DeleteReason::Expiry,
    }
}
