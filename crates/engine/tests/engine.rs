//! The engine through its public API, on a simulated disk: reads over hot and sealed bytes, live
//! reads, cancellation, listings, forks across shards.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use millrace_core::{
    Append, Body, ContentType, CreateSpec, ForkAnchor, ForkRequest, Lifetime, Payload, Refusal,
    StreamName, stream::Outcome,
};
use millrace_engine::{Changed, Engine, From, NewStream, Opened, Options, open};
use millrace_env::{Clock, Env, Rng, SimClock, SimDisk};

/// Runs `test` against an engine with two shards, both on this thread.
fn with_engine<F: Future>(options: Options, test: impl FnOnce(Engine) -> F) -> F::Output {
    let clock: Arc<dyn Clock> = Arc::new(SimClock::new(1_800_000_000_000));
    let env = Env {
        disk: SimDisk::new(1),
        clock,
        rng: Arc::new(Rng::from_seed(1)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let Opened { engine, shards } = open(env, options).expect("it opens");
        for shard in shards {
            tokio::task::spawn_local(shard.run());
        }
        test(engine).await
    })
}

fn options() -> Options {
    Options {
        shards: 2,
        wal_segment_bytes: 64 << 10,
        compaction_interval: Duration::from_millis(50),
        ..Options::for_memory(64 << 20)
    }
}

/// Flushes on almost every turn.
fn eager_options() -> Options {
    Options {
        flush_bytes: 1,
        ..options()
    }
}

fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a name")
}

fn json() -> Option<ContentType> {
    ContentType::new("application/json")
}

fn spec(content_type: Option<ContentType>) -> CreateSpec {
    CreateSpec {
        content_type,
        lifetime: Lifetime::Unlimited,
        closed: false,
        fork: None,
    }
}

async fn create(engine: &Engine, text: &str, content_type: Option<ContentType>) {
    let created = engine
        .create(NewStream::new(name(text), spec(content_type), Body::Empty))
        .await;
    assert!(matches!(created, Ok(Outcome::Created(_))), "{created:?}");
}

/// An append of JSON messages, as the wire frames them.
fn messages(values: &[String]) -> Append {
    let text: String = values
        .iter()
        .flat_map(|value| [value.as_str(), ","])
        .collect();
    let lengths: Vec<u32> = values
        .iter()
        .map(|value| u32::try_from(value.len() + 1).expect("short"))
        .collect();
    let payload = Payload::from_lengths(Bytes::from(text), &lengths);
    Append {
        body: Body::Framed(payload),
        ..empty(json())
    }
}

fn raw(bytes: &[u8]) -> Append {
    let body = Body::Framed(Payload::single(Bytes::copy_from_slice(bytes)));
    Append {
        body,
        ..empty(Some(ContentType::default()))
    }
}

fn empty(content_type: Option<ContentType>) -> Append {
    Append {
        body: Body::Empty,
        content_type,
        ..Append::default()
    }
}

/// All pages of a stream, each checked to claim no more than it carried.
async fn pages(engine: &Engine, text: &str, bytes_max: u64) -> Vec<Vec<u8>> {
    let stream = engine.open(&name(text)).await.expect("it is there");
    let mut reader = stream.read_from(From::Start).await.expect("a start");
    let mut pages = Vec::new();
    loop {
        let batch = reader.next(bytes_max).await.expect("a page");
        let (from, next, len, done) = (batch.from, batch.next, batch.len, batch.up_to_date);
        let bytes = batch.collect().await.expect("its bytes");
        assert_eq!(bytes.len() as u64, len);
        assert_eq!(
            next.position.since(from.position),
            len,
            "t47: an offset moves by what came"
        );
        // Every offset that is given out is good to go on from.
        stream
            .read_from(From::At(next))
            .await
            .expect("an offset of this stream");
        pages.push(bytes.to_vec());
        if done {
            return pages;
        }
    }
}

