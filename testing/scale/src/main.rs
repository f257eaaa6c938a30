//! `cargo run --release -p millrace-scale`: the real binary with many streams. How fast they are
//! created, what they take in memory once they are idle, and how soon a cold start serves, after a
//! clean stop and after `kill -9`.
//!
//! Layout: [`settings`], [`server`] (the process), [`load`] (creating), `http` (a small client),
//! `probe` (`/proc`, the page cache; these two are the library), [`run`] (the order of things), [`report`] (the figures).
//!
//! Not here: latency under load and throughput beside other servers; whether what is read is right
//! (`testing/kill`).
#![allow(
    clippy::disallowed_methods,
    reason = "this is a client of the real binary: real clocks, threads and sockets"
)]

mod load;
mod report;
mod run;
mod server;
mod settings;

use std::process::ExitCode;

use millrace_harness::{http, probe};

use crate::{report::Figures, settings::Settings};

fn main() -> ExitCode {
    let settings = match Settings::from_args(std::env::args().skip(1)) {
        Ok(settings) => settings,
        Err(what) => return failed(&what),
    };
    let mut figures = Figures::default();
    let done = run::run(&settings, &mut figures);
    if settings.json {
        println!("{:#}", figures.json());
    } else {
        print!("{}", figures.table());
    }
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => failed(&format!("{what}; what comes after that was not measured")),
    }
}

fn failed(what: &str) -> ExitCode {
    eprintln!("scale: {what}");
    ExitCode::FAILURE
}
