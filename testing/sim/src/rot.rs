//! Bits that flip at rest, and read right again once the disk is mended.
//!
//! Only where a checksum can tell. Not in the catalog's pages of checksums, whose values nothing
//! covers: a wrong one makes its page unreadable, and is written back with its neighbours. Not in the
//! last frame of a log without a seal either, which damage makes look like one that was never wholly
//! written (`docs/reliability.md`, "What is assumed").

use std::{ops::Range, path::Path, sync::Arc};

use millrace_engine::Durability;
use millrace_env::{Env, OpenMode, Rng, SimDisk};
use millrace_kill::schedule::Chance;
use millrace_store::{
    catalog::CATALOG_FILE,
    wal::{self, FrameInfo, FrameKind, LogId},
};

use crate::{mishap::Mishap, world::World};

/// The catalog's page.
const PAGE_BYTES: u64 = 4096;
/// A page of checksums, and those that it covers.
const GROUP_PAGES: u64 = 1021;
/// How often a page of the catalog is drawn until one holds anything.
const DRAWS_MAX: usize = 20;

/// Bytes of a file that a checksum covers.
#[derive(Clone, Debug)]
struct Covered {
    path: String,
    bytes: Range<u64>,
}

/// Flips bits of one kind of file, if there is one.
pub(crate) fn flip(world: &World, chance: &mut Chance) {
    let disk = world.failing_disk();
    // Looks at a copy, whose calls count for nothing and do not fail.
    let env = Env {
        disk: disk.copy(0),
        clock: Arc::clone(&world.clock) as _,
        rng: Arc::new(Rng::from_seed(0)),
    };
    let kinds = [
        (Mishap::SegmentFlip, segments(&env)),
        (Mishap::LogFlip, logs(&env, world.durability)),
        (Mishap::CatalogFlip, catalog(&disk, &env, chance)),
    ];
    let mut kinds: Vec<_> = kinds
        .into_iter()
        .filter(|(_, covered)| !covered.is_empty())
        .collect();
    if kinds.is_empty() {
        return;
    }
    let (kind, covered) = kinds.swap_remove(chance.index(kinds.len()));
    for _ in 0..chance.between(1, 4) {
        let Covered { path, bytes } = if chance.percent(50) {
            // Of a log the one that a start makes the most of.
            covered.last().expect("there is one")
        } else {
            &covered[chance.index(covered.len())]
        };
        let at = chance.between(bytes.start, bytes.end);
        let bit = chance.between(0, 8);
        disk.rot(path, at, u8::try_from(bit).expect("one of eight"));
        world
            .trace
            .note(format_args!("disk flips a bit of {path} at {at}"));
        world.trace.count(kind);
        world.note_rot(path);
    }
}

fn segments(env: &Env) -> Vec<Covered> {
    let listed = env.disk.list(Path::new("segments")).unwrap_or_default();
    let files = listed
        .into_iter()
        .filter(|file| file.name.strip_suffix(".seg").is_some() && file.len > 0);
    files
        .map(|file| Covered {
            path: format!("segments/{}", file.name),
            bytes: 0..file.len,
        })
        .collect()
}

fn logs(env: &Env, durability: Durability) -> Vec<Covered> {
    let logs = wal::logs(env).unwrap_or_default();
    logs.into_iter()
        .flat_map(|log| log_segments(env, log, durability))
        .collect()
}

/// Every segment from its first byte to the end of the last frame of which a later one or a seal proves
/// that it was synced.
fn log_segments(env: &Env, log: LogId, durability: Durability) -> Vec<Covered> {
    let mut frames: Vec<FrameInfo> = Vec::new();
    if wal::scan(env, log, None, &mut |frame| frames.push(frame)).is_err() {
        return Vec::new();
    }
    let is_sealed = |frame: &FrameInfo| frame.kind == FrameKind::Seal;
    if durability == Durability::Memory {
        // Only a seal proves anything.
        let proven = frames.iter().rposition(is_sealed);
        frames.truncate(proven.map_or(0, |at| at + 1));
    }
    let unproven = frames.pop_if(|frame| !is_sealed(frame));
    let mut covered: Vec<Covered> = Vec::new();
    let ends = frames
        .iter()
        .map(|frame| (frame.segment, frame.position + frame.bytes));
    let last = unproven.iter().map(|frame| (frame.segment, frame.position));
    for (segment, end) in ends.chain(last) {
        let path = format!("{}/{segment}.wal", log.dir().display());
        match covered.last_mut() {
            Some(same) if same.path == path => same.bytes.end = end,
            _ => covered.push(Covered {
                path,
                bytes: 0..end,
            }),
        }
    }
    covered
}

/// A page that holds anything.
fn catalog(disk: &SimDisk, env: &Env, chance: &mut Chance) -> Vec<Covered> {
    let exists = env
        .disk
        .open(Path::new(CATALOG_FILE), OpenMode::Read)
        .is_ok();
    let content = if exists {
        disk.content(CATALOG_FILE)
    } else {
        Vec::new()
    };
    let pages = content.len() as u64 / PAGE_BYTES;
    if pages < 2 {
        return Vec::new();
    }
    let mut drawn = std::iter::repeat_with(|| chance.between(1, pages)).take(DRAWS_MAX);
    let page = drawn.find(|page| {
        let bytes = content
            .chunks(4096)
            .nth(usize::try_from(*page).unwrap_or(usize::MAX));
        let is_empty = bytes.is_none_or(|bytes| bytes.iter().all(|byte| *byte == 0));
        !page.is_multiple_of(GROUP_PAGES) && !is_empty
    });
    let at = page.map(|page| page * PAGE_BYTES);
    at.map(|at| Covered {
        path: CATALOG_FILE.to_owned(),
        // Of the header two sectors are used; what lies behind them is not looked at.
        bytes: if at == PAGE_BYTES {
            at..at + 1024
        } else {
            at..at + PAGE_BYTES
        },
    })
    .into_iter()
    .collect()
}
