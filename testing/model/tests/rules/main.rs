//! The rules against the oracle: random commands go to both, and after each the reply, every byte of
//! every stream, and the meaning of every offset ever seen are the same.

mod ops;
mod system;

use millrace_core::{
    ContentType, CreateSpec, ForkAnchor, ForkRequest, Offset, Refusal, StreamName, Timestamp,
    slot::slot_of,
};
use millrace_model::{Model, Tokens};
use proptest::prelude::*;

use crate::{
    ops::{AnchorPlan, ForkPlan, NAMES, Op, append_of, op},
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
        }
    }

    fn in_one_slot() -> Self {
        Self::new(["a{x}", "b{x}", "c{x}", "d{x}"], Tokens::in_one_slot())
    }

    fn across_slots() -> Self {
        Self::new(["a", "b", "c", "d"], Tokens::across_slots())
    }

    /// One of the offsets ever seen: the model's and the system's.
    fn token(&self, index: usize) -> Option<(Offset, Offset)> {
        let pairs: Vec<_> = self.tokens.pairs().collect();
        let index = index.checked_rem(pairs.len())?;
        Some(pairs[index])
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Create { .. } => self.create(op),
            Op::Append { name, .. } => {
                let name = self.names[*name].clone();
                let own = self
                    .model
                    .stream(&name)
                    .map(|stream| stream.content_type().clone());
                let append = append_of(op, own.as_ref());
                let model = self.model.append(&name, &append);
                let system = self.system.append(&name, &append);
                self.agree(&model, &system);
            }
            Op::Delete(name) => {
                let name = &self.names[*name];
                let model = self.model.delete(name);
                let system = self.system.delete(name);
                self.agree(&model, &system);
            }
            Op::Read(name) => self.read(*name, None),
            Op::ReadFrom(name, token) => self.read(*name, self.token(*token)),
            Op::BeginLive(name) => {
                let name = &self.names[*name];
                assert_eq!(self.model.begin_live(name), self.system.begin_live(name));
            }
            Op::EndLive(name) => {
                self.model.end_live(&self.names[*name]);
                self.system.end_live(&self.names[*name]);
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
                self.model.raise(&self.names[*name]);
                self.system.raise(&self.names[*name]);
            }
            Op::CrashInFork(name) => {
                // Whoever asks first sees an expiry, here for both.
                drop(self.model.head(&self.names[*name]));
                let slot = slot_of(self.names[0].as_str());
                self.system.expire(&self.names[*name]);
                self.system.leave_fork_half_made(&self.names[*name], slot);
                self.restart();
            }
            Op::Restart => self.restart(),
        }
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
        let name = self.names[*name].clone();
        let inherited = fork
            .as_ref()
            .map(|fork| self.type_of(&self.names[fork.source]));
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
        self.agree(&model, &system);
    }

    fn type_of(&self, name: &StreamName) -> Option<ContentType> {
        Some(self.model.stream(name)?.content_type().clone())
    }

    /// A fork's request, for the model and for the system.
    fn requests(&self, plan: &ForkPlan) -> (ForkRequest, ForkRequest) {
        let source = &self.names[plan.source];
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

    fn read(&mut self, name: usize, from: Option<(Offset, Offset)>) {
        let name = self.names[name].clone();
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
            for position in 0..=stream.len() {
                let real = state
                    .generations
                    .offset_at(millrace_core::StreamPos(position));
                let paired = self.tokens.pair(stream.offset_at(position), real);
                paired.expect("a position has one token");
            }
        }
        for (model, real) in self.tokens.pairs() {
            for name in &self.names {
                let ours = self
                    .model
                    .stream(name)
                    .is_some_and(|stream| stream.owns(model));
                let state = self.system.kept.named(name);
                let theirs = state.is_some_and(|state| state.owns(real));
                assert!(
                    ours == theirs || (theirs && !self.one_slot),
                    "{name} and {real:?}"
                );
            }
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
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_do_as_the_oracle_does_in_one_slot(ops in prop::collection::vec(op(), 1..60)) {
        run(Pair::in_one_slot(), &ops);
    }

    #[test]
    fn the_rules_do_as_the_oracle_does_across_slots(ops in prop::collection::vec(op(), 1..60)) {
        run(Pair::across_slots(), &ops);
    }
}
