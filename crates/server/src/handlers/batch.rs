//! POST of many appends to many streams, each answered on its own.
//!
//! Next on the append walk: `millrace-engine`'s `batch.rs`.

use std::collections::HashMap;

use bytes::Bytes;
use http::request::Parts;
use http_body::Body;
use millrace_core::{Append, Body as Framed, ContentType, Refusal, StreamName};
use millrace_engine::Engine;
use millrace_wire::{
    Problem,
    batch::{self, BatchHead, Content, Line, Unread},
};

use super::append::permitted;
use crate::{
    access::Caller,
    answer::{self, Answer},
    app::App,
    body,
};

/// What becomes of a line.
enum Fate {
    /// It is refused before the engine sees it.
    Refused(Option<String>, Problem),
    /// It is the next of the appends.
    Appended { stream: String, brings_bytes: bool },
}

/// Answers POST of a batch.
pub(crate) async fn batch<B>(
    app: &App,
    caller: &Caller,
    head: &Parts,
    body: B,
) -> Result<Answer, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let asked = BatchHead::parse(head.uri.query(), &head.headers)?;
    // Each line is decided on its own, for its stream.
    let grant = caller.sends_several()?;
    let engine = app.engine(&grant)?;
    let intake = body::read(engine, &app.config.times, body).await?;
    let lines = batch::lines(&intake.bytes)?;
    let mut types = Types::new(engine);
    let mut fates = Vec::with_capacity(lines.len());
    let mut appends = Vec::with_capacity(lines.len());
    for line in lines {
        let admitted = match line {
            Ok(line) => admit(caller, &mut types, line).await,
            Err((stream, problem)) => Err((stream, problem)),
        };
        fates.push(match admitted {
            Ok((name, append)) => {
                let fate = Fate::Appended {
                    stream: name.as_str().to_owned(),
                    brings_bytes: append.body != Framed::Empty,
                };
                appends.push((name, append));
                fate
            }
            Err((stream, problem)) => Fate::Refused(stream, problem),
        });
    }
    let answers = if asked.atomic && appends.len() < fates.len() {
        appends.iter().map(|_| Err(Refusal::NotAlone)).collect()
    } else {
        engine.append_all(appends, asked.atomic).await?
    };
    drop(intake.permit);
    let mut answers = answers.into_iter();
    let mut told = Vec::new();
    for fate in fates {
        match fate {
            Fate::Refused(stream, problem) => {
                batch::refuse(&mut told, stream.as_deref(), &problem);
            }
            Fate::Appended {
                stream,
                brings_bytes,
            } => match answers.next().unwrap_or(Err(Refusal::Internal)) {
                Ok(outcome) => batch::tell(&mut told, &stream, &outcome, brings_bytes),
                Err(refusal) => batch::refuse(&mut told, Some(&stream), &refusal.into()),
            },
        }
    }
    Ok(answer::full(batch::reply(), told))
}

/// The command of a line, if its sender may do that.
async fn admit(
    caller: &Caller,
    types: &mut Types<'_>,
    line: Line,
) -> Result<(StreamName, Append), Unread> {
    let stream = line.name.as_str().to_owned();
    let is_empty = line.content == Content::Nothing;
    let done = async {
        permitted(caller, &line.name, line.closes(), is_empty)?;
        let own = match &line.content {
            Content::Bytes(_) => Some(types.of(&line.name).await?),
            Content::Nothing | Content::Messages(_) => None,
        };
        Ok::<_, Problem>(line.into_append(own))
    };
    done.await.map_err(|problem| (Some(stream), problem))
}

/// The content types of streams, each looked up once.
struct Types<'a> {
    engine: &'a Engine,
    known: HashMap<StreamName, ContentType>,
}

impl<'a> Types<'a> {
    fn new(engine: &'a Engine) -> Self {
        Self {
            engine,
            known: HashMap::new(),
        }
    }

    /// A stream that becomes another one meanwhile refuses what was meant for this one.
    async fn of(&mut self, name: &StreamName) -> Result<ContentType, Refusal> {
        if let Some(known) = self.known.get(name) {
            return Ok(known.clone());
        }
        let content_type = self.engine.open(name).await?.head().content_type;
        self.known.insert(name.clone(), content_type.clone());
        Ok(content_type)
    }
}
