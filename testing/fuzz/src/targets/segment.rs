//! Segments. What a medium does to one is found by every read that meets it: an answer is the bytes and
//! the messages that were written, or an error, never anything else (T26, T81). And where every
//! checksum was made right again around other bytes, what is read still holds together: an extent has
//! as many bytes as it says, and its messages join and end where it does.

use std::sync::{Arc, OnceLock};

use millrace_core::{SegmentId, StreamPos};
use millrace_env::SimDisk;
use millrace_store::{
    Extent, MessageMark, SegmentOptions, SegmentRef, Segments, StoreError, fuzzing,
};

use super::specimen;
use crate::{
    damage::{env, files, make, rewrite, strike},
    input::Input,
};

const BLOCK: usize = 16_384;
const HEADER_CRC: usize = 28;
const TRAILER: usize = 64;

/// The first byte says whether a medium or a hand was at work.
pub fn check(bytes: &[u8]) {
    static SPECIMEN: OnceLock<Specimen> = OnceLock::new();
    let specimen = SPECIMEN.get_or_init(Specimen::make);
    let mut input = Input::new(bytes);
    let mut file = specimen.file.clone();
    let by_hand = input.coin();
    if by_hand {
        // Places behind the data, where all that refers to anything is.
        let from = if input.coin() { specimen.index } else { 0 };
        rewrite(&mut file[from..], &mut input);
        sign(&mut file, specimen.footer);
    } else {
        strike(&mut file, &mut input);
    }
    let segments = specimen.opened(&file);
    let found = fuzzing::extents(&segments, specimen.id);
    if let (Ok(found), false) = (&found, by_hand) {
        assert_eq!(found, &specimen.extents);
    }
    let pinned = segments.pin(specimen.id);
    // The catalog names extents whatever the file says of itself.
    for (nth, extent) in specimen.extents.iter().enumerate() {
        let answer = read(&pinned, extent);
        if !by_hand && let Ok(answer) = answer {
            assert_eq!(answer, specimen.contents[nth]);
        }
    }
    for extent in found.unwrap_or_default() {
        let _ = read(&pinned, &extent);
    }
}

type Content = (Vec<u8>, Vec<MessageMark>);

/// All that an extent holds, once it is checked that it holds together.
fn read(segment: &SegmentRef, extent: &Extent) -> Result<Content, StoreError> {
    let bytes = usize::try_from(extent.bytes()).expect("a 64-bit target");
    let content = segment.read(extent, extent.from, bytes);
    let marks = segment.messages(extent, extent.from)?;
    let marks: Vec<MessageMark> = marks.collect::<Result<_, _>>()?;
    let content = content?;
    assert_eq!(content.len(), bytes, "as many bytes as were asked for");
    let mut before = extent.from;
    for mark in &marks {
        assert!(before < mark.end, "no message is empty");
        boundaries(segment, extent, before, mark.end)?;
        before = mark.end;
    }
    assert_eq!(before, extent.until, "messages end where the extent does");
    Ok((content.to_vec(), marks))
}

/// What a look-up in the index says is what all messages in order say.
fn boundaries(
    segment: &SegmentRef,
    extent: &Extent,
    from: StreamPos,
    until: StreamPos,
) -> Result<(), StoreError> {
    // A look-up costs a page.
    if !from.get().is_multiple_of(16) {
        return Ok(());
    }
    let inside = StreamPos(from.get().midpoint(until.get()));
    assert_eq!(segment.boundary_at_or_before(extent, inside)?, from);
    assert_eq!(segment.is_boundary(extent, inside)?, inside == from);
    if inside > from {
        assert_eq!(segment.boundary_at_or_after(extent, inside)?, until);
    }
    Ok(())
}

struct Specimen {
    id: SegmentId,
    path: String,
    file: Vec<u8>,
    /// Where the index begins.
    index: usize,
    /// Where the footer begins.
    footer: usize,
    extents: Vec<Extent>,
    contents: Vec<Content>,
}

impl Specimen {
    fn make() -> Self {
        let files = files(specimen::disk(), "segments");
        let (path, file) = files.into_iter().next().expect("it was flushed");
        let at = file.len() - TRAILER;
        let mut specimen = Self {
            id: SegmentId(word(&file, at + 16)),
            index: usize::try_from(word(&file, at + 24)).expect("small"),
            footer: usize::try_from(word(&file, at + 40)).expect("small"),
            path,
            file,
            extents: Vec::new(),
            contents: Vec::new(),
        };
        let segments = specimen.opened(&specimen.file);
        let extents = fuzzing::extents(&segments, specimen.id).expect("it is whole");
        let pinned = segments.pin(specimen.id);
        let read = |extent| read(&pinned, extent).expect("it is whole");
        specimen.contents = extents.iter().map(read).collect();
        specimen.extents = extents;
        specimen
    }

    fn opened(&self, file: &[u8]) -> Segments {
        let disk: Arc<SimDisk> = SimDisk::new(1);
        make(&disk, &self.path, file);
        Segments::open(&env(&disk), SegmentOptions::default())
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// Makes every checksum right again, as `docs/format.md` has them.
fn sign(file: &mut [u8], footer: usize) {
    let crc = crc32c::crc32c(&file[..HEADER_CRC]);
    file[HEADER_CRC..HEADER_CRC + 4].copy_from_slice(&crc.to_le_bytes());
    let (covered, rest) = file.split_at_mut(footer);
    let (sums, trailer) = rest.split_at_mut(rest.len() - TRAILER);
    for (block, sum) in covered.chunks(BLOCK).zip(sums.chunks_mut(4)) {
        sum.copy_from_slice(&crc32c::crc32c(block).to_le_bytes());
    }
    trailer[48..52].copy_from_slice(&crc32c::crc32c(sums).to_le_bytes());
    let crc = crc32c::crc32c(&trailer[..60]);
    trailer[60..].copy_from_slice(&crc.to_le_bytes());
}
