//! The search for an order that explains what clients of one name were told.
//!
//! After Wing and Gong, with Lowe's memory of what was tried: an operation takes effect at one moment
//! between its call and its answer. Where no answer came it takes effect at one moment before it no
//! longer can, or never. A node of the search is which operations have had their moment, and the
//! state they leave; the next one must have been called before any of the rest was answered.

use std::collections::HashSet;

use crate::{
    history::{Moment, Record, Verdict},
    state::{Known, State},
};

/// More nodes than this are not looked at.
pub(crate) const NODES_MAX: usize = 1_000_000;

/// What was found.
#[derive(Debug)]
pub(crate) enum Found {
    /// An order that explains everything.
    Order,
    /// There is none; this is how far the best attempt came.
    None(Box<Stuck>),
    /// The search was given up.
    TooLarge,
}

/// The attempt that explained most.
#[derive(Debug)]
pub(crate) struct Stuck {
    /// The operations in their order; indices into the records.
    pub(crate) order: Vec<usize>,
    /// The state after them.
    pub(crate) state: State,
    /// The operation that had to come before it was answered, and could not.
    pub(crate) next: usize,
    /// What that state would answer to it.
    pub(crate) would_be: Vec<Verdict>,
}

/// Looks for an order. `records` are of one name, in the order of their calls.
pub(crate) fn search(records: &[Record], start: State, known: &Known, nodes_max: usize) -> Found {
    let mut search = Search {
        records,
        known,
        nodes_max,
        seen: HashSet::new(),
        best: None,
    };
    search.run(start)
}

struct Search<'a> {
    records: &'a [Record],
    known: &'a Known,
    nodes_max: usize,
    seen: HashSet<(Done, State)>,
    best: Option<Stuck>,
}

/// Which operations have had their moment: all before `first`, and those of the rest whose bit is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Done {
    first: usize,
    rest: Vec<u64>,
}

impl Done {
    fn has(&self, index: usize) -> bool {
        let Some(bit) = index.checked_sub(self.first) else {
            return true;
        };
        let word = self.rest.get(bit / 64);
        word.is_some_and(|word| word & (1 << (bit % 64)) != 0)
    }

    fn with(&self, index: usize) -> Self {
        let mut first = self.first;
        while first == index || (first > self.first && self.has(first)) {
            first += 1;
        }
        let mut done = Self {
            first,
            rest: Vec::new(),
        };
        let end = self.first + 64 * self.rest.len();
        let others = (first..end).filter(|other| self.has(*other));
        for other in others.chain((index >= first).then_some(index)) {
            let bit = other - first;
            done.rest.resize(done.rest.len().max(bit / 64 + 1), 0);
            done.rest[bit / 64] |= 1 << (bit % 64);
        }
        done
    }
}

/// A node that is being looked at: how it was reached, and what is still to be tried from it.
struct Node {
    by: Option<usize>,
    done: Done,
    state: State,
    choices: Vec<Choice>,
}

/// One operation's moment, and the state after it.
type Choice = (usize, State);

impl Search<'_> {
    fn run(&mut self, start: State) -> Found {
        let mut path = Vec::new();
        let mut next = Some((None, Done::default(), start));
        loop {
            if let Some((by, done, state)) = next.take() {
                let Some(choices) = self.choices(&done, &state) else {
                    return Found::Order;
                };
                path.push(Node {
                    by,
                    done,
                    state,
                    choices,
                });
                self.note(&path);
            }
            let Some(node) = path.last_mut() else {
                let stuck = self.best.take().expect("the first node was noted");
                return Found::None(Box::new(stuck));
            };
            let Some((index, state)) = node.choices.pop() else {
                path.pop();
                continue;
            };
            let done = node.done.with(index);
            if self.seen.len() >= self.nodes_max {
                return Found::TooLarge;
            }
            if self.seen.insert((done.clone(), state.clone())) {
                next = Some((Some(index), done, state));
            }
        }
    }

    /// What may come next, the best guess last; `None` when everything that was answered is explained.
    fn choices(&self, done: &Done, state: &State) -> Option<Vec<Choice>> {
        let open = || (done.first..self.records.len()).filter(|index| !done.has(*index));
        if open().all(|index| self.records[index].answer.is_none()) {
            return None;
        }
        let first_end = open().min_by_key(|index| self.records[*index].until)?;
        let bound = self.records[first_end].until;
        let mut choices: Vec<Choice> = Vec::new();
        for index in open().take_while(|index| self.records[*index].invoked <= bound) {
            let record = &self.records[index];
            let after = state.step(&record.operation, record.answer.as_ref(), self.known);
            // What changes nothing may have its moment at once: whatever follows is the same without.
            if record.answer.is_some() && after.contains(state) {
                return Some(vec![(index, state.clone())]);
            }
            choices.extend(after.into_iter().map(|after| (index, after)));
        }
        if self.records[first_end].answer.is_none() {
            choices.push((first_end, state.clone()));
        }
        // What was answered first probably came first; what nobody knows of probably did not happen.
        let end = |index: usize| -> (bool, Moment) {
            let record = &self.records[index];
            (record.answer.is_some(), Moment::MAX - record.until)
        };
        choices.sort_by_key(|(index, _)| end(*index));
        Some(choices)
    }

    /// Remembers the attempt that explained most answers.
    fn note(&mut self, path: &[Node]) {
        let answered = |order: &[usize]| {
            let known = order
                .iter()
                .filter(|index| self.records[**index].answer.is_some());
            known.count()
        };
        let node = path.last().expect("just pushed");
        let length = path.len() - 1;
        if self
            .best
            .as_ref()
            .is_some_and(|best| best.order.len() > length)
        {
            return;
        }
        let order: Vec<usize> = path.iter().filter_map(|node| node.by).collect();
        let better = self
            .best
            .as_ref()
            .is_none_or(|best| answered(&order) > answered(&best.order));
        let open = (node.done.first..self.records.len()).filter(|index| !node.done.has(*index));
        let known = open.filter(|index| self.records[*index].answer.is_some());
        let next = known.min_by_key(|index| self.records[*index].until);
        if let (true, Some(next)) = (better, next) {
            let operation = &self.records[next].operation;
            self.best = Some(Stuck {
                would_be: node.state.would_answer(operation, self.known),
                order,
                state: node.state.clone(),
                next,
            });
        }
    }
}
