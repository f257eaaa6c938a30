//! Which streams changed for whom: one index for all subscriptions.
//!
//! Every stream stands in the order of changes once, under its latest. A subscription remembers up to
//! where it looked, and finds what changed since by going on from there. So a change costs the same
//! however many subscriptions mean the stream, and a subscription that is busy costs it nothing at all:
//! only those that are idle, with nothing to do as far as they know, are told at once.
//!
//! Which subscriptions mean a stream is worked out once for each stream, and thrown away when
//! subscriptions change. While none is idle it only matters whether any does.
//!
//! BOUND: each watched stream once; what all have looked at is let go of.
//!
//! INVARIANT: between the moment that a subscription finds nothing more and the moment that it is idle,
//! no change is taken: both happen under the lock of whoever holds this.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Bound,
    sync::Arc,
};

use foldhash::fast::FixedState;
use millrace_core::{
    Offset, StreamId, StreamName, Timestamp,
    subscription::{Path, SubscriptionConfig},
};
use millrace_engine::Change;

/// Tells subscriptions apart, also from one that had the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) u64);

/// Nothing is tidied before there are so many streams.
const TIDY_AT_LEAST: usize = 4096;

/// What changed, and who watches.
#[derive(Debug)]
pub(crate) struct Index {
    /// The number of the last change.
    last: u64,
    order: BTreeMap<u64, StreamId>,
    streams: HashMap<StreamId, Seen, FixedState>,
    watchers: BTreeMap<Key, Watcher>,
    /// Counts changes of who watches what.
    version: u64,
    /// Lists of watchers that streams share.
    shared: HashSet<Arc<[Key]>, FixedState>,
    /// Who has nothing to do, as far as they know, and is told of the next change.
    idle: BTreeSet<Key>,
    /// Who is to be looked after.
    visits: BTreeSet<Key>,
    /// When who is to be looked after.
    timers: BTreeSet<(Timestamp, Key)>,
    tidy_at: usize,
}

/// A stream as of its latest change.
#[derive(Debug)]
struct Seen {
    change: u64,
    found: Found,
    watched: Watched,
    version: u64,
}

/// Who watches a stream, as far as it was worked out.
#[derive(Clone, Debug)]
enum Watched {
    ByNobody,
    /// By one at least.
    BySome,
    By(Arc<[Key]>),
}

/// A changed stream.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: StreamId,
    pub(crate) name: StreamName,
    pub(crate) start: Offset,
    pub(crate) tail: Offset,
}

#[derive(Debug)]
struct Watcher {
    config: Arc<SubscriptionConfig>,
    explicit: BTreeSet<StreamName>,
    /// All changes up to this one were looked at.
    looked: u64,
    due: Option<Timestamp>,
    /// Streams that are gone: their cursors can go too.
    gone: Vec<StreamId>,
}

impl Watcher {
    fn means(&self, path: &Path<'_>) -> bool {
        self.explicit.contains(path.name()) || self.config.globs(path)
    }
}

