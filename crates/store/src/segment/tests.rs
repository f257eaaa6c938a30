//! Segments, written and read.

use std::path::Path;

use millrace_core::{Payload, SegmentId, StreamId, StreamPos, Timestamp};
use millrace_env::{Disk, Env, FileExt, OpenMode, Rng, SimDisk};
use proptest::prelude::*;

use super::{
    Chunk, Counted, Extent, MessageMark, SEGMENTS_DIR, SegmentOptions, SegmentRef, Segments,
    file::SegmentFile, id_in_name, segment_path, writer::SegmentWriter,
};
use crate::{
    StoreError,
    testkit::{TempDir, payload, sim_env},
};

const ID: SegmentId = SegmentId(7);

/// Writes streams of appends, each append a list of message lengths.
fn write(env: &Env, rng: &Rng, streams: &[Vec<Vec<u32>>]) -> (Vec<Extent>, Vec<Vec<Chunk>>) {
    env.disk.create_dir(Path::new(SEGMENTS_DIR)).unwrap();
    let mut writer = SegmentWriter::create(env, ID, 20_000).unwrap();
    let mut all = Vec::new();
    for (number, appends) in streams.iter().enumerate() {
        let mut from = StreamPos(rng.below(1000));
        writer.begin(StreamId::from_raw(number as u64), from);
        let mut chunks = Vec::new();
        for (at, lengths) in appends.iter().enumerate() {
            let at = Timestamp(at as u64 * 1000 + rng.below(2000));
            let chunk = Chunk {
                from,
                payload: payload(rng, lengths),
                at,
            };
            from = chunk.until();
            writer.chunk(&chunk).unwrap();
            chunks.push(chunk);
        }
        writer.end();
        all.push(chunks);
    }
    let (_, extents) = writer.finish().unwrap();
    (extents, all)
}

fn marks_of(chunks: &[Chunk]) -> Vec<MessageMark> {
    let mut marks = Vec::new();
    for chunk in chunks {
        let mut end = chunk.from;
        for (number, len) in chunk.payload.lengths().enumerate() {
            end = end.advance(u64::from(len));
            marks.push(MessageMark {
                end,
                starts_append: number == 0,
                at: chunk.at,
            });
        }
    }
    marks
}

fn bytes_of(chunks: &[Chunk]) -> Vec<u8> {
    chunks
        .iter()
        .flat_map(|chunk| chunk.payload.bytes().to_vec())
        .collect()
}

/// Every answer about an extent is what its chunks say.
fn assert_answers(segments: &Segments, extent: &Extent, chunks: &[Chunk], rng: &Rng) {
    let segment = segments.pin(extent.segment);
    let bytes = bytes_of(chunks);
    let marks = marks_of(chunks);
    assert_eq!(extent.bytes(), bytes.len() as u64);
    assert_eq!(extent.messages, marks.len() as u64);
    let mut boundaries = vec![extent.from];
    boundaries.extend(marks.iter().map(|mark| mark.end));
    for _ in 0..12 {
        let start = rng.below(extent.bytes() + 1);
        let len = rng.below(extent.bytes() - start + 1);
        let pos = extent.from.advance(start);
        let (start, len) = (
            usize::try_from(start).unwrap(),
            usize::try_from(len).unwrap(),
        );
        let read = segment.read(extent, pos, len).unwrap();
        assert_eq!(read, bytes[start..start + len]);

        let found: Vec<_> = segment
            .messages(extent, pos)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let want: Vec<_> = marks
            .iter()
            .filter(|mark| mark.end > pos)
            .copied()
            .collect();
        assert_eq!(found, want, "messages from {pos}");

        let before = boundaries
            .iter()
            .rev()
            .find(|at| **at <= pos)
            .copied()
            .unwrap();
        let after = boundaries.iter().find(|at| **at >= pos).copied().unwrap();
        assert_eq!(segment.boundary_at_or_before(extent, pos).unwrap(), before);
        assert_eq!(segment.boundary_at_or_after(extent, pos).unwrap(), after);
        assert_eq!(segment.is_boundary(extent, pos).unwrap(), before == pos);
    }
    for boundary in boundaries.into_iter().step_by(5) {
        assert!(segment.is_boundary(extent, boundary).unwrap());
    }
    assert_counts(&segment, extent, &marks, rng);
}

