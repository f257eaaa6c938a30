//! What clients find after a repair: bytes as they were, errors, or 410; never others.

use std::{collections::BTreeMap, future::Future, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use millrace_core::{
    Append, Body, ContentType, CreateSpec, ForkAnchor, ForkRequest, Lifetime, Offset, Payload,
    Refusal, StreamName,
};
use millrace_engine::{Engine, From, NewStream, Opened, Options, open};
use millrace_env::{Disk as _, Env, Rng, SimClock, SimDisk, sleep};
use millrace_store::{
    check::{self, Lock},
    repair::{self, Lost, Plan},
};

fn options() -> Options {
    Options {
        shards: 2,
        wal_segment_bytes: 64 << 10,
        compaction_interval: Duration::from_millis(50),
        flush_bytes: 1 << 20,
        ..Options::for_memory(64 << 20)
    }
}

fn env(disk: &Arc<SimDisk>) -> Env {
    Env {
        disk: Arc::clone(disk) as _,
        clock: Arc::new(SimClock::new(1_800_000_000_000)),
        rng: Arc::new(Rng::from_seed(1)),
    }
}

/// One life of a server.
fn on<F: Future>(disk: &Arc<SimDisk>, life: impl FnOnce(Engine) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let Opened { engine, shards } = open(env(disk), options()).expect("it opens");
        for shard in shards {
            tokio::task::spawn_local(shard.run());
        }
        life(engine).await
    })
}

/// What a stream was told to hold, and every offset that was given out.
#[derive(Clone, Debug, Default)]
struct Told {
    bytes: Vec<u8>,
    offsets: Vec<Offset>,
}

type All = BTreeMap<String, Told>;

fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a name")
}

fn body(payload: Payload, json: bool) -> Append {
    let kind = if json {
        ContentType::new("application/json")
    } else {
        Some(ContentType::default())
    };
    Append {
        body: Body::Framed(payload),
        content_type: kind,
        ..Append::default()
    }
}

fn is_json(text: &str) -> bool {
    text.starts_with('j')
}

async fn create(engine: &Engine, text: &str, fork: Option<ForkRequest>) {
    let json = is_json(text).then(|| ContentType::new("application/json").expect("a type"));
    let spec = CreateSpec {
        content_type: json,
        lifetime: Lifetime::Unlimited,
        closed: false,
        fork,
    };
    let new = NewStream::new(name(text), spec, Body::Empty);
    engine.create(new).await.expect("is new");
}

/// Appends a few messages that say where they are.
async fn append(engine: &Engine, text: &str, told: &mut Told) {
    let number = told.offsets.len();
    let values: Vec<String> = (0..=number % 3)
        .map(|m| format!("\"{text}-{number}-{m}-{}\",", "x".repeat(number * 7 % 300)))
        .collect();
    let lengths: Vec<u32> = values
        .iter()
        .map(|value| u32::try_from(value.len()).expect("short"))
        .collect();
    let bytes = values.concat().into_bytes();
    let payload = if is_json(text) {
        Payload::from_lengths(Bytes::from(bytes.clone()), &lengths)
    } else {
        Payload::single(Bytes::from(bytes.clone()))
    };
    let append = body(payload, is_json(text));
    let appended = engine.append(&name(text), append, None).await;
    appended.expect("is there");
    told.bytes.extend(bytes);
    told.offsets.push(tail(engine, text).await);
}

async fn tail(engine: &Engine, text: &str) -> Offset {
    let stream = engine.open(&name(text)).await.expect("is there");
    stream.read_from(From::Tail).await.expect("a tail").offset()
}

async fn fill(engine: &Engine) -> All {
    let mut all = All::new();
    for text in ["a", "b", "c", "d", "j/a", "j/b", "j/c"] {
        create(engine, text, None).await;
        all.insert(text.to_owned(), Told::default());
    }
    for _ in 0..30 {
        for (text, told) in &mut all {
            append(engine, text, told).await;
        }
    }
    // A fork on another shard than its source, half the time.
    for source in ["a", "j/b"] {
        let text = format!("{source}-fork");
        let request = ForkRequest {
            source: name(source),
            anchor: ForkAnchor::Tail,
            sub_offset: 0,
        };
        create(engine, &text, Some(request)).await;
        let mut told = all[source].clone();
        append(engine, &text, &mut told).await;
        all.insert(text, told);
    }
    for (text, told) in &mut all {
        append(engine, text, told).await;
    }
    all
}

