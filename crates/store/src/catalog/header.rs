//! The one part of `redb`'s file that is overwritten in place: its header.
//!
//! It says which of two commits counts. `redb` verifies the commits' own fields, and takes the older
//! commit where the newer one's are damaged: a flipped bit would take the catalog back to before an
//! acknowledged commit, and nobody would notice. So the header is kept twice, in two sectors that are
//! written together, each with a number that counts the writes and a checksum over all of it. A write
//! that power loss cut short leaves one of the two whole; damage to one leaves the other, with the same
//! number once a sync has passed; damage to both is an error.
//!
//! INVARIANT: a write begins only where both copies are the same and durable. Whoever opens the file to
//! write mends a copy that is not, first ([`mend`]): else the next write could cut the only whole one, or
//! leave one that is older than what was built on.

use std::io;

use millrace_env::{File, FileExt};

use crate::{
    StoreError,
    codec::{Decoder, Encoder},
};

/// The bytes of both copies.
pub(crate) const HEADER_BYTES: u64 = 2 * COPY as u64;

/// One copy: a sector.
const COPY: usize = 512;
/// How much of a copy is `redb`'s; its header has 320 bytes.
const IMAGE: usize = 500;

/// The header as `redb` has it.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    image: Vec<u8>,
    /// How many times it was written.
    number: u64,
    /// Whether one of the two copies that were read is not whole.
    is_single: bool,
    /// The copy in the file that is not this.
    stale: Option<usize>,
}

impl Header {
    /// The header of a file that is being made.
    pub(crate) fn new() -> Self {
        Self {
            image: vec![0; IMAGE],
            number: 0,
            is_single: false,
            stale: None,
        }
    }

    /// Reads the newer whole copy at `at`.
    pub(crate) fn read(file: &dyn File, at: u64, path: &str) -> Result<Self, StoreError> {
        let mut bytes = vec![0; 2 * COPY];
        file.read_exact_at(&mut bytes, at)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => StoreError::corrupt(format!("{path} is cut off")),
                _ => StoreError::io(format!("read {path}"), &error),
            })?;
        let copies: Vec<Option<Self>> = bytes.chunks(COPY).map(Self::take).collect();
        let is_single = copies.iter().any(Option::is_none);
        if is_single {
            // After power loss that is to be expected, and whoever opens it to write makes both whole.
            tracing::warn!(path, "one of the two copies of the header is not whole");
        }
        let number = |copy: &Option<Self>| copy.as_ref().map(|copy| copy.number);
        let stale = match (number(&copies[0]), number(&copies[1])) {
            (first, second) if first == second => None,
            (first, second) => Some(usize::from(first > second)),
        };
        let newest = copies.into_iter().flatten().max_by_key(|copy| copy.number);
        let newest = newest
            .ok_or_else(|| StoreError::corrupt(format!("the header of {path} is damaged")))?;
        Ok(Self {
            is_single,
            stale,
            ..newest
        })
    }

    /// Whether one of the two copies that were read is not whole.
    pub(crate) fn is_single(&self) -> bool {
        self.is_single
    }

    fn take(copy: &[u8]) -> Option<Self> {
        let (body, crc) = copy.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut from = Decoder::new(body);
        let image = from.raw(IMAGE, "the header").ok()?.to_vec();
        let number = from.u64("the header's number").ok()?;
        // Zeros have a checksum of 0, but no header was ever written under number 0.
        (number > 0).then_some(Self {
            image,
            number,
            is_single: false,
            stale: None,
        })
    }

    /// One copy, as it lies in the file.
    fn copy(&self) -> Vec<u8> {
        let mut copy = Encoder::with_capacity(COPY);
        copy.raw(&self.image);
        copy.u64(self.number);
        let crc = crc32c::crc32c(copy.as_mut_slice());
        copy.u32(crc);
        copy.finish()
    }

    /// Gives out bytes of the header's page.
    pub(crate) fn get(&self, offset: usize, out: &mut [u8]) {
        let page = self.image.iter().copied().chain(std::iter::repeat(0));
        for (byte, found) in out.iter_mut().zip(page.skip(offset)) {
            *byte = found;
        }
    }

    /// Takes bytes of the header's page, and gives both copies as they are to be written.
    pub(crate) fn put(&mut self, offset: usize, data: &[u8]) -> io::Result<Vec<u8>> {
        let fits = IMAGE.saturating_sub(offset).min(data.len());
        let (data, rest) = data.split_at(fits);
        if rest.iter().any(|byte| *byte != 0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the catalog's header has grown",
            ));
        }
        self.image[offset..offset + data.len()].copy_from_slice(data);
        self.number += 1;
        Ok(self.copy().repeat(2))
    }
}

