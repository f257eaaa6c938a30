//! The scrub of a running engine, under a clock that runs as fast as the work is done.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use millrace_core::{Append, Body, ContentType, CreateSpec, Lifetime, Payload, StreamName};
use millrace_engine::{Engine, NewStream, Opened, Options, metrics::ScrubFigures, open};
use millrace_env::{Disk as _, Env, Rng, SimClock, SimDisk, sleep};

const MIB: u64 = 1 << 20;
/// What the streams of [`with_streams`] hold.
const STREAM_BYTES: u64 = 24 * MIB;
const NOW_SECONDS: u64 = 1_800_000_000;

fn options(rate: u64) -> Options {
    Options {
        shards: 2,
        wal_segment_bytes: MIB,
        flush_bytes: 1,
        scrub_rate: rate,
        scrub_interval: Duration::from_secs(1),
        // What was written stays where it is, so that bytes can be counted.
        compaction_interval: Duration::from_hours(10_000),
        ..Options::for_memory(256 << 20)
    }
}

fn name(number: u64) -> StreamName {
    StreamName::new(&format!("s/{number}")).expect("a name")
}

async fn fill(engine: &Engine) {
    for number in 0..STREAM_BYTES / MIB {
        let spec = CreateSpec {
            content_type: None,
            lifetime: Lifetime::Unlimited,
            closed: false,
            fork: None,
        };
        let new = NewStream::new(name(number), spec, Body::Empty);
        engine.create(new).await.expect("is new");
        let payload = Payload::single(Bytes::from(vec![7; 1 << 20]));
        let append = Append {
            body: Body::Framed(payload),
            content_type: Some(ContentType::default()),
            ..Append::default()
        };
        let appended = engine.append(&name(number), append, None).await;
        appended.expect("is there");
        // For the flush.
        sleep(Duration::from_millis(600)).await;
    }
}

/// Fills a data directory, starts again with `options`, and runs `test` on that.
fn with_streams<F: Future<Output = ()>>(
    options: Options,
    test: impl FnOnce(Engine, Arc<SimDisk>) -> F,
) {
    let disk = SimDisk::new(1);
    on(
        &disk,
        Options {
            scrub_rate: 0,
            ..options.clone()
        },
        async |engine| {
            fill(&engine).await;
            engine.shutdown().await;
        },
    );
    let disk = disk.kill();
    on(&disk, options, |engine| test(engine, Arc::clone(&disk)));
}

fn on<F: Future<Output = ()>>(
    disk: &Arc<SimDisk>,
    options: Options,
    test: impl FnOnce(Engine) -> F,
) {
    let env = Env {
        disk: Arc::clone(disk) as _,
        clock: Arc::new(SimClock::new(NOW_SECONDS * 1_000)),
        rng: Arc::new(Rng::from_seed(1)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let Opened { engine, shards } = open(env, options).expect("it opens");
        for shard in shards {
            tokio::task::spawn_local(shard.run());
        }
        test(engine).await;
    });
}

fn scrubbed(engine: &Engine) -> ScrubFigures {
    engine.figures().scrub
}

#[test]
fn one_pass_at_a_time_keeps_the_rate_whatever_the_number_of_shards() {
    for shards in [1, 4] {
        let options = Options {
            shards,
            ..options(MIB)
        };
        with_streams(options, async |engine, _| {
            assert_eq!(scrubbed(&engine), ScrubFigures::default());
            // A pass begins after a second.
            sleep(Duration::from_secs(1)).await;
            for seconds in 1..20 {
                sleep(Duration::from_secs(1)).await;
                let bytes = scrubbed(&engine).bytes;
                let at_most = (seconds + 1) * MIB;
                assert!(
                    bytes <= at_most,
                    "{bytes} bytes in {seconds} s, {shards} shards"
                );
                // Small files end in small pieces, of which none makes it slower.
                assert!(bytes + 2 * MIB >= at_most, "{bytes} bytes in {seconds} s");
            }
            let amid = scrubbed(&engine);
            assert_eq!((amid.began_seconds, amid.ended_seconds), (NOW_SECONDS, 0));
            assert!(amid.progress_millionths > 500_000 && amid.progress_millionths < 1_000_000);
        });
    }
}

#[test]
fn a_pass_ends_and_the_next_one_begins_after_the_interval() {
    let options = Options {
        scrub_interval: Duration::from_secs(30),
        ..options(64 * MIB)
    };
    with_streams(options, async |engine, _| {
        sleep(Duration::from_secs(29)).await;
        assert_eq!(scrubbed(&engine), ScrubFigures::default());
        sleep(Duration::from_secs(20)).await;
        let first = scrubbed(&engine);
        assert_eq!(first.ended_seconds, NOW_SECONDS);
        assert_eq!(first.progress_millionths, 1_000_000);
        assert!(first.bytes >= STREAM_BYTES, "{first:?}");
        assert!(first.segments > 0, "{first:?}");
        assert_eq!((first.damaged_blocks, first.damaged_files), (0, 0));
        sleep(Duration::from_secs(30)).await;
        assert_eq!(scrubbed(&engine).segments, 2 * first.segments);
    });
}

#[test]
fn a_stop_ends_a_pass_at_once() {
    with_streams(options(MIB), async |engine, _| {
        sleep(Duration::from_secs(5)).await;
        let amid = scrubbed(&engine);
        assert!(amid.bytes > 0 && amid.ended_seconds == 0, "{amid:?}");
        engine.shutdown().await;
        let stopped = scrubbed(&engine);
        sleep(Duration::from_hours(1)).await;
        assert_eq!(scrubbed(&engine), stopped, "nothing is read any more");
    });
}

#[test]
fn without_a_rate_nothing_is_read() {
    with_streams(options(0), async |engine, _| {
        sleep(Duration::from_hours(24)).await;
        assert_eq!(scrubbed(&engine), ScrubFigures::default());
    });
}

#[test]
fn damage_is_a_warning_and_no_problem_until_it_is_gone() {
    with_streams(options(64 * MIB), async |engine, disk| {
        let segments = disk.list(Path::new("segments")).expect("is there");
        let file = format!("segments/{}", segments[0].name);
        disk.flip_bit(&file, 70_000, 2);
        sleep(Duration::from_secs(10)).await;
        let status = engine.status();
        assert!(status.ready && status.problems.is_empty());
        assert_eq!(status.warnings, [format!("{file} is damaged: see the log")]);
        let figures = scrubbed(&engine);
        assert_eq!(figures.damaged_files, 1);
        // Found anew by every pass.
        assert!(figures.damaged_blocks >= 2, "{figures:?}");
        // As a restored file would be.
        disk.flip_bit(&file, 70_000, 2);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(engine.status().warnings, [""; 0]);
        assert_eq!(scrubbed(&engine).damaged_files, 0);
    });
}
