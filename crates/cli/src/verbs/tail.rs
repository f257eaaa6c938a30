//! `millrace tail`: what is there, then what comes, until the stream is closed or a signal.

use std::{process::ExitCode, time::Duration};

use millrace_client::{Error, Follower, Live, Offset, Patience};
use millrace_env::sleep;
use millrace_wire::Code;

use super::{
    Place,
    args::{LiveArg, TailArgs},
    out::Written,
    page::Style,
    read::start,
    so_far::SoFar,
};
use crate::fail::Failure;

/// How often to look for a stream that is not there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Follows a stream.
pub(crate) async fn tail(args: &TailArgs) -> Result<ExitCode, Failure> {
    let place = place(args)?;
    let so_far = SoFar::new(start(&args.from.offset));
    let last_word = || so_far.last_word(&place, "tail", &args.name);
    let following = follow(args, &place, &so_far);
    let json = args.server.talk.json;
    so_far.until_signal(following, json, last_word).await
}

/// Patient with a server that was there; with one that never was only when asked to be.
fn place(args: &TailArgs) -> Result<Place, Failure> {
    let mut place = Place::new(&args.server)?;
    let first = if args.until_closed {
        Duration::MAX
    } else {
        Duration::ZERO
    };
    place.client = place.client.with_patience(Patience {
        first,
        later: Duration::MAX,
    });
    Ok(place)
}

async fn follow(args: &TailArgs, place: &Place, so_far: &SoFar) -> Result<ExitCode, Failure> {
    let style = Style::new(args.from.raw, args.server.talk.json);
    let mut follower = follower(args, place, so_far.at());
    let mut is_waiting = false;
    loop {
        let page = match follower.next().await {
            Ok(page) => page,
            Err(error) if args.until_closed && !so_far.has_begun() && is_missing(&error) => {
                if !is_waiting {
                    args.server.talk.say(format!("waiting for {}", args.name));
                    is_waiting = true;
                }
                sleep(LOOK_AGAIN).await;
                follower = self::follower(args, place, so_far.at());
                continue;
            }
            Err(error) => return Err(place.failure(&error, Some(&args.name))),
        };
        let text = style.print(&args.name, &page);
        if so_far.write(&page, text).await? == Written::BrokenPipe {
            return Ok(ExitCode::SUCCESS);
        }
        if page.closed {
            args.server.talk.hint(format!("{} is closed", args.name));
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn follower(args: &TailArgs, place: &Place, at: Offset) -> Follower {
    let live = match args.live {
        LiveArg::Auto => Live::Auto,
        LiveArg::Sse => Live::Sse,
        LiveArg::LongPoll => Live::LongPoll,
    };
    let talk = args.server.talk;
    place
        .stream(&args.name)
        .follow_from(at, live)
        .on_trouble(move |error| talk.say(format!("{error}; trying again")))
}

fn is_missing(error: &Error) -> bool {
    error
        .refused()
        .is_some_and(|refused| refused.code() == Some(Code::NotFound))
}
