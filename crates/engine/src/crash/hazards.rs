//! Defects that other stream servers shipped (`T` numbers), each as a test of the whole engine on the
//! simulated disk. Those of single files are tested in `millrace-store`, those of delivery in
//! `millrace-server`.

use std::{sync::Arc, time::Duration};

use millrace_core::{
    Lifetime, ProducerClaim, ProducerId, Refusal, StreamName, StreamPos, stream::Outcome,
};
use millrace_env::{
    SimClock, SimDisk,
    sim::{Fault, FaultError, FaultOp},
};

use super::machine::{Machine, append, create, fork, small_options};
use crate::{Durability, Options, shard::Command};

/// A machine with what it runs on.
struct Bench {
    disk: Arc<SimDisk>,
    clock: Arc<SimClock>,
    options: Options,
    machine: Option<Machine>,
}

impl Bench {
    fn new(seed: u64) -> Self {
        Self::with(seed, small_options(1))
    }

    fn with(seed: u64, options: Options) -> Self {
        let (disk, clock) = (
            SimDisk::new(seed),
            Arc::new(SimClock::new(1_800_000_000_000)),
        );
        let mut bench = Self {
            disk,
            clock,
            options,
            machine: None,
        };
        bench.open();
        bench
    }

    fn open(&mut self) {
        let opened = Machine::open(&self.disk, &self.clock, self.options.clone(), 1);
        self.machine = Some(opened.expect("the data directory opens"));
    }

    /// Power loss and a start.
    fn crash(&mut self) {
        self.machine = None;
        self.disk = self.disk.crash();
        self.open();
    }

    fn at(&mut self) -> &mut Machine {
        self.machine.as_mut().expect("it is open")
    }

    fn create(&mut self, text: &str, body: &[u8]) {
        let created = self
            .at()
            .submit(create(&name(text), body, Lifetime::Unlimited));
        assert!(matches!(created, Ok(Outcome::Created(_))), "{created:?}");
    }

    fn append(&mut self, text: &str, body: &[u8]) -> Result<Outcome, Refusal> {
        self.at().submit(append(&name(text), body, None, false))
    }

    fn delete(&mut self, text: &str) -> Result<Outcome, Refusal> {
        self.at().submit(Command::Delete { name: name(text) })
    }

    fn fork(&mut self, text: &str, source: &str, at: u64) -> Result<Outcome, Refusal> {
        let resolved = self.at().fork_source(&name(source), StreamPos(at));
        self.at().submit(fork(&name(text), &name(source), resolved))
    }

    fn bytes(&mut self, text: &str) -> Option<Vec<u8>> {
        self.at().find(&name(text)).map(|found| found.bytes)
    }
}

fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a name")
}

#[expect(clippy::unnecessary_wraps, reason = "what `append` takes")]
fn claim(id: &str, seq: u64) -> Option<ProducerClaim> {
    Some(ProducerClaim {
        id: ProducerId::new(id).expect("an id"),
        epoch: 0,
        seq,
    })
}

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
fn t07_a_flush_that_failed_for_space_is_dirty_again() {
    let mut bench = Bench::new(7);
    bench.create("a", b"0123");
    let full = Fault::new(FaultOp::Write, FaultError::NoSpace).on("segments");
    bench.disk.fail(full.lasting());
    bench.at().flush().expect("a full disk is no poison");
    bench.append("a", b"4567").expect("the log has room");
    bench.disk.heal();
    bench.at().flush().expect("there is space again");
    bench.crash();
    assert_eq!(bench.bytes("a").as_deref(), Some(&b"01234567"[..]));
}

