//! The oracle of `testing/model` behind the HTTP dialect, and servers that are like it but for one
//! defect.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use millrace_core::{Offset, Refusal, StreamName, StreamPos, stream::Outcome};
use millrace_model::{Content, Model};
use millrace_wire::{
    AppendHead, CreateHead, Format, Live, OffsetArg, Place, Problem, ReadQuery, frame,
    outcome::{self, HeadFacts, ReadEnd, ReadFacts, Reply},
    path, sse,
};
use rand::{RngExt as _, rngs::StdRng};

/// What a server has that it must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Nothing.
    None,
    /// A restart loses what was done lately.
    ForgetsLately,
    /// A page that stops short of the tail says that the reader is at the tail.
    MovesPastBytes,
    /// A byte is changed on its way.
    ChangesBytes,
    /// A stream of a name that was used has the generation of the one before.
    ReusesGenerations,
    /// A stream that is closed does not always say so.
    ForgetsClosure,
    /// Everything that a producer sends again is appended again.
    RepeatsProducers,
    /// A stream that is there is not always found.
    ForgetsNames,
}

/// A server.
pub(crate) struct Server {
    pub(crate) model: Model,
    defect: Defect,
    earlier: Model,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Server {
    pub(crate) fn new(defect: Defect) -> Self {
        Self {
            model: Model::new(),
            defect,
            earlier: Model::new(),
        }
    }

    /// The process ends and begins again.
    pub(crate) fn restart(&mut self) {
        if self.defect == Defect::ForgetsLately {
            self.model = self.earlier.clone();
        }
        self.model.reboot();
        self.earlier = self.model.clone();
    }

    /// Carries a request out.
    pub(crate) fn carry_out(
        &mut self,
        method: &str,
        target: &str,
        headers: &HeaderMap,
        body: &[u8],
        chance: &mut StdRng,
    ) -> Answer {
        let (at, query) = target.split_once('?').unwrap_or((target, ""));
        let name = path::stream_name(at)
            .expect("a stream's path")
            .expect("a name");
        let query = (!query.is_empty()).then_some(query);
        if self.defect == Defect::ForgetsNames && chance.random_ratio(1, 40) {
            return refused(&Refusal::NotFound.into());
        }
        let body = Bytes::copy_from_slice(body);
        let answer = match method {
            "PUT" => self.put(&name, headers, body),
            "POST" => self.post(&name, headers, body, chance),
            "DELETE" => self
                .model
                .delete(&name)
                .map(|outcome| whole(outcome::delete(&outcome)))
                .map_err(Problem::from),
            "HEAD" => self.head(&name),
            "GET" => self.get(&name, query, headers, chance),
            other => panic!("no client sends {other}"),
        };
        let mut answer = answer.unwrap_or_else(|problem| refused(&problem));
        self.spoil(&mut answer, chance);
        answer
    }

    fn put(
        &mut self,
        name: &StreamName,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Answer, Problem> {
        let head = CreateHead::parse(headers)?;
        let body = frame(head.spec.content_type.as_ref(), body);
        let outcome = self.model.create(name, &head.spec, &body)?;
        Ok(whole(outcome::put(&outcome, "", name)))
    }

    fn post(
        &mut self,
        name: &StreamName,
        headers: &HeaderMap,
        body: Bytes,
        chance: &mut StdRng,
    ) -> Result<Answer, Problem> {
        let brings = !body.is_empty();
        let mut append = AppendHead::parse(headers)?.with_body(body)?;
        let repeats = self.defect == Defect::RepeatsProducers && chance.random_ratio(1, 2);
        if repeats && append.producer.is_some() {
            let claim = append.producer.take();
            let outcome = match self.model.append(name, &append)? {
                Outcome::Appended { summary, .. } => Outcome::Appended {
                    summary,
                    producer: claim.map(|claim| (claim.epoch, claim.seq)),
                },
                other => other,
            };
            return Ok(whole(outcome::post(&outcome, brings)));
        }
        let outcome = self.model.append(name, &append)?;
        Ok(whole(outcome::post(&outcome, brings)))
    }

    fn head(&mut self, name: &StreamName) -> Result<Answer, Problem> {
        let head = self.model.head(name)?;
        Ok(whole(outcome::head(&HeadFacts {
            settings: None,
            content_type: head.content_type,
            tail: head.tail,
            closed: head.closed,
            lifetime: head.lifetime,
            earliest: None,
        })))
    }

    fn get(
        &mut self,
        name: &StreamName,
        query: Option<&str>,
        headers: &HeaderMap,
        chance: &mut StdRng,
    ) -> Result<Answer, Problem> {
        let query = ReadQuery::parse(query, headers)?;
        let Place::From(offset) = query.place else {
            panic!("nobody asks for {:?}", query.place);
        };
        let mut content = match offset {
            OffsetArg::Start => self.model.read(name)?,
            OffsetArg::At(offset) => self.model.read_from(name, offset)?,
            OffsetArg::Now => {
                let tail = self.model.head(name)?.tail;
                self.model.read_from(name, tail)?
            }
        };
        let tail = content.next;
        if chance.random_ratio(1, 3) {
            self.cut(name, &mut content, chance);
        }
        let at_tail = content.next == tail;
        if self.defect == Defect::MovesPastBytes {
            content.next = tail;
        }
        if query.live == Live::Sse {
            return Ok(events(&content, at_tail));
        }
        let is_empty = content.bytes.is_empty();
        let end = match query.live {
            Live::LongPoll if is_empty => ReadEnd::Nothing,
            _ => ReadEnd::Page,
        };
        let reply = outcome::read(&ReadFacts {
            end,
            content_type: content.content_type.clone(),
            start: None,
            format: Format::Content,
            next: content.next,
            up_to_date: at_tail,
            closed: content.closed,
            cursor: None,
            etag: None,
            cache_control: HeaderValue::from_static("no-store"),
        });
        let body = if end == ReadEnd::Nothing {
            Vec::new()
        } else {
            content.page()
        };
        Ok(Answer {
            body,
            ..whole(reply)
        })
    }

    /// A page stops at the end of any message.
    fn cut(&self, name: &StreamName, content: &mut Content, chance: &mut StdRng) {
        let stream = self.model.stream(name).expect("it was read");
        let from = content.from.position.get();
        let ends: Vec<u64> = stream
            .ends()
            .into_iter()
            .filter(|end| *end > from)
            .collect();
        if ends.is_empty() {
            return;
        }
        let end = ends[chance.random_range(0..ends.len())];
        content
            .bytes
            .truncate(usize::try_from(end - from).expect("in memory"));
        content.next = stream.offset_at(end);
    }

    fn spoil(&mut self, answer: &mut Answer, chance: &mut StdRng) {
        match self.defect {
            Defect::ChangesBytes if chance.random_ratio(1, 20) => {
                let events = answer
                    .headers
                    .get("content-type")
                    .is_some_and(|kind| kind == "text/event-stream");
                if answer.body.len() > 2 && !events {
                    let at = chance.random_range(1..answer.body.len() - 1);
                    answer.body[at] ^= 1;
                }
            }
            Defect::ForgetsClosure if chance.random_ratio(1, 4) => {
                answer.headers.remove("stream-closed");
            }
            Defect::ReusesGenerations => {
                if let Some(token) = answer.headers.get("stream-next-offset") {
                    let text = token.to_str().expect("a token").to_owned();
                    let reused = format!("0000000000001-{}", &text[14..]);
                    answer
                        .headers
                        .insert("stream-next-offset", reused.parse().expect("a token"));
                }
            }
            _ => {}
        }
        if chance.random_ratio(1, 30) {
            self.earlier = self.model.clone();
        }
    }
}

fn events(content: &Content, at_tail: bool) -> Answer {
    let kind = content.content_type.kind();
    let mut body = Vec::new();
    if !content.bytes.is_empty() {
        sse::data_event(&mut body, kind, &content.bytes, content.next);
    }
    let control = sse::Control {
        next: content.next,
        cursor: None,
        up_to_date: at_tail,
        closed: content.closed && at_tail,
    };
    sse::control_event(&mut body, control);
    Answer {
        body,
        ..whole(outcome::sse(kind))
    }
}

fn whole(reply: Reply) -> Answer {
    Answer {
        status: reply.status.as_u16(),
        headers: reply.headers,
        body: Vec::new(),
    }
}

fn refused(problem: &Problem) -> Answer {
    let status: StatusCode = problem.status();
    Answer {
        status: status.as_u16(),
        headers: problem.headers(),
        body: problem.body(),
    }
}

/// The text of an offset that a client may send, whether it was ever told or not.
pub(crate) fn token(generation: u64, position: u64) -> String {
    let offset = Offset {
        generation: millrace_core::Generation(generation),
        position: StreamPos(position),
    };
    millrace_wire::Token::new(offset).to_string()
}