/// Numbers and times of messages, against the list of them.
fn assert_counts(segment: &SegmentRef, extent: &Extent, marks: &[MessageMark], rng: &Rng) {
    let mut starts = vec![extent.from];
    starts.extend(marks.iter().map(|mark| mark.end));
    for _ in 0..12 {
        let pos = extent.from.advance(rng.below(extent.bytes() + 1));
        let ended = marks.iter().filter(|mark| mark.end <= pos).count() as u64;
        let begun = starts[..marks.len()].iter().filter(|start| **start < pos);
        let begun = begun.count() as u64;
        let counted = segment.count_before(extent, pos).unwrap();
        assert_eq!(counted, Counted { ended, begun }, "before {pos}");
        let number = rng.below(starts.len() as u64);
        let start = segment.message_start(extent, number).unwrap();
        assert_eq!(start, starts[usize::try_from(number).unwrap()]);
    }
    let times = marks.iter().map(|mark| mark.at.get());
    let last = times.clone().max().unwrap_or_default();
    for since in [0, rng.below(last + 2), last, last + 1] {
        let found = segment.first_since(extent, Timestamp(since)).unwrap();
        let at = |pos| starts.iter().position(|start| *start == pos).unwrap();
        let index = found.map_or(marks.len(), at);
        // Exact where times only grow; else a place where what is older ends.
        let is_old = |index: usize| marks[index].at.get() < since;
        assert!(index == 0 || is_old(index - 1), "before {found:?}");
        assert!(index == marks.len() || !is_old(index), "at {found:?}");
    }
}

fn message_lengths() -> impl Strategy<Value = Vec<Vec<u32>>> {
    let len = prop_oneof![40 => 1u32..40, 8 => 1u32..3000, 1 => Just(16_384u32)];
    let append = prop::collection::vec(len, 1..12);
    prop::collection::vec(append, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(streams in prop::collection::vec(message_lengths(), 1..6), seed: u64) {
        let rng = Rng::from_seed(seed);
        let disk = SimDisk::new(seed);
        disk.set_short_writes(0.2);
        let env = sim_env(&disk, seed);
        let (extents, chunks) = write(&env, &rng, &streams);
        let segments = Segments::open(&env, SegmentOptions::default());
        for (extent, chunks) in extents.iter().zip(&chunks) {
            assert_answers(&segments, extent, chunks, &rng);
        }
        prop_assert_eq!(SegmentFile::open(&env, ID).unwrap().extents().unwrap(), extents);
    }
}

#[test]
fn a_segment_on_a_real_disk_reads_back() {
    let dir = TempDir::new("segment");
    let (env, rng) = (dir.env(), Rng::from_seed(1));
    let big = vec![vec![100_000; 20]];
    let small: Vec<Vec<u32>> = (1..1000).map(|n| vec![n % 7 + 1]).collect();
    let (extents, chunks) = write(&env, &rng, &[big, small]);
    let segments = Segments::open(&env, SegmentOptions::default());
    for (extent, chunks) in extents.iter().zip(&chunks) {
        assert_answers(&segments, extent, chunks, &rng);
    }
}

/// Small enough that every byte can be damaged, with every part of the format in it.
fn small_segment(seed: u64) -> (std::sync::Arc<SimDisk>, Vec<Extent>, Vec<Vec<Chunk>>) {
    let disk = SimDisk::new(seed);
    let rng = Rng::from_seed(seed);
    let appends = |n: u32| (0..n).map(|len| vec![len % 5 + 1, 3]).collect::<Vec<_>>();
    let written = write(&sim_env(&disk, seed), &rng, &[appends(150), appends(1)]);
    (disk, written.0, written.1)
}

#[test]
fn t26_no_flipped_bit_changes_what_is_read() {
    let (disk, extents, chunks) = small_segment(3);
    let len = disk.content(segment_path(ID)).len() as u64;
    let mut refused: u64 = 0;
    for pos in 0..len {
        let disk = disk.copy(pos);
        disk.flip_bit(segment_path(ID), pos, u8::try_from(pos % 8).unwrap());
        let segments = Segments::open(&sim_env(&disk, 1), SegmentOptions::default());
        for (extent, chunks) in extents.iter().zip(&chunks) {
            let segment = segments.pin(ID);
            let size = usize::try_from(extent.bytes()).unwrap();
            match segment.read(extent, extent.from, size) {
                Ok(bytes) => assert_eq!(bytes, bytes_of(chunks)),
                Err(error) => {
                    assert!(
                        matches!(error, StoreError::Corrupt { .. }),
                        "{pos}: {error}"
                    );
                    refused += 1;
                }
            }
            let marks = segment
                .messages(extent, extent.from)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>);
            match marks {
                Ok(marks) => assert_eq!(marks, marks_of(chunks)),
                Err(error) => assert!(matches!(error, StoreError::Corrupt { .. })),
            }
        }
    }
    assert!(refused > len, "a one-block file has no harmless byte");
}

