//! The data directory that is damaged: one with everything that `docs/format.md` describes in it, left
//! behind by a killed process, and the same after an orderly end. And what it holds, kept beside it by a
//! model that reads no file.

mod builder;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use millrace_core::{
    Append, Body, ContentType, Payload, ProducerClaim, ProducerId, StreamName,
    slot::{shard_of, slot_of},
};
use millrace_env::{SimClock, SimDisk};

use self::builder::Builder;
use super::{
    files::{self, Files},
    serve,
};
use crate::{Engine, Options, crash::machine::small_options};

/// When the damaged directories are opened.
const NOW: u64 = 1_800_000_000_000;
pub(super) const SHARDS: u16 = 2;
/// The log of the one shard that there was at first, and those of the two.
const OLD_LOG: &str = "wal/0000000000000001";
const LOGS: [&str; 2] = ["wal/0000000000000002", "wal/0000000000000003"];

/// A stream as the model has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) bytes: Vec<u8>,
    pub(super) closed: bool,
    pub(super) soft_deleted: bool,
    json: bool,
    /// The last accepted sequence number of each producer, under epoch 0.
    pub(super) producers: BTreeMap<String, u64>,
}

/// Streams by name; a name that is not there was deleted.
pub(super) type Models = BTreeMap<String, Model>;

/// What every stream was when a log ended with this frame.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// By shard, the number of the last frame.
    pub(super) frames: Vec<u64>,
    pub(super) models: Models,
}

/// A data directory and the truth about it.
pub(super) struct Specimen {
    pub(super) disk: Arc<SimDisk>,
    pub(super) files: Files,
    /// Every name that was ever used.
    pub(super) names: Vec<String>,
    /// From the last flush on; the last one is how it ended.
    pub(super) moments: Vec<Moment>,
    /// The directories of the logs, by shard.
    pub(super) logs: Vec<PathBuf>,
    /// By shard, up to which frame the catalog has the log.
    pub(super) flushed: Vec<u64>,
    /// The segment that nothing names.
    pub(super) unnamed: String,
    /// Older states of the catalog, and what became of the directory since.
    pub(super) older_catalogs: Vec<(&'static str, Vec<u8>)>,
}

impl Specimen {
    /// The truth.
    pub(super) fn models(&self) -> &Models {
        &self.moments.last().expect("there is an end").models
    }

    /// Which shard a name belongs to.
    pub(super) fn shard(name: &str) -> usize {
        usize::from(shard_of(slot_of(name), SHARDS).get())
    }
}

/// How directories are filled, and opened once they are damaged.
pub(super) fn options(shards: u16) -> Options {
    Options {
        reserve_bytes: 4096,
        wal_segment_bytes: 24 << 10,
        // What happens is what the trial asks for.
        compaction_interval: Duration::from_hours(10_000),
        scrub_rate: 0,
        flush_bytes: 1 << 30,
        flush_interval: Duration::from_hours(10_000),
        ..small_options(shards)
    }
}

pub(super) fn clock() -> Arc<SimClock> {
    Arc::new(SimClock::new(NOW))
}

/// What a killed process left.
pub(super) fn killed() -> &'static Specimen {
    static KILLED: OnceLock<Specimen> = OnceLock::new();
    KILLED.get_or_init(|| Builder::new().build())
}

/// The same directory after one more start and an orderly end.
pub(super) fn ended() -> &'static Specimen {
    static ENDED: OnceLock<Specimen> = OnceLock::new();
    ENDED.get_or_init(|| {
        let before = killed();
        let disk = before.disk.copy(1);
        let mut models = before.models().clone();
        serve::start(&disk, async |engine| {
            for (name, model) in &mut models {
                if name.starts_with("old/") && !model.json && !model.closed {
                    append_some(&engine, name, model).await;
                }
            }
        })
        .expect("it is whole");
        let disk = disk.kill();
        // No frame may be lost: the catalog has all of them.
        let frames = vec![u64::MAX; usize::from(SHARDS)];
        Specimen {
            files: files::read(&disk),
            disk,
            names: before.names.clone(),
            flushed: frames.clone(),
            moments: vec![Moment { frames, models }],
            logs: before.logs.clone(),
            unnamed: String::new(),
            older_catalogs: Vec::new(),
        }
    })
}

/// Three appends, acknowledged.
async fn append_some(engine: &Engine, name: &str, model: &mut Model) {
    for n in 0..3 {
        let body = format!("<{n} of {name}>").into_bytes();
        let append = Append {
            body: Body::Framed(Payload::single(Bytes::from(body.clone()))),
            content_type: Some(ContentType::default()),
            ..Append::default()
        };
        let appended = engine.append(&named(name), append, None).await;
        appended.expect("it takes appends");
        model.bytes.extend(body);
    }
}

pub(super) fn named(name: &str) -> StreamName {
    StreamName::new(name).expect("a name")
}

/// The claim of a producer under epoch 0.
pub(super) fn claim(id: &str, seq: u64) -> ProducerClaim {
    ProducerClaim {
        id: ProducerId::new(id).expect("an id"),
        epoch: 0,
        seq,
    }
}
