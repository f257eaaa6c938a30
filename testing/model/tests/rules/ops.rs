//! Random operations: few names, small bodies and small numbers, so that they meet.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use millrace_core::{
    Append, Body, BodyFault, ContentKind, ContentType, Lifetime, Payload, ProducerClaim, ProducerId,
};
use proptest::prelude::*;

pub(crate) const NAMES: usize = 5;

/// A name of the test: this one, or the first from here on that is taken (or free).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) index: usize,
    pub(crate) insist: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create {
        name: Name,
        content_type: Option<ContentType>,
        lifetime: Life,
        closed: bool,
        body: BodyPlan,
        fork: Option<ForkPlan>,
    },
    Append {
        name: Name,
        body: BodyPlan,
        content_type: TypePlan,
        seq: Option<Arc<str>>,
        producer: Option<ProducerPlan>,
        expected: Option<TailPlan>,
        close: bool,
    },
    /// One of the creations before, perhaps with one part changed.
    Again(usize, Tweak),
    Delete(Name),
    /// To one of the tokens that were ever seen, or to a position.
    Trim(Name, AnchorPlan),
    Read(Name),
    /// From one of the tokens that were ever seen.
    ReadFrom(Name, usize),
    BeginLive(Name),
    EndLive(Name),
    Advance(Duration),
    Sweep,
    Raise(Name),
    /// A fork of this name whose creation stops half way, then a restart.
    CrashInFork(Name),
    Restart,
}

/// What an append expects of the tail.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TailPlan {
    /// That the stream is empty.
    Start,
    /// The tail as it is.
    Own,
    /// One of the tokens that were ever seen.
    Token(usize),
}

/// A producer's request, by what it last got accepted there.
#[derive(Clone, Debug)]
pub(crate) struct ProducerPlan {
    pub(crate) id: &'static str,
    pub(crate) step: Step,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Next,
    Repeat,
    NewEpoch,
    Given(u64, u64),
}

impl ProducerPlan {
    pub(crate) fn claim(&self, last: Option<(u64, u64)>) -> ProducerClaim {
        let (epoch, seq) = match (&self.step, last) {
            (Step::Given(epoch, seq), _) => (*epoch, *seq),
            (_, None) => (0, 0),
            (Step::Next, Some((epoch, seq))) => (epoch, seq + 1),
            (Step::Repeat, Some(last)) => last,
            (Step::NewEpoch, Some((epoch, _))) => (epoch + 1, 0),
        };
        let id = ProducerId::new(self.id).expect("an id");
        ProducerClaim { id, epoch, seq }
    }
}

/// What is changed of a creation that is sent again.
#[derive(Clone, Debug)]
pub(crate) enum Tweak {
    Nothing,
    SubOffset(u64),
    Anchor(AnchorPlan),
    Life(Life),
    Closed,
    ContentType(Option<ContentType>),
}

impl Tweak {
    pub(crate) fn of(&self, creation: &Op) -> Op {
        let mut op = creation.clone();
        let Op::Create {
            content_type,
            lifetime,
            closed,
            fork,
            ..
        } = &mut op
        else {
            panic!("no creation: {op:?}")
        };
        match (self.clone(), fork) {
            (Self::SubOffset(to), Some(fork)) => fork.sub_offset = to,
            (Self::Anchor(to), Some(fork)) => fork.anchor = to,
            (Self::Life(to), _) => *lifetime = to,
            (Self::Closed, _) => *closed = !*closed,
            (Self::ContentType(to), _) => *content_type = to,
            (Self::Nothing | Self::SubOffset(_) | Self::Anchor(_), _) => {}
        }
        op
    }
}

impl Op {
    /// The same creation under the name with this index.
    pub(crate) fn under(&self, index: usize) -> Self {
        let mut op = self.clone();
        if let Self::Create { name, .. } = &mut op {
            name.index = index;
        }
        op
    }
}

/// Lifetimes relative to the time of the operation.
#[derive(Clone, Debug)]
pub(crate) enum Life {
    Unlimited,
    Ttl(u64),
    /// This long from the beginning of the test, which may be in the past.
    Until(u64),
}

