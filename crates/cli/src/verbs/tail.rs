//! `millrace tail`: what is there, then what comes, until the stream is closed or a signal.
//!
//! INVARIANT: the offset told at the end is that after the last page that was written whole, so
//! that going on from there repeats nothing and leaves nothing out.

use std::{
    cell::{Cell, RefCell},
    future::{Future as _, poll_fn},
    pin::pin,
    process::ExitCode,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use millrace_client::{Error, Follower, Live, Offset, Page, Patience};
use millrace_env::{sleep, timeout};
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
/// How long a page that is being written may take after a signal.
const SETTLE_WITHIN: Duration = Duration::from_millis(200);

/// Follows a stream.
pub(crate) async fn tail(args: &TailArgs) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    let place = place(args)?;
    let so_far = SoFar::new(start(&args.from.offset));
    let mut following = pin!(follow(args, &place, &so_far));
    let kind = tokio::select! {
        biased;
        kind = signals.next() => kind,
        ended = following.as_mut() => return ended,
    };
    so_far.is_stopping.set(true);
    let settled = poll_fn(|context| {
        if following.as_mut().poll(context).is_ready() || !so_far.is_writing.get() {
            return Poll::Ready(());
        }
        Poll::Pending
    });
    // A page that nobody takes is not counted.
    let _ = timeout(SETTLE_WITHIN, settled).await;
    say_where(args, &place, &so_far.at.borrow());
    Ok(kind.exit())
}

/// How far printing is; written by [`follow`], read when a signal came.
struct SoFar {
    /// The offset after the last page that was written whole.
    at: RefCell<Offset>,
    /// Whether a page is being written.
    is_writing: Cell<bool>,
    /// Whether no other page may be begun.
    is_stopping: Cell<bool>,
}

impl SoFar {
    fn new(at: Offset) -> Self {
        Self {
            at: RefCell::new(at),
            is_writing: Cell::new(false),
            is_stopping: Cell::new(false),
        }
    }

    fn at(&self) -> Offset {
        self.at.borrow().clone()
    }

    fn has_begun(&self, args: &TailArgs) -> bool {
        self.at.borrow().as_str() != args.from.offset
    }

    async fn write(&self, page: &Page, text: Bytes) -> Result<Written, Failure> {
        self.is_writing.set(true);
        let written = out::write(text).await?;
        if written == Written::Whole {
            *self.at.borrow_mut() = page.next.clone();
        }
        self.is_writing.set(false);
        Ok(written)
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

async fn follow(args: &TailArgs, place: &Place, so_far: &SoFar) -> Result<ExitCode, Failure> {
    let style = Style::new(args.from.raw, args.server.talk.json);
    let mut follower = follower(args, place, so_far.at());
    let mut is_waiting = false;
    loop {
        let page = match follower.next().await {
            Ok(page) => page,
            Err(error) if args.until_closed && !so_far.has_begun(args) && is_missing(&error) => {
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
        if so_far.is_stopping.get() {
            return Ok(ExitCode::SUCCESS);
        }
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
