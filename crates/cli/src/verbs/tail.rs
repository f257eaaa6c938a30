//! `millrace tail`: what is there, then what comes, until the stream is closed or a signal.
//!
//! INVARIANT: the offset told at the end is that after the last page that was written whole, so
//! that going on from there repeats nothing and leaves nothing out.

use std::{process::ExitCode, time::Duration};

use millrace_client::{Error, Follower, Live, Offset, Patience};
use millrace_env::sleep;
use millrace_wire::Code;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    Place,
    args::{LiveArg, TailArgs},
    out::{self, Written},
    page::Style,
    read::start,
};
use crate::fail::{Failure, Kind};

/// How often to look for a stream that is not there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Follows a stream.
pub(crate) async fn tail(args: &TailArgs) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    let place = place(args)?;
    let mut at = start(&args.from.offset);
    let ended = tokio::select! {
        biased;
        kind = signals.next() => Err(kind),
        ended = follow(args, &place, &mut at) => Ok(ended),
    };
    match ended {
        Ok(ended) => ended,
        Err(kind) => {
            say_where(args, &place, &at);
            Ok(kind.exit())
        }
    }
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

async fn follow(args: &TailArgs, place: &Place, at: &mut Offset) -> Result<ExitCode, Failure> {
    let style = Style::new(args.from.raw, args.server.talk.json);
    let mut follower = follower(args, place, at.clone());
    let mut is_waiting = false;
    loop {
        let page = match follower.next().await {
            Ok(page) => page,
            Err(error) if args.until_closed && !has_begun(args, at) && is_missing(&error) => {
                if !is_waiting {
                    args.server.talk.say(format!("waiting for {}", args.name));
                    is_waiting = true;
                }
                sleep(LOOK_AGAIN).await;
                follower = self::follower(args, place, at.clone());
                continue;
            }
            Err(error) => return Err(place.failure(&error, Some(&args.name))),
        };
        if out::write(style.print(&args.name, &page)).await? == Written::BrokenPipe {
            return Ok(ExitCode::SUCCESS);
        }
        *at = page.next.clone();
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

fn has_begun(args: &TailArgs, at: &Offset) -> bool {
    at.as_str() != args.from.offset
}

fn is_missing(error: &Error) -> bool {
    error
        .refused()
        .is_some_and(|refused| refused.code() == Some(Code::NotFound))
}

/// Always said: whoever interrupts wants to know.
fn say_where(args: &TailArgs, place: &Place, at: &Offset) {
    let more = format!(" --offset {at}");
    let resume = place.command("tail", &args.name, &more);
    if args.server.talk.json {
        let told = json!({ "interrupted": true, "next_offset": at.as_str(), "help": resume });
        eprintln!("{told}");
    } else {
        eprintln!("interrupted at offset {at}\nhelp: go on with `{resume}`");
    }
}

/// What asks a verb to end.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::failed(format!("no signals: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for one; what the process is to end with.
    pub(crate) async fn next(&mut self) -> Kind {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Kind::Terminated,
            _ = self.interrupt.recv() => Kind::Interrupted,
        }
    }
}
