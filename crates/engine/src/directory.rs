//! Which streams of a shard are in memory, by name and by identity; readable from every core.
//!
//! Only the shard adds and removes. A stream leaves only when the directory holds the last reference
//! to it, checked under the write lock, so that there are never two [`Live`] of one stream and no
//! follower waits on one that nobody publishes to.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use foldhash::fast::FixedState;
use millrace_core::{StreamId, StreamName};

use crate::live::Live;

type Map<K, V> = HashMap<K, V, FixedState>;

/// Maps of up to so many entries keep their room.
const SMALL: usize = 4096;

/// Gives back most of the room of a map that has become almost empty. Maps keep what they grew to:
/// after a million streams some hundred bytes each, whether or not one of them is in memory.
pub(crate) fn fit<K: Eq + std::hash::Hash, V>(map: &mut Map<K, V>) {
    if map.capacity() > SMALL && map.len() < map.capacity() / 8 {
        map.shrink_to(2 * map.len());
    }
}

/// The streams of one shard that are in memory.
#[derive(Debug)]
pub(crate) struct Directory {
    maps: RwLock<Maps>,
}

#[derive(Debug)]
struct Maps {
    by_name: Map<StreamName, Arc<Live>>,
    by_id: Map<StreamId, Arc<Live>>,
    /// Names whose last change is not in the catalog yet: `Some` created, `None` gone. Ordered, for
    /// listings. BOUND: emptied by every flush.
    unflushed: BTreeMap<StreamName, Option<StreamId>>,
}

impl Directory {
    /// An empty directory whose maps are seeded with `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let maps = Maps {
            by_name: Map::with_hasher(FixedState::with_seed(seed)),
            by_id: Map::with_hasher(FixedState::with_seed(seed)),
            unflushed: BTreeMap::new(),
        };
        Self {
            maps: RwLock::new(maps),
        }
    }

    /// The stream that has this name, if it is in memory.
    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Live>> {
        self.read().by_name.get(name).cloned()
    }

    /// The stream, reachable by its name or not, if it is in memory.
    pub(crate) fn by_id(&self, id: StreamId) -> Option<Arc<Live>> {
        self.read().by_id.get(&id).cloned()
    }

    /// Adds a stream that was loaded from the catalog.
    pub(crate) fn add_loaded(&self, name: StreamName, live: Arc<Live>) {
        let mut maps = self.write();
        maps.by_id.insert(live.id, Arc::clone(&live));
        maps.by_name.insert(name, live);
    }

    /// Adds a stream that was created.
    pub(crate) fn add_created(&self, name: StreamName, live: Arc<Live>) {
        let mut maps = self.write();
        maps.unflushed.insert(name.clone(), Some(live.id));
        maps.by_id.insert(live.id, Arc::clone(&live));
        maps.by_name.insert(name, live);
    }

    /// Removes a stream that is gone.
    pub(crate) fn remove(&self, name: &StreamName, id: StreamId) {
        let mut maps = self.write();
        maps.by_id.remove(&id);
        if maps.by_name.get(name).is_some_and(|live| live.id == id) {
            maps.by_name.remove(name);
            maps.unflushed.insert(name.clone(), None);
        }
    }

    /// Whether the last change of a name is still to be flushed: then the catalog is out of date.
    pub(crate) fn is_unflushed(&self, name: &str) -> bool {
        self.read().unflushed.contains_key(name)
    }

    /// Forgets name changes that the catalog has by now.
    pub(crate) fn flushed(&self, names: &[(StreamName, Option<StreamId>)]) {
        let mut maps = self.write();
        for (name, change) in names {
            if maps.unflushed.get(name) == Some(change) {
                maps.unflushed.remove(name);
            }
        }
    }

    /// The name changes that are not in the catalog yet.
    pub(crate) fn all_unflushed(&self) -> Vec<(StreamName, Option<StreamId>)> {
        self.read()
            .unflushed
            .iter()
            .map(|(name, change)| (name.clone(), *change))
            .collect()
    }

    /// The name changes after `after` that begin with `prefix`, in order, at most `limit`.
    pub(crate) fn unflushed_from(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<(StreamName, Option<StreamId>)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let maps = self.read();
        let range = maps.unflushed.range::<str, _>((start, Bound::Unbounded));
        range
            .take_while(|(name, _)| name.as_str().starts_with(prefix))
            .take(limit)
            .map(|(name, change)| (name.clone(), *change))
            .collect()
    }

    /// Lets go of a stream that nobody else holds and `may_leave` agrees to; whether it left.
    pub(crate) fn evict(&self, id: StreamId, may_leave: impl FnOnce(&Live) -> bool) -> bool {
        let mut maps = self.write();
        let Some(live) = maps.by_id.get(&id) else {
            return false;
        };
        let name = live.view().state.config.name.clone();
        let named = maps.by_name.get(&name).is_some_and(|named| named.id == id);
        let ours = 1 + usize::from(named);
        if Arc::strong_count(live) > ours || !may_leave(live) {
            return false;
        }
        maps.by_id.remove(&id);
        if named {
            maps.by_name.remove(&name);
        }
        true
    }

    /// Gives back the room of streams that left.
    pub(crate) fn fit(&self) {
        let mut maps = self.write();
        fit(&mut maps.by_name);
        fit(&mut maps.by_id);
    }

    /// How many streams are in memory.
    pub(crate) fn len(&self) -> usize {
        self.read().by_id.len()
    }

    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Maps> {
        self.maps.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_became_almost_empty_gives_its_room_back() {
        let mut map: Map<u32, u32> = Map::default();
        map.extend((0..100_000).map(|n| (n, n)));
        map.retain(|n, _| *n < 50_000);
        fit(&mut map);
        assert!(map.capacity() > SMALL, "half full is full enough");
        map.retain(|n, _| *n < 100);
        fit(&mut map);
        assert!(map.capacity() <= SMALL, "{}", map.capacity());
        assert_eq!(map.len(), 100);
    }
}
