//! POST of a compaction: a stream of keys and values is told anew, by the latest value of each key.

use bytes::Bytes;
use http_body::Body;
use millrace_core::StreamName;
use millrace_wire::{Problem, outcome};

use crate::{
    access::{Action, Caller},
    answer::{self, Answer},
    app::App,
    body,
};

/// Answers POST of a compaction. What comes as its body means nothing.
pub(crate) async fn compact<B>(
    app: &App,
    caller: &Caller,
    name: &StreamName,
    body: B,
) -> Result<Answer, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let grant = caller.may_on(Action::Trim, name)?;
    let engine = app.engine(&grant)?;
    drop(body::read(engine, &app.config.times, body).await?);
    let done = engine.condense(name).await?;
    let body = outcome::condensed_body(done.keys, done.bytes_before, done.bytes_after);
    Ok(answer::full(
        outcome::condensed(done.start, done.tail),
        body,
    ))
}
