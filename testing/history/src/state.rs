//! How one name should behave, one operation after the other: what the checker holds a history to.
//!
//! Written from `docs/protocol.md`. Two things are left open here, because one name alone does not
//! tell them: when the last fork of a deleted source goes, which frees the source's name, and which
//! tokens a fork inherits before the place where it branched.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use crate::{
    history::{Answer, Item, Offset, Operation, Refusal, Verdict},
    stream::{Stream, index_at},
};

/// What is known from the history as a whole.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The longest content that was read under each generation.
    pub contents: HashMap<u64, Vec<Item>>,
    /// Names that forks were asked of: once deleted, they may be held.
    pub sources: HashSet<String>,
}

impl Known {
    /// What lies before an offset, as far as somebody read it.
    fn before(&self, at: Offset) -> Option<Vec<Item>> {
        let content = self.contents.get(&at.generation)?;
        let count = index_at(content, at.position)?;
        Some(content[..count].to_vec())
    }
}

/// What is under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// The highest generation that any stream of this name is known to have had.
    floor: u64,
    life: Life,
    /// Whether a deletion may leave the name held.
    lends: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
enum Life {
    #[default]
    Absent,
    /// Deleted, and forks need it.
    Held,
    Live(Stream),
}

/// What is the fault of a fork's source.
pub(crate) const OF_SOURCE: [Refusal; 3] = [
    Refusal::SourceNotFound,
    Refusal::SourceDeleted,
    Refusal::ForkPosition,
];

/// What an operation comes to: the verdict, and what is under the name afterwards.
type Outcome = (Verdict, State);

impl State {
    /// A name that was never used.
    pub fn new(name: &str, known: &Known) -> Self {
        Self {
            lends: known.sources.contains(name),
            ..Self::default()
        }
    }

    /// The states that `operation` may leave behind, if it was answered so. Without an answer: the
    /// states that differ from this one.
    pub fn step(&self, operation: &Operation, answer: Option<&Answer>, known: &Known) -> Vec<Self> {
        let outcomes = self.outcomes(operation, answer, known);
        let Some(answer) = answer else {
            let after = outcomes.into_iter().map(|(_, after)| after);
            return after.filter(|after| after != self).collect();
        };
        let fits = |(verdict, after): Outcome| (verdict == answer.verdict).then_some(after);
        let after = outcomes.into_iter().filter_map(fits);
        after.filter_map(|after| after.told(answer)).collect()
    }

    /// What this state would have answered, for explanations.
    pub fn would_answer(&self, operation: &Operation, known: &Known) -> Vec<Verdict> {
        let outcomes = self.outcomes(operation, None, known);
        outcomes.into_iter().map(|(verdict, _)| verdict).collect()
    }

    /// What the rest of an answer says of the state after it; `None` where it cannot be.
    fn told(mut self, answer: &Answer) -> Option<Self> {
        if answer.tail.is_none() && answer.closed.is_none() {
            return Some(self);
        }
        let Life::Live(stream) = &mut self.life else {
            return None;
        };
        if let Some(tail) = answer.tail
            && !stream.learn_tail(tail, self.floor)
        {
            return None;
        }
        let is_closed = stream.is_closed();
        (answer.closed.is_none_or(|closed| closed == is_closed)).then_some(self)
    }

    fn outcomes(
        &self,
        operation: &Operation,
        answer: Option<&Answer>,
        known: &Known,
    ) -> Vec<Outcome> {
        match &self.life {
            Life::Absent => self.absent(operation, known),
            Life::Held => {
                // The last fork may have gone by now.
                let freed = self.with(Life::Absent).absent(operation, known);
                [self.held(operation)].into_iter().chain(freed).collect()
            }
            Life::Live(stream) => match operation {
                Operation::Delete => self.deleted(stream),
                Operation::Create(_) => vec![self.same(stream.found(None))],
                Operation::Fork { source, at } => {
                    vec![self.same(stream.found(Some((source, *at))))]
                }
                Operation::Append(append) => {
                    let appended = stream.append(append).into_iter();
                    appended
                        .map(|(verdict, after)| (verdict, self.with(Life::Live(after))))
                        .collect()
                }
                Operation::Head => vec![self.same(Verdict::Found)],
                Operation::Read(from) => {
                    let read = stream.read(*from, answer);
                    let after = |(verdict, after)| (verdict, self.with(Life::Live(after)));
                    read.into_iter().map(after).collect()
                }
                Operation::Lend { at } => {
                    let refused = Verdict::Refused(Refusal::ForkPosition);
                    let verdicts = stream.owns(*at).verdicts(Verdict::Found, refused);
                    verdicts
                        .into_iter()
                        .map(|verdict| self.same(verdict))
                        .collect()
                }
            },
        }
    }

    fn with(&self, life: Life) -> Self {
        Self {
            life,
            ..self.clone()
        }
    }

    fn same(&self, verdict: Verdict) -> Outcome {
        (verdict, self.clone())
    }

    fn absent(&self, operation: &Operation, known: &Known) -> Vec<Outcome> {
        match operation {
            Operation::Create(content) => {
                let stream = Stream::plain(*content);
                vec![(Verdict::Created, self.with(Life::Live(stream)))]
            }
            Operation::Fork { source, at } => {
                let stream = Stream::forked(source, *at, known.before(*at));
                let created = (Verdict::Created, self.with(Life::Live(stream)));
                // Or it is its source that is at fault, of which this name knows nothing.
                let refused = OF_SOURCE.map(|refusal| self.same(Verdict::Refused(refusal)));
                [created].into_iter().chain(refused).collect()
            }
            Operation::Lend { .. } => vec![self.same(Verdict::Refused(Refusal::SourceNotFound))],
            _ => vec![self.same(Verdict::Refused(Refusal::NotFound))],
        }
    }

    fn held(&self, operation: &Operation) -> Outcome {
        self.same(Verdict::Refused(match operation {
            Operation::Create(_) | Operation::Fork { .. } => Refusal::NameHeld,
            Operation::Lend { .. } => Refusal::SourceDeleted,
            _ => Refusal::Deleted,
        }))
    }

    fn deleted(&self, stream: &Stream) -> Vec<Outcome> {
        let gone = Self {
            floor: self.floor.max(stream.generation.unwrap_or_default()),
            life: Life::Absent,
            lends: self.lends,
        };
        let held = self.lends.then(|| (Verdict::Gone, gone.with(Life::Held)));
        [(Verdict::Gone, gone)].into_iter().chain(held).collect()
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.life {
            Life::Absent => write!(f, "no stream"),
            Life::Held => write!(f, "a deleted stream that forks need"),
            Life::Live(stream) => stream.fmt(f),
        }
    }
}
