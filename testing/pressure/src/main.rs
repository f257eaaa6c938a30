//! `cargo run --release -p millrace-pressure`: the real binary while a crowd of clients costs it what
//! it may: connections that are idle or stop amid their headers, bodies that drip, answers that are
//! taken slowly or not at all. Measured is what an honest append notices of it.
//!
//! It holds Millrace to:
//! - every append is acknowledged, and nobody honest is refused or cut off;
//! - the process stays inside `--memory-max`;
//! - without `--brief`: the 99th percentile of an append stays under twice its quiet value.
//!
//! With `--overload` it presses beyond what the server has memory for, and holds it to other things:
//! see [`overload`].
//!
//! Layout: [`settings`], [`server`] (the process), [`http`] (a small client), [`crowd`] (the clients
//! that press), [`appends`] (what is measured), [`run`] (the order of things), [`report`];
//! [`overload`].
//!
//! Not here: how much Millrace can do at most; HTTP/2 streams that take nothing (tested in
//! `millrace-server`, where time can be skipped).
#![allow(
    clippy::disallowed_methods,
    reason = "this is a client of the real binary: real clocks, threads and sockets"
)]

mod appends;
mod crowd;
mod http;
mod overload;
mod report;
mod run;
mod server;
mod settings;

use std::process::ExitCode;

use crate::{report::Figures, settings::Settings};

fn main() -> ExitCode {
    let settings = match Settings::from_args(std::env::args().skip(1)) {
        Ok(settings) => settings,
        Err(what) => return failed(&[what]),
    };
    let broken = if settings.overload {
        overloaded(&settings)
    } else {
        crowded(&settings)
    };
    failed(&broken)
}

/// What does not hold amid a crowd.
fn crowded(settings: &Settings) -> Vec<String> {
    let mut figures = Figures::default();
    let done = run::run(settings, &mut figures);
    tell(settings, &figures.table(), &figures.json());
    match done {
        Ok(()) => figures.broken(settings),
        Err(what) => vec![what],
    }
}

/// What does not hold in an overload.
fn overloaded(settings: &Settings) -> Vec<String> {
    match overload::run(settings) {
        Ok(figures) => {
            tell(settings, &figures.table(), &figures.json());
            figures.broken()
        }
        Err(what) => vec![what],
    }
}

fn tell(settings: &Settings, table: &str, json: &serde_json::Value) {
    if settings.json {
        println!("{json:#}");
    } else {
        print!("{table}");
    }
}

/// Success when nothing is.
fn failed(broken: &[String]) -> ExitCode {
    for what in broken {
        eprintln!("pressure: {what}");
    }
    if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
