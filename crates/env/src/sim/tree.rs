//! Names: what every directory holds, what of it is durable, and the operations in between.
//!
//! A directory operation is a list of assignments `(directory, name) -> node or nothing`, journaled
//! in order. It settles once every directory it touches was synced; a crash keeps a prefix of those
//! that have not (`crash.rs`), so a rename happens wholly or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Component, Path},
};

use super::file::FileNode;
use crate::disk::DirEntry;

/// A file or directory, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(u64);

const ROOT: NodeId = NodeId(0);

#[derive(Clone, Debug)]
enum Node {
    Dir(Dir),
    File(FileNode),
}

/// A directory's names: as callers see them, and as they would be after power loss if no journaled
/// operation survived.
#[derive(Clone, Debug, Default)]
pub(super) struct Dir {
    pub(super) now: BTreeMap<String, NodeId>,
    durable: BTreeMap<String, NodeId>,
}

/// One assignment.
#[derive(Clone, Debug)]
pub(super) struct Change {
    dir: NodeId,
    name: String,
    node: Option<NodeId>,
}

impl Change {
    pub(super) fn link(dir: NodeId, name: String, node: NodeId) -> Self {
        let node = Some(node);
        Self { dir, name, node }
    }

    pub(super) fn unlink(dir: NodeId, name: String) -> Self {
        let node = None;
        Self { dir, name, node }
    }

    fn apply(self, names: &mut BTreeMap<String, NodeId>) {
        match self.node {
            Some(node) => names.insert(self.name, node),
            None => names.remove(&self.name),
        };
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.dir == other.dir && self.name == other.name
    }
}

/// A directory operation that is not durable yet.
#[derive(Clone, Debug)]
struct DirOp {
    changes: Vec<Change>,
    unsynced: BTreeSet<NodeId>,
}

