//! The smallest thing that runs the rules: a map of states, the log they came from, and the steps by
//! which a fork holds its source. Every event goes through `apply`, once when it is decided and once
//! more when the log is replayed.

use std::collections::{BTreeMap, BTreeSet};

use millrace_core::{
    Append, Body, ContentKind, Create, CreateSpec, Event, ForkAnchor, ForkRequest, ForkSource,
    Generation, Lifetime, Offset, ProducerId, Refusal, SlotId, StreamId, StreamName, StreamPos,
    Timestamp,
    slot::{next_generation, slot_of},
    stream::{Judge, Outcome, ProducerState, Producers, StreamState, apply, decide},
};
use millrace_model::Reply;

#[derive(Default)]
pub(crate) struct System {
    pub(crate) kept: Kept,
    log: Vec<Event>,
    live: BTreeMap<StreamId, u64>,
    pub(crate) now: u64,
}

/// What follows from the log.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Kept {
    pub(crate) states: BTreeMap<StreamId, StreamState>,
    pub(crate) names: BTreeMap<StreamName, StreamId>,
    /// A stream's own messages, without inherited ones.
    messages: BTreeMap<StreamId, Vec<Message>>,
    pub(crate) producers: BTreeMap<StreamId, BTreeMap<ProducerId, ProducerState>>,
    generations: BTreeMap<SlotId, Generation>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) from: u64,
    pub(crate) bytes: Vec<u8>,
    starts_append: bool,
}

impl Message {
    pub(crate) fn end(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }
}

struct Known<'a>(Option<&'a BTreeMap<ProducerId, ProducerState>>);

impl Producers for Known<'_> {
    fn get(&self, id: &ProducerId) -> Option<ProducerState> {
        self.0?.get(id).copied()
    }

    fn longest_idle(&self) -> Option<(ProducerId, ProducerState)> {
        panic!("no test sends from so many producers")
    }
}

impl Kept {
    /// Applies one event; the stream that is gone with it, if one is.
    fn apply(&mut self, event: &Event) -> Option<StreamState> {
        let id = event.stream();
        let before = self.states.remove(&id);
        if let Event::Created(created) = event {
            self.names.insert(created.name.clone(), id);
            let slot = self.generations.entry(id.slot()).or_default();
            *slot = id.birth().max(*slot);
        }
        if let Event::GenerationRaised { generation, .. } = event {
            self.generations.insert(id.slot(), *generation);
        }
        self.keep_producer(event);
        let Some(after) = apply(before.clone(), event) else {
            let gone = before.expect("only what is there can go");
            self.names.remove(&gone.config.name);
            self.messages.remove(&id);
            self.producers.remove(&id);
            return Some(gone);
        };
        if let Some(payload) = event.payload() {
            let own = self.messages.entry(id).or_default();
            let mut from = after.tail.get() - payload.len();
            let mut rest = payload.bytes().as_ref();
            let mut starts_append = true;
            for len in payload.lengths() {
                let (bytes, after) = rest.split_at(len as usize);
                own.push(Message {
                    from,
                    bytes: bytes.to_vec(),
                    starts_append,
                });
                from += u64::from(len);
                rest = after;
                starts_append = false;
            }
        }
        self.states.insert(id, after);
        None
    }

    fn keep_producer(&mut self, event: &Event) {
        let Event::Appended(appended) = event else {
            return;
        };
        let known = self.producers.entry(appended.stream).or_default();
        if let Some(id) = &appended.forgets {
            known.remove(id);
        }
        if let Some(claim) = &appended.producer {
            let state = ProducerState {
                epoch: claim.epoch,
                seq: claim.seq,
                used_at: appended.at,
            };
            known.insert(claim.id.clone(), state);
        }
    }

    pub(crate) fn named(&self, name: &StreamName) -> Option<&StreamState> {
        self.names.get(name).map(|id| &self.states[id])
    }

