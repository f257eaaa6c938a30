//! The simulation itself: it repeats, it passes, it does what it says, and it can fail.

use std::collections::BTreeMap;

use millrace_sim::{Mishap, Mishaps, Mutant, run, same_twice};

#[test]
fn a_seed_gives_the_same_trace_twice() {
    for seed in 1..=6 {
        if let Err(differing) = same_twice(seed) {
            panic!("seed {seed}:\n{differing}");
        }
    }
    assert_ne!(run(1, None, false).trace, run(2, None, false).trace);
}

#[test]
fn the_server_keeps_its_promises_and_everything_goes_wrong() {
    let mut tally: BTreeMap<&str, u64> = BTreeMap::new();
    let mut mishaps = Mishaps::new();
    for seed in 1..=12 {
        let outcome = run(seed, None, false);
        assert_eq!(outcome.violations, Vec::<String>::new(), "seed {seed}");
        *tally.entry("acknowledged").or_default() += outcome.counts.acked;
        *tally.entry("duplicates").or_default() += outcome.counts.duplicates;
        for (what, count) in outcome.tally {
            *tally.entry(what).or_default() += count;
        }
        for (mishap, count) in outcome.mishaps {
            *mishaps.entry(mishap).or_default() += count;
        }
    }
    for what in [
        "acknowledged",
        "acks",
        "acks of who was fenced",
        "answers lost",
        "answers that say not now",
        "deliveries taken",
        "duplicates",
        "lives cut off",
        "lives that ended in order",
        "lives that stopped writing",
        "streams expired",
        "subscriptions that were served to the end",
        "wakes claimed",
        "workers that died with a wake",
    ] {
        assert!(tally.contains_key(what), "no {what} in {tally:?}");
    }
    // The tier `sim` runs more seeds, and asks for every kind.
    let missing = Mishap::ALL
        .iter()
        .filter(|mishap| mishaps.get(mishap).is_none_or(|count| *count == 0));
    let missing: Vec<_> = missing.collect();
    assert!(missing.len() <= 3, "{missing:?} did not happen");
}

#[test]
fn a_server_that_acknowledges_before_it_syncs_is_found() {
    assert!(is_found(Mutant::AcknowledgesBeforeSync), "not in ten seeds");
}

#[test]
fn a_server_that_does_not_sync_directories_is_found() {
    assert!(is_found(Mutant::ForgetsNames), "not in ten seeds");
}

/// Whether a broken server is noticed.
fn is_found(mutant: Mutant) -> bool {
    let found = |seed| !run(seed, Some(mutant), false).violations.is_empty();
    (1..=10).any(found)
}
