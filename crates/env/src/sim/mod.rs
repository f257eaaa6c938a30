//! A simulated disk: the harshest behaviour a correct caller has to survive, drawn from a seed.
//!
//! Semantics, those of ext4 on a drive that does not lie:
//! - A write is visible to later reads at once and durable after [`File::sync`] alone.
//! - A name (made, renamed, removed) is durable after [`Disk::sync_dir`] of its directory alone; a
//!   rename between two directories after both. A synced file whose name was not is lost.
//! - [`SimDisk::crash`] is power loss: what was not synced is resolved by the seed, each 512-byte
//!   sector and each file length on its own, names as a prefix of what was done (`crash.rs`).
//! - Faults are planned by the test (`faults.rs`): errors, power loss at the n-th I/O, a full disk,
//!   short writes, flipped bits that stay, and bits that read wrong until they are written anew.
//!
//! The same seed and the same calls give the same results. Handles of an earlier boot are dead:
//! everything on them fails with [`is_power_loss`], so that a task left over from before a crash
//! cannot touch what comes after.
//!
//! Harsher than a real disk on purpose: syncing a new file does not make its name durable, and the
//! length of a file counts as its use of space even where it has holes.

mod calls;
mod crash;
mod faults;
mod file;
mod tree;

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rand::{SeedableRng, rngs::StdRng};

pub use crash::Harm;
pub use faults::{Fault, FaultError, FaultOp, is_power_loss};

use self::{
    faults::{Faults, Power},
    tree::{Change, NodeId, Tree},
};
#[cfg(doc)]
use crate::{Disk, File};

/// Files in memory, as one boot sees them.
pub struct SimDisk {
    /// Which boot this handle belongs to; it is dead once the shared state counts further.
    boot: u64,
    shared: Shared,
}

/// The disk itself, which outlives every boot. One lock around all of it: callers are few, every
/// call is short and one order of calls keeps the seed's meaning.
type Shared = Arc<Mutex<State>>;

struct State {
    boot: u64,
    /// The power went off; everything fails until [`SimDisk::crash`].
    down: bool,
    rng: StdRng,
    tree: Tree,
    faults: Faults,
    harm: Harm,
    capacity: Option<u64>,
    locks: Vec<NodeId>,
}

fn locked(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn alive(&self, boot: u64) -> io::Result<()> {
        if self.down || boot != self.boot {
            return Err(faults::power_loss());
        }
        Ok(())
    }

    /// The gate every call goes through: dead handles, power loss, planned faults, in this order.
    fn enter(&mut self, boot: u64, op: FaultOp, path: &Path) -> io::Result<Power> {
        self.alive(boot)?;
        if self.faults.count(op) {
            self.down = true;
            return Ok(Power::Failing);
        }
        match self.faults.due(op, path) {
            Some(error) => Err(error.into()),
            None => Ok(Power::On),
        }
    }

    /// Does the change, or, when the power fails in the middle of it, perhaps.
    fn change(&mut self, power: Power, changes: Vec<Change>) -> io::Result<()> {
        if power == Power::On || crash::coin(&mut self.rng) {
            self.tree.change(changes);
        }
        power.survived()
    }

    /// Bytes that can still be written.
    fn room(&self) -> u64 {
        match self.capacity {
            Some(capacity) => capacity.saturating_sub(self.tree.used()),
            None => u64::MAX,
        }
    }
}

/// What a test does to the disk.
impl SimDisk {
    /// An empty disk that has just been switched on.
    pub fn new(seed: u64) -> Arc<Self> {
        let state = State {
            boot: 1,
            down: false,
            rng: StdRng::seed_from_u64(seed),
            tree: Tree::new(),
            faults: Faults::default(),
            harm: Harm::default(),
            capacity: None,
            locks: Vec::new(),
        };
        Arc::new(Self {
            boot: 1,
            shared: Arc::new(Mutex::new(state)),
        })
    }

    /// Power loss, and power again: what was not synced is kept or lost as the seed has it. Every
    /// handle of before is dead, this one included; planned faults are forgotten, the capacity
    /// stays. Go on with the handle returned.
    #[must_use = "the old handle is dead"]
    pub fn crash(&self) -> Arc<Self> {
        let mut state = locked(&self.shared);
        let State {
            tree, rng, harm, ..
        } = &mut *state;
        crash::lose_power(tree, rng, harm);
        self.next_boot(&mut state)
    }

    /// The end of the process alone (`kill -9`): nothing is lost, and every handle of before is
    /// dead. Go on with the handle returned.
    #[must_use = "the old handle is dead"]
    pub fn kill(&self) -> Arc<Self> {
        self.next_boot(&mut locked(&self.shared))
    }

