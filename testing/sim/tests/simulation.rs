//! The simulation itself: it repeats, it passes, it does what it says, and it can fail.

use std::collections::BTreeMap;

use millrace_sim::{Mutant, run, same_twice};

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
    for seed in 1..=12 {
        let outcome = run(seed, None, false);
        assert_eq!(outcome.violations, Vec::<String>::new(), "seed {seed}");
        *tally.entry("acknowledged").or_default() += outcome.counts.acked;
        *tally.entry("duplicates").or_default() += outcome.counts.duplicates;
        for (what, count) in outcome.tally {
            *tally.entry(what).or_default() += count;
        }
    }
    for what in [
        "acknowledged",
        "answers lost",
        "answers that say not now",
        "duplicates",
        "faults: clock jumps",
        "faults: disk errors planned",
        "faults: full disk",
        "faults: no descriptors",
        "faults: partitions",
        "faults: short writes",
        "faults: slow disk",
        "lives cut off",
        "lives that ended in order",
        "lives that stopped writing",
        "starts that failed",
        "streams expired",
    ] {
        assert!(tally.contains_key(what), "no {what} in {tally:?}");
    }
}

#[test]
fn a_server_that_acknowledges_before_it_syncs_is_found() {
    let mutant = Some(Mutant::AcknowledgesBeforeSync);
    let found = |seed| !run(seed, mutant, false).violations.is_empty();
    assert!((1..=10).any(found), "not in ten seeds");
}