#[test]
fn t26_a_truncated_or_empty_segment_is_corrupt_at_every_length() {
    let (disk, extents, _) = small_segment(4);
    let whole = disk.content(segment_path(ID));
    for len in 0..whole.len() as u64 {
        let disk = disk.copy(len);
        let env = sim_env(&disk, 1);
        let file = env
            .disk
            .open(&segment_path(ID), OpenMode::ReadWrite)
            .unwrap();
        file.set_len(len).unwrap();
        let segments = Segments::open(&env, SegmentOptions::default());
        let error = segments
            .pin(ID)
            .read(&extents[0], extents[0].from, 1)
            .unwrap_err();
        assert!(
            matches!(error, StoreError::Corrupt { .. }),
            "{len}: {error}"
        );
    }
}

#[test]
fn t21_zeros_at_the_end_of_a_segment_are_corrupt() {
    let (disk, extents, _) = small_segment(5);
    let whole = disk.content(segment_path(ID));
    for zeros in [1, 64, 512, whole.len()] {
        let disk = disk.copy(zeros as u64);
        let env = sim_env(&disk, 1);
        let file = env
            .disk
            .open(&segment_path(ID), OpenMode::ReadWrite)
            .unwrap();
        file.write_all_at(&vec![0; zeros], (whole.len() - zeros) as u64)
            .unwrap();
        let segments = Segments::open(&env, SegmentOptions::default());
        let error = segments
            .pin(ID)
            .read(&extents[0], extents[0].from, 1)
            .unwrap_err();
        assert!(
            matches!(error, StoreError::Corrupt { .. }),
            "{zeros}: {error}"
        );
    }
}

#[test]
fn a_segment_of_another_id_is_refused() {
    let (disk, extents, _) = small_segment(6);
    let env = sim_env(&disk, 1);
    let other = SegmentId(8);
    disk.rename(&segment_path(ID), &segment_path(other))
        .unwrap();
    let extent = Extent {
        segment: other,
        ..extents[0]
    };
    let segments = Segments::open(&env, SegmentOptions::default());
    let error = segments
        .pin(other)
        .read(&extent, extent.from, 1)
        .unwrap_err();
    assert!(
        error.to_string().contains("another segment's file"),
        "{error}"
    );
}