    fn next_boot(&self, state: &mut State) -> Arc<Self> {
        state.boot += 1;
        state.down = false;
        state.faults.clear();
        state.locks.clear();
        state.tree.close_all();
        Arc::new(Self {
            boot: state.boot,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Another disk with the same content, synced and unsynced, going on under its own seed: to try
    /// many continuations of one moment. Its handles and locks are its own; no faults are planned.
    pub fn copy(&self, seed: u64) -> Arc<Self> {
        let from = locked(&self.shared);
        let state = State {
            boot: from.boot,
            down: false,
            rng: StdRng::seed_from_u64(seed),
            tree: from.tree.clone(),
            faults: from.faults.clone(),
            harm: from.harm,
            capacity: from.capacity,
            locks: Vec::new(),
        };
        let copy = Self {
            boot: state.boot,
            shared: Arc::new(Mutex::new(state)),
        };
        copy.kill()
    }

    /// Lets the power fail in the `n`-th mutating I/O from here (1 is the next one), which may be
    /// carried out in part. It and everything after it fails until [`Self::crash`].
    pub fn crash_after(&self, n: u64) {
        let mut state = locked(&self.shared);
        state.down = n == 0;
        state.faults.crash_after(n);
    }

    /// How many mutating I/Os were begun so far: makes, writes, lengths set, syncs, renames,
    /// removals.
    pub fn io_count(&self) -> u64 {
        locked(&self.shared).faults.io_count()
    }

    /// Whether the power is off, or this handle is of an earlier boot.
    pub fn is_down(&self) -> bool {
        let state = locked(&self.shared);
        state.down || state.boot != self.boot
    }

    /// Plans a fault.
    pub fn fail(&self, fault: Fault) {
        locked(&self.shared).faults.plan(fault);
    }

    /// The faults that are planned and were not asked for yet.
    pub fn planned(&self) -> Vec<Fault> {
        locked(&self.shared).faults.planned().to_vec()
    }

    /// Whether a fault is planned, or writes come out short.
    pub fn is_failing(&self) -> bool {
        let state = locked(&self.shared);
        !state.faults.planned().is_empty() || state.faults.short_writes() > 0.0
    }

    /// What was done so far to bytes and names by power losses, failed syncs, short writes and bits
    /// that read wrong.
    pub fn harm(&self) -> Harm {
        locked(&self.shared).harm
    }

    /// Lets one `op` fail once: the next one after `after` more of its kind.
    pub fn fail_next(&self, op: FaultOp, error: FaultError, after: u64) {
        self.fail(Fault::new(op, error).after(after));
    }

    /// Forgets every planned fault, the planned power loss and short writes included.
    pub fn heal(&self) {
        locked(&self.shared).faults.clear();
    }

    /// Limits the sum of all files' lengths; `None` for no limit. A write that does not fit is cut
    /// at the boundary, and fails where nothing fits.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        locked(&self.shared).capacity = bytes;
    }

    /// The sum of the lengths of all files that have a name or are open.
    pub fn used(&self) -> u64 {
        locked(&self.shared).tree.used()
    }

    /// How likely a write of more than one byte is to be cut short, from 0 to 1.
    pub fn set_short_writes(&self, probability: f64) {
        locked(&self.shared)
            .faults
            .set_short_writes(probability.clamp(0.0, 1.0));
    }

    /// Flips one bit of a file, on the medium and in the cache, as a failing medium would.
    ///
    /// # Panics
    /// When there is no such file or byte.
    pub fn flip_bit(&self, path: impl AsRef<Path>, pos: u64, bit: u8) {
        let mut state = locked(&self.shared);
        let tree = &mut state.tree;
        let node = tree.find(path.as_ref()).expect("the file to damage exists");
        tree.file_mut(node).flip_bit(pos, bit);
    }

    /// From here on one bit of a file reads wrong, as from a failing medium, until something is written
    /// over it or [`Self::mend`] is called; twice the same one reads right again.
    ///
    /// # Panics
    /// When there is no such file or byte.
    pub fn rot(&self, path: impl AsRef<Path>, pos: u64, bit: u8) {
        let mut state = locked(&self.shared);
        let tree = &mut state.tree;
        let node = tree.find(path.as_ref()).expect("the file to damage exists");
        let pos = usize::try_from(pos).expect("a position in memory");
        let file = tree.file_mut(node);
        assert!(pos < file.now.len(), "byte {pos} exists");
        *file.rot.entry(pos).or_default() ^= 1 << bit;
    }

    /// Every bit reads right again.
    pub fn mend(&self) {
        let mut state = locked(&self.shared);
        state.tree.files_mut().for_each(|file| file.rot.clear());
    }

    /// The content of a file as a reader sees it, past all faults.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn content(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let mut state = locked(&self.shared);
        let tree = &mut state.tree;
        let node = tree.find(path.as_ref()).expect("the file exists");
        tree.file_mut(node).now.clone()
    }

    /// Takes a directory or file away with all that is in it, durably and past all faults: a mount
    /// that is missing.
    ///
    /// # Panics
    /// When there is no such path.
    pub fn lose(&self, path: impl AsRef<Path>) {
        locked(&self.shared)
            .tree
            .lose(path.as_ref())
            .expect("the path to lose exists");
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk")
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