#[test]
fn json_pages_end_between_messages_hot_sealed_and_compacted() {
    for options in [options(), eager_options()] {
        with_engine(options, async |engine| {
            create(&engine, "a", json()).await;
            let mut all = String::new();
            for n in 0..60usize {
                let values: Vec<String> = (0..=n % 4)
                    .map(|m| format!("\"{n}-{m}-{}\"", "x".repeat(n * 3)))
                    .collect();
                for value in &values {
                    all.extend([value.as_str(), ","]);
                }
                engine
                    .append(&name("a"), messages(&values), None)
                    .await
                    .expect("appended");
                millrace_env::sleep(Duration::from_millis(3)).await;
            }
            for bytes_max in [1, 17, 100, 1000, 1 << 20] {
                let pages = pages(&engine, "a", bytes_max).await;
                for page in &pages {
                    assert!(page.ends_with(b"\","), "a page holds whole messages");
                }
                assert_eq!(pages.concat(), all.as_bytes(), "in pages of {bytes_max}");
            }
        });
    }
}

#[test]
fn t37_a_page_of_exactly_a_messages_length_holds_it_and_one_byte_less_holds_no_more_than_one() {
    for options in [options(), eager_options()] {
        with_engine(options, async |engine| {
            create(&engine, "a", json()).await;
            let values: Vec<String> = (0..10).map(|n| format!("\"{n}234567\"")).collect();
            engine
                .append(&name("a"), messages(&values), None)
                .await
                .expect("appended");
            millrace_env::sleep(Duration::from_millis(500)).await;
            // A message and its comma are 10 bytes.
            for (bytes_max, a_page) in [(1, 1), (9, 1), (10, 1), (11, 1), (19, 1), (20, 2), (21, 2)]
            {
                let pages = pages(&engine, "a", bytes_max).await;
                assert_eq!(pages[0].len(), a_page * 10, "a page of {bytes_max}");
                assert_eq!(pages.concat().len(), 100);
            }
        });
    }
}

#[test]
fn an_offset_inside_a_json_message_is_refused() {
    for options in [options(), eager_options()] {
        with_engine(options, async |engine| {
            create(&engine, "a", json()).await;
            let values = ["11".to_owned(), "22".to_owned()];
            engine
                .append(&name("a"), messages(&values), None)
                .await
                .expect("appended");
            millrace_env::sleep(Duration::from_millis(500)).await;
            let stream = engine.open(&name("a")).await.expect("it is there");
            let start = stream.head().start;
            for (position, good) in [(0, true), (1, false), (2, false), (3, true), (5, false)] {
                let offset = millrace_core::Offset {
                    position: millrace_core::StreamPos(position),
                    ..start
                };
                let reader = stream.read_from(From::At(offset)).await;
                match reader {
                    Ok(_) => assert!(good, "{position}"),
                    Err(refusal) => {
                        assert!(!good, "{position}");
                        assert_eq!(refusal, Refusal::OffsetNotABoundary);
                    }
                }
            }
        });
    }
}

#[test]
fn forks_across_shards_read_through_hot_and_sealed_bytes() {
    for options in [options(), eager_options()] {
        with_engine(options, async |engine| {
            create(&engine, "f0", None).await;
            let mut wanted = Vec::new();
            for depth in 0..8u64 {
                let own = name(&format!("f{depth}"));
                let body = format!("<{depth}>");
                engine
                    .append(&own, raw(body.as_bytes()), None)
                    .await
                    .expect("appended");
                wanted.extend_from_slice(body.as_bytes());
                millrace_env::sleep(Duration::from_millis(20)).await;
                let request = ForkRequest {
                    source: own,
                    anchor: ForkAnchor::Tail,
                    sub_offset: 0,
                };
                let spec = CreateSpec {
                    fork: Some(request),
                    ..spec(None)
                };
                let fork = name(&format!("f{}", depth + 1));
                let forked = engine.create(NewStream::new(fork, spec, Body::Empty)).await;
                assert!(matches!(forked, Ok(Outcome::Created(_))), "{forked:?}");
            }
            for bytes_max in [1, 2, 5, 1000] {
                assert_eq!(pages(&engine, "f8", bytes_max).await.concat(), wanted);
            }
            for depth in 0..8 {
                engine
                    .delete(&name(&format!("f{depth}")))
                    .await
                    .expect("deleted");
            }
            assert_eq!(pages(&engine, "f8", 4).await.concat(), wanted);
            engine.delete(&name("f8")).await.expect("deleted");
            millrace_env::sleep(Duration::from_millis(50)).await;
            for depth in 0..9 {
                let gone = engine.open(&name(&format!("f{depth}"))).await;
                assert_eq!(
                    gone.err(),
                    Some(Refusal::NotFound),
                    "f{depth} is given back"
                );
            }
        });
    }
}