#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<NodeId, Node>,
    next: u64,
    journal: Vec<DirOp>,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::Dir(Dir::default()))]),
            next: 1,
            journal: Vec::new(),
        }
    }

    pub(super) fn new_file(&mut self) -> NodeId {
        self.add(Node::File(FileNode::default()))
    }

    pub(super) fn new_dir(&mut self) -> NodeId {
        self.add(Node::Dir(Dir::default()))
    }

    fn add(&mut self, node: Node) -> NodeId {
        let id = NodeId(self.next);
        self.next += 1;
        self.nodes.insert(id, node);
        id
    }

    /// The node at `path`; the empty path is the root.
    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut node = ROOT;
        for part in path.components() {
            let name = part_name(part)?;
            let found = self.dir(node)?.now.get(name);
            node = *found.ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// The directory and name of `path`, whether or not something is there.
    pub(super) fn place(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let last = path.components().next_back();
        let name = part_name(last.ok_or(io::ErrorKind::InvalidInput)?)?;
        let dir = self.find(path.parent().unwrap_or(Path::new("")))?;
        self.dir(dir)?;
        Ok((dir, name.into()))
    }

    pub(super) fn dir(&self, node: NodeId) -> io::Result<&Dir> {
        match &self.nodes[&node] {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn is_dir(&self, node: NodeId) -> bool {
        self.dir(node).is_ok()
    }

    /// # Panics
    /// When it is no file; callers have looked.
    pub(super) fn file_mut(&mut self, node: NodeId) -> &mut FileNode {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => file,
            other => panic!("{node:?} is no file but {other:?}"),
        }
    }

    pub(super) fn list(&self, node: NodeId) -> io::Result<Vec<DirEntry>> {
        let entry = |(name, node): (&String, &NodeId)| {
            let (is_dir, len) = match &self.nodes[node] {
                Node::Dir(_) => (true, 0),
                Node::File(file) => (false, file.len()),
            };
            DirEntry {
                name: name.clone(),
                is_dir,
                len,
            }
        };
        Ok(self.dir(node)?.now.iter().map(entry).collect())
    }

    pub(super) fn plan_rename(&self, from: &Path, to: &Path) -> io::Result<Vec<Change>> {
        let node = self.find(from)?;
        let (from_dir, from_name) = self.place(from)?;
        let (to_dir, to_name) = self.place(to)?;
        if let Some(target) = self.dir(to_dir)?.now.get(&to_name) {
            if *target == node {
                return Ok(Vec::new());
            }
            if self.is_dir(*target) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
        }
        Ok(vec![
            Change::unlink(from_dir, from_name),
            Change::link(to_dir, to_name, node),
        ])
    }

    /// Carries out one operation; durable once its directories are synced.
    pub(super) fn change(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        for change in &changes {
            change.clone().apply(&mut self.names_mut(change.dir).now);
        }
        let unsynced = changes.iter().map(|change| change.dir).collect();
        self.journal.push(DirOp { changes, unsynced });
    }

    fn names_mut(&mut self, node: NodeId) -> &mut Dir {
        match self.nodes.get_mut(&node) {
            Some(Node::Dir(dir)) => dir,
            other => panic!("{node:?} is no directory but {other:?}"),
        }
    }

    /// Settles what waited for `dir` alone. A name's operations settle in order: one that follows an
    /// unsettled one on the same name (half a rename) waits with it.
    pub(super) fn sync_dir(&mut self, dir: NodeId) {
        let mut waiting: Vec<DirOp> = Vec::new();
        for mut op in std::mem::take(&mut self.journal) {
            op.unsynced.remove(&dir);
            let follows = |change: &Change| {
                let earlier = waiting.iter().flat_map(|op| &op.changes);
                earlier.into_iter().any(|other| other.overlaps(change))
            };
            if !op.unsynced.is_empty() || op.changes.iter().any(follows) {
                waiting.push(op);
            } else {
                self.settle(op);
            }
        }
        self.journal = waiting;
        self.collect_garbage();
    }

    fn settle(&mut self, op: DirOp) {
        for change in op.changes {
            let dir = change.dir;
            change.apply(&mut self.names_mut(dir).durable);
        }
    }

    /// How many operations a crash could take back.
    pub(super) fn unsettled(&self) -> usize {
        self.journal.len()
    }

    /// Keeps the first `kept` unsettled operations, loses the others, and all that has no name.
    pub(super) fn lose_names(&mut self, kept: usize) {
        for op in std::mem::take(&mut self.journal).into_iter().take(kept) {
            self.settle(op);
        }
        for node in self.nodes.values_mut() {
            match node {
                Node::Dir(dir) => dir.now = dir.durable.clone(),
                Node::File(file) => file.open = 0,
            }
        }
        self.collect_garbage();
    }

    pub(super) fn files_mut(&mut self) -> impl Iterator<Item = &mut FileNode> {
        self.nodes.values_mut().filter_map(|node| match node {
            Node::File(file) => Some(file),
            Node::Dir(_) => None,
        })
    }

    /// The handles of a process are gone with it.
    pub(super) fn close_all(&mut self) {
        self.files_mut().for_each(|file| file.open = 0);
        self.collect_garbage();
    }

    /// The lengths of all files that have a name or are open.
    pub(super) fn used(&self) -> u64 {
        let named = self.reach(|dir| dir.now.values().copied().collect());
        let counts = |(id, node): (&NodeId, &Node)| match node {
            Node::File(file) if file.open > 0 || named.contains(id) => file.len(),
            _ => 0,
        };
        self.nodes.iter().map(counts).sum()
    }

    /// Makes `path` and all below it vanish, durably.
    pub(super) fn lose(&mut self, path: &Path) -> io::Result<()> {
        self.find(path)?;
        let (dir, name) = self.place(path)?;
        let names = self.names_mut(dir);
        names.now.remove(&name);
        names.durable.remove(&name);
        let touches = |change: &Change| change.dir == dir && change.name == name;
        self.journal.retain(|op| !op.changes.iter().any(touches));
        Ok(())
    }

    fn reach(&self, names: impl Fn(&Dir) -> Vec<NodeId>) -> BTreeSet<NodeId> {
        let mut seen = BTreeSet::from([ROOT]);
        let mut todo = vec![ROOT];
        while let Some(id) = todo.pop() {
            if let Some(Node::Dir(dir)) = self.nodes.get(&id) {
                todo.extend(names(dir).into_iter().filter(|child| seen.insert(*child)));
            }
        }
        seen
    }

    /// Forgets nodes that nothing can lead to again. A directory that a lost operation would bring
    /// back is kept, with what is in it, and so is one in which operations wait to be settled.
    fn collect_garbage(&mut self) {
        let journaled = self.journal.iter().flat_map(|op| &op.changes);
        let mut needed: BTreeSet<NodeId> = journaled
            .flat_map(|change| change.node.into_iter().chain([change.dir]))
            .collect();
        for node in self.nodes.values() {
            if let Node::Dir(dir) = node {
                needed.extend(dir.now.values().chain(dir.durable.values()));
            }
        }
        self.nodes.retain(|id, node| {
            let open = matches!(node, Node::File(file) if file.open > 0);
            *id == ROOT || open || needed.contains(id)
        });
    }
}

fn part_name(part: Component<'_>) -> io::Result<&str> {
    match part {
        Component::Normal(name) => name.to_str().ok_or(io::ErrorKind::InvalidInput.into()),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}
