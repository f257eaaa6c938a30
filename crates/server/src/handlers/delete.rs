//! DELETE (PROTOCOL 5.4).

use millrace_core::StreamName;
use millrace_wire::{Problem, outcome};

use crate::{
    answer::{self, Answer},
    app::App,
};

/// Answers DELETE.
pub(crate) async fn delete(app: &App, name: &StreamName) -> Result<Answer, Problem> {
    let outcome = app.engine()?.delete(name).await?;
    Ok(answer::empty(outcome::delete(&outcome)))
}
