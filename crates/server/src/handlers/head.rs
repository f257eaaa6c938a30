//! HEAD (PROTOCOL 5.5). It renews no lifetime.

use millrace_core::StreamName;
use millrace_wire::{
    Problem,
    outcome::{self, HeadFacts},
};

use crate::{
    answer::{self, Answer},
    app::App,
};

/// Answers HEAD.
pub(crate) async fn head(app: &App, name: &StreamName) -> Result<Answer, Problem> {
    let stream = app.engine()?.open(name).await?;
    let head = stream.head();
    Ok(answer::empty(outcome::head(HeadFacts {
        content_type: &head.content_type,
        tail: head.tail,
        closed: head.closed,
        lifetime: head.lifetime,
    })))
}
