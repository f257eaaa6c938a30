//! DELETE (PROTOCOL 5.4).

use millrace_core::StreamName;
use millrace_wire::{Problem, outcome};

use crate::{
    access::{Action, Caller},
    answer::{self, Answer},
    app::App,
};

/// Answers DELETE.
pub(crate) async fn delete(
    app: &App,
    caller: &Caller,
    name: &StreamName,
) -> Result<Answer, Problem> {
    let grant = caller.may_on(Action::Delete, name)?;
    let outcome = app.engine(&grant)?.delete(name).await?;
    Ok(answer::empty(outcome::delete(&outcome)))
}
