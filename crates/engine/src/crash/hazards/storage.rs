//! The log, the disk and recovery.

use std::path::Path;

use millrace_core::{
    ContentType, CreateSpec, Created, Event, Payload, StreamId, Timestamp, slot::next_generation,
    stream::GenerationStart,
};
use millrace_env::Disk as _;
use millrace_store::StoreError;

use super::*;
use crate::crash::damage::files;

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

/// Of two logs the second is damaged. The first was opened, what a crash had left was cleaned away, and
/// then the start was refused; so it had changed what whoever restores the file needs to find.
#[test]
fn t08_a_start_that_is_refused_for_one_log_has_changed_nothing_else() {
    let mut bench = Bench::with(8, small_options(2));
    for name in ["a", "b", "c", "d", "e", "f"] {
        bench.create(name, b"0123");
        bench.append(name, b"4567").expect("is there");
    }
    bench.machine = None;
    bench.disk = bench.disk.kill();
    files::write(
        &bench.disk,
        "segments/00000000000000f0.tmp",
        b"not finished",
    );
    files::write(&bench.disk, "segments/00000000000000f1.seg", b"not named");
    let log = "wal/0000000000000002/0000000000000002.wal";
    bench.disk.flip_bit(log, 4096 + 60, 3);
    let before = files::read(&bench.disk);
    let opened = Machine::open(&bench.disk, &bench.clock, bench.options.clone(), 1);
    let error = opened.err().expect("a log is damaged");
    assert!(error.to_string().contains(log), "{error}");
    let after = files::read(&bench.disk);
    for (path, content) in &before {
        let is_same = after.get(path) == Some(content) || path == "catalog.redb";
        assert!(is_same, "{path}");
    }
    assert_eq!(before.len(), after.len());
    bench.disk = bench.disk.kill();
    bench.disk.flip_bit(log, 4096 + 60, 3);
    bench.open();
    for name in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(bench.bytes(name).as_deref(), Some(&b"01234567"[..]));
    }
}

/// Every log, with all that was acknowledged, was set aside for one that an interrupted start had left,
/// and the server began anew and empty.
#[test]
fn t09_a_catalog_of_before_the_first_stream_is_refused() {
    let mut bench = Bench::new(109);
    let empty = {
        let disk = SimDisk::new(1);
        let env = millrace_env::Env {
            disk: Arc::clone(&disk) as _,
            clock: Arc::clone(&bench.clock) as _,
            rng: Arc::new(millrace_env::Rng::from_seed(1)),
        };
        drop(millrace_store::Catalog::open(&env, 1 << 20).expect("it is made"));
        disk.content("catalog.redb")
    };
    for flushed in [false, true] {
        if flushed {
            bench.at().flush().expect("it flushes");
        } else {
            bench.create("a", b"0123");
        }
        bench.refuses_and_forgives(&empty);
        assert_eq!(bench.bytes("a").as_deref(), Some(&b"0123"[..]));
    }
}

/// The logs of all shards were set aside for one that the older catalog knew and that was still there:
/// a start with another number of shards had been interrupted before it removed it.
#[test]
fn t09_a_catalog_of_before_another_number_of_shards_is_refused() {
    let mut bench = Bench::new(209);
    bench.create("a", b"0123");
    let before = files::read(&bench.disk);
    bench.machine = None;
    bench.disk = bench.disk.kill();
    bench.options = small_options(2);
    bench.open();
    bench.append("a", b"4567").expect("is there");
    bench.machine = None;
    bench.disk = bench.disk.kill();
    for (path, content) in before.iter().filter(|(path, _)| path.starts_with("wal/")) {
        files::write(&bench.disk, path, content);
    }
    bench.refuses_and_forgives(&before["catalog.redb"]);
    assert_eq!(bench.bytes("a").as_deref(), Some(&b"01234567"[..]));
}

