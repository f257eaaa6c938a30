//! `millrace ls`: streams, in byte order of their names.

use std::{fmt::Write as _, process::ExitCode};

use millrace_client::Row;
use millrace_wire::query::LIST_LIMIT_MAX;

use super::{
    Place,
    args::LsArgs,
    out::{self, Written},
};
use crate::fail::Failure;

/// Prints a line a stream, page after page.
pub(crate) async fn ls(args: &LsArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let talk = args.server.talk;
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut after: Option<String> = None;
    while left > 0 {
        let limit = left.min(LIST_LIMIT_MAX);
        let page = place
            .client
            .list(&args.prefix, after.as_deref(), limit)
            .await;
        let page = page.map_err(|error| place.failure(&error, None))?;
        left = left.saturating_sub(page.rows.len());
        let mut text = String::new();
        for row in &page.rows {
            print(&mut text, row, talk.json);
        }
        if out::write(text.into()).await? == Written::BrokenPipe {
            return Ok(ExitCode::SUCCESS);
        }
        after = page.next;
        if after.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
    }
    talk.say("there are more; raise --limit, or narrow them with --prefix");
    Ok(ExitCode::SUCCESS)
}

fn print(text: &mut String, row: &Row, json: bool) {
    let written = if json {
        let row = serde_json::to_string(row).expect("texts and numbers are JSON");
        writeln!(text, "{row}")
    } else {
        let state = if row.closed { "closed" } else { "open" };
        let Row {
            next_offset,
            content_type,
            name,
            ..
        } = row;
        writeln!(text, "{next_offset}  {state:6}  {content_type:24}  {name}")
    };
    written.expect("a string takes everything");
}
