//! GET with `live=sse` (PROTOCOL 5.8). The events are made in `bodies/events.rs`.

use std::sync::Arc;

use http::{HeaderValue, Version, header};
use millrace_core::ContentKind;
use millrace_engine::{Batch, Stream};
use millrace_wire::{
    Problem, ReadQuery,
    cache::Mode,
    outcome::{self, ReadEnd},
};

use super::read::{PageOf, ReadAnswer, Told, begin};
use crate::{
    access::Grant,
    answer::{self, Answer, AnswerBody},
    app::App,
    bodies::{EventBody, StreamEvents},
    metrics::{Following, Kind, Watch},
};

/// Answers with events.
pub(crate) async fn sse(
    app: &Arc<App>,
    watch: &Watch,
    grant: &Grant,
    stream: &Stream,
    query: ReadQuery,
    version: Version,
) -> Result<ReadAnswer, Problem> {
    app.engine(grant)?.admit_reader()?;
    let mut reader = begin(stream, query.place).await?;
    let head = stream.head();
    if query.reconnects && head.closed && reader.offset() == head.tail {
        let nothing = reader.next(1).await?;
        return Ok(ReadAnswer::Told(ended(app, stream, query, &nothing)));
    }
    reader.follow();
    let kind = head.content_type.kind();
    let stopping = app.engine(grant)?.stopping();
    let following = Following::new(&watch.core, Kind::Sse);
    let body = StreamEvents::body(
        Arc::clone(app),
        grant,
        following,
        reader,
        stopping,
        kind,
        query.cursor,
    );
    Ok(ReadAnswer::Events(events(kind, body, version)))
}

/// An answer of events.
pub(super) fn events(kind: ContentKind, body: EventBody, version: Version) -> Answer {
    let mut answer = answer::with_body(outcome::sse(kind), AnswerBody::Events(body));
    if version <= Version::HTTP_11 {
        // The server ends this connection; who does not know that may lose the last events to a
        // reset (T49).
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(header::CONNECTION, close);
    }
    answer
}

/// An EventSource comes back to the end of a closed stream: only 204 makes it stop.
fn ended(app: &App, stream: &Stream, query: ReadQuery, nothing: &Batch) -> Told {
    let page = PageOf {
        app,
        head: &stream.head(),
        query,
        mode: Mode::TimedOut,
        cursor: None,
    };
    Told {
        facts: page.facts(ReadEnd::Nothing, nothing, None),
        body: AnswerBody::EMPTY,
    }
}
