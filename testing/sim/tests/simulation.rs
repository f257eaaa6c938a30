//! The simulation itself: it repeats, it passes, and it can fail.

use millrace_sim::{Mutant, run, same_twice};

#[test]
fn a_seed_gives_the_same_trace_twice() {
    for seed in 1..=4 {
        if let Err(differing) = same_twice(seed) {
            panic!("seed {seed}:\n{differing}");
        }
    }
    assert_ne!(run(1, None, false).trace, run(2, None, false).trace);
}

#[test]
fn the_server_keeps_its_promises() {
    for seed in 1..=5 {
        let outcome = run(seed, None, false);
        assert_eq!(outcome.violations, Vec::<String>::new(), "seed {seed}");
        assert!(outcome.counts.acked > 0, "seed {seed} did nothing");
    }
}

#[test]
fn a_server_that_acknowledges_before_it_syncs_is_found() {
    let mutant = Some(Mutant::AcknowledgesBeforeSync);
    let found = |seed| !run(seed, mutant, false).violations.is_empty();
    assert!((1..=10).any(found), "not in ten seeds");
}
