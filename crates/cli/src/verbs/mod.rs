//! The verbs that speak to a server, and those that explain. Each: parse (clap did), ask, print.
//!
//! Layout: `args.rs` (flags), `place.rs` (the server, and what its refusals mean for a person),
//! `out.rs` (stdout and stderr), `page.rs` (how pages are printed), `input.rs` (from input to
//! batches), `progress.rs`, and one file for each verb.
//!
//! Data goes to stdout, talk to stderr. `docs/cli.md` says what each prints and every exit code.

mod append;
pub(crate) mod args;
mod explain;
mod fork;
mod input;
mod list;
mod manage;
mod out;
mod page;
mod place;
mod progress;
mod read;
mod table;
mod tail;

use std::process::ExitCode;

pub(crate) use self::place::shell_word;
use self::{
    args::{StreamVerb, TalkArgs},
    place::Place,
};
use crate::fail::Failure;

/// Does what a verb asks. A failure is told as `--json` wants it.
pub(crate) fn run(verb: &StreamVerb) -> Result<ExitCode, Failure> {
    let done = match talk(verb) {
        None => return explain_or_make(verb),
        Some(_) => ask(verb),
    };
    match done {
        Err(failure) if talk(verb).is_some_and(|talk| talk.json) => {
            eprintln!("{}", failure.to_json());
            Ok(failure.code())
        }
        done => done,
    }
}

fn explain_or_make(verb: &StreamVerb) -> Result<ExitCode, Failure> {
    match verb {
        StreamVerb::Completions(args) => table::completions(args),
        StreamVerb::Man(args) => table::man(args),
        _ => unreachable!("every other verb talks"),
    }
}

fn ask(verb: &StreamVerb) -> Result<ExitCode, Failure> {
    if let StreamVerb::Offset(args) = verb {
        return explain::offset(args);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no event loop: {error}")))?;
    let done = runtime.block_on(async {
        match verb {
            StreamVerb::Create(args) => manage::create(args).await,
            StreamVerb::Append(args) => append::append(args).await,
            StreamVerb::Read(args) => read::read(args).await,
            StreamVerb::Tail(args) => tail::tail(args).await,
            StreamVerb::Head(args) => manage::head(args).await,
            StreamVerb::Close(args) => manage::close(args).await,
            StreamVerb::Fork(args) => fork::fork(args).await,
            StreamVerb::Rm(args) => manage::rm(args).await,
            StreamVerb::Ls(args) => list::ls(args).await,
            StreamVerb::Offset(_) | StreamVerb::Completions(_) | StreamVerb::Man(_) => {
                unreachable!("needs no server")
            }
        }
    });
    // A write to a pipe that nobody reads may hang on a helper thread; it ends with the process.
    runtime.shutdown_background();
    done
}

fn talk(verb: &StreamVerb) -> Option<TalkArgs> {
    let server = match verb {
        StreamVerb::Create(args) => &args.server,
        StreamVerb::Append(args) => &args.server,
        StreamVerb::Read(args) => &args.server,
        StreamVerb::Tail(args) => &args.server,
        StreamVerb::Head(args) | StreamVerb::Close(args) => &args.server,
        StreamVerb::Fork(args) => &args.server,
        StreamVerb::Rm(args) => &args.server,
        StreamVerb::Ls(args) => &args.server,
        StreamVerb::Offset(args) => return Some(args.talk),
        StreamVerb::Completions(_) | StreamVerb::Man(_) => return None,
    };
    Some(server.talk)
}
