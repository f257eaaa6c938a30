//! `millrace retention`: how trimming to what streams keep stands, and a pass of it now.

use std::process::ExitCode;

use millrace_client::{RetentionPass, RetentionStatus};
use millrace_wire::outcome::rfc3339;
use serde_json::{Value, json};

use super::{
    Place,
    args::{RetentionArgs, ServerArgs},
    out,
    place::command,
};
use crate::{fail::Failure, signals::LastWord, units::show_duration};

/// Prints how it stands, or makes a pass and prints what it did.
pub(crate) async fn retention(args: &RetentionArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let talk = args.server.talk;
    if !args.run {
        let status = place.client.retention().await;
        let status = status.map_err(|error| place.failure(&error, None))?;
        let _ = if talk.json {
            out::document(&status_document(&status)).await?
        } else {
            out::line(status_text(&status)).await?
        };
        return Ok(ExitCode::SUCCESS);
    }
    let pass = place.client.retain_now().await;
    let pass = pass.map_err(|error| place.failure(&error, None))?;
    let _ = if talk.json {
        out::document(&pass_document(&pass)).await?
    } else {
        out::line(pass_text(&pass)).await?
    };
    match pass.failed {
        0 => Ok(ExitCode::SUCCESS),
        failed => Err(Failure::failed(format!(
            "{failed} streams could not be looked at or trimmed"
        ))
        .help("the log of the server says why; the next pass tries them again")),
    }
}

/// Of a pass that was interrupted.
pub(crate) fn unknown(server: &ServerArgs) -> LastWord {
    let look = command(server, "retention", "");
    LastWord::new(
        "before the end: the server goes on with the pass if it has begun it",
        format!("look with `{look}`"),
    )
}

fn status_text(status: &RetentionStatus) -> String {
    let last = match &status.last {
        None => "none".to_owned(),
        Some(last) => format!("{}, {}", rfc3339(last.began), pass_text(last)),
    };
    format!(
        "interval   {}\nstreams    {}\nrunning    {}\npasses     {}\nlast pass  {last}",
        show_duration(status.interval),
        status.streams,
        if status.running { "yes" } else { "no" },
        status.passes,
    )
}

fn pass_text(pass: &RetentionPass) -> String {
    let RetentionPass {
        streams,
        trimmed,
        bytes,
        failed,
        ..
    } = pass;
    format!("looked at {streams}, trimmed {trimmed}, {bytes} bytes, {failed} failed")
}

fn status_document(status: &RetentionStatus) -> Value {
    json!({
        "interval_ms": millis(status.interval),
        "streams": status.streams,
        "running": status.running,
        "passes": status.passes,
        "last": status.last.as_ref().map(pass_document),
    })
}

fn pass_document(pass: &RetentionPass) -> Value {
    json!({
        "began": rfc3339(pass.began),
        "took_ms": millis(pass.took),
        "streams": pass.streams,
        "trimmed": pass.trimmed,
        "bytes": pass.bytes,
        "failed": pass.failed,
    })
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
