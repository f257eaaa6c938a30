//! Making a log, and making one that exists writable again.
//!
//! Opening first reads and verifies everything and changes nothing. Then it ends what the last boot
//! left open: the frames of which nothing proves that they were synced are written once more as
//! they are, followed by a seal over whatever is behind them, and synced; only then do they count
//! as durable. (After a failed sync, reads may show bytes that the disk does not hold.) The log goes
//! on in a fresh segment. Last, what the catalog does not have is replayed, from memory where it is
//! little and read again where it is much: so a damaged log replays nothing, and who replays may build on
//! what it is given, a flush included.
//!
//! Every step leaves a log that opens to the same frames: what is written over a frame is the same
//! frame, and a torn seal is torn like any frame (T16).
//!
//! Next: `writer.rs`.

use std::{collections::VecDeque, io, sync::atomic::AtomicU64, time::Duration};

use millrace_core::{Event, Lsn};
use millrace_env::{Env, FileExt as _, OpenMode};

use super::{
    LogId, Recovery, WalOptions,
    format::{Chain, FRAME_HEADER_LEN, FrameKind, SEGMENT_HEADER_BYTES, SegmentNumber},
    frame::{self, Place},
    scan::{Closed, LastSegment, Listing, Walk, read_frames, walk},
    segment::{Cursor, Rest, Segment, Step},
    spare::{Spare, spare_path},
    writer::{Active, Note, Wal},
};
use crate::error::StoreError;

/// So many bytes of frames are kept in memory between the verification of a log and its replay. BOUND:
/// decoded, small events take about four times as much. Few under test, so that both ways are taken.
const KEPT_BYTES: u64 = if cfg!(test) { 2 << 10 } else { 32 << 20 };

impl Wal {
    /// Makes an empty log whose first frame will be frame 1; durable when it returns. What an
    /// interrupted call left behind is replaced, a log that holds frames is refused.
    pub fn create(
        env: &Env,
        log: LogId,
        boot_epoch: u64,
        options: WalOptions,
    ) -> Result<Self, StoreError> {
        env.disk.create_dir(&log.dir())?;
        env.disk.sync_dir("".as_ref())?;
        env.disk.sync_dir("wal".as_ref())?;
        let listing = Listing::read(env, log)?;
        if !listing.segments.is_empty() {
            let mut none = |_, _| {
                let dir = log.dir();
                let what = format!("{} already holds frames", dir.display());
                Err(StoreError::corrupt(what))
            };
            let (wal, _) = Self::open(env, log, boot_epoch, Lsn::ZERO, options, &mut none)?;
            return Ok(wal);
        }
        let mut wal = Self::unopened(env, log, boot_epoch, options);
        wal.take_over_spares(listing)?;
        wal.prepare(0, true)?;
        Ok(wal)
    }

    /// Verifies all of a log and changes nothing. `after` is the LSN up to which the catalog holds its
    /// content; it is never beyond the log's end, because a flush comes after the sync of what it takes.
    ///
    /// Where there are several logs, all are verified before the first is opened: a start that is
    /// refused leaves everything as it found it.
    pub fn verify(env: &Env, log: LogId, after: Lsn) -> Result<Verified, StoreError> {
        let listing = Listing::read(env, log)?;
        let mut kept = Kept::default();
        let walked = walk(env, log, Some(after), &listing, &mut |_, raw, events| {
            if raw.header.kind == FrameKind::Data && raw.header.lsn > after {
                kept.push(raw.header.lsn, u64::from(raw.header.len), events);
            }
            Ok(())
        })?;
        Ok(Verified {
            env: env.clone(),
            log,
            after,
            listing,
            walked,
            kept,
        })
    }

    /// [`Wal::verify`], then [`Verified::open`].
    pub fn open(
        env: &Env,
        log: LogId,
        boot_epoch: u64,
        after: Lsn,
        options: WalOptions,
        replay: &mut dyn FnMut(Lsn, Vec<Event>) -> Result<(), StoreError>,
    ) -> Result<(Self, Recovery), StoreError> {
        Self::verify(env, log, after)?.open(boot_epoch, options, replay)
    }

    /// Removes a log that the catalog no longer names, with all that is in it; fine if it is gone.
    pub fn remove(env: &Env, log: LogId) -> Result<(), StoreError> {
        let dir = log.dir();
        let entries = match env.disk.list(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            env.disk.remove(&dir.join(entry.name))?;
        }
        env.disk.remove_dir(&dir)?;
        env.disk.sync_dir("wal".as_ref())?;
        Ok(())
    }

    fn unopened(env: &Env, log: LogId, boot_epoch: u64, options: WalOptions) -> Self {
        Self {
            env: env.clone(),
            log,
            boot_epoch,
            options,
            closed: VecDeque::new(),
            active: None,
            last_seal: (SegmentNumber::BEFORE_FIRST, Chain::NONE),
            note: None,
            next: Lsn(1),
            synced_below: Lsn(1),
            sync_issued_below: AtomicU64::new(1),
            spares: Vec::new(),
            next_spare: 1,
            making_spare: false,
            spare_not_before: Duration::ZERO,
            poisoned: None,
        }
    }

