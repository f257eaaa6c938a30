//! A file's bytes: as readers see them, as they are on the medium, and the writes in between.

use std::{collections::BTreeMap, fmt, io, path::PathBuf};

use rand::RngExt as _;

use super::{
    Shared, State,
    faults::{FaultError, FaultOp, Power, errno, is_power_loss},
    locked,
    tree::NodeId,
};
use crate::disk::File;

/// What the system answers to a write through a handle opened for reading.
const EBADF: i32 = 9;

/// A file, whatever its name.
#[derive(Clone, Debug, Default)]
pub(super) struct FileNode {
    /// What readers see.
    pub(super) now: Vec<u8>,
    /// What is on the medium.
    pub(super) durable: Vec<u8>,
    /// What was done since the last sync, in order.
    pub(super) pending: Vec<Pending>,
    /// How many handles of this boot are open.
    pub(super) open: u64,
    /// Bits that read wrong, by position, until they are written anew.
    pub(super) rot: BTreeMap<usize, u8>,
}

/// A change that is not durable.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    Write { pos: usize, bytes: Vec<u8> },
    SetLen(usize),
}

impl Pending {
    pub(super) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { pos, bytes } => {
                let end = pos + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*pos..end].copy_from_slice(bytes);
            }
            Self::SetLen(len) => content.resize(*len, 0),
        }
    }
}

impl FileNode {
    pub(super) fn len(&self) -> u64 {
        self.now.len() as u64
    }

    fn change(&mut self, change: Pending) {
        change.apply(&mut self.now);
        match &change {
            Pending::Write { pos, bytes } => {
                let end = pos + bytes.len();
                self.rot.retain(|at, _| !(*pos..end).contains(at));
            }
            Pending::SetLen(len) => drop(self.rot.split_off(len)),
        }
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable);
        }
    }

    /// Fills `buf` with what is at `pos`; says whether a bit of it reads wrong.
    fn read(&self, buf: &mut [u8], pos: usize) -> bool {
        let end = pos + buf.len();
        buf.copy_from_slice(&self.now[pos..end]);
        let mut is_wrong = false;
        for (at, mask) in self.rot.range(pos..end) {
            buf[at - pos] ^= mask;
            is_wrong |= *mask != 0;
        }
        is_wrong
    }

    pub(super) fn flip_bit(&mut self, pos: u64, bit: u8) {
        let pos = usize::try_from(pos).expect("a position in memory");
        self.now[pos] ^= 1 << bit;
        if self.pending.is_empty() {
            if let Some(byte) = self.durable.get_mut(pos) {
                *byte ^= 1 << bit;
            }
        } else {
            let bytes = vec![self.now[pos]];
            self.pending.push(Pending::Write { pos, bytes });
        }
    }
}

/// An open file of one boot.
pub(super) struct SimFile {
    pub(super) boot: u64,
    pub(super) shared: Shared,
    pub(super) node: NodeId,
    /// The path it was opened under, which faults go by.
    pub(super) path: PathBuf,
    pub(super) writable: bool,
}

impl SimFile {
    fn enter(&self, state: &mut State, op: FaultOp) -> io::Result<Power> {
        let power = state.enter(self.boot, op, &self.path)?;
        let writes = matches!(op, FaultOp::Write | FaultOp::SetLen);
        if writes && !self.writable {
            return Err(errno(EBADF));
        }
        Ok(power)
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize> {
        let mut state = locked(&self.shared);
        self.enter(&mut state, FaultOp::Read)?;
        let file = state.tree.file_mut(self.node);
        let pos = position(pos)?.min(file.now.len());
        let read = buf.len().min(file.now.len() - pos);
        let is_wrong = file.read(&mut buf[..read], pos);
        state.harm.wrong_reads += u64::from(is_wrong);
        Ok(read)
    }

    fn write_at(&self, buf: &[u8], pos: u64) -> io::Result<usize> {
        let mut state = locked(&self.shared);
        let entered = self.enter(&mut state, FaultOp::Write);
        let pos = position(pos)?;
        let written = match &entered {
            Ok(Power::On) => state.fit(self.node, pos, buf.len())?,
            Ok(Power::Failing) => state.any_part(buf.len()),
            Err(error) if is_eio(error) => state.any_part(buf.len()),
            Err(_) => 0,
        };
        if written > 0 {
            let bytes = buf[..written].to_vec();
            let file = state.tree.file_mut(self.node);
            file.change(Pending::Write { pos, bytes });
        }
        entered?.survived()?;
        Ok(written)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = locked(&self.shared);
        let entered = self.enter(&mut state, FaultOp::Sync);
        let State {
            tree, rng, harm, ..
        } = &mut *state;
        match &entered {
            Ok(Power::On) => tree.file_mut(self.node).sync(),
            // The pages count as clean after a failed sync, whatever reached the medium.
            Err(error) if !is_power_loss(error) => {
                tree.file_mut(self.node).settle_randomly(rng, harm);
            }
            Ok(Power::Failing) | Err(_) => {}
        }
        entered?.survived()
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = locked(&self.shared);
        self.enter(&mut state, FaultOp::Len)?;
        Ok(state.tree.file_mut(self.node).len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = locked(&self.shared);
        let power = self.enter(&mut state, FaultOp::SetLen)?;
        let len = position(len)?;
        let grown = (len as u64).saturating_sub(state.tree.file_mut(self.node).len());
        if grown > state.room() {
            return Err(FaultError::NoSpace.into());
        }
        if power == Power::On || super::crash::coin(&mut state.rng) {
            let file = state.tree.file_mut(self.node);
            file.change(Pending::SetLen(len));
        }
        power.survived()
    }
}

impl State {
    /// How much of a write of `len` bytes at `pos` is carried out.
    fn fit(&mut self, node: NodeId, pos: usize, len: usize) -> io::Result<usize> {
        let old = self.tree.file_mut(node).now.len();
        let room = usize::try_from(self.room()).unwrap_or(usize::MAX);
        let fits = old.saturating_add(room).saturating_sub(pos).min(len);
        if fits == 0 && len > 0 {
            return Err(FaultError::NoSpace.into());
        }
        let cut = fits > 1 && self.rng.random_bool(self.faults.short_writes());
        self.harm.short_writes += u64::from(cut);
        Ok(if cut {
            self.rng.random_range(1..fits)
        } else {
            fits
        })
    }

    fn any_part(&mut self, len: usize) -> usize {
        self.rng.random_range(0..=len)
    }
}

fn is_eio(error: &io::Error) -> bool {
    error.raw_os_error() == io::Error::from(FaultError::Io).raw_os_error()
}

fn position(pos: u64) -> io::Result<usize> {
    // A bound far above what any test keeps in memory: a wild position fails instead of allocating.
    const FILE_BYTES_MAX: u64 = 1 << 33;
    match usize::try_from(pos) {
        Ok(pos) if pos as u64 <= FILE_BYTES_MAX => Ok(pos),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = locked(&self.shared);
        if state.boot == self.boot {
            let file = state.tree.file_mut(self.node);
            file.open = file.open.saturating_sub(1);
        }
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimFile").field(&self.path).finish()
    }
}