/// Makes both copies at `at` the same, durably. What was read of the file is durable already.
pub(super) fn mend(header: &mut Header, file: &dyn File, at: u64) -> io::Result<()> {
    if let Some(stale) = header.stale {
        file.write_all_at(&header.copy(), at + (stale * COPY) as u64)?;
        file.sync()?;
        header.stale = None;
    }
    Ok(())
}

/// Writes both copies at `at`, over older ones. In one call each is old or new as a whole, whenever power
/// fails. A call that wrote less leaves one of them in between: then the first is made durable before
/// the second is touched.
pub(super) fn write(file: &dyn File, at: u64, copies: &[u8]) -> io::Result<()> {
    let written = match file.write_at(copies, at) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
        written => written?,
    };
    if written == copies.len() {
        return Ok(());
    }
    let (first, second) = copies.split_at(COPY);
    if written < COPY {
        file.write_all_at(first, at)?;
    }
    file.sync()?;
    file.write_all_at(second, at + COPY as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use millrace_env::{Disk, OpenMode, SimDisk};

    use super::*;

    #[test]
    fn either_copy_will_do_and_none_will_not() {
        let mut header = Header::new();
        header.put(0, b"older").unwrap();
        let whole = header.put(0, b"newer").unwrap();
        let read = |bytes: &[u8]| {
            let disk = SimDisk::new(1);
            let file = disk.open("x".as_ref(), OpenMode::CreateNew).unwrap();
            file.write_all_at(bytes, 0).unwrap();
            let mut out = [0; 6];
            Header::read(&*file, 0, "x").map(|header| {
                header.get(0, &mut out);
                out
            })
        };
        assert_eq!(read(&whole).unwrap(), *b"newer\0");
        for at in 0..2 * COPY {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(read(&damaged).unwrap(), *b"newer\0", "{at}");
            damaged[(at + COPY) % (2 * COPY)] ^= 4;
            assert!(
                matches!(read(&damaged), Err(StoreError::Corrupt { .. })),
                "{at}"
            );
        }
        assert!(read(&[0; 2 * COPY]).is_err());
    }

    #[test]
    fn the_page_behind_the_header_is_zeros_and_stays_so() {
        let mut header = Header::new();
        header.put(0, &[7; 320]).unwrap();
        let mut page = [1; 4096];
        header.get(0, &mut page);
        assert!(page[..320].iter().all(|byte| *byte == 7) && page[320..].iter().all(|b| *b == 0));
        header.put(0, &page).unwrap();
        page[4000] = 1;
        assert!(header.put(0, &page).is_err());
    }

    /// A file with `older`, and an attempt to write `newer` in short pieces that ends after `calls`.
    fn cut_off(seed: u64, older: &[u8], newer: &[u8], calls: u64) -> Arc<SimDisk> {
        let disk = SimDisk::new(seed);
        let file = disk.open("x".as_ref(), OpenMode::CreateNew).unwrap();
        file.write_all_at(older, 0).unwrap();
        file.sync().unwrap();
        disk.sync_dir("".as_ref()).unwrap();
        disk.set_short_writes(0.9);
        disk.crash_after(calls);
        let _ = write(&*file, 0, newer);
        disk
    }

    /// Found by the simulation of the whole server: a write that came out short, in pieces of which each
    /// was in a sector of its own copy, and then a power cut, left neither copy whole.
    #[test]
    fn a_header_that_is_written_in_pieces_is_whole_after_power_loss() {
        let mut header = Header::new();
        let older = header.put(0, b"older").unwrap();
        let newer = header.put(0, b"newer").unwrap();
        for seed in 0..2000 {
            let disk = cut_off(seed, &older, &newer, seed % 8).crash();
            let file = disk.open("x".as_ref(), OpenMode::Read).unwrap();
            Header::read(&*file, 0, "x").unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
    }

    /// Found by the simulation of the whole server, seed 2002: the process was killed amid the second
    /// copy, and in the next life the power failed amid the first.
    #[test]
    fn a_header_of_which_one_copy_is_whole_is_mended_before_it_is_written_again() {
        let mut header = Header::new();
        let older = header.put(0, b"older").unwrap();
        let newer = header.put(0, b"newer").unwrap();
        for seed in 0..2000 {
            let mut disk = cut_off(seed, &older, &newer, 1 + seed % 7).kill();
            let mut number = 0;
            for life in 0..3 {
                let file = disk.open("x".as_ref(), OpenMode::ReadWrite).unwrap();
                file.sync().unwrap();
                let read = Header::read(&*file, 0, "x");
                let mut header = read.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                assert!(
                    header.number >= number,
                    "seed {seed} went back in life {life}"
                );
                number = header.number;
                disk.crash_after(1 + (seed / 7 + life) % 4);
                let _ = mend(&mut header, &*file, 0).and_then(|()| {
                    let newest = header.put(0, b"newest")?;
                    write(&*file, 0, &newest)
                });
                disk = disk.crash();
            }
        }
    }
}
