//! `millrace trim`: what lies before an offset can be read no longer.

use std::process::ExitCode;

use serde_json::json;

use super::{Place, args::TrimArgs, manage, read::start};
use crate::fail::Failure;

/// Trims; prints the first offset that can still be read.
pub(crate) async fn trim(args: &TrimArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let trimmed = place.stream(&args.name).trim(&start(&args.offset)).await;
    let trimmed = trimmed.map_err(|error| place.failure(&error, Some(&args.name)))?;
    let earliest = trimmed.earliest_offset.as_str();
    let told = json!({
        "name": args.name.as_str(),
        "earliest_offset": earliest,
        "next_offset": trimmed.next_offset.as_str(),
    });
    let talk = args.server.talk;
    talk.say(if trimmed.earliest_offset == trimmed.next_offset {
        format!("trimmed {}: it is empty", args.name)
    } else {
        format!("trimmed {}: it begins at {earliest}", args.name)
    });
    manage::tell(talk, &told, earliest).await
}