impl Index {
    /// An empty one, whose maps are seeded with `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            last: 0,
            order: BTreeMap::new(),
            streams: HashMap::with_hasher(FixedState::with_seed(seed)),
            watchers: BTreeMap::new(),
            version: 0,
            shared: HashSet::with_hasher(FixedState::with_seed(seed)),
            idle: BTreeSet::new(),
            visits: BTreeSet::new(),
            timers: BTreeSet::new(),
            tidy_at: TIDY_AT_LEAST,
        }
    }

    /// A subscription watches: it is told of changes from here on.
    pub(crate) fn watch(
        &mut self,
        key: Key,
        config: Arc<SubscriptionConfig>,
        explicit: BTreeSet<StreamName>,
    ) {
        let watcher = Watcher {
            config,
            explicit,
            looked: self.last,
            due: None,
            gone: Vec::new(),
        };
        self.watchers.insert(key, watcher);
        self.others_watch();
    }

    /// It means other streams by name. It looks at all that is known anew.
    pub(crate) fn rename(&mut self, key: Key, explicit: BTreeSet<StreamName>) {
        if let Some(watcher) = self.watchers.get_mut(&key) {
            watcher.explicit = explicit;
            watcher.looked = 0;
        }
        self.idle.remove(&key);
        self.others_watch();
    }

    /// It watches no more.
    pub(crate) fn unwatch(&mut self, key: Key) {
        self.set_due(key, None);
        self.watchers.remove(&key);
        self.idle.remove(&key);
        self.visits.remove(&key);
        self.others_watch();
    }

    fn others_watch(&mut self) {
        self.version += 1;
        self.shared.clear();
    }

    /// Takes changes up. Whether somebody has to be looked after because of them.
    pub(crate) fn take(&mut self, changes: impl IntoIterator<Item = Change>) -> bool {
        let before = self.visits.len();
        for change in changes {
            self.take_one(change);
        }
        if self.streams.len() > self.tidy_at {
            self.tidy();
        }
        self.visits.len() > before
    }

    /// Takes up streams that were listed, and then what changed since. One that is known already is known
    /// better than the list has it.
    pub(crate) fn take_listed(
        &mut self,
        listed: impl IntoIterator<Item = Change>,
        newer: Vec<Change>,
    ) -> bool {
        let unknown: Vec<Change> = listed
            .into_iter()
            .filter(|change| !self.streams.contains_key(&change.id))
            .collect();
        let listed = self.take(unknown);
        self.take(newer) || listed
    }

    fn take_one(&mut self, change: Change) {
        let Change {
            id,
            name,
            start,
            tail,
            gone,
        } = change;
        let seen = self.streams.remove(&id);
        if let Some(seen) = &seen {
            self.order.remove(&seen.change);
        }
        let known = seen.filter(|seen| seen.version == self.version);
        let watched = self.watched(&name, known.map(|seen| seen.watched));
        if gone {
            let keys = match watched {
                Watched::ByNobody => return,
                Watched::BySome => self.who_watches(&name),
                Watched::By(keys) => keys,
            };
            for key in keys.iter() {
                if let Some(watcher) = self.watchers.get_mut(key) {
                    watcher.gone.push(id);
                }
            }
            return;
        }
        self.last += 1;
        if !matches!(watched, Watched::ByNobody) {
            self.order.insert(self.last, id);
        }
        if let Watched::By(keys) = &watched {
            self.tell_idle(keys);
        }
        let found = Found {
            id,
            name,
            start,
            tail,
        };
        let seen = Seen {
            change: self.last,
            found,
            watched,
            version: self.version,
        };
        self.streams.insert(id, seen);
    }

    /// Tells those who are idle of the last change. While all are busy it costs nothing, however many
    /// watch.
    fn tell_idle(&mut self, watched_by: &[Key]) {
        let told: Vec<Key> = if self.idle.len() < watched_by.len() {
            let told = self.idle.iter();
            let told = told.filter(|key| watched_by.binary_search(key).is_ok());
            told.copied().collect()
        } else {
            let told = watched_by.iter();
            told.filter(|key| self.idle.contains(key))
                .copied()
                .collect()
        };
        for key in told {
            self.idle.remove(&key);
            if let Some(watcher) = self.watchers.get_mut(&key) {
                watcher.looked = self.last - 1;
                self.visits.insert(key);
            }
        }
    }

    /// Who watches a stream of which so much is `known`: whether anybody does, and who if somebody has to
    /// be told.
    fn watched(&mut self, name: &StreamName, known: Option<Watched>) -> Watched {
        let is_told = !self.idle.is_empty();
        match known {
            Some(known @ (Watched::ByNobody | Watched::By(_))) => known,
            _ if is_told => {
                let keys = self.who_watches(name);
                if keys.is_empty() {
                    Watched::ByNobody
                } else {
                    Watched::By(keys)
                }
            }
            Some(Watched::BySome) => Watched::BySome,
            None => {
                let path = Path::new(name.as_str());
                if self.watchers.values().any(|watcher| watcher.means(&path)) {
                    Watched::BySome
                } else {
                    Watched::ByNobody
                }
            }
        }
    }

    fn who_watches(&mut self, name: &StreamName) -> Arc<[Key]> {
        let path = Path::new(name.as_str());
        let means = self.watchers.iter();
        let means = means.filter(|(_, watcher)| watcher.means(&path));
        let keys: Arc<[Key]> = means.map(|(key, _)| *key).collect();
        if let Some(shared) = self.shared.get(&keys) {
            return Arc::clone(shared);
        }
        self.shared.insert(Arc::clone(&keys));
        keys
    }

    /// The next changed streams that a subscription means, about `most`; it looked at them with this.
    /// With none left it is idle, if `then_idle`, and told of the next change.
    pub(crate) fn next(&mut self, key: Key, most: usize, then_idle: bool) -> Vec<Found> {
        let Some(watcher) = self.watchers.get_mut(&key) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut looked = watcher.looked;
        let range = (Bound::Excluded(looked), Bound::Unbounded);
        for (change, id) in self.order.range(range) {
            if found.len() == most {
                break;
            }
            looked = *change;
            let Some(seen) = self.streams.get(id) else {
                continue;
            };
            let means = match &seen.watched {
                Watched::By(keys) if seen.version == self.version => {
                    keys.binary_search(&key).is_ok()
                }
                _ => watcher.means(&Path::new(seen.found.name.as_str())),
            };
            if means {
                found.push(seen.found.clone());
            }
        }
        if found.len() < most {
            looked = self.last;
        }
        watcher.looked = looked;
        if found.is_empty() && then_idle {
            self.idle.insert(key);
        }
        found
    }

    /// Streams of a subscription that are gone; told once.
    pub(crate) fn take_gone(&mut self, key: Key) -> Vec<StreamId> {
        let watcher = self.watchers.get_mut(&key);
        watcher.map_or_else(Vec::new, |watcher| std::mem::take(&mut watcher.gone))
    }

    /// Somebody is to be looked after.
    pub(crate) fn visit(&mut self, key: Key) {
        if self.watchers.contains_key(&key) {
            self.visits.insert(key);
        }
    }

    /// When somebody is to be looked after in any case.
    pub(crate) fn set_due(&mut self, key: Key, due: Option<Timestamp>) {
        let Some(watcher) = self.watchers.get_mut(&key) else {
            return;
        };
        if let Some(old) = std::mem::replace(&mut watcher.due, due) {
            self.timers.remove(&(old, key));
        }
        if let Some(due) = due {
            self.timers.insert((due, key));
        }
    }

    /// Who is to be looked after now.
    pub(crate) fn take_visits(&mut self, now: Timestamp) -> BTreeSet<Key> {
        while let Some((due, key)) = self.timers.first().copied() {
            if due > now {
                break;
            }
            self.set_due(key, None);
            self.visits.insert(key);
        }
        std::mem::take(&mut self.visits)
    }

    /// When the next is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// How many streams are in it.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Lets go of what all have looked at. Who is idle has looked at all: it would have been told.
    fn tidy(&mut self) {
        let last = self.last;
        for key in &self.idle {
            if let Some(watcher) = self.watchers.get_mut(key) {
                watcher.looked = last;
            }
        }
        let looked = self.watchers.values().map(|watcher| watcher.looked);
        let all_looked = looked.min().unwrap_or(last);
        let rest = self.order.split_off(&(all_looked + 1));
        self.order = rest;
        self.streams
            .retain(|_, seen| seen.change > all_looked && self.order.contains_key(&seen.change));
        self.tidy_at = TIDY_AT_LEAST.max(2 * self.order.len());
    }
}

