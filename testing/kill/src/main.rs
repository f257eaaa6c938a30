//! `cargo run --release -p millrace-kill`: kills the real binary under load (see the library).

use std::{process::ExitCode, time::Instant};

use millrace_kill::{
    run::{Outcome, run},
    schedule::Settings,
};

#[expect(clippy::disallowed_methods, reason = "a real clock for a real run")]
fn main() -> ExitCode {
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(what) => return failed(&what),
    };
    println!(
        "kill test: {} kills, durability {}, MILLRACE_SEED={}",
        settings.kills, settings.durability, settings.seed
    );
    let begun = Instant::now();
    match run(&settings) {
        Ok(outcome) => {
            report(&outcome, begun);
            if outcome.violations.is_empty() {
                ExitCode::SUCCESS
            } else {
                failed(&format!("seed {} broke promises", settings.seed))
            }
        }
        Err(what) => failed(&what),
    }
}

fn failed(what: &str) -> ExitCode {
    eprintln!("kill test: {what}");
    ExitCode::FAILURE
}

fn report(outcome: &Outcome, begun: Instant) {
    let Outcome {
        kills,
        kills_while_starting,
        kills_amid_a_flush,
        segments,
        segments_at_once,
        slowest_start,
        kills_while_stopping,
        graceful_ends,
        slowest_end,
        counts,
        lost,
        violations,
    } = outcome;
    println!(
        "  {kills} kills, {kills_while_starting} of them while starting, {kills_while_stopping} while \
         stopping, {kills_amid_a_flush} with a segment half written"
    );
    println!("  {segments} segments written, at most {segments_at_once} at a time");
    println!(
        "  {} appends acknowledged, {} of them as duplicates; {} of which nobody knows",
        counts.acked, counts.duplicates, counts.unknown
    );
    println!(
        "  {} responses and events read, {} bytes; {lost} cut off",
        counts.delivered, counts.delivered_bytes
    );
    println!("  {} whole streams compared", counts.verified);
    println!(
        "  {graceful_ends} graceful ends, the slowest {slowest_end:?}; slowest start {slowest_start:?}"
    );
    for what in violations {
        println!("  BROKEN: {what}");
    }
    println!(
        "kill test: {} broken promises, {:.1} s",
        violations.len(),
        begun.elapsed().as_secs_f64()
    );
}
