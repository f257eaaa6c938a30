//! What an end in order leaves behind when the disk fails amid it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use millrace_core::{
    Append, Body, ContentType, CreateSpec, Lifetime, Offset, Payload, Refusal, StreamName,
    stream::Outcome,
};
use millrace_engine::{Durability, Engine, From, NewStream, Opened, Options, open};
use millrace_env::{
    Env, Fault, FaultError, FaultOp, Rng, SimClock, SimDisk, sleep,
    tasks::{self, Took},
};
use millrace_store::Catalog;

const SEEDS: u64 = 16;
/// Long enough for all that is to be done beside the loop; it takes no time there.
const A_WHILE: Duration = Duration::from_millis(5);

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

fn name() -> StreamName {
    StreamName::new("a").expect("a name")
}

async fn create(engine: &Engine) {
    let spec = CreateSpec {
        content_type: None,
        lifetime: Lifetime::Unlimited,
        closed: false,
        fork: None,
    };
    let created = engine.create(NewStream::new(name(), spec, Body::Empty));
    created.await.expect("it is created");
}

/// Appends bytes that are told apart; where they end.
async fn append(engine: &Engine, fill: u8) -> Offset {
    let payload = Payload::single(Bytes::from(vec![fill; 700]));
    let append = Append {
        body: Body::Framed(payload),
        content_type: Some(ContentType::default()),
        ..Append::default()
    };
    let outcome = engine.append(&name(), append, None).await;
    let Ok(Outcome::Appended { summary, .. }) = outcome else {
        panic!("{outcome:?}");
    };
    summary.tail
}

async fn whole(engine: &Engine) -> Vec<u8> {
    let stream = engine.open(&name()).await.expect("it is there");
    let mut reader = stream.read_from(From::Start).await.expect("a start");
    let page = reader.next(1 << 20).await.expect("a page");
    page.collect().await.expect("its bytes").to_vec()
}

/// Found by the simulation of the whole server. A sync of the log that failed in the last flush was done
/// again to seal the log, with success, as such a sync has; and the directory was marked as ended in
/// order. After power loss the start was refused, because frames were missing before the seal, or an
/// offset past what was lost meant other bytes.
#[test]
fn t6_a_log_whose_sync_failed_in_the_last_flush_is_not_sealed_and_its_end_is_not_clean() {
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        live(&disk, async |engine| {
            create(&engine).await;
            append(&engine, 1).await;
            engine.shutdown().await;
        });
        assert!(is_clean(&disk), "seed {seed}");
        let disk = disk.kill();
        let seen = live(&disk, async |engine| {
            let mut seen = append(&engine, 2).await;
            for fill in 3..8 {
                sleep(A_WHILE).await;
                seen = append(&engine, fill).await;
            }
            sleep(A_WHILE).await;
            disk.fail(Fault::new(FaultOp::Sync, FaultError::Io).on("wal"));
            engine.shutdown().await;
            seen
        });
        assert!(!is_clean(&disk), "seed {seed}");
        let disk = disk.crash();
        live(&disk, async |engine| {
            let before = whole(&engine).await;
            append(&engine, 9).await;
            let stream = engine.open(&name()).await.expect("it is there");
            let read = stream.read_from(From::At(seen)).await;
            if before.len() < 7 * 700 {
                let refused = read.expect_err("an offset past the loss");
                assert!(matches!(refused, Refusal::OffsetGone { .. }), "{refused:?}");
            }
        });
    }
}

fn is_clean(disk: &Arc<SimDisk>) -> bool {
    let catalog = Catalog::open_read_only(&env(disk), 1 << 20).expect("it opens");
    let manifest = catalog.manifest().expect("it reads");
    manifest.expect("there is one").clean
}

/// Found by the simulation of the whole server, seed 15: `check` took what the shards know of each
/// other's forks for damage.
#[test]
fn a_stop_whose_last_flush_failed_is_not_clean() {
    let disk = SimDisk::new(1);
    live(&disk, async |engine| {
        create(&engine).await;
        append(&engine, 1).await;
        disk.fail(
            Fault::new(FaultOp::Create, FaultError::NoSpace)
                .on("segments")
                .lasting(),
        );
        engine.shutdown().await;
    });
    assert!(!is_clean(&disk));
}
