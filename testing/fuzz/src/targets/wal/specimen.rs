//! A log of a few segments, whole, and an encoder of its checksums that is written from
//! `docs/format.md`.

use std::sync::Arc;

use bytes::Bytes;
use millrace_core::{
    Appended, CreateSpec, Created, DeleteReason, Event, Generation, Lifetime, Lsn, Payload,
    StreamId, StreamName, StreamPos, Timestamp, slot::slot_of, stream::GenerationStart,
};
use millrace_env::SimDisk;
use millrace_store::{
    Wal,
    wal::{FrameInfo, scan},
};

use super::{DIR, LOG, OPTIONS};
use crate::damage::{env, files};

const SEGMENT_HEADER: usize = 4096;
pub(super) const FRAME_HEADER: usize = 48;
const FRAME_CRC: usize = FRAME_HEADER - 4;
const PREVIOUS: usize = 24;
const KIND: usize = 32;
const SEAL: u8 = 2;
const BODY_CRC: usize = 36;
const SALT: usize = 40;
const NUMBER: usize = 24;
const PREVIOUS_SEAL: usize = 64;

/// A log as it was written, all of it synced.
pub(super) struct Specimen {
    /// Its segments, in order.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// What its frames hold.
    pub(super) frames: Vec<(Lsn, Vec<Event>)>,
    /// Where those lie.
    pub(super) places: Vec<Place>,
    /// Where the last segment's frames end.
    pub(super) end: usize,
    /// Every frame, seals too.
    all: Vec<Place>,
}

/// Where a frame lies.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) at: usize,
    pub(super) len: usize,
}

impl Specimen {
    pub(super) fn make() -> Self {
        let disk = SimDisk::new(1);
        let mut wal = Wal::create(&env(&disk), LOG, 1, OPTIONS).expect("it is made");
        let mut frames = Vec::new();
        for events in turns() {
            let bytes = Wal::frame_bytes_max(&events);
            wal.prepare(bytes, false).expect("there is room");
            let frame = wal.encode(&events);
            wal.write(&frame).expect("it is written");
            wal.sync().expect("it is synced");
            frames.push((frame.lsn, events));
        }
        let files = files(&disk, DIR);
        let files: Vec<_> = files
            .into_iter()
            .filter(|(path, _)| path.strip_suffix(".wal").is_some())
            .collect();
        assert!(files.len() > 2, "turns enough for some segments");
        let mut all = Vec::new();
        let mut places = Vec::new();
        let mut take = |frame: FrameInfo| {
            let place = Place {
                file: usize::try_from(frame.segment.0).expect("small") - 1,
                at: usize::try_from(frame.position).expect("small"),
                len: usize::try_from(frame.bytes).expect("small"),
            };
            all.push(place);
            if !frame.events.is_empty() {
                places.push(place);
            }
        };
        scan(&env(&disk), LOG, None, &mut take).expect("it is read");
        let last = *all.last().expect("it has frames");
        Self {
            files,
            frames,
            places,
            end: last.at + last.len,
            all,
        }
    }
}

fn turns() -> Vec<Vec<Event>> {
    let name = StreamName::new("a").expect("a name");
    let stream = StreamId::new(slot_of("a"), Generation(5));
    let starts = GenerationStart {
        generation: Generation(5),
        from: StreamPos::ZERO,
    };
    let created = Event::Created(Box::new(Created {
        stream,
        name,
        spec: CreateSpec::default(),
        content_type: millrace_core::ContentType::default(),
        lifetime: Lifetime::Unlimited,
        origin: None,
        lineage: Arc::new([]),
        generations: Arc::new([starts]),
        payload: Payload::EMPTY,
        at: Timestamp(1),
    }));
    let mut turns = vec![vec![created]];
    for (turn, len) in (0_u64..).zip([1, 200, 1500, 900, 2500, 60, 40, 700, 5, 2000, 300]) {
        let appended = |from: u64| {
            Event::Appended(Appended {
                stream,
                from: StreamPos(from),
                payload: Payload::single(Bytes::from(vec![b'a'; len])),
                producer: None,
                introduces_producer: false,
                forgets: None,
                seq: None,
                closes: false,
                at: Timestamp(turn),
            })
        };
        turns.push(
            (0..=turn % 2)
                .map(|nth| appended(turn * 5000 + nth))
                .collect(),
        );
    }
    let reason = DeleteReason::Request;
    turns.push(vec![Event::Deleted { stream, reason }]);
    turns
}

/// A frame of this body behind the last one, with checksums that hold.
pub(super) fn frame(specimen: &Specimen, records: u32, body: &[u8]) -> Vec<u8> {
    let (_, segment) = specimen.files.last().expect("a log has a segment");
    let last = specimen.all.last().expect("a log has frames");
    let mut frame = vec![0; FRAME_HEADER];
    frame.extend_from_slice(body);
    frame.resize(frame.len().next_multiple_of(8), 0);
    let len = u32::try_from(frame.len()).expect("small");
    let lsn = specimen.frames.len() as u64 + 1;
    frame[..4].copy_from_slice(b"MRWF");
    frame[4..8].copy_from_slice(&len.to_le_bytes());
    frame[8..16].copy_from_slice(&lsn.to_le_bytes());
    frame[16..24].copy_from_slice(&segment[NUMBER..NUMBER + 8]);
    frame[28..32].copy_from_slice(&records.to_le_bytes());
    frame[KIND] = 1;
    let previous = word(segment, last.at + FRAME_CRC);
    sign_frame(&mut frame, salt(segment), previous);
    frame
}

/// Makes every checksum right again, and every frame name the one before it.
pub(super) fn sign(specimen: &Specimen, files: &mut [(String, Vec<u8>)]) {
    let mut seal = 0;
    for (nth, (_, segment)) in files.iter_mut().enumerate() {
        put(segment, PREVIOUS_SEAL, seal);
        let crc = crc32c::crc32c(&segment[..SEGMENT_HEADER - 4]);
        put(segment, SEGMENT_HEADER - 4, crc);
        let salt = salt(segment);
        let mut previous = crc;
        for place in specimen.all.iter().filter(|place| place.file == nth) {
            let end = place.at + place.len;
            previous = sign_frame(&mut segment[place.at..end], salt, previous);
            if segment[place.at + KIND] == SEAL {
                seal = previous;
                // The word that the segment was continued names the seal, and nothing names it.
                sign_frame(&mut segment[end..end + FRAME_HEADER], salt, seal);
            }
        }
    }
}

/// The checksum of the frame's header.
fn sign_frame(frame: &mut [u8], salt: u64, previous: u32) -> u32 {
    let body = salted(salt, &frame[FRAME_HEADER..]);
    put(frame, PREVIOUS, previous);
    put(frame, BODY_CRC, body);
    let crc = salted(salt, &frame[..FRAME_CRC]);
    put(frame, FRAME_CRC, crc);
    crc
}

fn salted(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

fn salt(segment: &[u8]) -> u64 {
    u64::from_le_bytes(segment[SALT..SALT + 8].try_into().expect("8 bytes"))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn put(bytes: &mut [u8], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
}
