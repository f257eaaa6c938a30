//! The rules against the oracle: random commands go to both, and after each the reply, every byte of
//! every stream, and the meaning of every offset ever seen are the same.

mod ops;
mod system;

use std::collections::BTreeMap;

use millrace_core::{
    ContentType, CreateSpec, ExpectedTail, ForkAnchor, ForkRequest, Offset, Refusal, StreamName,
    Timestamp, slot::slot_of, stream::Outcome,
};
use millrace_model::{Model, Tokens};
use proptest::prelude::*;

use crate::{
    ops::{AnchorPlan, ForkPlan, NAMES, Name, Op, ProducerPlan, TailPlan, append_of, op},
    system::System,
};

const START: Timestamp = Timestamp(1_000_000);

/// The oracle and the rules, side by side.
struct Pair {
    names: [StreamName; NAMES],
    model: Model,
    system: System,
    tokens: Tokens,
    one_slot: bool,
    creations: Vec<Op>,
    /// What each producer last got accepted, by the index of the stream's name.
    accepted: BTreeMap<(usize, &'static str), (u64, u64)>,
}

impl Pair {
    fn new(names: [&str; NAMES], tokens: Tokens) -> Self {
        let names = names.map(|name| StreamName::new(name).expect("a name"));
        let slot = slot_of(names[0].as_str());
        Self {
            one_slot: names.iter().all(|name| slot_of(name.as_str()) == slot),
            names,
            model: Model::at(START),
            system: System::new(START),
            tokens,
            creations: Vec::new(),
            accepted: BTreeMap::new(),
        }
    }

    fn in_one_slot() -> Self {
        Self::new(["a{x}", "b{x}", "c{x}", "d{x}", "e{x}"], Tokens::default())
    }

    fn across_slots() -> Self {
        Self::new(["a", "b", "c", "d", "e"], Tokens::default())
    }

    /// One of the offsets ever seen: the model's and the system's.
    fn token(&self, index: usize) -> Option<(Offset, Offset)> {
        let pairs: Vec<_> = self.tokens.pairs().collect();
        let index = index.checked_rem(pairs.len())?;
        Some(pairs[index])
    }

    /// The index of the name that is meant, where taken (or free) ones are preferred.
    fn index(&self, name: Name, taken: bool) -> usize {
        let fits = |index: &usize| self.model.stream(&self.names[*index]).is_some() == taken;
        let mut all = (0..NAMES).map(|n| (name.index + n) % NAMES);
        let preferred = all.find(fits).filter(|_| !name.insist);
        preferred.unwrap_or(name.index)
    }

    fn taken(&self, name: Name) -> StreamName {
        self.names[self.index(name, true)].clone()
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Create { name, .. } => {
                let index = self.index(*name, false);
                let op = op.under(index);
                self.create(&op);
                self.creations.push(op);
            }
            Op::Again(nth, tweak) => {
                if let Some(nth) = nth.checked_rem(self.creations.len()) {
                    let again = tweak.of(&self.creations[nth]);
                    self.create(&again);
                }
            }
            Op::Append {
                name,
                producer,
                expected,
                ..
            } => self.append(op, *name, producer.as_ref(), *expected),
            Op::Delete(name) => {
                let name = self.taken(*name);
                let model = self.model.delete(&name);
                let system = self.system.delete(&name);
                self.agree(&model, &system);
            }
            Op::Trim(name, to) => self.trim(*name, to),
            Op::Read(name) => self.read(*name, None),
            Op::ReadFrom(name, token) => self.read(*name, self.token(*token)),
            Op::BeginLive(name) => {
                let name = self.taken(*name);
                assert_eq!(self.model.begin_live(&name), self.system.begin_live(&name));
            }
            Op::EndLive(name) => {
                let name = self.taken(*name);
                self.model.end_live(&name);
                self.system.end_live(&name);
            }
            Op::Advance(by) => {
                self.model.advance(*by);
                self.system.now = self.model.now().get();
            }
            Op::Sweep => {
                self.model.sweep();
                self.system.sweep();
            }
            Op::Raise(name) => {
                let name = self.taken(*name);
                self.model.raise(&name);
                self.system.raise(&name);
            }
            Op::CrashInFork(name) => {
                // Whoever asks first sees an expiry, here for both.
                let name = self.taken(*name);
                drop(self.model.head(&name));
                let slot = slot_of(self.names[0].as_str());
                self.system.expire(&name);
                self.system.leave_fork_half_made(&name, slot);
                self.restart();
            }
            Op::Restart => self.restart(),
        }
    }

