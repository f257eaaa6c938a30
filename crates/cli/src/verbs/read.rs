//! `millrace read`: what is there, page after page, up to the tail.

use std::process::ExitCode;

use millrace_client::Offset;

use super::{
    Place,
    args::ReadArgs,
    out::{self, Written},
    page::Style,
};
use crate::fail::Failure;

/// Prints a stream from an offset to its tail.
pub(crate) async fn read(args: &ReadArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let talk = args.server.talk;
    let style = Style::new(args.from.raw, talk.json);
    let from = start(&args.from.offset);
    let mut reader = place.stream(&args.name).read_from(from);
    loop {
        let next = reader.next().await;
        let next = next.map_err(|error| {
            let failure = place.failure(&error, Some(&args.name));
            let more = format!(" --offset {}", reader.offset());
            if error.is_retryable() && reader.offset().as_str() != args.from.offset {
                failure.help(format!(
                    "go on with `{}`",
                    place.command("read", &args.name, &more)
                ))
            } else {
                failure
            }
        })?;
        let Some(page) = next else { break };
        if out::write(style.print(&args.name, &page)).await? == Written::BrokenPipe {
            return Ok(ExitCode::SUCCESS);
        }
    }
    talk.hint(format!("next offset: {}", reader.offset()));
    Ok(ExitCode::SUCCESS)
}

/// An offset that clap has checked.
pub(crate) fn start(text: &str) -> Offset {
    Offset::new(text).expect("an offset was checked when it was parsed")
}
