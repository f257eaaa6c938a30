//! Which segment files are open, and when one may be deleted.
//!
//! A reader pins the segments it reads from. A pinned segment's file is not deleted, however long
//! ago the catalog stopped naming it; its descriptor may still be closed and reopened meanwhile, so
//! that the number of open files is bounded whatever the number of readers.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use millrace_core::SegmentId;
use millrace_env::Env;

use super::{LOST, SEGMENTS_DIR, file::SegmentFile, segment_path};
use crate::StoreError;

/// How segments are kept open.
#[derive(Clone, Copy, Debug)]
pub struct SegmentOptions {
    /// BOUND: how many files stay open for later reads; those in use at a moment come on top.
    pub open_files_max: usize,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self { open_files_max: 48 }
    }
}

/// All segments of a data directory. A handle: clones share the open files.
#[derive(Clone, Debug)]
pub struct Segments {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    env: Env,
    options: SegmentOptions,
    /// A plain mutex: held for map look-ups alone, never across I/O.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Open files and when each was last used, in uses.
    open: BTreeMap<SegmentId, (Arc<SegmentFile>, u64)>,
    uses: u64,
    /// How many references pin a segment.
    pins: BTreeMap<SegmentId, usize>,
    /// Segments to delete once nothing pins them.
    condemned: BTreeSet<SegmentId>,
    /// Deleted, but the directory is not synced since.
    unlinked: BTreeSet<SegmentId>,
    /// Could not be read: compaction lets them alone.
    suspects: BTreeSet<SegmentId>,
    /// How many [`RemovalHold`]s there are.
    holds: usize,
}

/// While one lives, no segment's file is deleted. Compaction's commit names new places for bytes
/// that published views still look for in the old ones; whoever compacts holds this until every view
/// was changed.
#[derive(Debug)]
pub struct RemovalHold {
    shared: Arc<Shared>,
}

/// A segment whose file stays. A handle: cheap to clone.
#[derive(Clone, Debug)]
pub struct SegmentRef {
    pin: Arc<Pin>,
}

#[derive(Debug)]
struct Pin {
    id: SegmentId,
    shared: Arc<Shared>,
}

impl Segments {
    /// The segments below `env`'s data directory. Opens no file yet.
    pub fn open(env: &Env, options: SegmentOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                env: env.clone(),
                options,
                state: Mutex::default(),
            }),
        }
    }

    /// Keeps a segment's file while the reference lives. Reads nothing: whether the file is there
    /// shows at the first read.
    pub fn pin(&self, id: SegmentId) -> SegmentRef {
        *self.shared.state().pins.entry(id).or_default() += 1;
        let shared = Arc::clone(&self.shared);
        SegmentRef {
            pin: Arc::new(Pin { id, shared }),
        }
    }

    /// Puts off all deletions until the answer is dropped.
    pub fn hold_removals(&self) -> RemovalHold {
        self.shared.state().holds += 1;
        RemovalHold {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Deletes a segment that the catalog names no more, as soon as nothing pins it.
    pub fn remove(&self, id: SegmentId) {
        self.shared.state().condemned.insert(id);
        self.shared.unlink_if_free(id);
    }

    /// The segments whose files are gone for good, each told once. The next commit forgets them
    /// (`Commit::forget_doomed`).
    pub fn take_unlinked(&self) -> Result<Vec<SegmentId>, StoreError> {
        let failed_before: Vec<_> = self.shared.state().condemned.iter().copied().collect();
        for id in failed_before {
            self.shared.unlink_if_free(id);
        }
        let unlinked = std::mem::take(&mut self.shared.state().unlinked);
        if unlinked.is_empty() {
            return Ok(Vec::new());
        }
        if let Err(error) = self.shared.env.disk.sync_dir(Path::new(SEGMENTS_DIR)) {
            self.shared.state().unlinked.extend(unlinked);
            return Err(StoreError::io("sync the directory segments", &error));
        }
        Ok(unlinked.into_iter().collect())
    }

    /// Gives back what [`Self::take_unlinked`] gave, after a commit that failed.
    pub fn return_unlinked(&self, ids: impl IntoIterator<Item = SegmentId>) {
        self.shared.state().unlinked.extend(ids);
    }
}

/// For compaction.
impl Segments {
    /// Leaves a segment out that cannot be read, until the next start.
    pub(crate) fn suspect(&self, id: SegmentId) {
        self.shared.state().suspects.insert(id);
    }

    /// How many files are kept open.
    #[cfg(test)]
    pub(crate) fn open_files(&self) -> usize {
        self.shared.state().open.len()
    }

    /// Whether a segment is left out.
    pub(crate) fn is_suspect(&self, id: SegmentId) -> bool {
        self.shared.state().suspects.contains(&id)
    }
}

impl SegmentRef {
    /// Which segment this is.
    pub fn id(&self) -> SegmentId {
        self.pin.id
    }

    /// The open file, opened now if it is not.
    pub(crate) fn file(&self) -> Result<Arc<SegmentFile>, StoreError> {
        let shared = &self.pin.shared;
        if self.pin.id == LOST {
            return Err(StoreError::Lost);
        }
        if let Some(file) = shared.state().used(self.pin.id) {
            return Ok(file);
        }
        // Two readers may both open it; the file is immutable, so either will do.
        let file = Arc::new(SegmentFile::open(&shared.env, self.pin.id)?);
        let closed = shared.keep(self.pin.id, &file);
        drop(closed);
        Ok(file)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let count = state.pins.get_mut(&self.id).expect("a pin was counted");
        *count -= 1;
        if *count > 0 {
            return;
        }
        state.pins.remove(&self.id);
        drop(state);
        self.shared.unlink_if_free(self.id);
    }
}

impl Drop for RemovalHold {
    fn drop(&mut self) {
        let waiting: Vec<SegmentId> = {
            let mut state = self.shared.state();
            state.holds -= 1;
            state.condemned.iter().copied().collect()
        };
        for id in waiting {
            self.shared.unlink_if_free(id);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one insertion or removal, so the maps are whole after a panic too.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `file` open and gives back those that make room for it, to be closed unlocked.
    fn keep(&self, id: SegmentId, file: &Arc<SegmentFile>) -> Vec<Arc<SegmentFile>> {
        let mut state = self.state();
        state.uses += 1;
        let now = state.uses;
        let replaced = state.open.insert(id, (Arc::clone(file), now));
        let mut closed: Vec<_> = replaced.into_iter().map(|(file, _)| file).collect();
        while state.open.len() > self.options.open_files_max.max(1) {
            let oldest = state.open.iter().min_by_key(|(_, (_, used))| *used);
            let Some((&id, _)) = oldest else { break };
            closed.extend(state.open.remove(&id).map(|(file, _)| file));
        }
        closed
    }

    fn unlink_if_free(&self, id: SegmentId) {
        let mut state = self.state();
        if state.holds > 0 || state.pins.contains_key(&id) || !state.condemned.contains(&id) {
            return;
        }
        let open = state.open.remove(&id);
        drop(state);
        drop(open);
        match self.env.disk.remove(&segment_path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // It stays condemned: tried again before the next commit, and after a restart.
                tracing::warn!(segment = id.get(), %error, "a segment could not be deleted");
            }
            _ => {
                let mut state = self.state();
                state.condemned.remove(&id);
                state.unlinked.insert(id);
            }
        }
    }
}

impl State {
    fn used(&mut self, id: SegmentId) -> Option<Arc<SegmentFile>> {
        self.uses += 1;
        let (file, used) = self.open.get_mut(&id)?;
        *used = self.uses;
        Some(Arc::clone(file))
    }
}
