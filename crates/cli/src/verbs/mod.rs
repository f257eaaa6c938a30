//! The verbs that speak to a server, and those that explain. Each: parse (clap did), ask, print.
//!
//! Layout: `args.rs` (flags), `place.rs` (the server, and what its refusals mean for a person),
//! `so_far.rs` (how far printing came), `out.rs` (stdout and stderr), `page.rs` (how pages are
//! printed), `shown.rs` (how settings are), `input.rs` and `asks.rs` (from input to batches),
//! `progress.rs`, and one file for each verb.
//!
//! Data goes to stdout, talk to stderr. `docs/cli.md` says what each prints and every exit code.

mod append;
mod append_all;
pub(crate) mod args;
mod asks;
mod bench;
mod compact;
mod explain;
mod follow;
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
mod retention;
mod set;
mod shown;
mod so_far;
mod table;
mod tail;
mod trim;

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

/// `append`, `append-all`, `read`, `tail`, `follow` and `rm` hear signals themselves: they know how far they came.
async fn ask(verb: &StreamVerb) -> Result<ExitCode, Failure> {
    let json = verb.json();
    match verb {
        StreamVerb::Append(args) => append::append(args).await,
        StreamVerb::AppendAll(args) => append_all::append_all(args).await,
        StreamVerb::Read(args) => read::read(args).await,
        StreamVerb::Tail(args) => tail::tail(args).await,
        StreamVerb::Follow(args) => follow::follow(args).await,
        StreamVerb::Create(args) => {
            let unknown = || unknown(&args.server, "created", &args.name);
            until_signal(manage::create(args), json, unknown).await
        }
        StreamVerb::Head(args) => {
            let nothing = || nothing(&args.server, "head", &shell_word(args.name.as_str()));
            until_signal(manage::head(args), json, nothing).await
        }
        StreamVerb::Set(args) => {
            let unknown = || unknown(&args.server, "changed", &args.name);
            until_signal(set::set(args), json, unknown).await
        }
        StreamVerb::Trim(args) => {
            let unknown = || unknown(&args.server, "trimmed", &args.name);
            until_signal(trim::trim(args), json, unknown).await
        }
        StreamVerb::Compact(args) => {
            let unknown = || unknown(&args.server, "compacted", &args.name);
            until_signal(compact::compact(args), json, unknown).await
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
        StreamVerb::Retention(args) => {
            let last_word = || {
                if args.run {
                    retention::unknown(&args.server)
                } else {
                    nothing(&args.server, "retention", "")
                }
            };
            until_signal(retention::retention(args), json, last_word).await
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
            Self::AppendAll(args) => &args.server,
            Self::Read(args) => &args.server,
            Self::Tail(args) => &args.server,
            Self::Follow(args) => &args.server,
            Self::Set(args) => &args.server,
            Self::Trim(args) => &args.server,
            Self::Head(args) | Self::Compact(args) => &args.server,
            Self::Close(args) => &args.server,
            Self::Fork(args) => &args.server,
            Self::Rm(args) => &args.server,
            Self::Ls(args) => &args.server,
            Self::Retention(args) => &args.server,
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
