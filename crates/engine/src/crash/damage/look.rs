//! What clients are told by a running engine, and whether that is the truth.

use std::collections::BTreeMap;

use millrace_core::{
    Append, Body, ContentType, Lifetime, Offset, Payload, Refusal, stream::Outcome,
};

use super::specimen::{Model, Models, Specimen, claim, named};
use crate::{Engine, From};

/// Less than most streams have, so that pages end at places that an index has to find.
const PAGE_BYTES: u64 = 3_000;

/// What is under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Absent,
    SoftDeleted,
    Here(Box<Content>),
    /// A read failed; and what it gave before.
    Failed(Refusal, Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    start: Offset,
    tail: Offset,
    pub(super) closed: bool,
    kind: String,
    lifetime: Lifetime,
}

/// All answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seens {
    streams: BTreeMap<String, Seen>,
    /// Names, tails and whether they are closed, as a listing has them.
    listing: Result<Vec<(String, Offset, bool)>, Refusal>,
    /// By stream and producer, what a repeated request is told.
    repeated: BTreeMap<(String, String), Result<(u64, u64), Refusal>>,
}

/// How answers compare with the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// All are right.
    Same,
    /// So are those that were given; some were not.
    SomeFailed,
    /// This one is not.
    Wrong(String),
}

/// Asks for everything there is.
pub(super) async fn look(engine: &Engine, specimen: &Specimen) -> Seens {
    let mut streams = BTreeMap::new();
    for name in &specimen.names {
        streams.insert(name.clone(), stream(engine, name).await);
    }
    let mut repeated = BTreeMap::new();
    for (name, model) in specimen.models() {
        if model.closed || model.soft_deleted {
            continue;
        }
        for (producer, seq) in &model.producers {
            let told = repeat(engine, name, producer, *seq).await;
            repeated.insert((name.clone(), producer.clone()), told);
        }
    }
    let listing = engine.list("", None, 1000).await.map(|listed| {
        let entry =
            |listed: crate::Listed| (listed.name.as_str().to_owned(), listed.tail, listed.closed);
        listed.into_iter().map(entry).collect()
    });
    Seens {
        streams,
        listing,
        repeated,
    }
}

async fn stream(engine: &Engine, name: &str) -> Seen {
    let stream = match engine.open(&named(name)).await {
        Ok(stream) => stream,
        Err(Refusal::NotFound) => return Seen::Absent,
        Err(Refusal::SoftDeleted) => return Seen::SoftDeleted,
        Err(refusal) => return Seen::Failed(refusal, Vec::new()),
    };
    let head = stream.head();
    let mut bytes = Vec::new();
    let read = async {
        let mut reader = stream.read_from(From::Start).await?;
        loop {
            let mut batch = reader.next(PAGE_BYTES).await?;
            let (next, up_to_date, closed) = (batch.next, batch.up_to_date, batch.closed);
            while let Some(chunk) = batch.chunk().await {
                bytes.extend_from_slice(&chunk?);
            }
            assert_eq!(next.position.get(), bytes.len() as u64, "{name}: T47");
            if up_to_date {
                return Ok(closed);
            }
        }
    };
    match read.await {
        Ok(closed) => Seen::Here(Box::new(Content {
            bytes,
            start: head.start,
            tail: head.tail,
            closed,
            kind: head.content_type.to_string(),
            lifetime: head.lifetime,
        })),
        Err(refusal) => Seen::Failed(refusal, bytes),
    }
}

async fn repeat(
    engine: &Engine,
    name: &str,
    producer: &str,
    seq: u64,
) -> Result<(u64, u64), Refusal> {
    let head = engine.open(&named(name)).await?.head();
    let body = if head.content_type == ContentType::default() {
        &b"again"[..]
    } else {
        &b"1,"[..]
    };
    let append = Append {
        body: Body::Framed(Payload::single(bytes::Bytes::from_static(body))),
        content_type: Some(head.content_type),
        producer: Some(claim(producer, seq)),
        ..Append::default()
    };
    match engine.append(&named(name), append, None).await? {
        Outcome::Duplicate { producer, .. } => Ok(producer),
        other => panic!("{producer} of {name} repeated {seq} and was told {other:?}"),
    }
}

impl Seens {
    /// Whether these are the answers that an undamaged directory gives: what `whole` says.
    pub(super) fn compare(&self, whole: &Self) -> Compared {
        let mut failed = false;
        for (name, truth) in &whole.streams {
            match (&self.streams[name], truth) {
                (seen, truth) if seen == truth => {}
                (Seen::Failed(refusal, so_far), truth) if is_honest(refusal) => {
                    let is_prefix = match truth {
                        Seen::Here(content) => content.bytes.starts_with(so_far),
                        _ => so_far.is_empty(),
                    };
                    if !is_prefix {
                        return Compared::Wrong(format!("{name} gave other bytes, then failed"));
                    }
                    failed = true;
                }
                (seen, truth) => return wrong(name, seen, truth),
            }
        }
        for (who, truth) in &whole.repeated {
            match &self.repeated[who] {
                told if told == truth => {}
                Err(refusal) if is_honest(refusal) => failed = true,
                told => return Compared::Wrong(format!("{who:?} was told {told:?}")),
            }
        }
        match &self.listing {
            listing if *listing == whole.listing => {}
            Err(refusal) if is_honest(refusal) => failed = true,
            listing => return wrong("the listing", listing, &whole.listing),
        }
        if failed {
            Compared::SomeFailed
        } else {
            Compared::Same
        }
    }

    /// Whether every stream is as `models` has it.
    pub(super) fn is_as(&self, models: &Models) -> Result<(), String> {
        for (name, seen) in &self.streams {
            let same = match (seen, models.get(name)) {
                (Seen::Absent, None) => true,
                (Seen::SoftDeleted, Some(model)) => model.soft_deleted,
                (Seen::Here(content), Some(model)) => is_as(content, model),
                _ => false,
            };
            if !same {
                return Err(format!("{name} is not as it was"));
            }
        }
        Ok(())
    }
}

fn is_as(content: &Content, model: &Model) -> bool {
    !model.soft_deleted
        && content.tail.position.get() == model.bytes.len() as u64
        && (&content.bytes, content.closed) == (&model.bytes, model.closed)
}

/// Whether a refusal says that something is the matter, and nothing that is not so.
fn is_honest(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Corrupt | Refusal::Poisoned | Refusal::Unavailable
    )
}

fn wrong(name: &str, seen: &impl std::fmt::Debug, truth: &impl std::fmt::Debug) -> Compared {
    let short = |what: String| what.chars().take(300).collect::<String>();
    let (seen, truth) = (short(format!("{seen:?}")), short(format!("{truth:?}")));
    Compared::Wrong(format!("{name} is {seen}\n  and was {truth}"))
}
