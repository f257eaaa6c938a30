//! Random operations: few names, small bodies and small numbers, so that they meet.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use millrace_core::{
    Append, Body, BodyFault, ContentKind, ContentType, Lifetime, Payload, ProducerClaim, ProducerId,
};
use proptest::prelude::*;

/// An index into the names of the test.
pub(crate) type Name = usize;
pub(crate) const NAMES: usize = 4;

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
        producer: Option<ProducerClaim>,
        close: bool,
    },
    Delete(Name),
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

pub(crate) fn append_of(op: &Op, own: Option<&ContentType>) -> Append {
    let Op::Append {
        body,
        content_type,
        seq,
        producer,
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
        producer: producer.clone(),
        close: *close,
    }
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
        3 => (0..4_u64).prop_map(Life::Ttl),
        1 => (0..20_000_u64).prop_map(Life::Until),
    ]
}

fn fork() -> impl Strategy<Value = ForkPlan> {
    let anchor = prop_oneof![
        3 => Just(AnchorPlan::Tail),
        1 => Just(AnchorPlan::Start),
        1 => any::<usize>().prop_map(AnchorPlan::Token),
        3 => (0..12_u64).prop_map(AnchorPlan::Position),
    ];
    let sub_offset = prop_oneof![3 => Just(0), 1 => 1..4_u64];
    (0..NAMES, anchor, sub_offset).prop_map(|(source, anchor, sub_offset)| ForkPlan {
        source,
        anchor,
        sub_offset,
    })
}

fn create() -> impl Strategy<Value = Op> {
    let fork = prop::option::of(fork());
    let closed = prop::bool::weighted(0.1);
    (
        0..NAMES,
        content_type(),
        lifetime(),
        closed,
        some_body(),
        fork,
    )
        .prop_map(
            |(name, content_type, lifetime, closed, body, fork)| Op::Create {
                name,
                content_type,
                lifetime,
                closed,
                body,
                fork,
            },
        )
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
    let id = prop::sample::select(vec!["p", "q"]);
    let producer = prop::option::weighted(0.5, (id, 0..3_u64, 0..4_u64));
    let close = prop::bool::weighted(0.1);
    (0..NAMES, body(), types, seq, producer, close, any::<bool>()).prop_map(
        |(name, body, content_type, seq, producer, close, close_only)| Op::Append {
            name,
            body: if close && close_only {
                BodyPlan::Empty
            } else {
                body
            },
            content_type,
            seq: seq.map(Into::into),
            producer: producer.map(|(id, epoch, seq)| ProducerClaim {
                id: ProducerId::new(id).expect("an id"),
                epoch,
                seq,
            }),
            close,
        },
    )
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let name = 0..NAMES;
    prop_oneof![
        8 => create(),
        14 => append(),
        3 => name.clone().prop_map(Op::Delete),
        2 => name.clone().prop_map(Op::Read),
        2 => (name.clone(), any::<usize>()).prop_map(|(name, token)| Op::ReadFrom(name, token)),
        1 => name.clone().prop_map(Op::BeginLive),
        1 => name.clone().prop_map(Op::EndLive),
        2 => (0..3000_u64).prop_map(|millis| Op::Advance(Duration::from_millis(millis))),
        1 => Just(Op::Sweep),
        1 => name.clone().prop_map(Op::Raise),
        1 => name.prop_map(Op::CrashInFork),
        1 => Just(Op::Restart),
    ]
}
