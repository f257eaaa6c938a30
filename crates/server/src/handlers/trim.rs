//! POST of a trim: what lies before an offset can be read no longer.

use bytes::Bytes;
use http_body::Body;
use millrace_core::StreamName;
use millrace_wire::{OffsetArg, Problem, outcome, trim};

use crate::{
    access::{Action, Caller},
    answer::{self, Answer},
    app::App,
    body,
};

/// Answers POST of a trim.
pub(crate) async fn trim<B>(
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
    let intake = body::read(engine, &app.config.times, body).await?;
    let head = engine.open(name).await?.head();
    let to = match trim::parse(&intake.bytes)? {
        OffsetArg::At(offset) => offset,
        OffsetArg::Start => head.start,
        OffsetArg::Now => head.tail,
    };
    let head = engine.trim(name, to).await?.head();
    Ok(answer::empty(outcome::trimmed(head.start, head.tail)))
}
