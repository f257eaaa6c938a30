//! `cargo run --release -p millrace-compare`: one load after another on Millrace, on its peer (the
//! crate `durable-streams`, installed from its registry) and on the limit server, and a table of
//! figures, ratios, targets and whether each is met.
//!
//! Each row and run has a fresh server on an empty directory, alone on the machine; odd runs go in
//! the other order. Figures are medians over the runs.
//!
//! Layout: [`settings`] (flags), [`tools`] (what is built and installed), [`servers`] (processes),
//! [`rows`] (the table of loads and targets), [`measure`] (one row on one server), [`scale`] (rows
//! that `millrace-scale` measures), [`report`] (the table).
//!
//! Not here: the load itself (`crates/bench`).
#![allow(
    clippy::disallowed_methods,
    reason = "this is a client of real binaries: real clocks, processes and files"
)]

mod figures;
mod measure;
mod report;
mod rows;
mod scale;
mod servers;
mod settings;
mod tools;

use std::process::ExitCode;

use crate::{
    figures::Results,
    rows::{Load, Row},
    servers::Who,
    settings::{Format, Settings},
};

fn main() -> ExitCode {
    let settings = match Settings::from_args(std::env::args().skip(1)) {
        Ok(settings) => settings,
        Err(what) => {
            eprintln!("compare: {what}");
            return ExitCode::from(2);
        }
    };
    match compare(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("compare: {what}");
            ExitCode::FAILURE
        }
    }
}

fn compare(settings: &Settings) -> Result<(), String> {
    let rows = rows::chosen(settings)?;
    let tools = tools::ready(settings)?;
    servers::raise_descriptors();
    let mut results = Results::default();
    for row in &rows {
        match row.load {
            Load::Scale(streams) => scale::run(&tools, settings, row, streams, &mut results),
            Load::Plan(_) => {
                for run in 0..settings.runs {
                    for who in order(row, settings, run) {
                        measure::run(&tools, settings, row, who, &mut results);
                    }
                }
            }
        }
        eprint!("{}", report::lines(std::slice::from_ref(row), &results));
    }
    match settings.format {
        Format::Table => print!("{}", report::lines(&rows, &results)),
        Format::Markdown => print!("{}", report::markdown(settings, &rows, &results)),
        Format::Json => println!("{:#}", report::json(settings, &rows, &results)),
    }
    Ok(())
}

/// Who is measured in this run, in turn.
fn order(row: &Row, settings: &Settings, run: u32) -> Vec<Who> {
    let mut order: Vec<Who> = row
        .who
        .iter()
        .copied()
        .filter(|who| settings.who.contains(who))
        .collect();
    if run % 2 == 1 {
        order.reverse();
    }
    order
}