#[test]
fn a_newer_segment_is_refused_as_such() {
    let (disk, extents, _) = small_segment(7);
    let env = sim_env(&disk, 1);
    let len = disk.content(segment_path(ID)).len() as u64;
    let file = env
        .disk
        .open(&segment_path(ID), OpenMode::ReadWrite)
        .unwrap();
    let mut trailer = vec![0; 64];
    file.read_exact_at(&mut trailer, len - 64).unwrap();
    trailer[8..12].copy_from_slice(&9u32.to_le_bytes());
    let crc = crc32c::crc32c(&trailer[..60]);
    trailer[60..].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&trailer, len - 64).unwrap();
    let segments = Segments::open(&env, SegmentOptions::default());
    let error = segments
        .pin(ID)
        .read(&extents[0], extents[0].from, 1)
        .unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { found: 9, known: 1 }),
        "{error}"
    );
}

#[test]
fn a_pinned_segment_is_deleted_when_the_last_reader_is_gone() {
    let (disk, extents, chunks) = small_segment(8);
    let env = sim_env(&disk, 1);
    let segments = Segments::open(&env, SegmentOptions { open_files_max: 1 });
    let first = segments.pin(ID);
    let second = first.clone();
    let third = segments.pin(ID);
    segments.remove(ID);
    assert_eq!(segments.take_unlinked().unwrap(), []);
    drop((first, third));
    let len = usize::try_from(extents[0].bytes()).unwrap();
    let read = second.read(&extents[0], extents[0].from, len).unwrap();
    assert_eq!(read, bytes_of(&chunks[0]));
    drop(second);
    assert_eq!(segments.take_unlinked().unwrap(), [ID]);
    assert_eq!(segments.take_unlinked().unwrap(), []);
    assert!(disk.list(Path::new(SEGMENTS_DIR)).unwrap().is_empty());
    let error = segments
        .pin(ID)
        .read(&extents[0], extents[0].from, 1)
        .unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
}

#[test]
fn open_files_are_bounded() {
    let disk = SimDisk::new(9);
    let env = sim_env(&disk, 9);
    env.disk.create_dir(Path::new(SEGMENTS_DIR)).unwrap();
    let mut extents = Vec::new();
    for id in 1..=20 {
        let mut writer = SegmentWriter::create(&env, SegmentId(id), 1 << 20).unwrap();
        writer.begin(StreamId::from_raw(id), StreamPos::ZERO);
        writer
            .chunk(&Chunk {
                from: StreamPos::ZERO,
                payload: Payload::single(vec![1; 10].into()),
                at: Timestamp(1),
            })
            .unwrap();
        writer.end();
        extents.extend(writer.finish().unwrap().1);
    }
    let segments = Segments::open(&env, SegmentOptions { open_files_max: 4 });
    let refs: Vec<_> = extents
        .iter()
        .map(|extent| segments.pin(extent.segment))
        .collect();
    for _ in 0..3 {
        for (extent, segment) in extents.iter().zip(&refs) {
            segment.read(extent, extent.from, 10).unwrap();
            assert!(segments.open_files() <= 4);
        }
    }
}

#[test]
fn names_of_segments_are_told_from_others() {
    assert_eq!(
        id_in_name("00000000000000ff.seg", ".seg"),
        Some(SegmentId(255))
    );
    for name in [
        "ff.seg",
        "00000000000000FF.seg",
        "00000000000000ff.tmp",
        "+0000000000000ff.seg",
    ] {
        assert_eq!(id_in_name(name, ".seg"), None, "{name}");
    }
}

/// A start that is refused, and a read that fails, say which file has to be restored.
#[test]
fn t26_what_is_wrong_with_a_segment_names_its_file() {
    let disk = SimDisk::new(27);
    let env = sim_env(&disk, 27);
    write(&env, &Rng::from_seed(27), &[vec![vec![40_000]]]);
    let path = segment_path(ID);
    let len = disk.content(&path).len() as u64;
    for at in [3, 20_000, len - 70, len - 10] {
        let disk = disk.copy(1);
        disk.flip_bit(&path, at, 1);
        let opened = SegmentFile::open(&sim_env(&disk, 27), ID);
        let read = opened.and_then(|file| file.read_blocks(0, file.blocks() - 1));
        let error = read.unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}
