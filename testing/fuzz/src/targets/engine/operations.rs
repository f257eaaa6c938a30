//! Operations out of bytes. Few names, small bodies and small numbers, so that they meet.

use std::time::Duration;

use bytes::Bytes;
use millrace_core::{
    Append, Body, ContentKind, ContentType, CreateSpec, ForkAnchor, ForkRequest, Lifetime, Payload,
    ProducerClaim, ProducerId, StreamName, Timestamp,
};
use millrace_model::{Model, Stream, Tokens};

use super::{NAMES, named};
use crate::input::Input;

/// One operation.
#[derive(Debug)]
pub(super) enum Operation {
    Change(Change),
    /// A flush with an append in its middle.
    FlushAround(Change),
    Flush,
    Compact,
    /// Time passes, and what is due is ended.
    Wait(Duration),
    /// The power goes at the n-th I/O from here.
    LosePowerIn(u64),
    /// Only so many bytes are left on the disk.
    Fill(u64),
    /// The disk has room again.
    MakeRoom,
    /// The process ends and starts again.
    Kill,
}

/// What a client asks.
#[derive(Debug)]
pub(super) enum Change {
    Create(StreamName, Box<Spec>, Body),
    /// Several, for one turn.
    Append(StreamName, Vec<Append>),
    Delete(StreamName),
}

/// A creation as both sides know it: offsets in it are the side's own.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) model: CreateSpec,
    pub(super) real: CreateSpec,
}

impl Operation {
    pub(super) fn from(input: &mut Input<'_>, model: &Model, tokens: &Tokens) -> Self {
        match input.below(16) {
            0..=2 => Self::Change(create(input, model, tokens)),
            3..=7 => Self::Change(appends(input, model)),
            8 => Self::Change(Change::Delete(name(input))),
            9 => Self::Flush,
            10 => Self::FlushAround(appends(input, model)),
            11 => Self::Compact,
            12 => Self::Wait(Duration::from_millis(u64::from(input.u8()) * 50)),
            13 => match input.below(4) {
                0 | 1 => Self::Kill,
                2 => Self::Fill(u64::from(input.u8()) * 256),
                _ => Self::MakeRoom,
            },
            _ => Self::LosePowerIn(1 + u64::from(input.below(64))),
        }
    }
}

fn name(input: &mut Input<'_>) -> StreamName {
    named(NAMES[usize::from(input.below(4))])
}

fn create(input: &mut Input<'_>, model: &Model, tokens: &Tokens) -> Change {
    let name = name(input);
    let choices = input.u8();
    let content_type = match choices % 4 {
        0 => None,
        1 => ContentType::new("text/plain"),
        _ => ContentType::new("application/json"),
    };
    let lifetime = match choices / 4 % 4 {
        0 => Lifetime::Ttl(1 + u64::from(input.below(8))),
        1 => Lifetime::Until(Timestamp(model.now().get() + u64::from(input.u8()) * 50)),
        _ => Lifetime::Unlimited,
    };
    let plain = CreateSpec {
        content_type: content_type.clone(),
        lifetime,
        closed: (choices / 16).is_multiple_of(8),
        fork: None,
    };
    if choices < 128 {
        let body = body(input, content_type.as_ref());
        let spec = Spec {
            model: plain.clone(),
            real: plain,
        };
        return Change::Create(name, Box::new(spec), body);
    }
    let source = self::name(input);
    let (of_model, of_real) = anchors(input, model.stream(&source), tokens);
    let fork = |anchor| CreateSpec {
        content_type: None,
        fork: Some(ForkRequest {
            source: source.clone(),
            anchor,
            sub_offset: 0,
        }),
        ..plain.clone()
    };
    let spec = Spec {
        model: fork(of_model),
        real: fork(of_real),
    };
    Change::Create(name, Box::new(spec), Body::Empty)
}

/// Where a fork branches: start, tail, or an offset of the source that was answered before.
fn anchors(
    input: &mut Input<'_>,
    source: Option<&Stream>,
    tokens: &Tokens,
) -> (ForkAnchor, ForkAnchor) {
    let choice = input.u8();
    let offset = source.and_then(|source| {
        let ends = source.ends();
        let end = *ends.get(usize::from(choice / 4) % ends.len().max(1))?;
        let offset = source.offset_at(end);
        Some((offset, tokens.real(offset)?))
    });
    match (choice % 4, offset) {
        (0, _) => (ForkAnchor::Start, ForkAnchor::Start),
        (2.., Some((model, real))) => (ForkAnchor::At(model), ForkAnchor::At(real)),
        _ => (ForkAnchor::Tail, ForkAnchor::Tail),
    }
}

fn appends(input: &mut Input<'_>, model: &Model) -> Change {
    let name = name(input);
    let own = model.stream(&name).map(Stream::content_type);
    let count = 1 + input.below(3);
    let appends = (0..count).map(|_| append(input, own)).collect();
    Change::Append(name, appends)
}

fn append(input: &mut Input<'_>, own: Option<&ContentType>) -> Append {
    let choices = input.u8();
    let content_type = match choices % 16 {
        0 => ContentType::new("text/plain"),
        _ => Some(own.cloned().unwrap_or_default()),
    };
    let close = choices / 16 == 0;
    let mut body = body(input, content_type.as_ref());
    if body == Body::Empty && !close {
        body = framed(&["0,"]);
    }
    Append {
        body,
        content_type,
        seq: (choices / 16 == 1).then(|| format!("{:03}", input.u8()).into()),
        producer: (choices & 1 == 1).then(|| claim(input)),
        close,
        ..Append::default()
    }
}

fn claim(input: &mut Input<'_>) -> ProducerClaim {
    let choices = input.u8();
    let id = ["p", "q"][usize::from(choices & 1)];
    ProducerClaim {
        id: ProducerId::new(id).expect("an id"),
        epoch: u64::from(choices / 2 % 2),
        seq: u64::from(choices / 4 % 8),
    }
}

fn body(input: &mut Input<'_>, content_type: Option<&ContentType>) -> Body {
    let choices = input.u8();
    let count = usize::from(choices % 4);
    let kind = content_type.map_or(ContentKind::Binary, ContentType::kind);
    if count == 0 {
        return Body::Empty;
    }
    if kind == ContentKind::Json {
        let texts = ["1,", "{\"a\":[]},", "\"abc\",", "[[1,2]],"];
        let nth = usize::from(choices / 4);
        let messages: Vec<&str> = (0..count).map(|n| texts[(nth + n) % 4]).collect();
        return framed(&messages);
    }
    // Some are long enough to fill a segment of the log.
    let len = [1, 40, 600, 5000][usize::from(choices / 4 % 4)];
    let letter = b'a' + choices / 16;
    Body::Framed(Payload::single(Bytes::from(vec![letter; len])))
}

fn framed(messages: &[&str]) -> Body {
    let len = |text: &&str| u32::try_from(text.len()).expect("short");
    let lengths: Vec<u32> = messages.iter().map(len).collect();
    Body::Framed(Payload::from_lengths(
        Bytes::from(messages.concat()),
        &lengths,
    ))
}
