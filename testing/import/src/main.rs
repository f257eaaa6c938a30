//! `cargo run --release -p millrace-import`: what `append --producer` promises, with a large file. A
//! numbered NDJSON file is appended by the real binary; client and server are interrupted and killed
//! on the way, the same command is run again, and in the end every line is there once, in order. How
//! fast it is without interruptions, and how much memory client and server take, is measured too.
//!
//! Layout: [`settings`], [`lines`] (the file, and the check of what comes back), [`process`] (server
//! and verbs as processes), [`run`] (the order of things), [`report`] (the figures).
//!
//! Not here: power cuts (`testing/kill` and the simulated disk), and other input than NDJSON.
#![allow(
    clippy::disallowed_methods,
    reason = "this is a user of the real binary: real clocks, files and processes"
)]

mod lines;
mod process;
mod report;
mod run;
mod settings;

use std::process::ExitCode;

use crate::{report::Figures, settings::Settings};

fn main() -> ExitCode {
    let settings = match Settings::from_args(std::env::args().skip(1)) {
        Ok(settings) => settings,
        Err(what) => return failed(&what),
    };
    let mut figures = Figures::default();
    let done = run::run(&settings, &mut figures);
    print!("{}", figures.table());
    match done {
        Ok(()) => {
            println!("no duplicate, no gap");
            ExitCode::SUCCESS
        }
        Err(what) => failed(&what),
    }
}

fn failed(what: &str) -> ExitCode {
    eprintln!("import: {what}");
    ExitCode::FAILURE
}
