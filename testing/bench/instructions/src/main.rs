//! `cargo run --release -p millrace-instructions [-- --record]`: how many instructions the release
//! binary takes for a durable append, for a small read and for the delivery of an event.
//!
//! The server runs under `valgrind --tool=callgrind` with one shard; one client sends one request
//! after the other. Every scenario runs twice, with few requests and with many, and the difference
//! is divided by the difference in requests: what starting and stopping take falls out. Unlike time,
//! the counts hardly depend on what else the machine does, so a rise of [`RISE_MAX_PERCENT`] over what
//! was recorded is a change of the program, and fails. What is recorded holds for one version of the
//! compiler and one kind of processor; `--record` writes it anew.
//!
//! Layout: [`scenario`] (the requests), [`guest`] (the server under valgrind).
//!
//! Not here: time (`testing/bench/compare`).
#![allow(
    clippy::disallowed_methods,
    reason = "this is a client of the real binary: real clocks, processes and files"
)]

mod guest;
mod scenario;

use std::{collections::BTreeMap, fs, process::ExitCode};

use crate::{guest::Guest, scenario::Scenario};

/// The figures of before; committed.
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recorded.json");
/// A figure may be so much above what was recorded.
const RISE_MAX_PERCENT: u64 = 5;

/// Instructions of each scenario, by its name.
type Counts = BTreeMap<String, u64>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let records = match args.as_slice() {
        [] => false,
        [flag] if flag == "--record" => true,
        _ => {
            eprintln!(
                "instructions: millrace-instructions [--record]; MILLRACE_BIN names the binary"
            );
            return ExitCode::from(2);
        }
    };
    match run(records) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("instructions: {what}");
            ExitCode::FAILURE
        }
    }
}

fn run(records: bool) -> Result<(), String> {
    let counts = counted()?;
    if records {
        let text = serde_json::to_string_pretty(&counts).map_err(|error| error.to_string())?;
        return fs::write(RECORDED, text + "\n").map_err(|error| format!("{RECORDED}: {error}"));
    }
    let recorded = fs::read_to_string(RECORDED).map_err(|error| format!("{RECORDED}: {error}"))?;
    let recorded: Counts = serde_json::from_str(&recorded).map_err(|error| error.to_string())?;
    judge(&counts, &recorded)
}

/// Counts every scenario and prints it.
fn counted() -> Result<Counts, String> {
    let mut counts = Counts::new();
    for scenario in Scenario::ALL {
        let (few, many) = scenario.requests();
        let more = total(scenario, many)?.saturating_sub(total(scenario, few)?);
        let each = more / (many - few);
        // An event needs an append; what is left belongs to those that it is delivered to.
        let each = match scenario {
            Scenario::Deliver => {
                let append = counts.get(Scenario::Append.name()).copied().unwrap_or(0);
                each.saturating_sub(append) / scenario::SUBSCRIBERS
            }
            Scenario::Append | Scenario::Read => each,
        };
        println!("{:<12} {each:>8} instructions", scenario.name());
        counts.insert(scenario.name().to_owned(), each);
    }
    Ok(counts)
}

fn total(scenario: Scenario, requests: u64) -> Result<u64, String> {
    let guest = Guest::start(&millrace_harness::binary())?;
    scenario
        .run(guest.address, requests)
        .map_err(|error| format!("{}: {error}", scenario.name()))?;
    guest.stop()
}

/// Fails on what rose too much, or is not recorded.
fn judge(counts: &Counts, recorded: &Counts) -> Result<(), String> {
    let mut faults = Vec::new();
    for (name, count) in counts {
        match recorded.get(name) {
            None => faults.push(format!("{name} is not recorded")),
            Some(before) if count * 100 > before * (100 + RISE_MAX_PERCENT) => faults.push(format!(
                "{name} takes {count} instructions, {before} were recorded: more than {RISE_MAX_PERCENT} % above"
            )),
            Some(_) => {}
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    faults.push(
        "find out why with callgrind_annotate, or record it with \
         `cargo run --release -p millrace-instructions -- --record` and say in the commit what it buys"
            .to_owned(),
    );
    Err(faults.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(append: u64) -> Counts {
        Counts::from([("append".to_owned(), append)])
    }

    #[test]
    fn a_rise_of_more_than_five_percent_fails() {
        let recorded = counts(10_000);
        assert_eq!(judge(&counts(9_000), &recorded), Ok(()));
        assert_eq!(judge(&counts(10_500), &recorded), Ok(()));
        assert!(judge(&counts(10_501), &recorded).is_err());
    }

    #[test]
    fn what_is_not_recorded_fails() {
        assert!(judge(&counts(1), &Counts::new()).is_err());
    }
}