    fn go_on_from(&mut self, last: LastSegment, listing: Listing) -> Result<(), StoreError> {
        // Names may be those of the last boot's memory only; nothing is built on them before.
        self.sync_dir()?;
        self.take_over_spares(listing)?;
        self.next = last.next;
        self.synced_below = last.next;
        let number = last.segment.header.number;
        let file = self
            .env
            .disk
            .open(&number.path(self.log), OpenMode::ReadWrite)?;
        let segment = Segment {
            file,
            ..last.segment
        };
        let last = LastSegment { segment, ..last };
        let unused = last.at == SEGMENT_HEADER_BYTES && last.rest == Rest::Clean;
        if unused {
            return self.go_on_in(last);
        }
        let end = end(&last)?;
        self.last_seal = (number, end.chain);
        self.closed.push_back(Closed {
            number,
            salt: last.segment.header.salt,
            next: last.next,
            file_bytes: last.segment.header.file_bytes,
            used_bytes: end.at,
        });
        let file = last.segment.file;
        self.note = Some(Note::new(file, end.at, end.place, end.chain));
        self.prepare_at_start()
    }

    /// Goes on in a segment without frames, so that starts that do nothing leave nothing.
    fn go_on_in(&mut self, last: LastSegment) -> Result<(), StoreError> {
        let LastSegment { segment, at, .. } = last;
        self.note = self.missed_note(&segment)?;
        // A frame that failed may be on the disk though reads do not show it: not after this.
        segment.file.write_all_at(&[0; FRAME_HEADER_LEN], at)?;
        segment.file.sync()?;
        self.active = Some(Active::empty(segment.file, &segment.header, segment.chain));
        self.prepare_at_start()
    }

