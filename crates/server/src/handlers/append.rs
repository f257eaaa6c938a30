//! POST: append, close, or both (PROTOCOL 5.2, 5.3).
//!
//! Next on the append walk: `millrace-engine`'s `engine.rs`.

use bytes::Bytes;
use http::request::Parts;
use http_body::Body;
use millrace_core::{Body as Framed, StreamName};
use millrace_wire::{AppendHead, Problem, outcome};

use crate::{
    access::{Action, Caller, Grant},
    answer::{self, Answer},
    app::App,
    body,
};

/// Answers POST.
pub(crate) async fn append<B>(
    app: &App,
    caller: &Caller,
    name: &StreamName,
    head: &Parts,
    body: B,
) -> Result<Answer, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let request = AppendHead::parse(&head.headers)?;
    let grant = permitted(caller, name, request.close, body.is_end_stream())?;
    let engine = app.engine(&grant)?;
    let intake = body::read(engine, &app.config.times, body).await?;
    let append = request.with_body(intake.bytes)?;
    let brings_bytes = append.body != Framed::Empty;
    let outcome = engine.append(name, append, intake.permit).await?;
    Ok(answer::empty(outcome::post(&outcome, brings_bytes)))
}

/// Closing alone is no appending; closing with bytes is both.
pub(crate) fn permitted(
    caller: &Caller,
    name: &StreamName,
    closes: bool,
    is_empty: bool,
) -> Result<Grant, Problem> {
    if !closes {
        return caller.may_on(Action::Append, name);
    }
    if !is_empty {
        caller.may_on(Action::Append, name)?;
    }
    caller.may_on(Action::Close, name)
}