    fn append(
        &mut self,
        op: &Op,
        name: Name,
        producer: Option<&ProducerPlan>,
        expected: Option<TailPlan>,
    ) {
        let index = self.index(name, true);
        let name = self.names[index].clone();
        let own = self.type_of(&name);
        let claim = producer.map(|plan| plan.claim(self.accepted.get(&(index, plan.id)).copied()));
        let expected = expected.and_then(|plan| self.expected(plan, &name));
        let mut append = append_of(op, own.as_ref(), claim);
        append.expected = expected.map(|(model, _)| model);
        let model = self.model.append(&name, &append);
        append.expected = expected.map(|(_, system)| system);
        let system = self.system.append(&name, &append);
        if let (
            Ok(Outcome::Appended {
                producer: Some(accepted),
                ..
            }),
            Some(plan),
        ) = (&model, producer)
        {
            self.accepted.insert((index, plan.id), *accepted);
        }
        self.agree(&model, &system);
    }

    fn restart(&mut self) {
        self.model.reboot();
        self.system.restart();
        assert!(
            !self.system.has_half_made_forks(),
            "t72: no reference leaks"
        );
    }

    fn create(&mut self, op: &Op) {
        let Op::Create {
            name,
            content_type,
            lifetime,
            closed,
            body,
            fork,
        } = op
        else {
            panic!("no creation: {op:?}")
        };
        let index = name.index;
        let name = self.names[index].clone();
        let inherited = fork
            .as_ref()
            .map(|fork| self.type_of(&self.taken(fork.source)));
        let sent = content_type.clone();
        let body = body.framed(&sent.or(inherited.flatten()).unwrap_or_default());
        let (model_fork, system_fork) = fork.as_ref().map(|fork| self.requests(fork)).unzip();
        let mut spec = CreateSpec {
            content_type: content_type.clone(),
            lifetime: lifetime.from(START.get()),
            closed: *closed,
            fork: model_fork,
        };
        let model = self.model.create(&name, &spec, &body);
        spec.fork = system_fork;
        let system = self.system.create(&name, &spec, &body);
        if matches!(model, Ok(Outcome::Created(_))) {
            self.accepted.retain(|(stream, _), _| *stream != index);
        }
        self.agree(&model, &system);
    }

    fn type_of(&self, name: &StreamName) -> Option<ContentType> {
        Some(self.model.stream(name)?.content_type().clone())
    }

    fn trim(&mut self, name: Name, to: &AnchorPlan) {
        let name = self.taken(name);
        let (model, system) = match to {
            AnchorPlan::Token(index) => match self.token(*index) {
                Some(pair) if self.means_one_thing(&name, pair) => pair,
                _ => return,
            },
            AnchorPlan::Position(position) => {
                let Some(stream) = self.model.stream(&name) else {
                    return;
                };
                let offset = stream.offset_at((*position).min(stream.len()));
                let real = self.tokens.real(offset);
                (offset, real.expect("every position was paired"))
            }
            AnchorPlan::Tail | AnchorPlan::Start => return,
        };
        let (model, system) = (
            self.model.trim(&name, model),
            self.system.trim(&name, system),
        );
        self.agree(&model, &system);
    }

    /// Where an append expects the stream to end, for the model and for the system.
    fn expected(&self, plan: TailPlan, name: &StreamName) -> Option<(ExpectedTail, ExpectedTail)> {
        let at = |(model, system)| (ExpectedTail::At(model), ExpectedTail::At(system));
        match plan {
            TailPlan::Start => Some((ExpectedTail::Start, ExpectedTail::Start)),
            TailPlan::Own => {
                let tail = self.model.stream(name)?.tail();
                let real = self.tokens.real(tail).expect("every position was paired");
                Some(at((tail, real)))
            }
            TailPlan::Token(index) => {
                let pair = self.token(index)?;
                self.means_one_thing(name, pair).then(|| at(pair))
            }
        }
    }

    /// A fork's request, for the model and for the system.
    fn requests(&self, plan: &ForkPlan) -> (ForkRequest, ForkRequest) {
        let source = &self.taken(plan.source);
        let at = |(model, system)| (ForkAnchor::At(model), ForkAnchor::At(system));
        let (model, system) = match plan.anchor {
            AnchorPlan::Tail => (ForkAnchor::Tail, ForkAnchor::Tail),
            AnchorPlan::Start => (ForkAnchor::Start, ForkAnchor::Start),
            AnchorPlan::Token(index) => match self.token(index) {
                Some(pair) if self.means_one_thing(source, pair) => at(pair),
                _ => (ForkAnchor::Tail, ForkAnchor::Tail),
            },
            AnchorPlan::Position(position) => match self.model.stream(source) {
                Some(stream) => {
                    let offset = stream.offset_at(position.min(stream.len()));
                    let real = self.tokens.real(offset);
                    at((offset, real.expect("every position was paired")))
                }
                None => (ForkAnchor::Tail, ForkAnchor::Tail),
            },
        };
        let request = |anchor| ForkRequest {
            source: source.clone(),
            anchor,
            sub_offset: plan.sub_offset,
        };
        (request(model), request(system))
    }

