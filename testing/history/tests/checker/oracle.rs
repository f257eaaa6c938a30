//! The oracle of `testing/model` as a server of the checker's words. It was written without the
//! checker in view, and the checker without it.

use bytes::Bytes;
use millrace_core::{
    Body, ContentType, CreateSpec, ExpectedTail, ForkAnchor, ForkRequest, Generation, Lifetime,
    Payload, ProducerClaim, ProducerId, StreamName, StreamPos, stream::Outcome,
};
use millrace_history::history::{Answer, Append, Item, Offset, Operation, Refusal, Verdict};
use millrace_model::{Content, Model};

/// Where the oracle's numbers of writers begin as generations.
const FIRST_GENERATION: u64 = 1;

/// A server.
#[derive(Clone, Default)]
pub(crate) struct Oracle {
    pub(crate) model: Model,
}

impl Oracle {
    /// Carries an operation out.
    pub(crate) fn answer(&mut self, name: &str, operation: &Operation) -> Answer {
        let model = &mut self.model;
        let named = stream(name);
        match operation {
            Operation::Create(content) => made(model.create(&named, &spec(None), &body(*content))),
            Operation::Fork { source, at } => {
                let request = ForkRequest {
                    source: stream(source),
                    anchor: ForkAnchor::At(offset(*at)),
                    sub_offset: 0,
                };
                made(model.create(&named, &spec(Some(request)), &Body::Empty))
            }
            Operation::Append(append) => appended(append, model.append(&named, &command(append))),
            Operation::Read(None) => read(model.read(&named)),
            Operation::Read(Some(from)) => read(model.read_from(&named, offset(*from))),
            Operation::Head => match model.head(&named) {
                Ok(head) => told(Verdict::Found, head.tail, head.closed),
                Err(refusal) => refused(&refusal),
            },
            Operation::Delete => match model.delete(&named) {
                Ok(_) => Answer {
                    verdict: Verdict::Gone,
                    tail: None,
                    closed: None,
                },
                Err(refusal) => refused(&refusal),
            },
            Operation::Lend { .. } => panic!("no client asks that"),
        }
    }
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).expect("a name")
}

fn spec(fork: Option<ForkRequest>) -> CreateSpec {
    CreateSpec {
        content_type: None,
        lifetime: Lifetime::Unlimited,
        closed: false,
        fork,
    }
}

fn body(item: Option<Item>) -> Body {
    item.map_or(Body::Empty, |item| {
        Body::Framed(Payload::single(Bytes::from(item.bytes())))
    })
}

fn command(append: &Append) -> millrace_core::Append {
    millrace_core::Append {
        body: body(append.item),
        content_type: Some(ContentType::default()),
        seq: append.seq.map(|seq| format!("{seq:08}").into()),
        producer: append.producer.map(|claim| ProducerClaim {
            id: ProducerId::new(&format!("p{}", claim.id)).expect("an id"),
            epoch: claim.epoch,
            seq: claim.seq,
        }),
        expected: append.expected.map(|at| ExpectedTail::At(offset(at))),
        close: append.close,
        judged_under: 0,
    }
}

fn offset(at: Offset) -> millrace_core::Offset {
    millrace_core::Offset {
        generation: Generation(at.generation - FIRST_GENERATION),
        position: StreamPos(at.position),
    }
}

fn told(verdict: Verdict, tail: millrace_core::Offset, closed: bool) -> Answer {
    let tail = Offset {
        generation: tail.generation.get() + FIRST_GENERATION,
        position: tail.position.get(),
    };
    Answer {
        verdict,
        tail: Some(tail),
        closed: Some(closed),
    }
}

fn made(reply: Result<Outcome, millrace_core::Refusal>) -> Answer {
    match reply {
        Ok(Outcome::Created(summary)) => told(Verdict::Created, summary.tail, summary.closed),
        Ok(Outcome::Exists(summary)) => told(Verdict::Exists, summary.tail, summary.closed),
        Ok(other) => panic!("{other:?} to a creation"),
        Err(refusal) => refused(&refusal),
    }
}

fn appended(append: &Append, reply: Result<Outcome, millrace_core::Refusal>) -> Answer {
    let brings = append.item.is_some();
    match reply {
        Ok(Outcome::Appended { summary, .. }) if brings => {
            told(Verdict::Appended, summary.tail, summary.closed)
        }
        Ok(Outcome::Duplicate { summary, producer }) if brings => {
            let verdict = Verdict::Duplicate {
                highest: producer.1,
            };
            told(verdict, summary.tail, summary.closed)
        }
        Ok(
            Outcome::Appended { summary, .. }
            | Outcome::Duplicate { summary, .. }
            | Outcome::AlreadyClosed(summary),
        ) => told(Verdict::Done, summary.tail, summary.closed),
        Ok(other) => panic!("{other:?} to an append"),
        Err(refusal) => refused(&refusal),
    }
}

fn read(content: Result<Content, millrace_core::Refusal>) -> Answer {
    match content {
        Ok(content) => {
            let text = String::from_utf8(content.bytes).expect("items are text");
            let items = Item::cut(&text).expect("the oracle stores whole items");
            told(Verdict::Content(items), content.next, content.closed)
        }
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &millrace_core::Refusal) -> Answer {
    use millrace_core::Refusal as R;
    let refusal = match refusal {
        R::NotFound => Refusal::NotFound,
        R::SoftDeleted => Refusal::Deleted,
        R::OffsetGone { .. } => Refusal::OffsetGone,
        R::NameHeld => Refusal::NameHeld,
        R::Config { .. } => Refusal::Mismatch,
        R::Closed { tail } => return told(Verdict::Refused(Refusal::Closed), *tail, true),
        R::SeqRegression => Refusal::SeqRegression,
        R::ExpectedOffset { tail } => {
            return told(Verdict::Refused(Refusal::ExpectedOffset), *tail, false);
        }
        R::SeqGap { expected, .. } => Refusal::SeqGap {
            expected: *expected,
        },
        R::StaleEpoch { current } => Refusal::StaleEpoch { current: *current },
        R::NewEpochNotAtZero => Refusal::NewEpochNotAtZero,
        R::SourceNotFound => Refusal::SourceNotFound,
        R::SourceSoftDeleted => Refusal::SourceDeleted,
        R::ForkPosition => Refusal::ForkPosition,
        other => panic!("{other:?} was not asked for"),
    };
    Answer::refused(refusal)
}
