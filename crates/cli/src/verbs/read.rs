//! `millrace read`: what is there, page after page, up to the tail.

use std::process::ExitCode;

use millrace_client::{Error, Offset};

use super::{Place, args::ReadArgs, out::Written, page::Style, so_far::SoFar};
use crate::fail::Failure;

/// Prints a stream from an offset to its tail.
pub(crate) async fn read(args: &ReadArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let so_far = SoFar::new(start(&args.from.offset));
    let last_word = || so_far.last_word(&place, "read", &args.name);
    let printing = pages(args, &place, &so_far);
    let json = args.server.talk.json;
    so_far.until_signal(printing, json, last_word).await
}

async fn pages(args: &ReadArgs, place: &Place, so_far: &SoFar) -> Result<ExitCode, Failure> {
    let talk = args.server.talk;
    let style = Style::new(args.from.raw, talk.json);
    let mut reader = place.stream(&args.name).read_from(so_far.at());
    loop {
        let next = reader.next().await;
        let next = next.map_err(|error| failure(args, place, so_far, &error))?;
        let Some(page) = next else { break };
        let text = style.print(&args.name, &page);
        if so_far.write(&page, text).await? == Written::BrokenPipe {
            return Ok(ExitCode::SUCCESS);
        }
    }
    talk.hint(format!("next offset: {}", reader.offset()));
    Ok(ExitCode::SUCCESS)
}

fn failure(args: &ReadArgs, place: &Place, so_far: &SoFar, error: &Error) -> Failure {
    let failure = place.failure(error, Some(&args.name));
    if error.is_retryable() && so_far.has_begun() {
        let more = format!(" --offset {}", so_far.at());
        let resume = place.command("read", &args.name, &more);
        return failure.help(format!("go on with `{resume}`"));
    }
    failure
}

/// An offset that clap has checked.
pub(crate) fn start(text: &str) -> Offset {
    Offset::new(text).expect("an offset was checked when it was parsed")
}
