//! The checksums of the catalog's pages: one page of them before every group of pages.
//!
//! Why this is safe across a crash: `redb` copies on write, so a page that a durable commit refers
//! to is never overwritten, and nor is its checksum's value. Pages and checksums of a new commit
//! are made durable by the same sync, before the commit's header is. A crash in between leaves
//! checksums that do not match, of pages that nothing refers to.
//!
//! A checksum of 0 stands for "never written": such a page reads as zeros or is corrupt.

use std::{collections::BTreeSet, io};

use millrace_env::{File, FileExt};

use super::{
    CATALOG_FILE,
    paged::{PAGE_BYTES, group_place, size},
};
use crate::StoreError;

/// How many pages one page of checksums covers: what fits behind its header of 16 bytes.
pub(crate) const GROUP_PAGES: u64 = (PAGE_BYTES - GROUP_HEADER_BYTES) / 4;
/// The format of the groups.
const VERSION: u32 = 1;

const GROUP_HEADER_BYTES: u64 = 16;
const MAGIC: &[u8; 8] = b"millrcat";

/// The checksums of all pages, in memory while the file is open.
#[derive(Debug, Default)]
pub(super) struct Checksums {
    /// By page, over the whole file.
    pages: Vec<u32>,
    /// Groups whose page of checksums is newer than the file's.
    dirty: BTreeSet<u64>,
}

impl Checksums {
    /// The checksums in a file of so many pages.
    pub(super) fn read(file: &dyn File, pages: u64) -> Result<Self, StoreError> {
        let mut checksums = Vec::new();
        for group in 0..pages.div_ceil(GROUP_PAGES) {
            checksums.extend(read_group(file, group)?);
        }
        checksums.truncate(size(pages));
        Ok(Self {
            pages: checksums,
            dirty: BTreeSet::new(),
        })
    }

    /// Whether a page that was read is what was written.
    pub(super) fn hold(&self, page: u64, bytes: &[u8]) -> bool {
        match self.pages.get(size(page)) {
            Some(0) | None => bytes.iter().all(|byte| *byte == 0),
            Some(want) => checksum(bytes) == *want,
        }
    }

    /// A page is written.
    pub(super) fn set(&mut self, page: u64, bytes: &[u8]) {
        if self.pages.len() <= size(page) {
            self.pages.resize(size(page) + 1, 0);
        }
        self.pages[size(page)] = checksum(bytes);
        self.dirty.insert(page / GROUP_PAGES);
    }

    /// Writes what is newer than in the file.
    pub(super) fn write(&mut self, file: &dyn File) -> io::Result<()> {
        while let Some(group) = self.dirty.first().copied() {
            file.write_all_at(&self.group(group), group_place(group))?;
            self.dirty.remove(&group);
        }
        Ok(())
    }

    /// The file has `pages` pages now. Pages that are cut off are forgotten, so that they read as
    /// zeros should the file grow again.
    pub(super) fn resize(&mut self, pages: u64) {
        let before = self.pages.len() as u64;
        self.pages.resize(size(pages), 0);
        let groups = pages.div_ceil(GROUP_PAGES);
        if pages < before {
            self.dirty.retain(|group| *group < groups);
            if groups > 0 {
                self.dirty.insert(groups - 1);
            }
        }
        // New groups get their header by the next sync.
        self.dirty.extend(before.div_ceil(GROUP_PAGES)..groups);
    }

    /// The page of checksums of a group.
    fn group(&self, group: u64) -> Vec<u8> {
        let mut page = Vec::with_capacity(size(PAGE_BYTES));
        page.extend_from_slice(MAGIC);
        page.extend_from_slice(&VERSION.to_le_bytes());
        page.extend_from_slice(&[0; 4]);
        let pages = self.pages.iter().skip(size(group * GROUP_PAGES));
        for crc in pages.take(size(GROUP_PAGES)) {
            page.extend_from_slice(&crc.to_le_bytes());
        }
        page.resize(size(PAGE_BYTES), 0);
        page
    }
}

/// The checksums of one group.
fn read_group(file: &dyn File, group: u64) -> Result<Vec<u32>, StoreError> {
    let mut page = vec![0; size(PAGE_BYTES)];
    file.read_exact_at(&mut page, group_place(group))
        .map_err(|error| StoreError::io("read the catalog", &error))?;
    let (header, checksums) = page.split_at(size(GROUP_HEADER_BYTES));
    let zeros = page.iter().all(|byte| *byte == 0);
    // The file grew, and the power went before anything of that was synced: nothing refers to it.
    if !zeros || group == 0 {
        check_group_header(header, group)?;
    }
    let checksums = checksums.as_chunks::<4>().0.iter();
    Ok(checksums.map(|crc| u32::from_le_bytes(*crc)).collect())
}

fn check_group_header(header: &[u8], group: u64) -> Result<(), StoreError> {
    // Nothing vouches for the version: a damaged one must not send anybody to look for a newer program.
    let fault = || {
        StoreError::corrupt(format!(
            "{CATALOG_FILE}: the header of the checksums of group {group} is damaged, or of a newer version"
        ))
    };
    let (magic, rest) = header.split_at(MAGIC.len());
    let version = rest
        .first_chunk::<4>()
        .map(|bytes| u32::from_le_bytes(*bytes));
    match version {
        Some(VERSION) if magic == MAGIC && rest[4..] == [0; 4] => Ok(()),
        _ => Err(fault()),
    }
}

/// A page's checksum; never 0, which stands for a page that was not written.
fn checksum(page: &[u8]) -> u32 {
    crc32c::crc32c(page).max(1)
}
