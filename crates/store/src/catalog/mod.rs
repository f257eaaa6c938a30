//! The catalog: which streams there are, where their bytes lie, and up to where the logs are in it.
//!
//! One file for all shards, written only by whole durable commits (a flush, a compaction, a change
//! of the manifest), read at any time. It is `redb` on top of `paged`, so that every read is
//! verified; ADR 2 says why and what was measured.
//!
//! INVARIANTS:
//! - A commit is taken whole or not at all, across any crash
//!   (`power_loss_anywhere_leaves_the_catalog_before_or_after_a_commit`).
//! - The extents of a stream are contiguous from its own first position, and lie in segments that
//!   are named here.
//! - A segment's file may be deleted only after a commit that dooms it.
//! - After a failed write or sync nothing more is written until a restart; reads go on. A full disk
//!   is no such failure: the next commit tries again.
//!
//! Layout: this file (opening, failing, reopening), `reads`, `commit`, `apply`, `manifest`, `row` and
//! `tables` (bytes), `paged`, `checksums`, `header` and `overlay` (below `redb`).
//!
//! Not here: when to commit (`crate::flush`, `crate::compact`, the engine).

mod apply;
mod checksums;
pub(crate) mod commit;
pub(crate) mod fault;
mod header;
mod manifest;
mod overlay;
pub(crate) mod paged;
pub(crate) mod reads;
pub(crate) mod row;
pub(crate) mod tables;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use millrace_core::SegmentId;
use millrace_env::{Env, OpenMode};
use redb::{Database, ReadTransaction, ReadableDatabase};

pub use commit::{Commit, Committed, Replaced};
pub use manifest::Manifest;
pub use reads::{SegmentRow, StreamRow};

use self::{
    fault::Fault,
    overlay::Overlay,
    paged::PagedFile,
    tables::{FORMAT_VERSION, META, META_FORMAT, META_NEXT_SEGMENT},
};
use crate::{StoreError, segment::SEGMENTS_DIR};

/// The catalog's file, below the data directory.
pub const CATALOG_FILE: &str = "catalog.redb";
/// Where a new catalog is made.
pub(crate) const CATALOG_TEMP: &str = "catalog.tmp";

/// The catalog of a data directory. A handle: clones share it.
#[derive(Clone)]
pub struct Catalog {
    shared: Arc<Shared>,
}

struct Shared {
    env: Env,
    cache_bytes: usize,
    access: Access,
    /// Held for the whole of a commit, and to open the file again: no handle ever reads the file's
    /// head while another one writes it.
    commit: Mutex<()>,
    /// Held to look or to exchange, never across I/O.
    slot: Mutex<Slot>,
    /// The first segment id that was never given out. Written with every commit.
    next_segment: AtomicU64,
}

/// Whether a catalog may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Write,
    Read,
}

#[derive(Default)]
struct Slot {
    opened: Option<Opened>,
    /// Why nothing is written any more.
    stopped: Option<String>,
}

/// An open database and the file below it.
#[derive(Clone)]
struct Opened {
    db: Arc<Database>,
    file: PagedFile,
    writable: bool,
}

impl Catalog {
    /// Opens the catalog below `env`, or makes it in a directory that holds no data yet.
    ///
    /// `cache_bytes` bounds what it keeps in memory.
    pub fn open(env: &Env, cache_bytes: usize) -> Result<Self, StoreError> {
        if !exists(env, CATALOG_FILE)? {
            refuse_orphans(env)?;
            create(env, cache_bytes)?;
        }
        Self::start(env, cache_bytes, Access::Write)
    }

    /// Opens the catalog to look at, changing nothing: for `check` and `dump`.
    pub fn open_read_only(env: &Env, cache_bytes: usize) -> Result<Self, StoreError> {
        Self::start(env, cache_bytes, Access::Read)
    }

    fn start(env: &Env, cache_bytes: usize, access: Access) -> Result<Self, StoreError> {
        let catalog = Self {
            shared: Arc::new(Shared {
                env: env.clone(),
                cache_bytes,
                access,
                commit: Mutex::default(),
                slot: Mutex::default(),
                next_segment: AtomicU64::new(0),
            }),
        };
        let next = catalog.read(|tx| {
            let meta = tx.open_table(META)?;
            check_format(meta.get(META_FORMAT)?.map(|value| value.value().to_vec()))?;
            let next = meta.get(META_NEXT_SEGMENT)?;
            Ok(next.and_then(|value| number(value.value())).unwrap_or(0))
        })?;
        catalog.shared.next_segment.store(next, Ordering::SeqCst);
        Ok(catalog)
    }

