//! The catalog's file: the pages of `redb`, each with a checksum that every read verifies.
//!
//! `redb` keeps checksums of its own, but looks at them only when it repairs or is told to check.
//! Decision 28 wants every read from a file verified, so the pages are stored in groups: one page of
//! crc32c checksums, then the pages they belong to.
//! [`super::checksums`] says why that is safe across a crash. The one page that is overwritten in
//! place is the header, page 0; [`super::header`] keeps it.

use std::{
    io,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use millrace_env::{Env, File, FileExt, OpenMode};
use redb::StorageBackend;

use super::{
    CATALOG_FILE,
    checksums::{Checksums, GROUP_PAGES},
    header::{self, HEADER_BYTES, Header},
};
use crate::StoreError;

/// `redb`'s page, and the page of checksums.
pub(crate) const PAGE_BYTES: u64 = 4096;
/// A commit syncs after so many bytes of pages (decision 27): what waits for its own sync meanwhile,
/// an append, waits for a few hundred pages and not for all that a commit changes. Pages that no
/// commit names yet may be durable or not, so it changes nothing else. Once nobody waits, it does not:
/// [`PagedFile::hurry`].
const SYNC_BYTES: u64 = 1 << 20;

/// What failed in the file below `redb`, as far as it matters for going on.
#[derive(Clone, Debug)]
pub(crate) enum FileFault {
    /// Read bytes are not what was written.
    Corrupt(String),
    /// Bytes could not be read. Nothing was changed.
    Read(String),
    /// No space; nothing durable was changed.
    Full,
    /// A write or sync failed: what is on the disk is not known until a restart.
    Write(String),
}

/// The file below `redb`. A handle: the catalog keeps a clone to learn what failed.
#[derive(Clone, Debug)]
pub(crate) struct PagedFile {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: Arc<dyn File>,
    /// Held across the writes of checksum pages, so that a sync covers them all.
    checksums: Mutex<Checksums>,
    /// Page 0; held across its writes.
    header: Mutex<Header>,
    /// How many bytes of pages were written since the last sync.
    unsynced: AtomicU64,
    /// Set when nothing waits beside a commit any more.
    hurried: AtomicBool,
    /// The first failure.
    fault: Mutex<Option<FileFault>>,
    /// Set when the catalog gave this handle up: a late user must not write beside its successor.
    abandoned: AtomicBool,
}

impl PagedFile {
    /// Opens the catalog's file below `env` at `path`, and reads its checksums.
    pub(crate) fn open(
        env: &Env,
        path: &std::path::Path,
        mode: OpenMode,
    ) -> Result<Self, StoreError> {
        let name = path.display();
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::missing(format!("the catalog ({name})")),
            _ => StoreError::io(format!("open {name}"), &error),
        };
        let file = env.disk.open(path, mode).map_err(failed)?;
        let len = file.len().map_err(failed)?;
        if mode != OpenMode::CreateNew && len < place_of(0) + HEADER_BYTES {
            // `redb` would take an empty file for a new one.
            return Err(StoreError::corrupt(format!(
                "the catalog ({name}) is empty"
            )));
        }
        let checksums = Checksums::read(&*file, pages_in(len))?;
        let header = match mode {
            OpenMode::CreateNew => Header::new(),
            _ => Header::read(&*file, place_of(0), CATALOG_FILE)?,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                file,
                checksums: Mutex::new(checksums),
                header: Mutex::new(header),
                unsynced: AtomicU64::new(0),
                hurried: AtomicBool::new(false),
                fault: Mutex::default(),
                abandoned: AtomicBool::new(false),
            }),
        })
    }

    /// The file's length; 0 where it cannot be told.
    pub(crate) fn bytes(&self) -> u64 {
        self.inner.file.len().unwrap_or(0)
    }

    /// Whether one of the two copies of its header was not whole when it was opened.
    pub(crate) fn has_single_header(&self) -> bool {
        lock(&self.inner.header).is_single()
    }

    /// The first failure of this handle.
    pub(crate) fn fault(&self) -> Option<FileFault> {
        lock(&self.inner.fault).clone()
    }

    /// From here on a commit syncs once, at its end.
    pub(crate) fn hurry(&self) {
        self.inner.hurried.store(true, Ordering::Relaxed);
    }

    /// Lets everything on this handle fail from here on.
    pub(crate) fn abandon(&self) {
        self.inner.abandoned.store(true, Ordering::SeqCst);
    }

    /// Whether this handle was given up.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.inner.abandoned.load(Ordering::SeqCst)
    }

    /// Makes durable what an earlier handle left in the system's cache, and both copies of the header the
    /// same.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        let file = &*self.inner.file;
        let failed = |error| StoreError::io("sync the catalog", &error);
        file.sync().map_err(failed)?;
        header::mend(&mut lock(&self.inner.header), file, place_of(0)).map_err(failed)
    }

    fn live(&self) -> io::Result<()> {
        if self.is_abandoned() {
            return Err(io::Error::other("this handle of the catalog was given up"));
        }
        Ok(())
    }

    fn note(&self, fault: FileFault) {
        let mut first = lock(&self.inner.fault);
        // A failed write outranks a failed read: only the former makes the catalog stop.
        let outranks = matches!(
            first.as_ref(),
            None | Some(FileFault::Read(_) | FileFault::Corrupt(_))
        );
        if outranks {
            *first = Some(fault);
        }
    }

    fn noting_reads<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.note(match error.kind() {
                io::ErrorKind::InvalidData => FileFault::Corrupt(error.to_string()),
                io::ErrorKind::UnexpectedEof => {
                    FileFault::Corrupt(format!("{CATALOG_FILE} is cut off"))
                }
                _ => FileFault::Read(format!("read {CATALOG_FILE}: {error}")),
            });
        }
        result
    }

    fn noting_writes<T>(&self, doing: &str, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.note(match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FileFault::Full,
                _ => FileFault::Write(format!("{doing} {CATALOG_FILE}: {error}")),
            });
        }
        result
    }

    fn read_pages(&self, first: u64, out: &mut [u8]) -> io::Result<()> {
        for (page, part) in runs(first, out.len()) {
            let buf = &mut out[part];
            self.inner.file.read_exact_at(buf, place_of(page))?;
            let checksums = lock(&self.inner.checksums);
            for (number, page_bytes) in (page..).zip(buf.chunks(size(PAGE_BYTES))) {
                if !checksums.hold(number, page_bytes) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("page {number} of {CATALOG_FILE} does not match its checksum"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn write_pages(&self, first: u64, data: &[u8]) -> io::Result<()> {
        for (page, part) in runs(first, data.len()) {
            let buf = &data[part];
            // The checksum first: a page that was torn by a failed write must not pass for its old
            // self, which nothing refers to any more.
            let mut checksums = lock(&self.inner.checksums);
            for (number, bytes) in (page..).zip(buf.chunks(size(PAGE_BYTES))) {
                checksums.set(number, bytes);
            }
            drop(checksums);
            self.inner.file.write_all_at(buf, place_of(page))?;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.unsynced.store(0, Ordering::Relaxed);
        self.noting_writes("sync", self.inner.file.sync())
    }

    fn write_header(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut header = lock(&self.inner.header);
        let copies = header.put(size(offset), data)?;
        header::write(&*self.inner.file, place_of(0), &copies)
    }
}

impl StorageBackend for PagedFile {
    fn len(&self) -> io::Result<u64> {
        self.live()?;
        let len = self.noting_reads(self.inner.file.len())?;
        Ok(pages_in(len) * PAGE_BYTES)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.live()?;
        if in_header(offset, out.len()) {
            lock(&self.inner.header).get(size(offset), out);
            return Ok(());
        }
        let page = page_at(offset, out.len());
        self.noting_reads(page.and_then(|page| self.read_pages(page, out)))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.live()?;
        let pages = len.div_ceil(PAGE_BYTES);
        let place = if pages == 0 {
            0
        } else {
            place_of(pages - 1) + PAGE_BYTES
        };
        self.noting_writes("set the length of", self.inner.file.set_len(place))?;
        lock(&self.inner.checksums).resize(pages);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.live()?;
        let checksums = lock(&self.inner.checksums).write(&*self.inner.file);
        self.noting_writes("write", checksums)?;
        self.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.live()?;
        let result = if in_header(offset, data.len()) {
            self.write_header(offset, data)
        } else {
            page_at(offset, data.len()).and_then(|page| self.write_pages(page, data))
        };
        self.noting_writes("write", result)?;
        let len = data.len() as u64;
        let unsynced = self.inner.unsynced.fetch_add(len, Ordering::Relaxed) + len;
        if unsynced >= SYNC_BYTES && !self.inner.hurried.load(Ordering::Relaxed) {
            self.sync()?;
        }
        Ok(())
    }
}

/// How many of `redb`'s pages a file of `len` bytes holds.
fn pages_in(len: u64) -> u64 {
    let pages = len / PAGE_BYTES;
    let (groups, rest) = (pages / (GROUP_PAGES + 1), pages % (GROUP_PAGES + 1));
    groups * GROUP_PAGES + rest.saturating_sub(1)
}

/// Where a page stands in the file.
fn place_of(page: u64) -> u64 {
    let (group, number) = (page / GROUP_PAGES, page % GROUP_PAGES);
    group_place(group) + (1 + number) * PAGE_BYTES
}

/// Where a group stands in the file.
pub(super) fn group_place(group: u64) -> u64 {
    group * (GROUP_PAGES + 1) * PAGE_BYTES
}

/// `redb` reads and writes its header by itself, and all else in whole pages.
fn in_header(offset: u64, len: usize) -> bool {
    offset + (len as u64) <= PAGE_BYTES
}

fn page_at(offset: u64, len: usize) -> io::Result<u64> {
    let whole = offset.is_multiple_of(PAGE_BYTES) && (len as u64).is_multiple_of(PAGE_BYTES);
    if !whole || offset < PAGE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the catalog's file is read and written in whole pages",
        ));
    }
    Ok(offset / PAGE_BYTES)
}

/// The pages of `len` bytes from page `first` on, cut where groups end: first page of each part, and
/// the part.
fn runs(first: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let page = first + (done as u64) / PAGE_BYTES;
        let to_group_end = GROUP_PAGES - page % GROUP_PAGES;
        let part = size(to_group_end * PAGE_BYTES).min(len - done);
        let range = done..done + part;
        done += part;
        Some((page, range))
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A length in memory; targets are 64-bit.
pub(super) fn size(len: u64) -> usize {
    usize::try_from(len).expect("a 64-bit target")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_places_agree() {
        for pages in [0, 1, 2, GROUP_PAGES, GROUP_PAGES + 1, 5 * GROUP_PAGES + 3] {
            let len = if pages == 0 {
                0
            } else {
                place_of(pages - 1) + PAGE_BYTES
            };
            assert_eq!(pages_in(len), pages);
        }
        assert_eq!(GROUP_PAGES, 1020);
    }

    #[test]
    fn runs_are_cut_where_groups_end() {
        let page = size(PAGE_BYTES);
        let parts: Vec<_> = runs(GROUP_PAGES - 1, 3 * page).collect();
        assert_eq!(
            parts,
            [(GROUP_PAGES - 1, 0..page), (GROUP_PAGES, page..3 * page)]
        );
    }
}
