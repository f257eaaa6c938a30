//! What power loss does to what was not synced.
//!
//! - Names: a prefix of all unsettled directory operations survives.
//! - Lengths: per file, the length after some prefix of its unsynced changes.
//! - Bytes: per 512-byte sector, the content after some prefix of the writes to it, so that writes
//!   to different sectors may appear in any order, one torn from the other. A sector that never
//!   reached the medium reads as zeros.
//!
//! All kept and all lost are drawn as often as mixtures are: recovery has to do with both.

use std::collections::BTreeMap;

use rand::{RngExt as _, rngs::StdRng};

use super::{
    file::{FileNode, Pending},
    tree::Tree,
};

/// What a medium writes as a whole, in bytes.
const SECTOR: usize = 512;

/// What a disk did to what was written, over all its boots. Each counts how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Harm {
    /// A file lost unsynced bytes, in a power loss or a failed sync.
    pub lost: u64,
    /// A file had a write of which a part survived.
    pub torn: u64,
    /// A file had a sector that was written, did not reach the medium, and reads as zeros.
    pub zeroed: u64,
    /// A file kept of a later write what it lost of an earlier one.
    pub reordered: u64,
    /// Power loss took operations on names back.
    pub names_lost: u64,
    /// A write came out short.
    pub short_writes: u64,
    /// A read was given a bit that is wrong.
    pub wrong_reads: u64,
}

/// Loses power.
pub(super) fn lose_power(tree: &mut Tree, rng: &mut StdRng, harm: &mut Harm) {
    let survival = Survival::draw(rng);
    let kept = survival.of(rng, tree.unsettled());
    harm.names_lost += u64::from(kept < tree.unsettled());
    tree.files_mut().for_each(|file| file.lose_power(rng, harm));
    tree.lose_names(kept);
}

/// One in two.
pub(super) fn coin(rng: &mut StdRng) -> bool {
    rng.random_bool(0.5)
}

/// How much survives.
#[derive(Clone, Copy, Debug)]
enum Survival {
    All,
    None,
    Some,
}

impl Survival {
    fn draw(rng: &mut StdRng) -> Self {
        match rng.random_range(0..4) {
            0 => Self::All,
            1 => Self::None,
            _ => Self::Some,
        }
    }

    /// How many of `changes` survive, counted from the first.
    fn of(self, rng: &mut StdRng, changes: usize) -> usize {
        match self {
            Self::All => changes,
            Self::None => 0,
            Self::Some => rng.random_range(0..=changes),
        }
    }
}

impl FileNode {
    /// Resolves what is pending; readers see what is left.
    fn lose_power(&mut self, rng: &mut StdRng, harm: &mut Harm) {
        self.settle_randomly(rng, harm);
        self.now.clone_from(&self.durable);
    }

    /// Lets some of what is pending reach the medium and forgets the rest.
    pub(super) fn settle_randomly(&mut self, rng: &mut StdRng, harm: &mut Harm) {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return;
        }
        let survival = Survival::draw(rng);
        let lengths_kept = survival.of(rng, pending.len());
        let mut sectors = draw_sectors(&pending, survival, rng);
        let lost = sectors.iter().filter(|(_, kept)| **kept == 0);
        let lost: Vec<usize> = lost.map(|(sector, _)| sector * SECTOR).collect();
        let mut writes = Vec::new();
        let mut len = self.durable.len();
        for (index, change) in pending.iter().enumerate() {
            match change {
                Pending::SetLen(new) if index < lengths_kept => {
                    len = *new;
                    // What was cut off reads as zeros should the file grow again.
                    let cut = len.min(self.durable.len());
                    self.durable[cut..].fill(0);
                }
                Pending::SetLen(_) => {}
                Pending::Write { pos, bytes } => {
                    if index < lengths_kept {
                        len = len.max(pos + bytes.len());
                    }
                    writes.push(write_sectors(&mut self.durable, *pos, bytes, &mut sectors));
                }
            }
        }
        self.durable.resize(len, 0);
        harm.count(&writes);
        let sector = |at: &usize| self.durable.get(*at..len.min(*at + SECTOR));
        let is_zero = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0);
        let is_zeroed = lost.iter().filter_map(sector).any(is_zero);
        harm.zeroed += u64::from(is_zeroed);
    }
}

/// Draws for every sector that is written how many of its writes survive.
fn draw_sectors(
    pending: &[Pending],
    survival: Survival,
    rng: &mut StdRng,
) -> BTreeMap<usize, usize> {
    let mut writes: BTreeMap<usize, usize> = BTreeMap::new();
    for change in pending {
        if let Pending::Write { pos, bytes } = change {
            for (sector, _) in pieces(*pos, bytes) {
                *writes.entry(sector).or_default() += 1;
            }
        }
    }
    for count in writes.values_mut() {
        *count = survival.of(rng, *count);
    }
    writes
}

/// How much of a write survived, in sectors.
#[derive(Clone, Copy, Debug, Default)]
struct Survived {
    kept: usize,
    lost: usize,
}

impl Harm {
    /// What became of a file's writes, in their order.
    fn count(&mut self, writes: &[Survived]) {
        let first_lost = writes.iter().position(|write| write.lost > 0);
        let is_torn = writes.iter().any(|write| write.kept > 0 && write.lost > 0);
        let is_reordered = first_lost.is_some_and(|first| {
            let later = &writes[first + 1..];
            later.iter().any(|write| write.kept > 0)
        });
        self.lost += u64::from(first_lost.is_some());
        self.torn += u64::from(is_torn);
        self.reordered += u64::from(is_reordered);
    }
}

/// Writes those parts whose sectors have survivors left, and counts these down.
fn write_sectors(
    content: &mut Vec<u8>,
    pos: usize,
    bytes: &[u8],
    sectors: &mut BTreeMap<usize, usize>,
) -> Survived {
    let mut survived = Survived::default();
    let mut at = pos;
    for (sector, piece) in pieces(pos, bytes) {
        let left = sectors
            .get_mut(&sector)
            .expect("drawn from the same writes");
        if *left > 0 {
            *left -= 1;
            survived.kept += 1;
            let bytes = piece.to_vec();
            Pending::Write { pos: at, bytes }.apply(content);
        } else {
            survived.lost += 1;
        }
        at += piece.len();
    }
    survived
}

/// A write, cut at sector boundaries.
fn pieces(pos: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let head = bytes.len().min(SECTOR - pos % SECTOR);
    let (first, rest) = bytes.split_at(head);
    let first = (!first.is_empty()).then_some(first);
    let all = first.into_iter().chain(rest.chunks(SECTOR));
    all.enumerate()
        .map(move |(n, piece)| (pos / SECTOR + n, piece))
}
