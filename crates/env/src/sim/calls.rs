//! The calls of the seam: each passes the gate, which may let the power fail in the middle of it.

use std::{io, path::Path, sync::Arc};

use super::{
    Shared, SimDisk,
    faults::{FaultOp, Power},
    file::SimFile,
    locked,
    tree::{Change, NodeId},
};
use crate::disk::{DirEntry, Disk, File, OpenMode};

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut state = locked(&self.shared);
        let found = state.tree.find(path);
        let creates = matches!(mode, OpenMode::CreateOrOpen | OpenMode::CreateNew);
        let op = match &found {
            Err(error) if creates && error.kind() == io::ErrorKind::NotFound => FaultOp::Create,
            _ => FaultOp::Open,
        };
        let power = state.enter(self.boot, op, path)?;
        let node = match op {
            FaultOp::Create => {
                let (dir, name) = state.tree.place(path)?;
                let node = state.tree.new_file();
                state.change(power, vec![Change::link(dir, name, node)])?;
                node
            }
            _ => found?,
        };
        if op == FaultOp::Open && mode == OpenMode::CreateNew {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if state.tree.is_dir(node) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        state.tree.file_mut(node).open += 1;
        Ok(Arc::new(SimFile {
            boot: self.boot,
            shared: Arc::clone(&self.shared),
            node,
            path: path.into(),
            writable: mode.writes(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = locked(&self.shared);
        let power = state.enter(self.boot, FaultOp::Rename, from)?;
        let changes = state.tree.plan_rename(from, to)?;
        state.change(power, changes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = locked(&self.shared);
        let power = state.enter(self.boot, FaultOp::Remove, path)?;
        let node = state.tree.find(path)?;
        if state.tree.is_dir(node) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (dir, name) = state.tree.place(path)?;
        state.change(power, vec![Change::unlink(dir, name)])
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = locked(&self.shared);
        let power = state.enter(self.boot, FaultOp::RemoveDir, path)?;
        let node = state.tree.find(path)?;
        if !state.tree.dir(node)?.now.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (dir, name) = state.tree.place(path)?;
        state.change(power, vec![Change::unlink(dir, name)])
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = locked(&self.shared);
        // Each missing directory is made by a call of its own, and the power may fail between them.
        let mut ancestors: Vec<&Path> = path.ancestors().collect();
        ancestors.reverse();
        state.alive(self.boot)?;
        for ancestor in ancestors {
            if let Ok(node) = state.tree.find(ancestor) {
                state.tree.dir(node)?;
                continue;
            }
            let power = state.enter(self.boot, FaultOp::CreateDir, ancestor)?;
            let (dir, name) = state.tree.place(ancestor)?;
            let node = state.tree.new_dir();
            state.change(power, vec![Change::link(dir, name, node)])?;
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut state = locked(&self.shared);
        state.enter(self.boot, FaultOp::List, path)?;
        let node = state.tree.find(path)?;
        state.tree.list(node)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = locked(&self.shared);
        let power = state.enter(self.boot, FaultOp::SyncDir, path)?;
        let node = state.tree.find(path)?;
        state.tree.dir(node)?;
        if power == Power::On {
            state.tree.sync_dir(node);
        }
        power.survived()
    }

    fn available(&self) -> io::Result<u64> {
        let mut state = locked(&self.shared);
        state.enter(self.boot, FaultOp::Available, Path::new(""))?;
        Ok(state.room())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        drop(self.open(path, OpenMode::CreateOrOpen)?);
        let mut state = locked(&self.shared);
        state.enter(self.boot, FaultOp::Lock, path)?;
        let node = state.tree.find(path)?;
        if state.locks.contains(&node) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.locks.push(node);
        Ok(Box::new(Lock {
            boot: self.boot,
            shared: Arc::clone(&self.shared),
            node,
        }))
    }
}

/// Held until dropped, or until the end of its boot.
struct Lock {
    boot: u64,
    shared: Shared,
    node: NodeId,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = locked(&self.shared);
        if state.boot == self.boot {
            state.locks.retain(|held| *held != self.node);
        }
    }
}