    /// Across slots a foreign token may by chance be one of the stream's own; not within one.
    fn means_one_thing(&self, name: &StreamName, (model, system): (Offset, Offset)) -> bool {
        let ours = self
            .model
            .stream(name)
            .is_some_and(|stream| stream.owns(model));
        let theirs = self
            .system
            .kept
            .named(name)
            .is_some_and(|state| state.owns(system));
        self.one_slot || ours == theirs
    }

    fn read(&mut self, name: Name, from: Option<(Offset, Offset)>) {
        let name = self.taken(name);
        let from = from.filter(|pair| self.means_one_thing(&name, *pair));
        let model = match from {
            Some((offset, _)) => self.model.read_from(&name, offset),
            None => self.model.read(&name),
        };
        let system = self.system.read(&name, from.map(|(_, offset)| offset));
        match (model, system) {
            (Ok(content), Ok(bytes)) => assert_eq!(content.bytes, bytes),
            (
                Err(Refusal::OffsetGone { earliest: ours }),
                Err(Refusal::OffsetGone { earliest: theirs }),
            ) => self.tokens.pair(ours, theirs).expect("one start"),
            (model, system) => assert_eq!(model.err(), system.err()),
        }
    }

    fn agree(&mut self, model: &millrace_model::Reply, system: &millrace_model::Reply) {
        self.tokens.agree(model, system).expect("the same reply");
    }

    /// Everything that can be seen is the same.
    fn check(&mut self) {
        self.system.check();
        for name in &self.names {
            let (stream, state) = (self.model.stream(name), self.system.kept.named(name));
            let (Some(stream), Some(state)) = (stream, state) else {
                assert_eq!(stream.is_some(), state.is_some(), "{name} is there");
                continue;
            };
            assert_eq!(stream.is_soft_deleted(), state.soft_deleted, "{name}");
            assert_eq!(stream.is_closed(), state.is_closed(), "{name}");
            assert_eq!(stream.content_type(), &state.config.content_type);
            assert_eq!(
                stream.deadline(),
                state.deadline.map(Timestamp::get),
                "{name}"
            );
            assert_eq!(stream.bytes(), self.system.bytes(state), "{name}");
            let messages = self.system.kept.messages(state);
            let ends: Vec<u64> = messages.iter().map(system::Message::end).collect();
            assert_eq!(stream.ends(), ends, "{name}");
            let offsets: Vec<Offset> = (0..=stream.len()).map(|n| stream.offset_at(n)).collect();
            for offset in &offsets {
                let real = state.generations.offset_at(offset.position);
                let paired = self.tokens.pair(*offset, real);
                paired.expect("a position has one token");
            }
            for (model, real) in self.tokens.pairs() {
                let position = usize::try_from(model.position.get()).expect("in memory");
                let (ours, theirs) = (offsets.get(position) == Some(&model), state.owns(real));
                assert!(
                    ours == theirs || (theirs && !self.one_slot),
                    "{name} and {real:?}"
                );
            }
            let past = state.tail.advance(1);
            let past = state.generations.offset_at(past);
            assert!(!state.owns(past), "nothing past the tail is anyone's");
        }
    }
}

fn run(mut pair: Pair, ops: &[Op]) {
    pair.check();
    for op in ops {
        pair.run(op);
        pair.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_do_as_the_oracle_does_in_one_slot(ops in prop::collection::vec(op(), 1..100)) {
        run(Pair::in_one_slot(), &ops);
    }

    #[test]
    fn the_rules_do_as_the_oracle_does_across_slots(ops in prop::collection::vec(op(), 1..100)) {
        run(Pair::across_slots(), &ops);
    }
}

/// T64a: generations of different slots never meet, so a fork of a stream in another slot takes no
/// old token of its own name for one of its own.
#[test]
fn t64a_a_fork_under_a_used_name_takes_no_old_token_for_its_own() {
    let mut pair = Pair::across_slots();
    let [used, other, ..] = pair.names.clone();
    let spec = CreateSpec {
        content_type: ContentType::new("text/plain"),
        lifetime: millrace_core::Lifetime::Unlimited,
        closed: false,
        fork: None,
    };
    let body = |text: &'static str| {
        let payload = millrace_core::Payload::single(bytes::Bytes::from_static(text.as_bytes()));
        millrace_core::Body::Framed(payload)
    };
    let system = &mut pair.system;
    system
        .create(&used, &spec, &body("old"))
        .expect("is created");
    let token = system.kept.named(&used).expect("is there").tail_offset();
    system.delete(&used).expect("is deleted");
    system
        .create(&other, &spec, &body("new"))
        .expect("is created");
    let fork = CreateSpec {
        fork: Some(ForkRequest {
            source: other,
            anchor: ForkAnchor::Tail,
            sub_offset: 0,
        }),
        ..spec
    };
    system
        .create(&used, &fork, &millrace_core::Body::Empty)
        .expect("is created");
    let mistaken = system.kept.named(&used).expect("is there").owns(token);
    assert!(!mistaken, "a token never comes to mean other bytes");
}
