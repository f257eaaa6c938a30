//! HEAD (PROTOCOL 5.5). It renews no lifetime.

use millrace_core::StreamName;
use millrace_wire::{Problem, outcome::HeadFacts};

use crate::{
    access::{Action, Caller},
    app::App,
};

/// What the answer to HEAD says.
pub(crate) async fn head(
    app: &App,
    caller: &Caller,
    name: &StreamName,
) -> Result<HeadFacts, Problem> {
    let grant = caller.may_on(Action::Head, name)?;
    let stream = app.engine(&grant)?.open(name).await?;
    let head = stream.head();
    Ok(HeadFacts {
        content_type: head.content_type,
        tail: head.tail,
        closed: head.closed,
        lifetime: head.lifetime,
        earliest: Some(head.start).filter(|_| head.is_trimmed),
        settings: head.settings,
    })
}
