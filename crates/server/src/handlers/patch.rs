//! PATCH: change what a stream carries beside its bytes, and how much of it is kept.

use bytes::Bytes;
use http::request::Parts;
use http_body::Body;
use millrace_core::StreamName;
use millrace_wire::{BadRequest, Problem, SettingsHead, outcome};

use crate::{
    access::{Action, Caller},
    answer::{self, Answer},
    app::App,
    body,
};

/// Answers PATCH.
pub(crate) async fn patch<B>(
    app: &App,
    caller: &Caller,
    name: &StreamName,
    head: &Parts,
    body: B,
) -> Result<Answer, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let grant = caller.may_on(Action::Configure, name)?;
    let request = SettingsHead::parse(&head.headers)?;
    let engine = app.engine(&grant)?;
    let intake = body::read(engine, &app.config.times, body).await?;
    if request.is_nothing() || !intake.bytes.is_empty() {
        return Err(BadRequest::NothingToChange.into());
    }
    let stream = engine.configure(name, Box::new(request)).await?;
    Ok(answer::empty(outcome::patched(
        stream.settings().as_deref(),
    )))
}
