//! The binary `millrace`: flags, signals, exit codes. Everything it does can be had as a library.
//!
//! Layout: `args.rs` (the flag table), `settings.rs` (from flags to configurations), `serve.rs`,
//! `check.rs` and `dump.rs` (the verbs beside a server), `verbs/` (those that speak to one), `explain.rs` (`--explain-config`), `fail.rs` (errors, help
//! lines, exit codes), `host.rs` (what the machine has), `units.rs` (sizes and durations), `log.rs`,
//! `spans` (for an OpenTelemetry collector).
//!
//! Data goes to stdout, talk to stderr.

mod args;
mod check;
mod dump;
mod explain;
mod fail;
mod host;
mod log;
mod serve;
mod settings;
mod spans;
mod units;
mod verbs;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::args::{Cli, Verb};

/// The C library's allocator keeps what a million streams needed once; this one gives it back, and is
/// quicker (ADR 13).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let done = match &cli.verb {
        Verb::Serve(args) => {
            let of_serve = matches.subcommand().map(|(_, matches)| matches);
            serve::serve(args, of_serve.expect("a verb was parsed"))
        }
        Verb::Check(args) => check::check(args),
        Verb::Dump(args) => dump::dump(args),
        Verb::Stream(verb) => verbs::run(verb),
    };
    done.unwrap_or_else(|failure| {
        failure.print();
        failure.code()
    })
}