#[cfg(test)]
mod tests {
    use millrace_core::{Generation, slot::slot_of};
    use millrace_wire::subscription::create;

    use super::*;

    fn config(pattern: &str) -> Arc<SubscriptionConfig> {
        let body = format!(
            r#"{{"type":"webhook","pattern":"{pattern}","webhook":{{"url":"https://a/"}}}}"#
        );
        Arc::new(create(body.as_bytes()).unwrap())
    }

    fn change(name: &str, tail: u64) -> Change {
        // Unlike for unlike names, as an identity is.
        let birth = name.bytes().fold(7, |hash: u64, byte| {
            (hash * 31 + u64::from(byte)) % 1_000_003
        });
        let birth = Generation(birth);
        Change {
            id: StreamId::new(slot_of(name), birth),
            name: StreamName::new(name).unwrap(),
            start: Offset::from((1, 0)),
            tail: Offset::from((1, tail)),
            gone: false,
        }
    }

    fn names(found: &[Found]) -> Vec<&str> {
        found.iter().map(|found| found.name.as_str()).collect()
    }

    fn index(patterns: &[&str]) -> Index {
        let mut index = Index::new(1);
        for (key, pattern) in (0..).zip(patterns) {
            index.watch(Key(key), config(pattern), BTreeSet::new());
        }
        index
    }