#[test]
fn t09_a_log_that_is_named_and_missing_stops_the_start() {
    let mut bench = Bench::new(9);
    bench.create("a", b"0123");
    bench.machine = None;
    bench.disk = bench.disk.crash();
    bench.disk.lose("wal/0000000000000001");
    let opened = Machine::open(&bench.disk, &bench.clock, bench.options.clone(), 1);
    let Err(error) = opened else {
        panic!("it opened without its log")
    };
    assert!(
        error.to_string().contains("wal/0000000000000001"),
        "{error}"
    );
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
fn t14_t24_a_full_disk_refuses_acknowledges_nothing_and_recovers_by_itself() {
    for room in (0..64).map(|step| step * 1024) {
        let mut bench = Bench::new(14 + room);
        bench.create("a", b"");
        bench.disk.set_short_writes(0.3);
        bench.disk.set_capacity(Some(bench.disk.used() + room));
        let mut expected = Vec::new();
        let mut refused = 0;
        for n in 0..60u32 {
            let body = format!("[{n:04}]").repeat(90);
            match bench.append("a", body.as_bytes()) {
                Ok(_) => expected.extend_from_slice(body.as_bytes()),
                Err(refusal) => {
                    assert_eq!(refusal, Refusal::StorageFull, "with room for {room}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 0, "the disk did fill up with room for {room}");
        bench.disk.set_capacity(None);
        bench.clock.advance(Duration::from_secs(5));
        bench
            .append("a", b"after")
            .expect("writes resume by themselves");
        expected.extend_from_slice(b"after");
        bench.crash();
        assert_eq!(bench.bytes("a"), Some(expected), "with room for {room}");
    }
}

#[test]
fn t07b_deleting_works_on_a_full_disk() {
    let mut bench = Bench::new(77);
    bench.create("a", b"0");
    bench.at().flush().expect("it flushes");
    bench.disk.set_capacity(Some(bench.disk.used()));
    let body = vec![b'x'; 3000];
    while bench.append("a", &body).is_ok() {}
    bench
        .delete("a")
        .expect("space is kept for what frees space");
    bench.disk.set_capacity(None);
    bench.crash();
    assert_eq!(bench.bytes("a"), None);
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
fn t06_after_a_failed_sync_nothing_is_acknowledged_and_reads_go_on() {
    let mut bench = Bench::new(6);
    bench.create("a", b"0");
    bench
        .disk
        .fail(Fault::new(FaultOp::Sync, FaultError::Io).on("wal"));
    assert_eq!(bench.append("a", b"1"), Err(Refusal::Poisoned));
    assert_eq!(
        bench.append("a", b"2"),
        Err(Refusal::Poisoned),
        "a sync is never tried again"
    );
    let duplicate = bench.at().submit(append(&name("a"), b"", None, true));
    assert_eq!(duplicate, Err(Refusal::Poisoned));
    assert_eq!(
        bench.bytes("a").as_deref(),
        Some(&b"0"[..]),
        "readers see what is durable"
    );
    bench.crash();
    let after = bench.bytes("a").expect("it is there");
    assert!(after == b"0" || after == b"01", "{after:?}");
    bench
        .append("a", b"x")
        .expect("a restart finds out what the disk holds");
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
fn t25_a_start_on_a_full_disk_keeps_every_stream() {
    let mut bench = Bench::new(25);
    bench.create("a", b"flushed");
    bench.at().flush().expect("it flushes");
    bench.append("a", b", logged").expect("it is appended");
    bench.machine = None;
    bench.disk = bench.disk.crash();
    bench.disk.set_capacity(Some(bench.disk.used()));
    let opened = Machine::open(&bench.disk, &bench.clock, bench.options.clone(), 1);
    if let Ok(machine) = opened {
        bench.machine = Some(machine);
        assert_eq!(bench.bytes("a").as_deref(), Some(&b"flushed, logged"[..]));
    }
    bench.disk.set_capacity(None);
    bench.crash();
    assert_eq!(bench.bytes("a").as_deref(), Some(&b"flushed, logged"[..]));
}

#[test]
fn t28_recovery_of_a_long_log_stays_inside_the_memory_budget() {
    let mut options = small_options(1);
    options.flush_bytes = 1 << 40;
    let mut bench = Bench::with(28, options);
    bench.create("a", b"");
    let body = vec![b'x'; 8 << 10];
    for _ in 0..300 {
        bench.append("a", &body).expect("it is appended");
    }
    assert!(bench.at().charged() > 2 << 20, "nothing was flushed");
    bench.options.flush_bytes = 64 << 10;
    bench.crash();
    let charged = bench.at().charged();
    assert!(
        charged < 128 << 10,
        "{charged} bytes are held after recovery"
    );
    assert_eq!(
        bench.bytes("a").map(|bytes| bytes.len()),
        Some(300 * (8 << 10))
    );
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
fn t44_t45_expiry_is_swept_untouched_but_never_under_a_reader_or_a_writer() {
    let mut bench = Bench::new(44);
    for text in ["idle", "read", "written"] {
        bench
            .at()
            .submit(create(&name(text), b"x", Lifetime::Ttl(60)))
            .expect("it is created");
    }
    bench.at().flush().expect("it flushes");
    let follow = bench
        .at()
        .live(&name("read"))
        .expect("it is there")
        .follow();
    for _ in 0..6 {
        bench.clock.advance(Duration::from_secs(20));
        bench
            .append("written", b"y")
            .expect("a writer keeps it alive");
        bench.at().sweep().expect("it sweeps");
    }
    assert!(
        bench.at().state(&name("idle")).is_none(),
        "nobody touched it"
    );
    assert!(bench.at().state(&name("read")).is_some());
    assert!(bench.at().state(&name("written")).is_some());
    let now = bench.at().now();
    bench
        .at()
        .live(&name("read"))
        .expect("it is there")
        .touch(now);
    drop(follow);
    bench.clock.advance(Duration::from_secs(59));
    bench.at().sweep().expect("it sweeps");
    assert!(
        bench.at().state(&name("read")).is_some(),
        "the end of the read renewed it"
    );
    bench.clock.advance(Duration::from_secs(3));
    bench.at().sweep().expect("it sweeps");
    assert!(bench.at().state(&name("read")).is_none());
}

#[test]
fn t44b_a_stream_outside_memory_expires_too() {
    let mut bench = Bench::new(144);
    bench
        .at()
        .submit(create(&name("a"), b"x", Lifetime::Ttl(60)))
        .expect("it is created");
    bench.at().flush().expect("it flushes");
    bench.at().sweep().expect("it sweeps");
    assert_eq!(bench.at().resident(), 0, "an idle stream leaves memory");
    bench.clock.advance(Duration::from_secs(200));
    for _ in 0..3 {
        bench.at().sweep().expect("it sweeps");
        bench.clock.advance(Duration::from_secs(61));
    }
    assert!(bench.at().state(&name("a")).is_none());
}

#[test]
fn t46_reads_renew_a_lifetime_without_a_write() {
    let mut bench = Bench::new(46);
    bench
        .at()
        .submit(create(&name("a"), b"x", Lifetime::Ttl(3600)))
        .expect("it is created");
    bench.at().flush().expect("it flushes");
    let before = bench.disk.io_count();
    for _ in 0..1000 {
        let now = bench.at().now();
        bench.at().live(&name("a")).expect("it is there").touch(now);
        bench.clock.advance(Duration::from_millis(10));
    }
    assert_eq!(bench.disk.io_count(), before);
}

#[test]
fn a_start_gives_every_sliding_lifetime_its_full_length_again() {
    let mut bench = Bench::new(146);
    bench
        .at()
        .submit(create(&name("a"), b"x", Lifetime::Ttl(60)))
        .expect("it is created");
    bench.machine = None;
    bench.disk = bench.disk.crash();
    bench.clock.advance(Duration::from_mins(10));
    bench.open();
    bench.at().sweep().expect("it sweeps");
    assert!(
        bench.at().state(&name("a")).is_some(),
        "renewals lost in a crash end nothing early"
    );
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
fn t72_a_fork_that_was_refused_does_not_pin_its_source() {
    let mut bench = Bench::new(72);
    bench.create("source", b"0123");
    let resolved = bench.at().fork_source(&name("source"), StreamPos(2));
    bench.create("taken", b"");
    let refused = bench
        .at()
        .submit(fork(&name("taken"), &name("source"), resolved));
    assert!(
        matches!(refused, Err(Refusal::Config { .. })),
        "{refused:?}"
    );
    bench.delete("source").expect("it is deleted");
    assert!(
        bench.at().state(&name("source")).is_none(),
        "nothing holds it"
    );
}

#[test]
fn t77_deep_forks_read_through_and_are_given_back_after_a_crash_anywhere() {
    for ios in 0..40 {
        let mut bench = Bench::with(77 + ios, small_options(2));
        bench.create("f0", b"0");
        for depth in 1..12u64 {
            let (text, source) = (format!("f{depth}"), format!("f{}", depth - 1));
            bench.fork(&text, &source, depth).expect("it is forked");
            bench
                .append(&text, &depth.to_string().as_bytes()[..1])
                .expect("it is appended");
        }
        if ios % 2 == 0 {
            bench.at().flush().expect("it flushes");
        }
        for depth in 0..11 {
            bench.delete(&format!("f{depth}")).expect("it is deleted");
        }
        assert_eq!(bench.bytes("f11").map(|bytes| bytes.len()), Some(12));
        bench.disk.crash_after(ios);
        let deleted = bench.delete("f11");
        bench.crash();
        if deleted.is_ok() || bench.bytes("f11").is_none() {
            for depth in 0..12 {
                let left = bench.at().state(&name(&format!("f{depth}")));
                assert!(left.is_none(), "f{depth} after {ios} I/Os");
            }
        } else {
            assert_eq!(bench.bytes("f11").map(|bytes| bytes.len()), Some(12));
        }
    }
}

#[test]
fn t78_closed_and_flushed_sources_fork_and_a_fork_outlives_them() {
    let mut bench = Bench::new(78);
    bench.create("source", b"0123456789");
    bench
        .at()
        .submit(append(&name("source"), b"", None, true))
        .expect("it is closed");
    bench.at().flush().expect("it flushes");
    bench.fork("fork", "source", 4).expect("it is forked");
    bench.append("fork", b"+").expect("a fork starts open");
    bench.delete("source").expect("it is deleted");
    bench.at().flush().expect("it flushes");
    bench.at().compact().expect("it compacts");
    bench.crash();
    assert_eq!(bench.bytes("fork").as_deref(), Some(&b"0123+"[..]));
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
