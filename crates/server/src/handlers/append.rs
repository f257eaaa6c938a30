//! POST: append, close, or both (PROTOCOL 5.2, 5.3).
//!
//! Next on the append walk: `millrace-engine`'s `engine.rs`.

use bytes::Bytes;
use http::request::Parts;
use http_body::Body;
use millrace_core::{Body as Framed, StreamName};
use millrace_wire::{AppendHead, Problem, outcome};

use crate::{
    answer::{self, Answer},
    app::App,
    body,
};

/// Answers POST.
pub(crate) async fn append<B>(
    app: &App,
    name: &StreamName,
    head: &Parts,
    body: B,
) -> Result<Answer, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let engine = app.engine()?;
    let request = AppendHead::parse(&head.headers)?;
    let intake = body::read(engine, &app.config.times, body).await?;
    let append = request.with_body(intake.bytes)?;
    let brings_bytes = append.body != Framed::Empty;
    let outcome = engine.append(name, append, intake.permit).await?;
    Ok(answer::empty(outcome::post(&outcome, brings_bytes)))
}