/// Reads from everywhere: what comes is what was there. How often a read failed, and how many offsets
/// are gone.
async fn assert_honest(engine: &Engine, all: &All) -> (u32, u32) {
    let (mut failed, mut gone) = (0, 0);
    for (text, told) in all {
        let Ok(stream) = engine.open(&name(text)).await else {
            gone += 1;
            continue;
        };
        let starts = told.offsets.iter().map(|offset| From::At(*offset));
        for from in starts.chain([From::Start]) {
            let mut reader = match stream.read_from(from).await {
                Ok(reader) => reader,
                Err(Refusal::OffsetGone { .. }) => {
                    gone += 1;
                    continue;
                }
                Err(error) => {
                    assert_eq!(error, Refusal::Corrupt, "{text}");
                    failed += 1;
                    continue;
                }
            };
            for bytes_max in [100, 1 << 20] {
                let Ok(batch) = reader.next(bytes_max).await else {
                    failed += 1;
                    break;
                };
                let at = usize::try_from(batch.from.position.get()).expect("short");
                let (len, done) = (batch.len, batch.up_to_date);
                let Ok(bytes) = batch.collect().await else {
                    failed += 1;
                    break;
                };
                assert_eq!(bytes.len() as u64, len);
                assert_eq!(
                    bytes[..],
                    told.bytes[at..at + bytes.len()],
                    "{text} at {at}"
                );
                if done {
                    break;
                }
            }
        }
    }
    (failed, gone)
}

/// Repairs, and lets a server and its clients go on.
fn repaired(disk: &Arc<SimDisk>, all: &All) -> Plan {
    let env = env(disk);
    let plan = repair::plan(&env, Lock::Take).expect("it can be looked at");
    assert!(!plan.is_empty() && plan.refused.is_none(), "{plan:?}");
    repair::apply(&env, Lock::Take, &plan).expect("it is repaired");
    on(disk, async |engine| {
        let (failed, gone) = assert_honest(&engine, all).await;
        let lost_frames = plan
            .lost
            .iter()
            .any(|lost| matches!(lost, Lost::Frames { .. }));
        assert!(gone == 0 || lost_frames, "{gone}, {plan:?}");
        assert_eq!(failed > 0, plan.lost_bytes() > 0, "{failed}, {plan:?}");
        let mut now = All::new();
        for (text, told) in all {
            now.insert(text.clone(), go_on(&engine, text, told).await);
        }
        // Through flushes and compactions.
        sleep(Duration::from_secs(30)).await;
        assert_eq!(assert_honest(&engine, &now).await.0 > 0, failed > 0);
        for text in all.keys() {
            engine.delete(&name(text)).await.ok();
        }
        sleep(Duration::from_secs(30)).await;
        engine.shutdown().await;
    });
    let report = check::run(&env, Lock::Take).expect("it can be looked at");
    assert!(report.is_whole(), "{report:?}");
    plan
}

/// A stream takes appends, and no old offset means them; what it holds by then.
async fn go_on(engine: &Engine, text: &str, told: &Told) -> Told {
    let is_gone = engine.open(&name(text)).await.is_err();
    if is_gone {
        create(engine, text, None).await;
    }
    let before = tail(engine, text).await;
    let mut now = told.clone();
    now.bytes
        .truncate(usize::try_from(before.position.get()).expect("short"));
    let from = now.bytes.len();
    append(engine, text, &mut now).await;
    let stream = engine.open(&name(text)).await.expect("is there");
    let mut reader = stream.read_from(From::At(before)).await.expect("the tail");
    let batch = reader.next(1 << 20).await.expect("a page");
    assert_eq!(
        batch.collect().await.expect("its bytes")[..],
        now.bytes[from..],
        "{text}"
    );
    for offset in &told.offsets {
        if is_gone || offset.position > before.position {
            let gone = stream.read_from(From::At(*offset)).await.map(drop);
            assert!(
                matches!(gone, Err(Refusal::OffsetGone { .. })),
                "{text}: {offset:?}"
            );
        }
    }
    now
}