impl Bench {
    /// With an older catalog no start is possible, and with the right one all is there again.
    fn refuses_and_forgives(&mut self, older: &[u8]) {
        self.machine = None;
        self.disk = self.disk.kill();
        let newest = self.disk.content("catalog.redb");
        files::write(&self.disk, "catalog.redb", older);
        let opened = Machine::open(&self.disk, &self.clock, self.options.clone(), 1);
        let error = match opened {
            Err(error) => error,
            Ok(mut machine) => panic!("it opened, with {:?}", machine.find(&name("a"))),
        };
        assert!(
            error.to_string().contains("catalog.redb is older"),
            "{error}"
        );
        self.disk = self.disk.kill();
        files::write(&self.disk, "catalog.redb", &newest);
        self.open();
    }
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
fn t24_deleting_works_on_a_full_disk_and_gives_its_space_back() {
    let mut bench = Bench::new(77);
    bench.create("a", &vec![b'x'; 300 << 10]);
    bench.create("b", b"0");
    bench.at().flush().expect("it flushes");
    bench.disk.set_capacity(Some(bench.disk.used()));
    let body = vec![b'x'; 3000];
    while bench.append("b", &body).is_ok() {}
    let full = bench.disk.used();
    bench
        .delete("a")
        .expect("space is kept for what frees space");
    bench.at().flush().expect("its commit finds space");
    assert!(
        bench.disk.used() + (200 << 10) < full,
        "the bytes are given back"
    );
    bench.clock.advance(Duration::from_secs(5));
    bench
        .append("b", &body)
        .expect("writes resume by themselves");
    bench.disk.set_capacity(None);
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
fn t35_readers_see_nothing_of_a_turn_before_its_sync() {
    let mut bench = Bench::new(35);
    bench.create("a", b"0");
    for command in [
        append(&name("a"), b"1", None, false),
        append(&name("a"), b"2", None, true),
        create(&name("b"), b"x", Lifetime::Unlimited),
        Command::Delete { name: name("a") },
    ] {
        let before = (bench.at().find(&name("a")), bench.at().find(&name("b")));
        let mut seen = None;
        let done = bench.at().look_before_sync(command, |machine| {
            seen = Some((machine.find(&name("a")), machine.find(&name("b"))));
        });
        done.expect("it is done");
        assert_eq!(seen, Some(before.clone()), "before the sync");
        let after = (bench.at().find(&name("a")), bench.at().find(&name("b")));
        assert_ne!(after, before, "and after it");
    }
}

/// What was written and never synced went with the power; a flush that had sealed it would have made it
/// durable in the place of what came instead.
#[test]
fn t79_a_flush_amid_a_turn_seals_nothing_that_is_not_durable() {
    for seed in 0..20 {
        let mut bench = Bench::new(79 + seed);
        bench.create("a", b"0");
        let mut copy = None;
        let disk = Arc::clone(&bench.disk);
        let done = bench.at().look_before_sync(
            append(&name("a"), b"lost", claim("p", 0), false),
            |machine| {
                machine.flush().expect("it flushes");
                copy = Some(disk.copy(seed).crash());
            },
        );
        done.expect("it is done");
        bench.machine = None;
        bench.disk = copy.expect("it was looked at");
        bench.open();
        let after = bench.bytes("a").expect("it is there");
        assert!(after == b"0" || after == b"0lost", "{after:?}");
        let state = bench.at().state(&name("a")).expect("it is there");
        assert_eq!(state.tail.get(), after.len() as u64, "tail and bytes agree");
        let again = append(&name("a"), b"lost", claim("p", 0), false);
        bench.at().submit(again).expect("it is sent again");
        bench.at().flush().expect("it flushes");
        bench.crash();
        assert_eq!(
            bench.bytes("a").as_deref(),
            Some(&b"0lost"[..]),
            "seed {seed}"
        );
    }
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
fn t27_damage_is_named_by_check_with_what_to_do() {
    let mut bench = Bench::new(27);
    bench.create("a", &[b'x'; 5000]);
    bench.at().flush().expect("it flushes");
    bench.machine = None;
    let env = millrace_env::Env {
        disk: Arc::clone(&bench.disk) as _,
        clock: Arc::clone(&bench.clock) as _,
        rng: Arc::new(millrace_env::Rng::from_seed(1)),
    };
    let check =
        || millrace_store::check::run(&env, millrace_store::check::Lock::Take).expect("it looks");
    assert!(check().is_whole());
    let segments = env.disk.list("segments".as_ref()).expect("a directory");
    let damaged = format!("segments/{}", segments[0].name);
    bench.disk.flip_bit(&damaged, 4096 + 100, 3);
    let report = check();
    assert!(!report.is_whole());
    let named = report
        .findings
        .iter()
        .any(|finding| finding.file == damaged);
    assert!(
        named && !report.findings[0].to_do.is_empty(),
        "{:?}",
        report.findings
    );
}

#[test]
fn t29_what_a_start_replays_is_bounded_by_what_is_not_flushed() {
    let mut bench = Bench::new(29);
    bench.create("a", b"");
    let mut retained = 0;
    for n in 0..600u32 {
        bench.append("a", &[b'x'; 200]).expect("it is appended");
        if n % 20 == 19 {
            bench.at().flush().expect("it flushes");
            retained = retained.max(bench.at().log_bytes());
        }
    }
    let segment = small_options(1).wal_segment_bytes;
    assert!(
        retained <= 3 * segment,
        "{retained} bytes of log are kept after a flush"
    );
}

#[test]
fn t30_power_loss_at_any_io_of_flush_and_compaction_tears_nothing() {
    for ios in 0..120 {
        let mut bench = Bench::new(30 + ios);
        let mut wanted = Vec::new();
        bench.create("a", b"");
        bench.create("b", b"gone soon");
        for n in 0..12u8 {
            bench.append("a", &[n; 300]).expect("it is appended");
            wanted.extend_from_slice(&[n; 300]);
            bench.at().flush().expect("it flushes");
        }
        bench.delete("b").expect("it is deleted");
        bench.disk.crash_after(ios);
        // Any of these may meet the end of power; what they leave is looked at afterwards.
        let _ = bench.at().compact();
        let _ = bench.at().flush();
        let _ = bench.at().compact();
        bench.crash();
        assert_eq!(bench.bytes("a"), Some(wanted), "after {ios} I/Os");
        assert_eq!(bench.bytes("b"), None, "after {ios} I/Os");
    }
}

/// Recovery looks up no stream that cannot be there yet; one that can it finds, in memory or not.
#[test]
fn a_log_that_creates_a_stream_twice_is_refused_and_one_that_creates_another_is_not() {
    let mut bench = Bench::new(26);
    bench.create("a", b"0123");
    bench.at().flush().expect("it flushes");
    bench.crash();
    assert_eq!(bench.at().resident(), 0, "the catalog alone has it");
    let state = bench.at().state(&name("a")).expect("it is there");
    bench.clock.advance(Duration::from_secs(5));
    bench.at().sweep().expect("it sweeps");
    assert_eq!(bench.at().resident(), 0, "the catalog alone has it");
    let refused = bench.at().replay(created(state.id, "a"));
    assert!(
        matches!(&refused, Err(StoreError::Corrupt { what }) if what.contains("a second time")),
        "{refused:?}"
    );
    let next = next_generation(state.id.slot(), state.id.birth());
    let other = StreamId::new(state.id.slot(), next);
    bench
        .at()
        .replay(created(other, "b"))
        .expect("its identity is new");
    let twice = bench.at().replay(created(other, "b"));
    assert!(
        matches!(twice, Err(StoreError::Corrupt { .. })),
        "{twice:?}"
    );
}

/// The creation of a stream without content.
fn created(stream: StreamId, text: &str) -> Event {
    let start = GenerationStart {
        generation: stream.birth(),
        from: StreamPos::ZERO,
    };
    Event::Created(Box::new(Created {
        stream,
        name: name(text),
        spec: CreateSpec {
            content_type: None,
            lifetime: Lifetime::Unlimited,
            closed: false,
            fork: None,
        },
        content_type: ContentType::default(),
        lifetime: Lifetime::Unlimited,
        origin: None,
        lineage: [].into(),
        generations: [start].into(),
        payload: Payload::single(bytes::Bytes::new()),
        at: Timestamp::ZERO,
    }))
}

#[test]
fn turns_reads_and_a_crash_between_the_steps_in_which_a_flush_is_let_go_of() {
    for steps in 0..6 {
        let mut bench = Bench::new(1000 + steps);
        let names = ["a", "b", "c", "d", "e"];
        for name in names {
            bench.create(name, b"0123");
        }
        let flushed = bench.at().flush_and_let_go_later();
        flushed.expect("there is space");
        // Each turn lets go of one more.
        for n in 0..steps {
            let name = names[usize::try_from(4 - n % 5).expect("is small")];
            bench.append(name, b"+").expect("is there");
        }
        let read = |bench: &mut Bench| names.map(|name| bench.bytes(name).expect("is there"));
        let before = read(&mut bench);
        assert_eq!(
            before.iter().map(|bytes| &bytes[..4]).collect::<Vec<_>>(),
            [b"0123"; 5]
        );
        bench.crash();
        assert_eq!(read(&mut bench), before, "after {steps}");
        bench.at().flush().expect("there is space");
        bench.at().flush().expect("the last one is over");
        assert_eq!(read(&mut bench), before, "after {steps} and flushes");
    }
}

#[test]
fn a_replay_flushes_when_memory_asks_for_it_and_not_before() {
    // Many more streams than start a flush, and more than a replay may gather.
    for (streams, flushes) in [(10, false), (40, true)] {
        let mut options = small_options(1);
        options.flush_streams = 4;
        let mut bench = Bench::with(2000 + streams, options);
        for n in 0..streams {
            bench.create(&format!("{n}"), b"0123");
        }
        bench.crash();
        let segments = bench.disk.list(Path::new("segments"));
        let has_segments = segments.is_ok_and(|names| !names.is_empty());
        assert_eq!(has_segments, flushes, "after {streams} streams");
        assert_eq!(bench.bytes("7").as_deref(), Some(&b"0123"[..]));
    }
}
