//! Exactly once, and one command among others.

use super::*;

#[test]
fn t13_a_refused_append_never_comes_back_and_its_retry_is_no_duplicate() {
    let mut bench = Bench::new(13);
    bench.create("a", b"0");
    let full = Fault::new(FaultOp::Write, FaultError::NoSpace).on("wal");
    bench.disk.fail(full);
    let refused = bench
        .at()
        .submit(append(&name("a"), b"lost", claim("p", 0), false));
    assert_eq!(refused, Err(Refusal::StorageFull));
    bench.append("a", b"1").expect("the log goes on");
    let retried = bench
        .at()
        .submit(append(&name("a"), b"2", claim("p", 0), false));
    assert!(
        matches!(retried, Ok(Outcome::Appended { .. })),
        "{retried:?}"
    );
    bench.crash();
    assert_eq!(bench.bytes("a").as_deref(), Some(&b"012"[..]));
}

#[test]
fn t18_a_panic_costs_one_command_its_answer_and_nobody_else() {
    let mut bench = Bench::new(18);
    bench.create("a", b"0");
    let good = |body: &[u8]| append(&name("a"), body, None, false);
    let answers = bench
        .at()
        .turn(vec![good(b"1"), Command::Panic, good(b"2")]);
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert_eq!(answers[1], Err(Refusal::Internal));
    assert_eq!(bench.bytes("a").as_deref(), Some(&b"012"[..]));
}

#[test]
fn t65_power_loss_at_any_io_of_a_producer_append_makes_no_second_copy() {
    for ios in 0..6 {
        let mut bench = Bench::new(65 + ios);
        bench.create("a", b"");
        bench.disk.crash_after(ios);
        let first = bench
            .at()
            .submit(append(&name("a"), b"once", claim("p", 0), false));
        bench.crash();
        let again = bench
            .at()
            .submit(append(&name("a"), b"once", claim("p", 0), false));
        let known = matches!(again, Ok(Outcome::Duplicate { .. }));
        assert!(
            known || (first.is_err() && again.is_ok()),
            "{ios}: {first:?} then {again:?}"
        );
        assert_eq!(
            bench.bytes("a").as_deref(),
            Some(&b"once"[..]),
            "after {ios} I/Os"
        );
    }
}

#[test]
fn t65b_producers_survive_flush_eviction_and_restart() {
    let mut bench = Bench::new(165);
    bench.create("a", b"");
    for seq in 0..5 {
        bench
            .at()
            .submit(append(&name("a"), b"x", claim("p", seq), false))
            .expect("appended");
        bench.at().flush().expect("it flushes");
        bench.clock.advance(Duration::from_secs(1));
        bench.at().sweep().expect("it sweeps");
        assert_eq!(bench.at().resident(), 0);
        bench.crash();
    }
    let again = bench
        .at()
        .submit(append(&name("a"), b"x", claim("p", 4), false));
    assert!(
        matches!(
            again,
            Ok(Outcome::Duplicate {
                producer: (0, 4),
                ..
            })
        ),
        "{again:?}"
    );
    let gap = bench
        .at()
        .submit(append(&name("a"), b"x", claim("p", 6), false));
    assert_eq!(
        gap,
        Err(Refusal::SeqGap {
            expected: 5,
            received: 6
        })
    );
}

#[test]
fn t71_what_is_refused_in_a_turn_takes_no_acknowledgement_from_its_neighbours() {
    let mut bench = Bench::new(71);
    bench.create("a", b"");
    let answers = bench.at().turn(vec![
        append(&name("a"), b"1", claim("p", 0), false),
        append(&name("a"), b"x", claim("p", 2), false),
        append(&name("a"), b"2", claim("p", 1), false),
        append(&name("a"), b"2", claim("p", 1), false),
    ]);
    assert!(
        matches!(answers[0], Ok(Outcome::Appended { .. })),
        "{answers:?}"
    );
    assert_eq!(
        answers[1],
        Err(Refusal::SeqGap {
            expected: 1,
            received: 2
        })
    );
    assert!(
        matches!(answers[2], Ok(Outcome::Appended { .. })),
        "{answers:?}"
    );
    assert!(
        matches!(answers[3], Ok(Outcome::Duplicate { .. })),
        "{answers:?}"
    );
    bench.crash();
    assert_eq!(bench.bytes("a").as_deref(), Some(&b"12"[..]));
}