    /// A segment id that was never given out before, in this process or an earlier one.
    pub fn allocate_segment(&self) -> SegmentId {
        SegmentId(self.shared.next_segment.fetch_add(1, Ordering::SeqCst))
    }

    /// Gives out no id up to `id` any more: a file of that name was seen.
    pub(crate) fn skip_segment(&self, id: SegmentId) {
        // A name far beyond any that was ever given out is somebody's joke; going on behind it would
        // end in reuse.
        const JOKE: u64 = 1 << 62;
        if id.get() < JOKE {
            let next = id.get() + 1;
            self.shared.next_segment.fetch_max(next, Ordering::SeqCst);
        }
    }

    /// Verifies every page that the last commit refers to. Slow: reads the whole catalog.
    pub fn verify(&self) -> Result<(), StoreError> {
        let _no_commit = lock(&self.shared.commit);
        let shared = &self.shared;
        let file = PagedFile::open(&shared.env, Path::new(CATALOG_FILE), OpenMode::Read)?;
        let (mut db, _) = database(file.clone(), shared.cache_bytes, Access::Read)?;
        match db.check_integrity() {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::corrupt(format!(
                "{CATALOG_FILE}: its pages do not match their checksums"
            ))),
            Err(error) => Err(Fault::from(error).explain(file.fault())),
        }
    }

    /// Whether one of the two copies of its header is not whole.
    pub(crate) fn has_single_header(&self) -> Result<bool, StoreError> {
        Ok(self.opened()?.file.has_single_header())
    }

    /// Changes tables past all rules, for tests of what finds that.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn tamper(&self, with: &dyn Fn(&redb::WriteTransaction)) {
        let opened = self.shared.reopen(Access::Write).expect("it opens");
        let tx = opened.db.begin_write().expect("it begins");
        with(&tx);
        tx.commit().expect("it commits");
    }

    /// Answers a question from the last commit.
    fn read<T>(
        &self,
        question: impl Fn(&ReadTransaction) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let mut retried = false;
        loop {
            let opened = self.opened()?;
            let answer = opened.db.begin_read().map_err(Fault::from);
            let fault = match answer.and_then(|tx| question(&tx)) {
                Ok(answer) => return Ok(answer),
                Err(Fault::Store(error)) => return Err(error),
                Err(fault) => fault,
            };
            // One failed read makes `redb` refuse all: the others go on with a new handle. A
            // failure that was another caller's is worth a second look.
            let others = fault.is_of_another() || opened.file.is_abandoned();
            self.shared.discard(&opened);
            if retried || !others {
                return Err(fault.explain(opened.file.fault()));
            }
            retried = true;
        }
    }

    /// Lets the commits from here on end sooner, at the cost of whoever else waits for the disk: for
    /// a stop, when nobody does.
    pub fn hurry(&self) {
        if let Some(opened) = &self.shared.slot().opened {
            opened.file.hurry();
        }
    }

    /// The length of its file; 0 while it is not open.
    pub fn file_bytes(&self) -> u64 {
        let opened = self.shared.slot().opened.clone();
        opened.map_or(0, |opened| opened.file.bytes())
    }

    fn opened(&self) -> Result<Opened, StoreError> {
        if let Some(opened) = self.shared.slot().opened.clone() {
            return Ok(opened);
        }
        let _alone = lock(&self.shared.commit);
        self.shared.reopen(Access::Read)
    }
}

