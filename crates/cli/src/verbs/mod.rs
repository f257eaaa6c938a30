//! The verbs that speak to a server, and those that explain. Each: parse (clap did), ask, print.
//!
//! Layout: `args.rs` (flags), `place.rs` (the server, and what its refusals mean for a person),
//! `so_far.rs` (how far printing came), `out.rs` (stdout and stderr), `page.rs` (how pages are printed), `input.rs` (from input to
//! batches), `progress.rs`, and one file for each verb.
//!
//! Data goes to stdout, talk to stderr. `docs/cli.md` says what each prints and every exit code.

mod append;
pub(crate) mod args;
mod bench;
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
mod ready;
mod remove;
mod so_far;
mod table;
mod tail;

use std::process::ExitCode;

pub(crate) use self::place::shell_word;
use self::{
    args::{ServerArgs, StreamVerb, TalkArgs},
    place::Place,
};
use crate::{
    fail::Failure,
    signals::{LastWord, event_loop, until_signal},
};

/// Does what a verb asks.
pub(crate) fn run(verb: &StreamVerb) -> Result<ExitCode, Failure> {
    let runtime = match verb {
        StreamVerb::Bench(args) => return bench::bench(args),
        StreamVerb::Offset(args) => return explain::offset(args),
        StreamVerb::Completions(args) => return table::completions(args),
        StreamVerb::Man(args) => return table::man(args),
        _ => event_loop()?,
    };
    let done = runtime.block_on(ask(verb));
    // A write to a pipe that nobody reads may hang on a helper thread; it ends with the process.
    runtime.shutdown_background();
    done
}

/// `append`, `read` and `tail` hear signals themselves: they know how far they came.
async fn ask(verb: &StreamVerb) -> Result<ExitCode, Failure> {
    let json = verb.json();
    match verb {
        StreamVerb::Append(args) => append::append(args).await,
        StreamVerb::Read(args) => read::read(args).await,
        StreamVerb::Tail(args) => tail::tail(args).await,
        StreamVerb::Create(args) => {
            let unknown = || unknown(&args.server, "created", &args.name);
            until_signal(manage::create(args), json, unknown).await
        }
        StreamVerb::Head(args) => {
            let nothing = || nothing(&args.server, "head", &shell_word(args.name.as_str()));
            until_signal(manage::head(args), json, nothing).await
        }
        StreamVerb::Close(args) => {
            let unknown = || unknown(&args.server, "closed", &args.name);
            until_signal(manage::close(args), json, unknown).await
        }
        StreamVerb::Fork(args) => {
            let unknown = || unknown(&args.server, "created", &args.name);
            until_signal(fork::fork(args), json, unknown).await
        }
        StreamVerb::Rm(args) => remove::rm(args).await,
        StreamVerb::Ls(args) => {
            let nothing = || nothing(&args.server, "ls", "");
            until_signal(list::ls(args), json, nothing).await
        }
        StreamVerb::Ready(args) => {
            let nothing = || nothing(&args.server, "ready", "");
            until_signal(ready::ready(args), json, nothing).await
        }
        StreamVerb::Bench(_)
        | StreamVerb::Offset(_)
        | StreamVerb::Completions(_)
        | StreamVerb::Man(_) => unreachable!("needs no client"),
    }
}

/// Of a verb that was interrupted while it changed something.
fn unknown(server: &ServerArgs, done: &str, name: &millrace_client::StreamName) -> LastWord {
    let look = place::command(server, "head", &shell_word(name.as_str()));
    LastWord::new(
        format!("before the end: whether {name} was {done} is not known"),
        format!("look with `{look}`"),
    )
}

/// Of a verb that was interrupted while it looked.
fn nothing(server: &ServerArgs, verb: &str, rest: &str) -> LastWord {
    let again = place::command(server, verb, rest);
    LastWord::new(
        "before the end: nothing was changed",
        format!("run `{again}` again"),
    )
}

impl StreamVerb {
    /// How to talk.
    fn talk(&self) -> TalkArgs {
        let server = match self {
            Self::Create(args) => &args.server,
            Self::Append(args) => &args.server,
            Self::Read(args) => &args.server,
            Self::Tail(args) => &args.server,
            Self::Head(args) | Self::Close(args) => &args.server,
            Self::Fork(args) => &args.server,
            Self::Rm(args) => &args.server,
            Self::Ls(args) => &args.server,
            Self::Ready(args) => &args.server,
            Self::Bench(args) => &args.server,
            Self::Offset(args) => return args.talk,
            Self::Completions(args) => return args.talk,
            Self::Man(args) => return args.talk,
        };
        server.talk
    }

    /// Whether stdout and errors are for programs.
    pub(crate) fn json(&self) -> bool {
        self.talk().json
    }
}
