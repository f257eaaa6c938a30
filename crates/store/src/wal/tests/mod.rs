//! A log on a simulated disk, and what it must hold: a model small enough to be obviously right.

mod damage;
mod full;
mod hazards;
mod power;
mod shape;

use std::sync::Arc;

use bytes::Bytes;
use millrace_core::{Appended, Event, Lsn, Payload, StreamId, StreamPos, Timestamp};
use millrace_env::{Disk, Env, Rng, SimClock, SimDisk};

use super::{FrameInfo, LogId, Recovery, ScanEnd, SegmentNumber, Wal, WalOptions, scan};
use crate::error::StoreError;

const LOG: LogId = LogId(7);
/// Room for a header, a handful of frames and the end.
const SMALL: WalOptions = WalOptions {
    segment_bytes: 8192,
    reserve: false,
};

type Frames = Vec<(Lsn, Vec<Event>)>;

fn env_on(disk: &Arc<SimDisk>, seed: u64) -> Env {
    Env {
        disk: Arc::clone(disk) as Arc<dyn Disk>,
        clock: Arc::new(SimClock::new(1)),
        rng: Arc::new(Rng::from_seed(seed)),
    }
}

fn disk_and_env() -> (Arc<SimDisk>, Env) {
    let disk = SimDisk::new(1);
    let env = env_on(&disk, 1);
    (disk, env)
}

/// An append of `len` bytes of `fill`.
fn append(fill: u8, len: usize) -> Event {
    Event::Appended(Appended {
        stream: StreamId::from_raw(9),
        from: StreamPos(0),
        payload: Payload::single(Bytes::from(vec![fill; len])),
        producer: None,
        introduces_producer: false,
        forgets: None,
        seq: None,
        closes: false,
        at: Timestamp(1),
    })
}

/// A turn as the shard takes it.
fn turn(wal: &mut Wal, events: &[Event]) -> Result<Lsn, StoreError> {
    let lsn = write(wal, events)?;
    wal.sync()?;
    Ok(lsn)
}

/// A turn without its sync.
fn write(wal: &mut Wal, events: &[Event]) -> Result<Lsn, StoreError> {
    wal.prepare(Wal::frame_bytes_max(events), false)?;
    let frame = wal.encode(events);
    wal.write(&frame)?;
    Ok(frame.lsn)
}

/// `count` turns of `len` bytes each, the first filled with 1.
fn turns(wal: &mut Wal, count: u8, len: usize) -> Frames {
    let mut frames = Frames::new();
    for fill in 1..=count {
        let events = vec![append(fill, len)];
        let lsn = turn(wal, &events).unwrap();
        frames.push((lsn, events));
    }
    frames
}

fn open(env: &Env, after: Lsn) -> Result<(Wal, Recovery, Frames), StoreError> {
    open_with(env, after, SMALL)
}

fn open_with(
    env: &Env,
    after: Lsn,
    options: WalOptions,
) -> Result<(Wal, Recovery, Frames), StoreError> {
    let mut frames = Frames::new();
    let (wal, recovery) = Wal::open(env, LOG, 2, after, options, &mut |lsn, events| {
        frames.push((lsn, events));
        Ok(())
    })?;
    assert_eq!(recovery.frames, frames.len() as u64);
    Ok((wal, recovery, frames))
}

fn scanned(env: &Env, after: Option<Lsn>) -> Result<(ScanEnd, Vec<FrameInfo>), StoreError> {
    let mut frames = Vec::new();
    let end = scan(env, LOG, after, &mut |frame| frames.push(frame))?;
    Ok((end, frames))
}

fn path(number: u64) -> std::path::PathBuf {
    SegmentNumber(number).path(LOG)
}

fn names(env: &Env) -> Vec<String> {
    let entries = env.disk.list(&LOG.dir()).unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

fn is_full<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Full))
}

fn is_corrupt<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Corrupt { .. }))
}

fn is_missing<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Missing { .. }))
}