impl Shared {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        lock(&self.slot)
    }

    /// The open database; opened now if it is not. `wanted` says whether one that only reads will
    /// do. The caller holds the commit lock.
    fn reopen(&self, wanted: Access) -> Result<Opened, StoreError> {
        let current = self.slot().opened.clone();
        match current {
            Some(opened) if opened.writable || wanted == Access::Read => return Ok(opened),
            Some(opened) => self.discard(&opened),
            None => {}
        }
        let stopped = self.slot().stopped.is_some();
        let access = if stopped { Access::Read } else { self.access };
        let opened = match self.open_file(access) {
            // With a full disk the catalog may still be looked at.
            Err(StoreError::Full) if wanted == Access::Read => self.open_file(Access::Read),
            opened => opened,
        }?;
        self.slot().opened = Some(opened.clone());
        Ok(opened)
    }

    fn open_file(&self, access: Access) -> Result<Opened, StoreError> {
        let mode = match access {
            Access::Write => OpenMode::ReadWrite,
            Access::Read => OpenMode::Read,
        };
        let file = PagedFile::open(&self.env, Path::new(CATALOG_FILE), mode)?;
        if access == Access::Write {
            // What an earlier handle left in the system's cache is read back as if it were
            // durable; it has to be before anything is built on it.
            file.settle()?;
        }
        let (db, file) = database(file, self.cache_bytes, access)?;
        Ok(Opened {
            db: Arc::new(db),
            file,
            writable: access == Access::Write,
        })
    }

    /// Gives up a handle that failed. A later call opens the file again.
    fn discard(&self, failed: &Opened) {
        failed.file.abandon();
        let mut slot = self.slot();
        if slot
            .opened
            .as_ref()
            .is_some_and(|opened| Arc::ptr_eq(&opened.db, &failed.db))
        {
            slot.opened = None;
        }
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog")
            .field("access", &self.shared.access)
            .field("stopped", &self.shared.slot().stopped)
            .finish_non_exhaustive()
    }
}

fn database(
    file: PagedFile,
    cache_bytes: usize,
    access: Access,
) -> Result<(Database, PagedFile), StoreError> {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    let db = match access {
        Access::Write => builder.create_with_backend(file.clone()),
        Access::Read => builder.create_with_backend(Overlay::new(file.clone())?),
    };
    match db {
        Ok(db) => Ok((db, file)),
        Err(error) => Err(Fault::from(error).explain(file.fault())),
    }
}

/// Makes an empty catalog. Whole and durable once it has its name.
fn create(env: &Env, cache_bytes: usize) -> Result<(), StoreError> {
    let temp = Path::new(CATALOG_TEMP);
    if exists(env, CATALOG_TEMP)? {
        let removed = env.disk.remove(temp);
        removed.map_err(|error| StoreError::io(format!("remove {CATALOG_TEMP}"), &error))?;
    }
    let file = PagedFile::open(env, temp, OpenMode::CreateNew)?;
    let (db, file) = database(file, cache_bytes, Access::Write)?;
    let first = commit::first(&db);
    drop(db);
    first.map_err(|fault| fault.explain(file.fault()))?;
    if let Some(fault) = file.fault() {
        return Err(fault.into());
    }
    file.settle()?;
    env.disk
        .rename(temp, Path::new(CATALOG_FILE))
        .and_then(|()| env.disk.sync_dir(Path::new("")))
        .map_err(|error| StoreError::io(format!("name {CATALOG_FILE}"), &error))
}

/// T9, T25: data without a catalog is a catalog that is missing, not a new data directory.
fn refuse_orphans(env: &Env) -> Result<(), StoreError> {
    for dir in [SEGMENTS_DIR, "wal"] {
        match env.disk.list(Path::new(dir)) {
            Ok(entries) if entries.is_empty() => {}
            Ok(_) => {
                return Err(StoreError::missing(format!(
                    "{CATALOG_FILE}, which is needed to read what is in {dir}/,"
                )));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io(format!("list {dir}"), &error)),
        }
    }
    Ok(())
}

fn exists(env: &Env, path: &str) -> Result<bool, StoreError> {
    match env.disk.open(Path::new(path), OpenMode::Read) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io(format!("open {path}"), &error)),
    }
}

fn check_format(stamp: Option<Vec<u8>>) -> Result<(), StoreError> {
    let found = stamp
        .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
        .map(u32::from_le_bytes);
    match found {
        Some(FORMAT_VERSION) => Ok(()),
        Some(found) if found > FORMAT_VERSION => Err(StoreError::Newer {
            found,
            known: FORMAT_VERSION,
        }),
        _ => Err(StoreError::corrupt(format!(
            "{CATALOG_FILE}: its format stamp is missing"
        ))),
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
