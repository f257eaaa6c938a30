//! A set of numbers that come in runs.

use std::collections::BTreeMap;

/// Disjoint runs, those that touch joined: what comes in order takes no room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spans {
    /// Beginning to end, the end excluded.
    runs: BTreeMap<u64, u64>,
}

impl Spans {
    /// Adds `from..to`; `false`, and nothing is added, when a part of it is there already.
    pub(crate) fn insert(&mut self, from: u64, to: u64) -> bool {
        if from >= to {
            return true;
        }
        let before = self
            .runs
            .range(..to)
            .next_back()
            .map(|(from, to)| (*from, *to));
        let (mut begin, mut end) = (from, to);
        match before {
            Some((_, until)) if until > from => return false,
            Some((since, until)) if until == from => begin = since,
            _ => {}
        }
        if let Some(until) = self.runs.remove(&to) {
            end = until;
        }
        self.runs.insert(begin, end);
        true
    }

    /// Whether a number is in it.
    pub(crate) fn has(&self, number: u64) -> bool {
        let before = self.runs.range(..=number).next_back();
        before.is_some_and(|(_, until)| *until > number)
    }

    /// How many numbers are in it.
    pub(crate) fn total(&self) -> u64 {
        self.runs.iter().map(|(from, to)| to - from).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_and_never_overlap() {
        let mut spans = Spans::default();
        for (from, to) in [(10, 20), (0, 5), (5, 10), (30, 31), (20, 30)] {
            assert!(spans.insert(from, to), "{from}..{to}");
        }
        assert_eq!(spans.runs.len(), 1);
        assert_eq!(spans.total(), 31);
        for (from, to) in [(0, 1), (30, 40), (5, 6), (0, 100)] {
            assert!(!spans.insert(from, to), "{from}..{to}");
        }
        assert!(spans.insert(40, 41) && spans.insert(7, 7));
        assert!(spans.has(30) && !spans.has(31) && spans.has(40) && !spans.has(41));
    }
}
