//! Creation, deletion, offsets, generations.

use super::*;

#[test]
fn t04_acknowledged_deletes_closes_expiries_and_forks_survive_power_loss() {
    let mut bench = Bench::new(4);
    for text in ["gone", "closed", "source"] {
        bench.create(text, b"0123");
    }
    let brief = create(&name("brief"), b"x", Lifetime::Ttl(60));
    bench.at().submit(brief).expect("it is created");
    bench.at().flush().expect("it flushes");
    bench.delete("gone").expect("it is deleted");
    bench
        .at()
        .submit(append(&name("closed"), b"", None, true))
        .expect("it is closed");
    bench.fork("fork", "source", 2).expect("it is forked");
    bench.clock.advance(Duration::from_secs(61));
    bench.at().sweep().expect("it sweeps");
    bench.crash();
    assert_eq!(bench.bytes("gone"), None);
    assert_eq!(
        bench.bytes("brief"),
        None,
        "an expired stream stays expired"
    );
    assert!(
        bench
            .at()
            .find(&name("closed"))
            .expect("it is there")
            .closed
    );
    assert_eq!(bench.bytes("fork").as_deref(), Some(&b"01"[..]));
}

#[test]
fn t05_a_pending_flush_does_not_resurrect_a_deleted_stream() {
    let mut bench = Bench::new(5);
    bench.create("a", b"secret");
    let flushed = bench.at().flush_around(|machine| {
        let deleted = machine.submit(Command::Delete { name: name("a") });
        deleted.expect("it is deleted");
    });
    flushed.expect("it flushes");
    assert_eq!(bench.bytes("a"), None);
    bench.crash();
    assert_eq!(
        bench.bytes("a"),
        None,
        "the log's deletion is replayed over the flushed row"
    );
    bench.at().flush().expect("it flushes");
    bench.crash();
    assert_eq!(bench.bytes("a"), None);
}

#[test]
fn t12_another_number_of_shards_keeps_every_stream() {
    let mut bench = Bench::with(12, small_options(4));
    for n in 0..40 {
        bench.create(&format!("s{n}"), format!("body {n}").as_bytes());
    }
    for shards in [1, 3, 2] {
        bench.options.shards = shards;
        bench.crash();
        for n in 0..40 {
            let text = format!("s{n}");
            assert!(
                bench
                    .bytes(&text)
                    .is_some_and(|bytes| bytes.starts_with(b"body")),
                "{text}"
            );
            bench.append(&text, b"+").expect("it takes appends");
        }
    }
    assert_eq!(bench.bytes("s7").as_deref(), Some(&b"body 7+++"[..]));
}

#[test]
fn t15_a_creation_that_failed_leaves_no_phantom() {
    let mut bench = Bench::new(15);
    let full = Fault::new(FaultOp::Write, FaultError::NoSpace).on("wal");
    bench.disk.fail(full);
    let refused = bench
        .at()
        .submit(create(&name("a"), b"x", Lifetime::Unlimited));
    assert_eq!(refused, Err(Refusal::StorageFull));
    assert_eq!(bench.append("a", b"y"), Err(Refusal::NotFound));
    bench.crash();
    assert_eq!(bench.bytes("a"), None);
}