    const NOW: Timestamp = Timestamp(0);

    #[test]
    fn a_stream_that_changed_often_is_found_once_under_its_last_change() {
        let mut index = index(&["a/*", "b/*"]);
        for tail in 1..=3 {
            assert!(
                !index.take([change("a/x", tail), change("a/y", tail)]),
                "nobody is idle"
            );
        }
        assert_eq!(index.len(), 2);
        let found = index.next(Key(0), 10, true);
        assert_eq!(names(&found), ["a/x", "a/y"]);
        assert_eq!(found[0].tail, Offset::from((1, 3)));
        assert!(index.next(Key(1), 10, true).is_empty());
        assert!(index.next(Key(0), 10, true).is_empty(), "looked at");
    }

    #[test]
    fn who_is_idle_is_told_once_and_who_is_busy_is_not() {
        let mut index = index(&["a/*", "a/*", "b/*"]);
        for key in [0, 2] {
            index.next(Key(key), 10, true);
        }
        assert!(index.take([change("a/x", 1)]));
        assert_eq!(index.take_visits(NOW), BTreeSet::from([Key(0)]));
        assert!(!index.take([change("a/x", 2)]), "it is up already");
        assert_eq!(
            names(&index.next(Key(1), 10, true)),
            ["a/x"],
            "the busy one finds it"
        );
    }

    #[test]
    fn few_of_many_and_many_of_few_that_are_idle_are_told() {
        let patterns = ["a/*", "b/*", "a/*", "a/*", "b/*", "a/*"];
        for idle in [vec![2], vec![0, 1, 2, 4, 5], (0..6).collect()] {
            let mut index = index(&patterns);
            for key in &idle {
                index.next(Key(*key), 10, true);
            }
            index.take([change("a/x", 1)]);
            let of_a = |key: &u64| patterns[usize::try_from(*key).unwrap()] == "a/*";
            let told = idle.iter().copied().filter(of_a).map(Key).collect();
            assert_eq!(index.take_visits(NOW), told);
            for key in (0..6).filter(of_a) {
                assert_eq!(names(&index.next(Key(key), 10, true)), ["a/x"], "{key}");
            }
        }
    }

    #[test]
    fn what_changed_while_all_were_busy_is_told_to_who_is_idle_later_and_when_it_is_gone() {
        let mut index = index(&["a/*", "b/*", "a/*"]);
        index.take([change("a/x", 1)]);
        assert_eq!(names(&index.next(Key(0), 10, true)), ["a/x"]);
        assert!(index.next(Key(0), 10, true).is_empty(), "it is idle now");
        assert!(index.take([change("a/x", 2)]));
        assert_eq!(index.take_visits(NOW), BTreeSet::from([Key(0)]));
        assert_eq!(names(&index.next(Key(2), 10, true)), ["a/x"]);

        let mut index = self::index(&["a/*", "b/*", "a/*"]);
        index.take([change("a/x", 1)]);
        let gone = Change {
            gone: true,
            ..change("a/x", 1)
        };
        index.take([gone.clone()]);
        let told = [0, 1, 2].map(|key| index.take_gone(Key(key)));
        assert_eq!(told, [vec![gone.id], vec![], vec![gone.id]]);
    }