    fn prepare_at_start(&mut self) -> Result<(), StoreError> {
        match self.prepare(0, false) {
            // Reads need no space, nor does finding out what can be freed.
            Ok(()) | Err(StoreError::Full) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What the segment before an unused one may have had no time to say.
    fn missed_note(&self, unused: &Segment) -> Result<Option<Note>, StoreError> {
        let header = &unused.header;
        let follows = |before: &&Closed| before.number.next() == header.number;
        let Some(before) = self.closed.back().filter(follows) else {
            return Ok(None);
        };
        let path = before.number.path(self.log);
        let file = self.env.disk.open(&path, OpenMode::ReadWrite)?;
        let place = Place {
            segment: before.number,
            salt: before.salt,
            lsn: before.next,
            previous: header.previous_seal,
            after_unsynced: false,
        };
        let seal = header.previous_seal;
        Ok(Some(Note::new(file, before.used_bytes, place, seal)))
    }

    /// Keeps as many spares as are wanted, and removes the others and what was not finished.
    fn take_over_spares(&mut self, listing: Listing) -> Result<(), StoreError> {
        for name in listing.unfinished {
            self.env.disk.remove(&self.log.dir().join(name))?;
        }
        for (id, bytes) in listing.spares {
            self.next_spare = self.next_spare.max(id.saturating_add(1));
            let path = spare_path(self.log, id);
            let wanted = self.spares.len() < self.spares_wanted();
            if !wanted || bytes != self.options.segment_bytes {
                self.env.disk.remove(&path)?;
                continue;
            }
            self.spares.push(Spare {
                file: self.env.disk.open(&path, OpenMode::ReadWrite)?,
                path,
                bytes,
                zeroed: false,
            });
        }
        Ok(())
    }
}

/// A log of which every byte was verified, and none changed since.
#[derive(Debug)]
pub struct Verified {
    env: Env,
    log: LogId,
    after: Lsn,
    listing: Listing,
    walked: Walk,
    kept: Kept,
}

/// The frames above what the catalog holds, while they are few enough.
#[derive(Debug, Default)]
struct Kept {
    frames: Vec<(Lsn, Vec<Event>)>,
    /// How long they are, those that were let go of included.
    bytes: u64,
}

impl Kept {
    fn push(&mut self, lsn: Lsn, bytes: u64, events: Vec<Event>) {
        self.bytes += bytes;
        if self.bytes <= KEPT_BYTES {
            self.frames.push((lsn, events));
        } else {
            self.frames = Vec::new();
        }
    }

    /// All of them, unless they were too many.
    fn all(self) -> Option<Vec<(Lsn, Vec<Event>)>> {
        (self.bytes <= KEPT_BYTES).then_some(self.frames)
    }
}

impl Verified {
    /// Makes the log writable, and gives every frame above what the catalog holds to `replay`, in order,
    /// each durable by then. When there is no space for a fresh segment the log opens all the same and
    /// [`Wal::prepare`] says so.
    pub fn open(
        self,
        boot_epoch: u64,
        options: WalOptions,
        replay: &mut dyn FnMut(Lsn, Vec<Event>) -> Result<(), StoreError>,
    ) -> Result<(Wal, Recovery), StoreError> {
        let Self {
            env,
            log,
            after,
            listing,
            walked,
            kept,
        } = self;
        let mut recovery = Recovery {
            frames: 0,
            last: Lsn(walked.last.next.get().saturating_sub(1)),
            torn_bytes: match walked.last.rest {
                Rest::Clean => 0,
                Rest::Torn { bytes } => bytes,
            },
            segments: walked.closed.len() as u64 + 1,
        };
        let mut wal = Wal::unopened(&env, log, boot_epoch, options);
        wal.closed = walked.closed.into();
        wal.go_on_from(walked.last, listing)?;
        if let Some(frames) = kept.all() {
            recovery.frames = frames.len() as u64;
            for (lsn, events) in frames {
                replay(lsn, events)?;
            }
            return Ok((wal, recovery));
        }
        for closed in wal
            .closed
            .iter()
            .filter(|closed| closed.next.get() > after.get().saturating_add(1))
        {
            recovery.frames += replay_segment(&env, log, *closed, after, replay)?;
        }
        Ok((wal, recovery))
    }
}

/// Reads a verified segment again and replays what lies above `after`; how many frames that was.
fn replay_segment(
    env: &Env,
    log: LogId,
    closed: Closed,
    after: Lsn,
    replay: &mut dyn FnMut(Lsn, Vec<Event>) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let segment = Segment::open(env, log, closed.number, OpenMode::Read)?;
    let mut cursor = Cursor::new(&segment);
    let mut frames = 0;
    read_frames(&segment, &mut cursor, &mut |_, raw, events| {
        if raw.header.kind != FrameKind::Data || raw.header.lsn <= after {
            return Ok(());
        }
        frames += 1;
        replay(raw.header.lsn, events)
    })?;
    let whole = cursor.sealed && cursor.next == closed.next;
    whole
        .then_some(frames)
        .ok_or_else(|| segment.corrupt(cursor.at, "it changed while it was read"))
}

/// Where a segment ended, with its seal.
struct End {
    /// Behind the seal.
    at: u64,
    /// The seal's.
    place: Place,
    chain: Chain,
}

/// Makes the end of the last segment durable: its unproven frames as they are, then the seal. The
/// seal is written after their sync, so that it proves them.
fn end(last: &LastSegment) -> Result<End, StoreError> {
    let segment = &last.segment;
    // Verified again: what a disk gives back wrong this time must not go over what is right.
    let mut cursor = Cursor::from(segment, last.unproven);
    while cursor.at < last.at {
        match cursor.step()? {
            Step::Frame(frame) => segment.file.write_all_at(&frame.bytes, frame.at)?,
            Step::End => return Err(segment.corrupt(cursor.at, "it changed while it was read")),
        }
    }
    let mut at = last.at;
    segment.file.sync()?;
    let place = Place {
        segment: segment.header.number,
        salt: segment.header.salt,
        lsn: last.next,
        previous: last.chain,
        after_unsynced: false,
    };
    if last.sealed {
        let chain = last.chain;
        return Ok(End { at, place, chain });
    }
    let (seal, chain) = frame::marker(place, FrameKind::Seal);
    segment.file.write_all_at(&seal, at)?;
    segment.file.sync()?;
    at += seal.len() as u64;
    Ok(End { at, place, chain })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millrace_core::{Appended, Payload, StreamId, StreamPos, Timestamp};
    use millrace_env::SimDisk;

    use super::*;
    use crate::testkit::sim_env;

    const LOG: LogId = LogId(3);
    const SMALL: WalOptions = WalOptions {
        segment_bytes: 8192,
        reserve: false,
    };

    fn append(fill: u8) -> Event {
        Event::Appended(Appended {
            stream: StreamId::from_raw(9),
            from: StreamPos(0),
            payload: Payload::single(Bytes::from(vec![fill; 200])),
            producer: None,
            introduces_producer: false,
            forgets: None,
            seq: None,
            closes: false,
            at: Timestamp(1),
        })
    }

    /// The end of a log was read a second time to be written again, and was not verified that time.
    #[test]
    fn a_frame_that_reads_wrong_the_second_time_is_not_written_over_what_is_right() {
        let disk = SimDisk::new(1);
        let env = sim_env(&disk, 1);
        let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
        for fill in 0..4 {
            let frame = wal.encode(&[append(fill)]);
            wal.write(&frame).unwrap();
            wal.sync().unwrap();
        }
        drop(wal);
        let listing = Listing::read(&env, LOG).unwrap();
        let last = walk(&env, LOG, None, &listing, &mut |_, _, _| Ok(()))
            .unwrap()
            .last;
        let path = last.segment.header.number.path(LOG);
        let file = env.disk.open(&path, OpenMode::ReadWrite).unwrap();
        let at = last.at;
        let segment = Segment {
            file,
            ..last.segment
        };
        disk.rot(&path, at - 20, 3);
        let ended = end(&LastSegment { segment, ..last });
        assert!(matches!(ended, Err(StoreError::Corrupt { .. })));
        disk.mend();
        let mut frames = 0;
        let mut count = |_, _| {
            frames += 1;
            Ok(())
        };
        let env = sim_env(&disk, 2);
        Wal::open(&env, LOG, 2, Lsn::ZERO, SMALL, &mut count).unwrap();
        assert_eq!(frames, 4);
    }
}
