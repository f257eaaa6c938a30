//! `millrace tail`: what is there, then what comes, until the stream is closed or a signal.

use std::{process::ExitCode, time::Duration};

use millrace_client::{Error, Follower, Live, Offset, Page, Place as Which, Reader};
use millrace_env::sleep;
use millrace_wire::Code;

use super::{
    Place,
    args::{LiveArg, TailArgs},
    out::Written,
    page::Style,
    so_far::SoFar,
};
use crate::fail::Failure;

/// How often to look for a stream that is not there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Follows a stream.
pub(crate) async fn tail(args: &TailArgs) -> Result<ExitCode, Failure> {
    let place = place(args)?;
    let so_far = SoFar::new(match args.begin.place(&args.from.offset) {
        Which::From(offset) => Some(offset),
        _ => None,
    });
    let last_word = || {
        let more = match so_far.at() {
            Some(_) => String::new(),
            None => args.begin.flags(),
        };
        so_far.last_word(&place, "tail", &args.name, &more)
    };
    let following = follow(args, &place, &so_far);
    let json = args.server.talk.json;
    so_far.until_signal(following, json, last_word).await
}

/// What is read.
enum Source {
    /// Messages that are chosen, up to the end of their first page.
    Begin(Reader),
    Rest(Box<Follower>),
}

/// Patient with a server that was there; with one that never was only when asked to be.
fn place(args: &TailArgs) -> Result<Place, Failure> {
    let first = if args.until_closed {
        Duration::MAX
    } else {
        Duration::ZERO
    };
    Ok(Place::new(&args.server)?.patient(first))
}

async fn follow(args: &TailArgs, place: &Place, so_far: &SoFar) -> Result<ExitCode, Failure> {
    let style = Style::new(args.from.raw, args.server.talk.json);
    let mut source = Source::begin(args, place);
    let mut is_waiting = false;
    loop {
        let page = match source.next().await {
            Ok(page) => page,
            Err(error) if args.until_closed && !so_far.has_begun() && is_missing(&error) => {
                if !is_waiting {
                    args.server.talk.say(format!("waiting for {}", args.name));
                    is_waiting = true;
                }
                sleep(LOOK_AGAIN).await;
                source = Source::begin(args, place);
                continue;
            }
            Err(error) => return Err(place.failure(&error, Some(&args.name))),
        };
        let text = style.print(&args.name, &page);
        if so_far.write(text, &page.next).await? == Written::BrokenPipe {
            return Ok(ExitCode::SUCCESS);
        }
        if let Source::Begin(_) = source {
            source = Source::Rest(follower(args, place, page.next.clone()));
        }
        if page.closed {
            args.server.talk.hint(format!("{} is closed", args.name));
            return Ok(ExitCode::SUCCESS);
        }
    }
}

impl Source {
    fn begin(args: &TailArgs, place: &Place) -> Self {
        match args.begin.place(&args.from.offset) {
            Which::From(offset) => Self::Rest(follower(args, place, offset)),
            which => Self::Begin(place.stream(&args.name).read(which)),
        }
    }

    async fn next(&mut self) -> Result<Page, Error> {
        match self {
            Self::Begin(reader) => {
                let page = reader.next().await?;
                Ok(page.expect("the first page is always there"))
            }
            Self::Rest(follower) => follower.next().await,
        }
    }
}

fn follower(args: &TailArgs, place: &Place, at: Offset) -> Box<Follower> {
    let live = match args.live {
        LiveArg::Auto => Live::Auto,
        LiveArg::Sse => Live::Sse,
        LiveArg::LongPoll => Live::LongPoll,
    };
    let talk = args.server.talk;
    let follower = place.stream(&args.name).follow_from(at, live);
    Box::new(follower.on_trouble(move |error| talk.say(format!("{error}; trying again"))))
}

fn is_missing(error: &Error) -> bool {
    error
        .refused()
        .is_some_and(|refused| refused.code() == Some(Code::NotFound))
}
