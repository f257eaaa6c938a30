//! Measures the catalog as decision 26 asks: a flush of 100,000 dirty streams of 1,000,000, look-ups,
//! and opening after an unclean stop. The figures of ADR 2 come from here.
//!
//! `cargo run --release -p millrace-store --example catalog_bench -- <empty directory> [streams] [cache MiB]`
//!
//! The first run builds and ends without closing anything, as a kill would; a second run over the same
//! directory measures opening and goes on.

#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use std::{sync::Arc, time::Duration};

use millrace_core::{
    Appended, ContentType, CreateSpec, Created, Event, FilePos, Generation, Lifetime, Payload,
    SegmentId, StreamId, StreamName, StreamPos, Timestamp,
    slot::slot_of,
    stream::{GenerationStart, StreamState, apply},
};
use millrace_env::Env;
use millrace_store::{Catalog, Commit, Extent, SegmentMeta, StoreError, startup_cleanup};

const DIRTY: u64 = 100_000;
/// How many bytes every dirty stream gets.
const BYTES: u64 = 100;

fn main() -> Result<(), StoreError> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().expect("a directory is named");
    let streams = args
        .next()
        .map_or(1_000_000, |text| text.parse().expect("a number"));
    let env = Env::real(dir);
    env.disk.create_dir("".as_ref())?;
    let cache = args
        .next()
        .map_or(64, |text| text.parse().expect("a number"));
    let bench = Bench {
        env,
        streams,
        cache_bytes: cache << 20,
    };
    let catalog = bench.open()?;
    if catalog.stream_count()? == 0 {
        bench.build(&catalog)?;
    }
    bench.commits(&catalog)?;
    bench.lookups(&catalog)?;
    // As a kill would: nothing is closed.
    std::process::exit(0);
}

struct Bench {
    env: Env,
    streams: u64,
    cache_bytes: usize,
}

impl Bench {
    fn timed<T>(&self, work: impl FnOnce() -> T) -> (T, Duration) {
        let start = self.env.clock.mono();
        let done = work();
        (done, self.env.clock.mono().saturating_sub(start))
    }

    fn open(&self) -> Result<Catalog, StoreError> {
        let (catalog, took) = self.timed(|| Catalog::open(&self.env, self.cache_bytes));
        let catalog = catalog?;
        println!("open, {} streams: {took:?}", catalog.stream_count()?);
        Ok(catalog)
    }

    /// 100,000 new streams a commit.
    fn build(&self, catalog: &Catalog) -> Result<(), StoreError> {
        startup_cleanup(&self.env, catalog)?;
        for part in 0..self.streams.div_ceil(DIRTY) {
            let numbers = part * DIRTY..((part + 1) * DIRTY).min(self.streams);
            let commit = Commit {
                upserts: numbers.map(state).collect(),
                ..Commit::default()
            };
            let (done, took) = self.timed(|| catalog.commit(&commit));
            done?;
            println!("commit of {} new streams: {took:?}", commit.upserts.len());
        }
        Ok(())
    }

    /// Dirty streams all over, each with a new extent; then a few.
    fn commits(&self, catalog: &Catalog) -> Result<(), StoreError> {
        for dirty in [DIRTY, DIRTY, DIRTY, DIRTY, 1000, 1000, 10, 10] {
            let mut ids: Vec<StreamId> = (0..dirty)
                .map(|_| state(self.env.rng.below(self.streams)).id)
                .collect();
            ids.sort_unstable();
            ids.dedup();
            let commit = Self::flush(catalog, &ids)?;
            let (done, took) = self.timed(|| catalog.commit(&commit));
            done?;
            println!(
                "commit of {} dirty streams and as many extents: {took:?}",
                ids.len()
            );
        }
        Ok(())
    }

    fn flush(catalog: &Catalog, ids: &[StreamId]) -> Result<Commit, StoreError> {
        let segment = catalog.allocate_segment();
        let mut commit = Commit::default();
        for id in ids {
            let Some(old) = catalog.stream(*id)? else {
                continue;
            };
            let from = old.tail;
            let new = grown(old);
            commit.extents.push(extent(segment, &new, from));
            commit.upserts.push(new);
        }
        let bytes = commit.extents.len() as u64 * BYTES;
        commit.segments.push(SegmentMeta {
            id: segment,
            len: bytes,
            bytes,
        });
        Ok(commit)
    }

    fn lookups(&self, catalog: &Catalog) -> Result<(), StoreError> {
        const TIMES: u32 = 100_000;
        let names: Vec<String> = (0..TIMES)
            .map(|_| name(self.env.rng.below(self.streams)))
            .collect();
        let (found, took) = self.timed(|| {
            let mut found = 0;
            for name in &names {
                found += u32::from(catalog.row_by_name(name)?.is_some());
            }
            Ok::<_, StoreError>(found)
        });
        assert_eq!(found?, TIMES);
        println!("look-up by name: {:?} each", took / TIMES);
        let (found, took) = self.timed(|| catalog.names("tenant/", None, 100_000));
        println!("a list of {} names: {took:?}", found?.len());
        let (checked, took) = self.timed(|| catalog.verify());
        checked?;
        println!("verify: {took:?}");
        Ok(())
    }
}

fn name(number: u64) -> String {
    format!(
        "tenant/{:04x}/stream-{number}",
        number.wrapping_mul(40_503) & 0xffff
    )
}

fn state(number: u64) -> StreamState {
    let name = name(number);
    let generation = Generation(number + 1);
    let created = Created {
        stream: StreamId::new(slot_of(&name), generation),
        name: StreamName::new(&name).expect("a name"),
        spec: CreateSpec {
            content_type: ContentType::new("application/json"),
            lifetime: Lifetime::Ttl(3600),
            closed: false,
            fork: None,
        },
        content_type: ContentType::new("application/json").expect("a content type"),
        lifetime: Lifetime::Ttl(3600),
        origin: None,
        lineage: Arc::new([]),
        generations: Arc::new([GenerationStart {
            generation,
            from: StreamPos::ZERO,
        }]),
        payload: Payload::EMPTY,
        at: Timestamp(1_700_000_000_000 + number),
    };
    apply(None, &Event::Created(Box::new(created))).expect("a creation leaves a stream")
}

fn grown(state: StreamState) -> StreamState {
    let event = Event::Appended(Appended {
        stream: state.id,
        from: state.tail,
        payload: Payload::single(vec![b'x'; 100].into()),
        producer: None,
        introduces_producer: false,
        forgets: None,
        seq: None,
        closes: false,
        at: Timestamp(state.written_at.get() + 1000),
    });
    apply(Some(state), &event).expect("an append leaves a stream")
}

fn extent(segment: SegmentId, state: &StreamState, from: StreamPos) -> Extent {
    Extent {
        stream: state.id,
        from,
        until: state.tail,
        segment,
        data: FilePos(32),
        index: FilePos(64),
        index_pages: 1,
        messages: 1,
    }
}
