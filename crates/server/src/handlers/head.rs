//! HEAD (PROTOCOL 5.5). It renews no lifetime.

use millrace_core::StreamName;
use millrace_wire::{
    Problem,
    outcome::{self, HeadFacts},
};

use crate::{
    access::{Action, Caller},
    answer::{self, Answer},
    app::App,
};

/// Answers HEAD.
pub(crate) async fn head(app: &App, caller: &Caller, name: &StreamName) -> Result<Answer, Problem> {
    let grant = caller.may_on(Action::Head, name)?;
    let stream = app.engine(&grant)?.open(name).await?;
    let head = stream.head();
    Ok(answer::empty(outcome::head(HeadFacts {
        content_type: &head.content_type,
        tail: head.tail,
        closed: head.closed,
        lifetime: head.lifetime,
    })))
}