#[test]
fn t32_t34_offsets_of_one_turn_are_unique_and_increasing() {
    let mut bench = Bench::new(32);
    bench.create("a", b"");
    let batch = (0..50).map(|n| append(&name("a"), format!("{n:02}").as_bytes(), None, false));
    let answers = bench.at().turn(batch.collect());
    let tails: Vec<_> = answers
        .into_iter()
        .map(|answer| match answer {
            Ok(Outcome::Appended { summary, .. }) => summary.tail,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(tails.is_sorted_by(|a, b| a < b), "{tails:?}");
    let wanted = (0..50)
        .map(|n| format!("{n:02}"))
        .collect::<Vec<_>>()
        .concat();
    assert_eq!(bench.bytes("a").as_deref(), Some(wanted.as_bytes()));
}

#[test]
fn t39_of_two_creations_in_one_turn_one_creates_and_one_finds() {
    let mut bench = Bench::new(39);
    let put = || create(&name("a"), b"", Lifetime::Unlimited);
    let answers = bench.at().turn(vec![put(), put()]);
    assert!(matches!(answers[0], Ok(Outcome::Created(_))), "{answers:?}");
    assert!(matches!(answers[1], Ok(Outcome::Exists(_))), "{answers:?}");
}

#[test]
fn t40_t41_an_append_after_a_deletion_is_refused_and_the_name_begins_anew() {
    let mut bench = Bench::new(40);
    bench.create("a", b"old bytes");
    let old = bench.at().find(&name("a")).expect("it is there").tail;
    let answers = bench.at().turn(vec![
        Command::Delete { name: name("a") },
        append(&name("a"), b"x", None, false),
        create(&name("a"), b"new", Lifetime::Unlimited),
        append(&name("a"), b"!", None, false),
    ]);
    assert_eq!(answers[1], Err(Refusal::NotFound));
    assert!(
        answers[0].is_ok() && answers[2].is_ok() && answers[3].is_ok(),
        "{answers:?}"
    );
    for _ in 0..2 {
        assert_eq!(bench.bytes("a").as_deref(), Some(&b"new!"[..]));
        let state = bench.at().state(&name("a")).expect("it is there");
        assert!(
            !state.owns(old),
            "an old offset is not one of the new stream's"
        );
        bench.crash();
    }
}

#[test]
fn memory_mode_takes_a_new_generation_after_an_unclean_stop() {
    let mut options = small_options(1);
    options.durability = Durability::Memory;
    let mut bench = Bench::with(1, options);
    bench.create("a", b"flushed");
    bench.at().flush().expect("it flushes");
    bench
        .append("a", b", perhaps lost")
        .expect("it is appended");
    let seen = bench.at().find(&name("a")).expect("it is there").tail;
    bench.crash();
    let kept = bench
        .at()
        .find(&name("a"))
        .expect("what was flushed is there");
    bench.append("a", &[b'x'; 64]).expect("it is appended");
    let state = bench.at().state(&name("a")).expect("it is there");
    if kept.tail == seen {
        assert!(state.owns(seen), "nothing was lost");
    } else {
        assert!(
            !state.owns(seen),
            "an offset past the loss never means other bytes"
        );
    }
    assert!(
        state.owns(kept.tail),
        "an offset at the surviving tail stays good"
    );
    assert!(state.tail_offset().generation > kept.tail.generation);
}

#[test]
fn the_token_of_an_empty_streams_start_survives_an_unclean_stop_in_memory_mode() {
    let mut options = small_options(1);
    options.durability = Durability::Memory;
    let mut bench = Bench::with(2, options);
    bench.create("a", b"");
    bench.at().flush().expect("it flushes");
    let start = bench.at().find(&name("a")).expect("it is there").tail;
    for _ in 0..2 {
        bench.crash();
        bench.append("a", b"x").expect("it is appended");
        let state = bench.at().state(&name("a")).expect("it is there");
        assert!(state.owns(start), "nothing can be lost before the start");
    }
}

#[test]
fn a_raised_generation_is_counted_when_the_log_is_replayed() {
    let mut options = small_options(1);
    options.durability = Durability::Memory;
    let mut bench = Bench::with(3, options);
    bench.create("a", b"x");
    bench.at().flush().expect("it flushes");
    // The start after an unsafe run raises all; the one after that, which replays the raised append,
    // must not do so again, or it would hide what replay forgot.
    bench.options.durability = Durability::Local;
    bench.crash();
    bench
        .append("a", b"y")
        .expect("it is raised and appended to");
    let raised = bench
        .at()
        .state(&name("a"))
        .expect("it is there")
        .generations
        .current();
    // A killed process: what was written is there, and replayed.
    bench.machine = None;
    bench.disk = bench.disk.kill();
    bench.open();
    assert!(
        bench.at().highest_generation() >= raised,
        "{raised} may be given out again"
    );
}
