//! Runs seeds of the simulation, and says which fail and how to see it again.
#![allow(
    clippy::disallowed_methods,
    reason = "how long it takes is told by a real clock"
)]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use millrace_sim::{Mishap, Mishaps, Outcome, run, same_twice};
use serde_json::json;

/// Runs the whole server on a simulated network, disk and clock.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// One seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Print everything that happened on the network and the disk; with --seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Print one JSON document instead of text.
    #[arg(long)]
    json: bool,
    /// How many seeds to run at a time; by default one for each processor.
    #[arg(long)]
    jobs: Option<usize>,
    /// Fail unless every kind of fault occurred.
    #[arg(long)]
    every_fault: bool,
    /// Begin no more seeds after one that failed.
    #[arg(long)]
    until_failure: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let begun = Instant::now();
    let (from, seeds) = match args.seed {
        Some(seed) => (seed, 1),
        None => (args.from, args.seeds),
    };
    // A simulation that does not repeat itself finds nothing that could be found again.
    if let Err(differing) = same_twice(from) {
        eprintln!("seed {from} does not give the same trace twice:\n{differing}");
        return ExitCode::FAILURE;
    }
    let outcomes = if args.seed.is_some() {
        vec![run(from, None, args.trace)]
    } else {
        let jobs = args
            .jobs
            .or_else(|| Some(std::thread::available_parallelism().ok()?.get()));
        run_all(from, seeds, jobs.unwrap_or(1), args.until_failure)
    };
    let faults = faults(&outcomes);
    let missing = faults.iter().filter(|(_, count)| **count == 0);
    let missing: Vec<&str> = missing.map(|(fault, _)| fault.name()).collect();
    if args.json {
        println!("{}", as_json(&outcomes, begun.elapsed()));
    } else {
        print!("{}", as_text(&outcomes, begun.elapsed()));
    }
    let is_complete = !args.every_fault || missing.is_empty();
    if !is_complete {
        eprintln!("these faults did not occur: {}", missing.join("; "));
    }
    let has_held = outcomes.iter().all(|outcome| outcome.violations.is_empty());
    if has_held && is_complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Each seed on a thread, which it shares with nobody.
fn run_all(from: u64, seeds: u64, jobs: usize, until_failure: bool) -> Vec<Outcome> {
    let next = AtomicU64::new(from);
    let end = AtomicU64::new(from + seeds);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = run(seed, None, false);
                    if !outcome.violations.is_empty() {
                        eprintln!("seed {seed} failed");
                        if until_failure {
                            end.store(from, Ordering::Relaxed);
                        }
                    }
                    let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                    outcomes.push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|outcome| outcome.seed);
    outcomes
}

fn replay(seed: u64) -> String {
    format!("cargo run --release -p millrace-sim -- --seed {seed}")
}

/// All that was counted, over all seeds.
fn sums(outcomes: &[Outcome]) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    let mut add = |what, count| *sums.entry(what).or_default() += count;
    for outcome in outcomes {
        add("lives of the server", outcome.lives);
        add("events on network and disk", outcome.trace.events);
        add("appends acknowledged", outcome.counts.acked);
        add(
            "appends acknowledged as duplicates",
            outcome.counts.duplicates,
        );
        add("appends of unknown outcome", outcome.counts.unknown);
        add("responses and events read", outcome.counts.delivered);
        add("bytes read", outcome.counts.delivered_bytes);
        add("whole streams compared", outcome.counts.verified);
        for (what, count) in &outcome.tally {
            add(what, *count);
        }
    }
    sums
}

/// How often each kind of fault occurred, over all seeds.
fn faults(outcomes: &[Outcome]) -> Mishaps {
    let mut sums: Mishaps = Mishap::ALL.iter().map(|fault| (*fault, 0)).collect();
    for (fault, count) in outcomes.iter().flat_map(|outcome| &outcome.mishaps) {
        *sums.entry(*fault).or_default() += count;
    }
    sums
}

fn as_text(outcomes: &[Outcome], took: Duration) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        if let Some(trace) = &outcome.text {
            text += trace;
        }
    }
    let simulated: Duration = outcomes.iter().map(|outcome| outcome.simulated).sum();
    for (what, count) in sums(outcomes) {
        line(&mut text, format_args!("{count:>12}  {what}"));
    }
    line(&mut text, format_args!("\nfaults:"));
    for (fault, count) in faults(outcomes) {
        line(&mut text, format_args!("{count:>12}  {}", fault.name()));
    }
    let mut failed = 0;
    for Outcome {
        seed, violations, ..
    } in outcomes
    {
        if violations.is_empty() {
            continue;
        }
        failed += 1;
        line(
            &mut text,
            format_args!(
                "\nseed {seed} FAILED; to see it again:\n  {}",
                replay(*seed)
            ),
        );
        for what in violations {
            line(&mut text, format_args!("  - {what}"));
        }
    }
    let seeds = outcomes.len();
    line(
        &mut text,
        format_args!(
            "\n{seeds} seeds, {simulated:.0?} of their time in {took:.1?}: {failed} failed"
        ),
    );
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string does not fail");
}

fn as_json(outcomes: &[Outcome], took: Duration) -> serde_json::Value {
    let failed = outcomes
        .iter()
        .filter(|outcome| !outcome.violations.is_empty());
    let failed: Vec<_> = failed
        .map(|outcome| {
            json!({
                "seed": outcome.seed,
                "violations": outcome.violations,
                "replay": replay(outcome.seed),
            })
        })
        .collect();
    let simulated: Duration = outcomes.iter().map(|outcome| outcome.simulated).sum();
    json!({
        "seeds": outcomes.len(),
        "seconds": took.as_secs_f64(),
        "simulated_seconds": simulated.as_secs_f64(),
        "counts": sums(outcomes),
        "faults": faults(outcomes).iter().map(|(fault, count)| (fault.name(), *count)).collect::<BTreeMap<_, _>>(),
        "traces": outcomes.iter().map(|outcome| {
            json!({"seed": outcome.seed, "events": outcome.trace.events,
                   "hash": format!("{:016x}", outcome.trace.hash), "text": outcome.text})
        }).collect::<Vec<_>>(),
        "failed": failed,
    })
}
