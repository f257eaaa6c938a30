//! `cargo run --release -p millrace-history`: whether some order explains all that clients of the real
//! binary are told while it is killed, paused and cut off (see the library).

use std::{process::ExitCode, time::Instant};

use millrace_history::{
    run::{Outcome, run},
    settings::Settings,
};

#[expect(clippy::disallowed_methods, reason = "a real clock for a real run")]
fn main() -> ExitCode {
    let settings = match Settings::from_args(std::env::args().skip(1)) {
        Ok(settings) => settings,
        Err(what) => return failed(&what),
    };
    println!(
        "history: {} rounds, durability {}, --seed {}",
        settings.rounds, settings.durability, settings.seed
    );
    let begun = Instant::now();
    match run(&settings) {
        Ok(outcome) => {
            report(&outcome, begun);
            if outcome.broken.is_empty() {
                ExitCode::SUCCESS
            } else {
                failed(&format!(
                    "no order explains what --seed {} recorded",
                    settings.seed
                ))
            }
        }
        Err(what) => failed(&what),
    }
}

fn failed(what: &str) -> ExitCode {
    eprintln!("history: {what}");
    ExitCode::FAILURE
}

fn report(outcome: &Outcome, begun: Instant) {
    let Outcome {
        rounds,
        checked,
        kills,
        ends,
        pauses,
        cut,
        broken,
    } = outcome;
    println!(
        "  {rounds} rounds; {kills} kills, {pauses} pauses, {ends} graceful ends, {cut} requests cut \
         off half way"
    );
    println!(
        "  {} operations on {} names, {} of which nobody knows whether they were carried out; {} names \
         undecided",
        checked.operations, checked.names, checked.unknown, checked.undecided
    );
    for what in broken {
        println!("  BROKEN: {what}");
    }
    println!(
        "history: {} contradictions, {:.1} s",
        broken.len(),
        begun.elapsed().as_secs_f64()
    );
}