impl Life {
    pub(crate) fn from(&self, start: u64) -> Lifetime {
        match self {
            Self::Unlimited => Lifetime::Unlimited,
            Self::Ttl(seconds) => Lifetime::Ttl(*seconds),
            Self::Until(millis) => Lifetime::Until(millrace_core::Timestamp(start + millis)),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ForkPlan {
    pub(crate) source: Name,
    pub(crate) anchor: AnchorPlan,
    pub(crate) sub_offset: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum AnchorPlan {
    Tail,
    Start,
    /// One of the tokens that were ever seen.
    Token(usize),
    /// A token of the source, by its position.
    Position(u64),
}

#[derive(Clone, Debug)]
pub(crate) enum TypePlan {
    /// What the stream has.
    Own,
    Given(Option<ContentType>),
}

#[derive(Clone, Debug)]
pub(crate) enum BodyPlan {
    Empty,
    Messages(Vec<u8>),
    Fault(BodyFault),
}

impl BodyPlan {
    /// The body as the wire would frame it for a content type.
    pub(crate) fn framed(&self, content_type: &ContentType) -> Body {
        match self {
            Self::Empty => Body::Empty,
            Self::Fault(fault) => Body::Invalid(*fault),
            Self::Messages(seeds) if content_type.kind() == ContentKind::Json => {
                let texts = ["1,", "{},", "\"ab\",", "[[1,2]],"];
                let texts = seeds
                    .iter()
                    .map(|seed| texts[usize::from(*seed) % texts.len()]);
                let len = |text: &str| u32::try_from(text.len()).expect("a short text");
                let lengths: Vec<u32> = texts.clone().map(len).collect();
                let bytes = Bytes::from(texts.collect::<String>());
                Body::Framed(Payload::from_lengths(bytes, &lengths))
            }
            Self::Messages(seeds) => {
                let text: String = seeds
                    .iter()
                    .map(|seed| char::from(b'a' + seed % 26))
                    .collect();
                Body::Framed(Payload::single(Bytes::from(text)))
            }
        }
    }
}

pub(crate) fn append_of(
    op: &Op,
    own: Option<&ContentType>,
    producer: Option<ProducerClaim>,
) -> Append {
    let Op::Append {
        body,
        content_type,
        seq,
        close,
        ..
    } = op
    else {
        panic!("no append: {op:?}")
    };
    let content_type = match content_type {
        TypePlan::Own => own.cloned(),
        TypePlan::Given(given) => given.clone(),
    };
    Append {
        body: body.framed(&content_type.clone().unwrap_or_default()),
        content_type,
        seq: seq.clone(),
        producer,
        expected: None,
        close: *close,
        judged_under: 0,
    }
}

fn name() -> impl Strategy<Value = Name> {
    let insist = prop::bool::weighted(0.2);
    (0..NAMES, insist).prop_map(|(index, insist)| Name { index, insist })
}

fn content_type() -> impl Strategy<Value = Option<ContentType>> {
    let of = |text| ContentType::new(text);
    prop_oneof![
        2 => Just(of("text/plain")),
        2 => Just(of("application/json")),
        1 => Just(of("Application/JSON; charset=utf-8")),
        1 => Just(None),
    ]
}

fn body() -> impl Strategy<Value = BodyPlan> {
    let messages = prop::collection::vec(any::<u8>(), 1..5).prop_map(BodyPlan::Messages);
    prop_oneof![
        6 => messages,
        1 => Just(BodyPlan::Fault(BodyFault::EmptyArray)),
        1 => Just(BodyPlan::Fault(BodyFault::Syntax(0))),
    ]
}

fn some_body() -> impl Strategy<Value = BodyPlan> {
    prop_oneof![2 => Just(BodyPlan::Empty), 3 => body()]
}

fn lifetime() -> impl Strategy<Value = Life> {
    prop_oneof![
        6 => Just(Life::Unlimited),
        3 => (0..8_u64).prop_map(Life::Ttl),
        1 => (0..40_u64).prop_map(|seconds| Life::Until(seconds * 1000)),
    ]
}

fn anchor() -> impl Strategy<Value = AnchorPlan> {
    prop_oneof![
        3 => Just(AnchorPlan::Tail),
        1 => Just(AnchorPlan::Start),
        1 => any::<usize>().prop_map(AnchorPlan::Token),
        3 => (0..12_u64).prop_map(AnchorPlan::Position),
    ]
}

fn sub_offset() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0), 1 => 1..4_u64]
}

fn fork() -> impl Strategy<Value = ForkPlan> {
    (name(), anchor(), sub_offset()).prop_map(|(source, anchor, sub_offset)| ForkPlan {
        source,
        anchor,
        sub_offset,
    })
}

fn create() -> impl Strategy<Value = Op> {
    let fork = prop::option::of(fork());
    let closed = prop::bool::weighted(0.1);
    (
        name(),
        content_type(),
        lifetime(),
        closed,
        some_body(),
        fork,
    )
        .prop_map(
            |(name, content_type, lifetime, closed, body, fork)| Op::Create {
                name,
                // Most forks name none, so that most have their source's.
                content_type: content_type.filter(|_| fork.is_none() || closed),
                lifetime,
                closed,
                body,
                fork,
            },
        )
}

fn tweak() -> impl Strategy<Value = Tweak> {
    prop_oneof![
        3 => Just(Tweak::Nothing),
        2 => sub_offset().prop_map(Tweak::SubOffset),
        2 => anchor().prop_map(Tweak::Anchor),
        1 => lifetime().prop_map(Tweak::Life),
        1 => Just(Tweak::Closed),
        1 => content_type().prop_map(Tweak::ContentType),
    ]
}

fn producer() -> impl Strategy<Value = ProducerPlan> {
    let step = prop_oneof![
        6 => Just(Step::Next),
        2 => Just(Step::Repeat),
        1 => Just(Step::NewEpoch),
        3 => (0..3_u64, 0..4_u64).prop_map(|(epoch, seq)| Step::Given(epoch, seq)),
    ];
    let id = prop::sample::select(vec!["p", "q"]);
    (id, step).prop_map(|(id, step)| ProducerPlan { id, step })
}

fn append() -> impl Strategy<Value = Op> {
    let types = prop_oneof![
        8 => Just(TypePlan::Own),
        1 => content_type().prop_map(TypePlan::Given),
    ];
    let seq = prop::option::weighted(
        0.2,
        prop::sample::select(vec!["", "a", "aa", "b", "B", "c"]),
    );
    let close = prop::bool::weighted(0.05);
    let producer = prop::option::weighted(0.5, producer());
    let expected = prop_oneof![
        1 => Just(TailPlan::Start),
        4 => Just(TailPlan::Own),
        2 => any::<usize>().prop_map(TailPlan::Token),
    ];
    let expected = prop::option::weighted(0.2, expected);
    let close_only = any::<bool>();
    (
        name(),
        body(),
        types,
        seq,
        producer,
        expected,
        close,
        close_only,
    )
        .prop_map(
            |(name, body, content_type, seq, producer, expected, close, close_only)| Op::Append {
                name,
                body: if close && close_only {
                    BodyPlan::Empty
                } else {
                    body
                },
                content_type,
                seq: seq.map(Into::into),
                producer,
                expected,
                close,
            },
        )
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        9 => create(),
        3 => (any::<usize>(), tweak()).prop_map(|(nth, tweak)| Op::Again(nth, tweak)),
        14 => append(),
        2 => name().prop_map(Op::Delete),
        3 => (name(), anchor()).prop_map(|(name, to)| Op::Trim(name, to)),
        2 => name().prop_map(Op::Read),
        2 => (name(), any::<usize>()).prop_map(|(name, token)| Op::ReadFrom(name, token)),
        1 => name().prop_map(Op::BeginLive),
        1 => name().prop_map(Op::EndLive),
        2 => (0..5_u64).prop_map(|halves| Op::Advance(Duration::from_millis(halves * 500))),
        1 => Just(Op::Sweep),
        1 => name().prop_map(Op::Raise),
        1 => name().prop_map(Op::CrashInFork),
        1 => Just(Op::Restart),
    ]
}
