//! How retention stands, and a pass of it now.

use millrace_wire::{Problem, retention};

use crate::{
    access::{Action, Caller, Target},
    answer::{self, Answer},
    app::App,
};

/// Answers GET.
pub(crate) fn status(app: &App, caller: &Caller) -> Result<Answer, Problem> {
    let grant = caller.may(Action::Metrics, Target::Server)?;
    let status = app.engine(&grant)?.retention();
    let shown = retention::Status {
        interval: status.interval,
        streams: status.streams,
        running: status.running,
        passes: status.passes,
        last: status.last.map(shown),
    };
    Ok(answer::full(retention::reply(), retention::status(&shown)))
}

/// Answers POST, when the pass is over.
pub(crate) async fn run(app: &App, caller: &Caller) -> Result<Answer, Problem> {
    let grant = caller.may(Action::Maintain, Target::Server)?;
    let pass = app.engine(&grant)?.retain_now().await;
    Ok(answer::full(
        retention::reply(),
        retention::pass(shown(pass)),
    ))
}

fn shown(pass: millrace_engine::RetentionPass) -> retention::Pass {
    retention::Pass {
        began: pass.began,
        took: pass.took,
        streams: pass.streams,
        trimmed: pass.trimmed,
        bytes: pass.bytes,
        failed: pass.failed,
    }
}
