//! `millrace set`: how much of a stream is kept, when it is compacted, and its attributes, from now on.

use std::process::ExitCode;

use serde_json::json;

use super::{Place, args::SetArgs, out, shown};
use crate::fail::Failure;

/// Changes what is named; prints how the settings are now.
pub(crate) async fn set(args: &SetArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let patch = args.settings.patch();
    let now = place.stream(&args.name).patch(&patch).await;
    let now = now.map_err(|error| place.failure(&error, Some(&args.name)))?;
    if args.server.talk.json {
        let told = json!({
            "name": args.name.as_str(),
            "retention": shown::retention(&now.retention),
            "compact_after_bytes": now.compact_after_bytes,
            "attributes": now.attributes,
        });
        let _ = out::document(&told).await?;
        return Ok(ExitCode::SUCCESS);
    }
    args.server.talk.say(format!("changed {}", args.name));
    let mut lines = shown::lines(&now);
    lines.insert(0, format!("name          {}", args.name));
    let _ = out::line(lines.join("\n")).await?;
    Ok(ExitCode::SUCCESS)
}
