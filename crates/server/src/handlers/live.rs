//! GET and POST of many streams to follow on one connection. The events are made in `bodies/many.rs`.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, request::Parts};
use http_body::Body;
use millrace_core::ContentKind;
use millrace_wire::{
    Place, Problem,
    live::{self, Follow},
};

use super::{read::begin, sse::events};
use crate::{
    access::{Action, Caller, Grant},
    answer::Answer,
    app::App,
    bodies::{Followed, ManyEvents},
    body,
    metrics::{Following, Kind, Watch},
};

/// Answers with events of many streams.
pub(crate) async fn live<B>(
    app: &Arc<App>,
    watch: &Watch,
    caller: &Caller,
    head: &Parts,
    body: B,
) -> Result<Answer, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    // Each stream is decided on its own.
    let own = caller.sends_several()?;
    let is_get = head.method == Method::GET;
    let follows = if is_get {
        live::get(head.uri.query(), &head.headers)?
    } else {
        let intake = body::read(app.engine(&own)?, &app.config.times, body).await?;
        live::post(&intake.bytes)?
    };
    let offsets_of = is_get.then_some(follows.len());
    let (mut followed, mut lost, mut grants) = (Vec::new(), Vec::new(), Vec::new());
    for (place, Follow { name, offset }) in follows.into_iter().enumerate() {
        let asked = Follow { name, offset };
        match follow(app, caller, place, &asked).await {
            Ok((stream, grant)) => {
                followed.push(stream);
                grants.push(grant);
            }
            Err(problem) => lost.push((asked.name, problem)),
        }
    }
    let body = ManyEvents::body(
        Arc::clone(app),
        &grants,
        Following::new(&watch.core, Kind::Sse),
        app.engine(&own)?.stopping(),
        followed,
        lost,
        offsets_of,
    );
    // Content that is no JSON says so itself.
    Ok(events(ContentKind::Json, body, head.version))
}

async fn follow(
    app: &App,
    caller: &Caller,
    place: usize,
    asked: &Follow,
) -> Result<(Followed, Grant), Problem> {
    let grant = caller.may_on(Action::Read, &asked.name)?;
    let stream = app.engine(&grant)?.open(&asked.name).await?;
    let mut reader = begin(&stream, Place::From(asked.offset)).await?;
    reader.follow();
    let followed = Followed {
        place,
        name: asked.name.clone(),
        kind: stream.head().content_type.kind(),
        reader,
    };
    Ok((followed, grant))
}