    #[test]
    fn looking_goes_on_where_it_ended() {
        let mut index = index(&["**"]);
        index.take((0..10).map(|n| change(&format!("s{n}"), 1)));
        assert_eq!(names(&index.next(Key(0), 3, true)), ["s0", "s1", "s2"]);
        index.take([change("s1", 2)]);
        let rest = index.next(Key(0), 100, true);
        assert_eq!(
            names(&rest),
            ["s3", "s4", "s5", "s6", "s7", "s8", "s9", "s1"]
        );
    }

    #[test]
    fn names_that_are_added_are_looked_for_in_what_is_known() {
        let mut index = index(&["a/*", "**"]);
        index.take([change("b/x", 1)]);
        assert!(index.next(Key(0), 10, true).is_empty());
        let names_of = BTreeSet::from([StreamName::new("b/x").unwrap()]);
        index.rename(Key(0), names_of);
        assert_eq!(names(&index.next(Key(0), 10, true)), ["b/x"]);
    }

    #[test]
    fn who_comes_later_is_not_told_of_what_was() {
        let mut index = index(&["**"]);
        index.take([change("a", 1)]);
        index.watch(Key(7), config("**"), BTreeSet::new());
        assert!(index.next(Key(7), 10, true).is_empty());
        index.take([change("a", 2)]);
        assert_eq!(index.take_visits(NOW), BTreeSet::from([Key(7)]));
        assert_eq!(names(&index.next(Key(7), 10, true)), ["a"]);
        index.unwatch(Key(7));
        assert!(index.next(Key(7), 10, true).is_empty());
    }

    #[test]
    fn a_stream_that_is_gone_is_told_of_once() {
        let mut index = index(&["a/*", "b/*"]);
        index.take([change("a/x", 1)]);
        let mut gone = change("a/x", 1);
        gone.gone = true;
        let id = gone.id;
        index.take([gone]);
        assert!(index.next(Key(0), 10, true).is_empty());
        assert_eq!(index.take_gone(Key(0)), [id]);
        assert!(index.take_gone(Key(0)).is_empty());
        assert!(index.take_gone(Key(1)).is_empty());
    }

    #[test]
    fn what_all_have_looked_at_is_let_go_of_and_the_rest_is_not() {
        let mut index = index(&["a/*", "**"]);
        index.next(Key(0), 10, true);
        for n in 0..TIDY_AT_LEAST as u64 {
            index.take([change(&format!("b/{n}"), 1)]);
        }
        assert_eq!(index.next(Key(1), 1000, true).len(), 1000);
        index.take([change("a/x", 1), change("b/0", 2)]);
        assert_eq!(index.len(), TIDY_AT_LEAST + 1 - 1000 + 1);
        let rest = index.next(Key(1), usize::MAX, true);
        assert_eq!(rest.len(), TIDY_AT_LEAST - 1000 + 2);
        assert_eq!(names(&index.next(Key(0), 10, true)), ["a/x"]);
    }

    #[test]
    fn timers_ring_once() {
        let mut index = index(&["a", "b"]);
        index.set_due(Key(0), Some(Timestamp(10)));
        index.set_due(Key(0), Some(Timestamp(20)));
        index.set_due(Key(1), Some(Timestamp(15)));
        assert_eq!(index.next_due(), Some(Timestamp(15)));
        assert_eq!(index.take_visits(Timestamp(15)), BTreeSet::from([Key(1)]));
        assert_eq!(index.take_visits(Timestamp(30)), BTreeSet::from([Key(0)]));
        assert_eq!(index.next_due(), None);
    }
}
