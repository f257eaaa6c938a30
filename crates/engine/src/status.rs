//! Whether shards take work, for `/ready` and for people.

use std::sync::{Mutex, PoisonError};

/// One shard's condition, written by the shard and read by all.
#[derive(Debug, Default)]
pub(crate) struct ShardStatus(Mutex<Option<String>>);

/// The engine's condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether all shards take writes.
    pub ready: bool,
    /// Why not, one sentence a shard that does not.
    pub problems: Vec<String>,
    /// What somebody should look at though work goes on: damaged files, one sentence each.
    pub warnings: Vec<String>,
}

impl ShardStatus {
    /// The shard takes no more writes, for this reason.
    pub(crate) fn poison(&self, reason: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(reason);
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.problem().is_some()
    }

    fn problem(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Status {
    pub(crate) fn of<'a>(
        shards: impl Iterator<Item = &'a ShardStatus>,
        warnings: Vec<String>,
    ) -> Self {
        let problems: Vec<String> = shards.filter_map(ShardStatus::problem).collect();
        Self {
            ready: problems.is_empty(),
            problems,
            warnings,
        }
    }
}