#[test]
fn t19_an_append_dropped_at_any_await_is_there_whole_or_not_and_blocks_nobody() {
    for polls in 0..4 {
        with_engine(options(), async |engine| {
            create(&engine, "a", None).await;
            {
                let target = name("a");
                let mut append = pin!(engine.append(&target, raw(b"dropped"), None));
                let mut context = Context::from_waker(Waker::noop());
                for _ in 0..polls {
                    if append.as_mut().poll(&mut context) != Poll::Pending {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            engine
                .append(&name("a"), raw(b"kept"), None)
                .await
                .expect("appended");
            let bytes = pages(&engine, "a", 100).await.concat();
            let wanted: &[u8] = if polls == 0 { b"kept" } else { b"droppedkept" };
            assert_eq!(bytes, wanted, "dropped after {polls} polls");
        });
    }
}

#[test]
fn t64d_a_reader_that_waits_while_bytes_arrive_never_sleeps_through_them() {
    with_engine(options(), async |engine| {
        create(&engine, "a", None).await;
        let stream = engine.open(&name("a")).await.expect("it is there");
        let mut reader = stream.read_from(From::Start).await.expect("a start");
        let writer = engine.clone();
        let writing = tokio::task::spawn_local(async move {
            for n in 0..200u32 {
                writer
                    .append(&name("a"), raw(&n.to_be_bytes()), None)
                    .await
                    .expect("appended");
                if n % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            let close = Append {
                close: true,
                ..empty(None)
            };
            writer
                .append(&name("a"), close, None)
                .await
                .expect("closed");
        });
        let mut bytes = Vec::new();
        loop {
            match reader.changed().await {
                Changed::More => {
                    let batch = reader.next(64).await.expect("a page");
                    bytes.extend_from_slice(&batch.collect().await.expect("its bytes"));
                }
                Changed::Closed => break,
                other => panic!("{other:?}"),
            }
        }
        writing.await.expect("the writer ends");
        let wanted: Vec<u8> = (0..200u32).flat_map(u32::to_be_bytes).collect();
        assert_eq!(bytes, wanted);
    });
}

#[test]
fn a_waiting_reader_learns_of_deletion_and_of_the_end_of_the_server() {
    with_engine(options(), async |engine| {
        for text in ["deleted", "kept"] {
            create(&engine, text, None).await;
        }
        let at_tail = async |text: &str| {
            let stream = engine.open(&name(text)).await.expect("it is there");
            stream.read_from(From::Tail).await.expect("a tail")
        };
        let (mut deleted, mut kept) = (at_tail("deleted").await, at_tail("kept").await);
        let deleted = tokio::task::spawn_local(async move { deleted.changed().await });
        let kept = tokio::task::spawn_local(async move { kept.changed().await });
        tokio::task::yield_now().await;
        engine.delete(&name("deleted")).await.expect("deleted");
        assert_eq!(deleted.await.expect("it ends"), Changed::Gone);
        engine.stop_readers();
        assert_eq!(kept.await.expect("it ends"), Changed::Stopping);
    });
}

#[test]
fn listings_are_complete_and_ordered_over_flushed_and_unflushed_names() {
    for options in [options(), eager_options()] {
        with_engine(options, async |engine| {
            let mut wanted = Vec::new();
            for n in 0..60 {
                let text = format!("list/{:03}", (n * 37) % 60);
                create(&engine, &text, None).await;
                wanted.push(text);
                if n % 20 == 19 {
                    millrace_env::sleep(Duration::from_millis(30)).await;
                }
            }
            create(&engine, "other", None).await;
            for gone in [3, 30, 59] {
                let text = format!("list/{gone:03}");
                engine.delete(&name(&text)).await.expect("deleted");
                wanted.retain(|kept| *kept != text);
            }
            wanted.sort();
            for limit in [1, 7, 1000] {
                let mut found: Vec<String> = Vec::new();
                loop {
                    let after = found.last().cloned();
                    let page = engine
                        .list("list/", after.as_deref(), limit)
                        .await
                        .expect("a page");
                    if page.is_empty() {
                        break;
                    }
                    found.extend(page.iter().map(|listed| listed.name.as_str().to_owned()));
                }
                assert_eq!(found, wanted, "in pages of {limit}");
            }
        });
    }
}

/// What piles up is flushed before anybody is refused.
#[test]
fn t86_a_flush_begins_before_memory_runs_out() {
    let options = Options {
        shards: 1,
        ..Options::for_memory(16 << 20)
    };
    with_engine(options, async |engine| {
        create(&engine, "a", None).await;
        // Eight times of what may wait.
        for n in 0..512 {
            let permit = engine.admit(64 << 10).await;
            let permit = permit.unwrap_or_else(|_| panic!("append {n} is refused"));
            let append = raw(&vec![b'x'; 64 << 10]);
            let done = engine.append(&name("a"), append, Some(permit)).await;
            done.expect("appended");
            // A disk is slower than this one; flushes get their turn.
            tokio::task::yield_now().await;
            millrace_env::sleep(Duration::from_millis(1)).await;
        }
        assert!(engine.figures().budget_used_bytes < 4 << 20);
    });
}

#[test]
fn appends_beyond_the_memory_budget_are_refused_and_taken_again_later() {
    let options = Options {
        flush_bytes: 1 << 40,
        ..Options::for_memory(1 << 20)
    };
    with_engine(
        Options {
            shards: 1,
            ..options
        },
        async |engine| {
            create(&engine, "a", None).await;
            let mut refused = 0;
            for _ in 0..100 {
                match engine.admit(16 << 10).await {
                    Ok(permit) => {
                        let append = raw(&vec![b'x'; 16 << 10]);
                        engine
                            .append(&name("a"), append, Some(permit))
                            .await
                            .expect("appended");
                    }
                    Err(refusal) => {
                        assert_eq!(refusal, Refusal::Overloaded);
                        refused += 1;
                        millrace_env::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
            assert!(refused < 100, "a flush makes room");
            let bytes = pages(&engine, "a", 1 << 20).await.concat();
            assert_eq!(bytes.len(), (100 - refused) * (16 << 10));
        },
    );
}

/// Pages that were taken slowly kept the log's buffers in memory, and as those are charged to writers,
/// a few slow readers kept everybody from appending.
#[test]
fn a_page_that_is_taken_slowly_holds_nothing_that_is_flushed_meanwhile() {
    let options = Options {
        shards: 1,
        flush_bytes: 300 << 10,
        ..options()
    };
    with_engine(options, async |engine| {
        create(&engine, "a", None).await;
        let mut written = Vec::new();
        let append = async |byte: u8| {
            let body = vec![byte; 64 << 10];
            let permit = engine.admit(64 << 10).await.expect("there is room");
            let done = engine.append(&name("a"), raw(&body), Some(permit)).await;
            done.expect("appended");
            body
        };
        for byte in 0..4 {
            written.extend(append(byte).await);
        }
        let stream = engine.open(&name("a")).await.expect("it is there");
        let mut reader = stream.read_from(From::Start).await.expect("a start");
        let mut page = reader.next(1 << 20).await.expect("a page");
        let mut read = page.chunk().await.expect("one").expect("bytes").to_vec();
        assert!(engine.figures().budget_used_bytes >= 256 << 10);
        // What is not taken yet is flushed; what comes while it is may not be.
        append(4).await;
        append(5).await;
        let mut used = u64::MAX;
        for _ in 0..500 {
            used = engine.figures().budget_used_bytes;
            if used < 128 << 10 {
                break;
            }
            millrace_env::sleep(Duration::from_millis(10)).await;
        }
        assert!(used < 128 << 10, "{used} bytes are held after a flush");
        while let Some(chunk) = page.chunk().await {
            read.extend_from_slice(&chunk.expect("bytes"));
        }
        assert!(
            read == written,
            "the page is what it was when it was planned"
        );
    });
}

/// Neither does a page of a stream that goes: it breaks off rather than to hold its bytes.
#[test]
fn a_long_page_of_a_stream_that_is_deleted_breaks_off() {
    with_engine(options(), async |engine| {
        create(&engine, "a", None).await;
        let body = raw(&vec![b'x'; 256 << 10]);
        engine
            .append(&name("a"), body, None)
            .await
            .expect("appended");
        let stream = engine.open(&name("a")).await.expect("it is there");
        let mut reader = stream.read_from(From::Start).await.expect("a start");
        let mut page = reader.next(1 << 20).await.expect("a page");
        page.chunk().await.expect("one").expect("bytes");
        engine.delete(&name("a")).await.expect("deleted");
        let mut rest = 0;
        let broke_off = loop {
            match page.chunk().await {
                Some(Ok(chunk)) => rest += chunk.len(),
                Some(Err(refusal)) => break refusal,
                None => panic!("it ended whole, with {rest} bytes"),
            }
        };
        assert_eq!(broke_off, Refusal::NotFound);
    });
}

/// The server's own streams: made and read like others, and seen by nobody who does not ask for them.
#[test]
fn internal_streams_are_in_no_listing_no_count_and_no_feed() {
    with_engine(eager_options(), async |engine| {
        engine.watch_changes();
        let own = StreamName::stored("__ds/sub/s/1").unwrap();
        let made = NewStream::new(own.clone(), CreateSpec::default(), Body::Empty);
        engine.create(made).await.unwrap();
        create(&engine, "__d", None).await;
        create(&engine, "a", None).await;
        let names = |listed: Vec<millrace_engine::Listed>| {
            let names = listed.into_iter();
            names
                .map(|own| own.name.as_str().to_owned())
                .collect::<Vec<_>>()
        };
        for limit in [1, 2, 10] {
            let all = engine.list("", None, limit).await.unwrap();
            assert_eq!(names(all), ["__d", "a"][..limit.min(2)]);
        }
        assert!(engine.list("__ds/", None, 10).await.unwrap().is_empty());
        let own_ones = engine.list_internal("__ds/", None, 10).await.unwrap();
        assert_eq!(names(own_ones), ["__ds/sub/s/1"]);
        assert_eq!(engine.figures().streams, 2);
        let changed = engine.changes();
        let changed: Vec<_> = changed.iter().map(|own| own.name.as_str()).collect();
        assert_eq!(changed, ["__d", "a"]);
        engine.delete(&own).await.unwrap();
        assert_eq!(engine.figures().streams, 2);
        assert!(engine.changes().is_empty(), "told once");
    });
}

/// A stream is in the feed once until it is taken, and again after that.
#[test]
fn a_changed_stream_is_reported_until_it_is_taken() {
    with_engine(options(), async |engine| {
        create(&engine, "a", None).await;
        assert!(engine.changes().is_empty(), "nobody watched");
        engine.watch_changes();
        for _ in 0..3 {
            engine.append(&name("a"), raw(b"x"), None).await.unwrap();
        }
        let changes = engine.changes();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].tail.position.get(), 3);
        engine.append(&name("a"), raw(b"x"), None).await.unwrap();
        assert_eq!(engine.changes()[0].tail.position.get(), 4);
        engine.delete(&name("a")).await.unwrap();
        assert!(engine.changes()[0].gone);
    });
}