    /// All of a stream's messages: those of its ancestors, each up to where it stops, then its own.
    pub(crate) fn messages(&self, state: &StreamState) -> Vec<Message> {
        let own = (state.id, state.tail);
        let lineage = state.config.lineage.iter();
        let holders = lineage.map(|ancestor| (ancestor.stream, ancestor.until));
        let mut all = Vec::new();
        let mut from = 0;
        for (holder, until) in holders.chain([own]) {
            let until = until.get();
            for message in &self.messages[&holder] {
                if message.from >= from && message.from < until {
                    let mut message = message.clone();
                    let room = usize::try_from(until - message.from).expect("in memory");
                    message.bytes.truncate(room);
                    all.push(message);
                }
            }
            from = until;
        }
        all
    }
}

impl System {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            now: now.get(),
            ..Self::default()
        }
    }

    fn take(&mut self, events: Vec<Event>) {
        for event in events {
            let gone = self.kept.apply(&event);
            self.log.push(event);
            let origin = gone.and_then(|gone| Some((gone.id, gone.config.origin?)));
            if let Some((fork, origin)) = origin {
                self.drop_fork(origin.source, fork);
            }
        }
    }

    fn answer(&mut self, decision: decide::Decision) -> Reply {
        self.take(decision.events);
        decision.reply
    }

    fn judge(&self, state: Option<&StreamState>) -> Judge {
        let now = Timestamp(self.now);
        let over = |state: &StreamState| {
            let slides = matches!(state.config.lifetime, Lifetime::Ttl(_));
            let is_read = self.live.get(&state.id).is_some_and(|readers| *readers > 0);
            !(slides && is_read) && state.deadline.is_some_and(|deadline| deadline <= now)
        };
        Judge {
            now,
            expired: state.is_some_and(over),
        }
    }

    pub(crate) fn create(&mut self, name: &StreamName, spec: &CreateSpec, body: &Body) -> Reply {
        let slot = slot_of(name.as_str());
        let mut command = Create {
            name: name.clone(),
            spec: spec.clone(),
            settings: Vec::new(),
            body: body.clone(),
            source: None,
        };
        let state = self.kept.named(name);
        let judge = self.judge(state);
        let absent = state.is_none() || judge.expired;
        match &spec.fork {
            Some(fork) if absent => {
                // The target is looked at before the source.
                self.expire(name);
                if self.kept.named(name).is_some() {
                    return Err(Refusal::NameHeld);
                }
                command.source = Some(self.resolve(fork)?);
                self.create_fork(&command, slot)
            }
            _ => {
                let generation = self.next_generation(slot, Generation::ZERO);
                let decision = decide::create(state, &command, slot, generation, judge);
                self.answer(decision)
            }
        }
    }

    /// First the reference, then the fork; neither if the fork would be refused.
    fn create_fork(&mut self, command: &Create, slot: SlotId) -> Reply {
        let source = command.source.as_ref().expect("is resolved");
        let generation = self.next_generation(slot, source.generations.current());
        let judge = self.judge(None);
        let tried = decide::create(None, command, slot, generation, judge);
        tried.reply?;
        let fork = StreamId::new(slot, generation);
        self.add_fork(source.stream, fork, source.trimmed)?;
        let decision = decide::create(None, command, slot, generation, judge);
        self.answer(decision)
    }

    fn next_generation(&self, slot: SlotId, above: Generation) -> Generation {
        let last = self
            .kept
            .generations
            .get(&slot)
            .copied()
            .unwrap_or_default();
        next_generation(slot, last.max(above))
    }

    fn add_fork(&mut self, source: StreamId, fork: StreamId, trimmed: StreamPos) -> Reply {
        let state = self.kept.states.get(&source);
        let decision = decide::add_fork(state, fork, trimmed, self.judge(state));
        self.answer(decision)
    }

    fn drop_fork(&mut self, source: StreamId, fork: StreamId) {
        for _ in 0..2 {
            // Twice: repeating a step is harmless.
            let decision = decide::drop_fork(self.kept.states.get(&source), fork);
            assert_eq!(self.answer(decision), Ok(Outcome::Done));
        }
    }

    /// A fork whose creation stopped after its first step, by a crash.
    pub(crate) fn leave_fork_half_made(&mut self, source: &StreamName, slot: SlotId) {
        let Some(source) = self.kept.names.get(source).copied() else {
            return;
        };
        let fork = StreamId::new(slot, self.next_generation(slot, Generation(1_000_000)));
        let trimmed = self.kept.states[&source].trimmed;
        drop(self.add_fork(source, fork, trimmed));
    }

    /// A restart: the log is replayed, and references to forks that never came to be are dropped.
    pub(crate) fn restart(&mut self) {
        let mut replayed = Kept::default();
        for event in &self.log {
            replayed.apply(event);
        }
        assert_eq!(replayed, self.kept, "the log tells all");
        self.kept = replayed;
        self.live.clear();
        let states = self.kept.states.values();
        let references = states.flat_map(|state| state.forks.iter().map(|fork| (state.id, *fork)));
        let missing = |(_, fork): &(StreamId, StreamId)| !self.kept.states.contains_key(fork);
        for (source, fork) in references.filter(missing).collect::<Vec<_>>() {
            self.drop_fork(source, fork);
        }
        let ids: Vec<StreamId> = self.kept.states.keys().copied().collect();
        for id in ids {
            self.renew(id);
        }
    }

    fn resolve(&mut self, fork: &ForkRequest) -> Result<ForkSource, Refusal> {
        self.expire(&fork.source);
        let state = match self.kept.named(&fork.source) {
            None => return Err(Refusal::SourceNotFound),
            Some(state) if state.soft_deleted => return Err(Refusal::SourceSoftDeleted),
            Some(state) => state,
        };
        let anchor = match fork.anchor {
            ForkAnchor::Tail => state.tail,
            ForkAnchor::Start => state.trimmed,
            ForkAnchor::At(offset)
                if state.reads_from(offset) && self.is_boundary(state, offset) =>
            {
                offset.position
            }
            ForkAnchor::At(_) => return Err(Refusal::ForkPosition),
        };
        let at = self.past_anchor(state, anchor, fork.sub_offset);
        let at = at.ok_or(Refusal::ForkPosition)?;
        Ok(ForkSource {
            stream: state.id,
            anchor,
            at,
            content_type: state.config.content_type.clone(),
            lifetime: state.config.lifetime,
            trimmed: state.trimmed,
            generations: state.generations.clone(),
            lineage: state.lineage_until(at),
        })
    }

    fn is_boundary(&self, state: &StreamState, offset: Offset) -> bool {
        let position = offset.position.get();
        let ends = |message: &Message| message.end() == position;
        position == 0
            || state.kind() != ContentKind::Json
            || self.kept.messages(state).iter().any(ends)
    }

    fn past_anchor(&self, state: &StreamState, anchor: StreamPos, sub: u64) -> Option<StreamPos> {
        if sub == 0 {
            return Some(anchor);
        }
        let after = |message: &Message| message.end() > anchor.get();
        let mut rest = self.kept.messages(state).into_iter().filter(after);
        let first = rest.next()?;
        let append = rest.take_while(|message| !message.starts_append);
        let ends: Vec<u64> = [first.end()]
            .into_iter()
            .chain(append.map(|m| m.end()))
            .collect();
        let at = match state.kind() {
            ContentKind::Json => *ends.get(usize::try_from(sub).ok()? - 1)?,
            _ => Some(anchor.get() + sub).filter(|at| *at <= ends[ends.len() - 1])?,
        };
        Some(StreamPos(at))
    }

    pub(crate) fn append(&mut self, name: &StreamName, append: &Append) -> Reply {
        let state = self.kept.named(name);
        let known = state.and_then(|state| self.kept.producers.get(&state.id));
        let decision = decide::append(state, &Known(known), append, self.judge(state));
        self.answer(decision)
    }

    /// As the engine does it: a boundary first, where the trim would go forward.
    pub(crate) fn trim(&mut self, name: &StreamName, to: Offset) -> Reply {
        let state = self.reach(name)?;
        let goes_on = state.owns(to) && to.position > state.trimmed;
        if goes_on && !self.is_boundary(&state, to) {
            return Err(Refusal::OffsetNotABoundary);
        }
        let state = self.kept.named(name);
        let decision = decide::trim(state, to, self.judge(state));
        self.answer(decision)
    }

    pub(crate) fn delete(&mut self, name: &StreamName) -> Reply {
        let state = self.kept.named(name);
        let decision = decide::delete(state, self.judge(state));
        self.answer(decision)
    }

    /// Ends a stream whose life is over.
    pub(crate) fn expire(&mut self, name: &StreamName) {
        let state = self.kept.named(name);
        let decision = decide::expire(state, self.judge(state));
        assert_eq!(self.answer(decision), Ok(Outcome::Done));
    }

    pub(crate) fn sweep(&mut self) {
        let names: Vec<StreamName> = self.kept.names.keys().cloned().collect();
        for name in &names {
            self.expire(name);
        }
    }

    fn renew(&mut self, id: StreamId) {
        let Some(state) = self.kept.states.get(&id) else {
            return;
        };
        if let Lifetime::Ttl(seconds) = state.config.lifetime {
            let deadline = Timestamp(self.now + seconds * 1000);
            let decision = decide::touch(Some(state), deadline);
            assert_eq!(self.answer(decision), Ok(Outcome::Done));
        }
    }

    /// The state of a stream that clients can reach.
    fn reach(&mut self, name: &StreamName) -> Result<StreamState, Refusal> {
        self.expire(name);
        match self.kept.named(name) {
            None => Err(Refusal::NotFound),
            Some(state) if state.soft_deleted => Err(Refusal::SoftDeleted),
            Some(state) => Ok(state.clone()),
        }
    }

    /// The bytes from an offset on; all of them from `None`.
    pub(crate) fn read(
        &mut self,
        name: &StreamName,
        from: Option<Offset>,
    ) -> Result<Vec<u8>, Refusal> {
        let state = self.reach(name)?;
        let from = from.unwrap_or(state.start_offset());
        if !state.reads_from(from) {
            let earliest = state.start_offset();
            return Err(Refusal::OffsetGone { earliest });
        }
        if !self.is_boundary(&state, from) {
            return Err(Refusal::OffsetNotABoundary);
        }
        self.renew(state.id);
        let mut bytes = self.bytes(&state);
        Ok(bytes.split_off(usize::try_from(from.position.get()).expect("in memory")))
    }

    pub(crate) fn bytes(&self, state: &StreamState) -> Vec<u8> {
        let messages = self.kept.messages(state);
        messages
            .into_iter()
            .flat_map(|message| message.bytes)
            .collect()
    }

    pub(crate) fn begin_live(&mut self, name: &StreamName) -> Result<(), Refusal> {
        let state = self.reach(name)?;
        *self.live.entry(state.id).or_default() += 1;
        self.renew(state.id);
        Ok(())
    }

    pub(crate) fn end_live(&mut self, name: &StreamName) {
        let Some(id) = self.kept.names.get(name).copied() else {
            return;
        };
        if let Some(readers) = self.live.get_mut(&id).filter(|readers| **readers > 0) {
            *readers -= 1;
            self.renew(id);
        }
    }

    pub(crate) fn raise(&mut self, name: &StreamName) {
        if let Some(state) = self.kept.named(name) {
            let stream = state.id;
            let generation = self.next_generation(stream.slot(), state.generations.current());
            self.take(vec![Event::GenerationRaised { stream, generation }]);
        }
    }

    /// What must hold of every state, whatever happened.
    pub(crate) fn check(&self) {
        for state in self.kept.states.values() {
            let refers = |other: &&StreamState| {
                let origin = other.config.origin;
                origin.is_some_and(|origin| origin.source == state.id)
            };
            let forks = self.kept.states.values().filter(refers);
            let forks: BTreeSet<StreamId> = forks.map(|fork| fork.id).collect();
            assert!(forks.is_subset(&state.forks), "every fork holds its source");
            assert!(
                !state.soft_deleted || !state.forks.is_empty(),
                "held by something"
            );
            let known = self.kept.producers.get(&state.id).map_or(0, BTreeMap::len);
            assert_eq!(state.producer_count as usize, known);
            assert_eq!(self.bytes(state).len() as u64, state.tail.get());
            let generations = state.generations.as_slice();
            assert!(millrace_core::stream::Generations::is_valid(generations));
        }
    }

    /// Whether some reference is to a fork that does not exist.
    pub(crate) fn has_half_made_forks(&self) -> bool {
        let mut forks = self
            .kept
            .states
            .values()
            .flat_map(|state| state.forks.iter());
        forks.any(|fork| !self.kept.states.contains_key(fork))
    }
}
