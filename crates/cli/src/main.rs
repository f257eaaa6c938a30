//! The binary `millrace`: flags, signals, exit codes. Everything it does can be had as a library.
//!
//! Layout: `args.rs` (the flag table), `config.rs` (the config file), `settings.rs` (from flags to
//! configurations), `serve.rs`, `check.rs`, `repair.rs` and `dump.rs` (the verbs beside a server), `verbs/` (those
//! that speak to one), `explain.rs` (`--explain-config`), `fail.rs` (errors, help lines, exit codes),
//! `signals.rs`, `host.rs` (what the machine has), `units.rs` (sizes and durations), `log.rs`,
//! `spans` (for an OpenTelemetry collector).
//!
//! Data goes to stdout, talk to stderr.

mod args;
mod check;
mod config;
mod dump;
mod explain;
mod fail;
mod host;
mod log;
mod repair;
mod serve;
mod settings;
mod signals;
mod spans;
mod units;
mod verbs;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

use crate::{
    args::Verb,
    config::{Asked, Wrong},
    fail::Failure,
};

/// The C library's allocator keeps what a million streams needed once; this one gives it back, and is
/// quicker (ADR 13).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    millrace_env::mutant::warn();
    let words: Vec<OsString> = std::env::args_os().collect();
    let json = words.iter().any(|word| word == "--json");
    match config::asked(&words) {
        Ok(asked) => {
            let done = run(&asked);
            done.unwrap_or_else(|failure| failure.tell(asked.verb.json()))
        }
        Err(Wrong::File(failure)) => failure.tell(json),
        Err(Wrong::Words(error)) => wrong(&error, &words, json),
    }
}

/// Help that was asked for, or words that cannot be understood.
fn wrong(error: &clap::Error, words: &[OsString], json: bool) -> ExitCode {
    let from = config::from_environment(error, words);
    if json && error.use_stderr() {
        let failure = Failure::of_words(error);
        return match from {
            Some(name) => failure.at(name).tell(json),
            None => failure.tell(json),
        };
    }
    // Nobody may be listening; the exit code says it too.
    let _ = error.print();
    if let Some(name) = from {
        let _ = writeln!(
            io::stderr(),
            "help: the value is from the environment, {name}"
        );
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn run(asked: &Asked) -> Result<ExitCode, Failure> {
    match &asked.verb {
        Verb::Serve(args) => serve::serve(args, &asked.origins),
        Verb::Check(args) => check::check(args),
        Verb::Repair(args) => repair::repair(args),
        Verb::Dump(args) => dump::dump(args),
        Verb::Stream(verb) => verbs::run(verb),
    }
}
