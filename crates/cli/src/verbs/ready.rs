//! `millrace ready`: whether a server takes work. What a container asks whose image has neither a
//! shell nor curl.

use std::process::ExitCode;

use serde_json::json;

use super::{
    Place,
    args::ReadyArgs,
    out::{self, Written},
};
use crate::fail::Failure;

/// Says so and ends well, or names the reasons and does not.
pub(crate) async fn ready(args: &ReadyArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let reasons = place.client.unready().await;
    let reasons = reasons.map_err(|error| place.failure(&error, None))?;
    if !reasons.is_empty() {
        let what = format!("not ready: {}", reasons.join(", "));
        return Err(Failure::failed(what)
            .help("ask again; the log of the server says more when it stays so"));
    }
    let (Written::Whole | Written::BrokenPipe) = if args.server.talk.json {
        out::document(&json!({ "ready": true })).await?
    } else {
        out::line("ready").await?
    };
    Ok(ExitCode::SUCCESS)
}
