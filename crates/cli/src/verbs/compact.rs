//! `millrace compact`: the latest value of each key in the place of all that was.

use std::process::ExitCode;

use serde_json::json;

use super::{Place, args::NameArgs, manage};
use crate::{fail::Failure, units::show_size};

/// Compacts; prints the first offset that can be read, where the snapshot begins.
pub(crate) async fn compact(args: &NameArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let compacted = place.stream(&args.name).compact().await;
    let compacted = compacted.map_err(|error| place.failure(&error, Some(&args.name)))?;
    let earliest = compacted.earliest_offset.as_str();
    let told = json!({
        "name": args.name.as_str(),
        "earliest_offset": earliest,
        "next_offset": compacted.next_offset.as_str(),
        "keys": compacted.keys,
        "bytes_before": compacted.bytes_before,
        "bytes_after": compacted.bytes_after,
    });
    let talk = args.server.talk;
    talk.say(format!(
        "compacted {}: {} of {} keys in the place of {}",
        args.name,
        show_size(compacted.bytes_after),
        compacted.keys,
        show_size(compacted.bytes_before),
    ));
    manage::tell(talk, &told, earliest).await
}
