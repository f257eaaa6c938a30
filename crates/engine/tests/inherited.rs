//! What a fork inherits in unsafe mode, when power is lost for the log of its source and not for its own.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use millrace_core::{
    Append, Body, ContentType, CreateSpec, ForkAnchor, ForkRequest, Payload, Refusal, StreamName,
};
use millrace_engine::{Durability, Engine, From, NewStream, Opened, Options, open};
use millrace_env::{
    Env, Rng, SimClock, SimDisk,
    tasks::{self, Took},
};

const SEEDS: u64 = 60;
/// Two names whose streams are of different shards.
const SOURCE: &str = "a";
const FORK: &str = "user1";

fn env(disk: &Arc<SimDisk>) -> Env {
    Env {
        disk: Arc::clone(disk) as _,
        clock: Arc::new(SimClock::new(1_800_000_000_000)),
        rng: Arc::new(Rng::from_seed(1)),
    }
}

/// One life in unsafe mode, on this thread; `work` ends it.
fn live<T>(disk: &Arc<SimDisk>, work: impl AsyncFnOnce(Engine) -> T) -> T {
    let options = Options {
        shards: 2,
        durability: Durability::Memory,
        wal_segment_bytes: 16 << 10,
        reserve_bytes: 0,
        ..Options::for_memory(64 << 20)
    };
    let _simulated = tasks::simulate(|| Took {
        before: Duration::ZERO,
        after: Duration::ZERO,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let Opened { engine, shards } = open(env(disk), options).expect("it opens");
        for shard in shards {
            tokio::task::spawn_local(shard.run());
        }
        work(engine).await
    })
}

fn named(text: &str) -> StreamName {
    StreamName::new(text).expect("a name")
}

async fn append(engine: &Engine, fill: u8) {
    let payload = Payload::single(Bytes::from(vec![fill; 700]));
    let append = Append {
        body: Body::Framed(payload),
        content_type: Some(ContentType::default()),
        ..Append::default()
    };
    let done = engine.append(&named(SOURCE), append, None).await;
    done.expect("it is appended");
}

/// All of a stream; an error where any of it cannot be read.
async fn whole(engine: &Engine, text: &str) -> Result<Vec<u8>, Refusal> {
    let stream = engine.open(&named(text)).await?;
    let mut reader = stream.read_from(From::Start).await?;
    let page = reader.next(1 << 20).await?;
    page.collect().await.map(|bytes| bytes.to_vec())
}

/// Found in the code, by who wrote the repair: the source lost its tail, a fork of it did not, and once the
/// source grew again the fork read other bytes than it had inherited; until then, its reads panicked.
#[test]
fn a_fork_whose_source_lost_what_it_inherited_never_reads_other_bytes() {
    let mut cases = 0;
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        live(&disk, async |engine| {
            let new = NewStream::new(named(SOURCE), CreateSpec::default(), Body::Empty);
            engine.create(new).await.expect("it is created");
            append(&engine, 1).await;
            engine.shutdown().await;
        });
        let disk = disk.kill();
        let inherited = live(&disk, async |engine| {
            append(&engine, 2).await;
            let request = ForkRequest {
                source: named(SOURCE),
                anchor: ForkAnchor::Tail,
                sub_offset: 0,
            };
            let spec = CreateSpec {
                fork: Some(request),
                ..CreateSpec::default()
            };
            let new = NewStream::new(named(FORK), spec, Body::Empty);
            engine.create(new).await.expect("it is created");
            whole(&engine, FORK).await.expect("all of it")
        });
        let disk = disk.crash();
        live(&disk, async |engine| {
            let source = whole(&engine, SOURCE).await.expect("what was flushed");
            let fork = whole(&engine, FORK).await;
            if fork == Err(Refusal::NotFound) || source == inherited {
                return;
            }
            cases += 1;
            assert_eq!(fork, Err(Refusal::Corrupt), "seed {seed}");
            append(&engine, 8).await;
            append(&engine, 9).await;
            let fork = whole(&engine, FORK).await;
            assert_eq!(fork, Err(Refusal::Corrupt), "seed {seed}");
        });
    }
    assert!(cases > 0, "no fork outlived what it inherited");
}