/// The path of the log segment that has frames, of each shard.
fn logs(disk: &Arc<SimDisk>) -> Vec<String> {
    let mut logs = Vec::new();
    for log in disk.list(Path::new("wal")).expect("logs") {
        let dir = format!("wal/{}", log.name);
        let entries = disk.list(Path::new(&dir)).expect("a log");
        let segment = entries
            .iter()
            .find(|entry| entry.name.strip_suffix(".wal").is_some());
        logs.push(format!("{dir}/{}", segment.expect("a segment").name));
    }
    logs
}

#[test]
fn after_a_damaged_log_streams_have_holes_and_new_generations() {
    let disk = SimDisk::new(1);
    let all = on(&disk, async |engine| fill(&engine).await);
    let disk = disk.kill();
    for log in logs(&disk) {
        for at in [4100, 9000, 15_000, 25_000] {
            let disk = disk.copy(at);
            disk.flip_bit(&log, at, 3);
            let plan = repaired(&disk, &all);
            assert!(!plan.lost.is_empty());
        }
    }
}

#[test]
fn after_a_lost_log_streams_go_on_under_new_generations() {
    let disk = SimDisk::new(2);
    let all = on(&disk, async |engine| fill(&engine).await);
    let disk = disk.kill();
    for log in logs(&disk) {
        let disk = disk.copy(1);
        disk.lose(&log[..log.rfind('/').expect("a directory")]);
        repaired(&disk, &all);
    }
}

#[test]
fn after_a_lost_segment_all_other_bytes_and_offsets_are_as_they_were() {
    let disk = SimDisk::new(3);
    let all = on(&disk, async |engine| {
        let all = fill(&engine).await;
        engine.shutdown().await;
        all
    });
    let disk = disk.kill();
    for segment in disk.list(Path::new("segments")).expect("segments") {
        let disk = disk.copy(1);
        disk.lose(format!("segments/{}", segment.name));
        let plan = repaired(&disk, &all);
        assert!(plan.lost_bytes() > 0);
    }
}

#[test]
fn a_page_ends_before_bytes_that_are_lost_and_the_next_read_fails() {
    let disk = SimDisk::new(4);
    let all = on(&disk, async |engine| {
        let mut all = All::new();
        for text in ["j/a", "b"] {
            create(&engine, text, None).await;
            let mut told = Told::default();
            for _ in 0..3 {
                append(&engine, text, &mut told).await;
            }
            all.insert(text.to_owned(), told);
        }
        engine.shutdown().await;
        all
    });
    let disk = disk.kill();
    let before = disk.list(Path::new("segments")).expect("segments");
    on(&disk, async |engine| {
        for (text, told) in &all {
            append(&engine, text, &mut told.clone()).await;
        }
        engine.shutdown().await;
    });
    let disk = disk.kill();
    for segment in disk.list(Path::new("segments")).expect("segments") {
        if !before.contains(&segment) {
            disk.lose(format!("segments/{}", segment.name));
        }
    }
    let env = env(&disk);
    let plan = repair::plan(&env, Lock::Take).expect("it can be looked at");
    repair::apply(&env, Lock::Take, &plan).expect("it is repaired");
    on(&disk, async |engine| {
        let mut cut = 0;
        for (text, told) in &all {
            let stream = engine.open(&name(text)).await.expect("is there");
            let mut reader = stream.read_from(From::Start).await.expect("a start");
            let batch = reader.next(1 << 20).await.expect("what is before");
            assert!(!batch.up_to_date && !batch.closed);
            let bytes = batch.collect().await.expect("its bytes");
            assert_eq!(bytes[..], told.bytes[..], "{text}");
            let next = match reader.next(1 << 20).await {
                Ok(batch) => batch.collect().await.map(drop),
                Err(refusal) => Err(refusal),
            };
            assert_eq!(next, Err(Refusal::Corrupt), "{text}");
            cut += 1;
        }
        assert_eq!(cut, 2);
    });
}
