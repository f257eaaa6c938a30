//! How one name should behave, one operation after the other: what the checker holds a history to.
//!
//! Written from `docs/protocol.md`. Two things are left open here, because one name alone does not
//! tell them: when the last fork of a deleted source goes, which frees the source's name, and which
//! tokens a fork inherits before the place where it branched.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use crate::history::{Answer, Append, Claim, Item, Items, Offset, Operation, Refusal, Verdict};

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

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Stream {
    /// Its own; `None` until an answer tells it.
    generation: Option<u64>,
    /// Which source it was forked from, and where.
    fork: Option<(String, Offset)>,
    /// Inherited bytes that nobody has read yet.
    hidden: u64,
    items: Vec<Item>,
    /// Whether it is closed, and by which request.
    closed: Option<Option<Claim>>,
    seq: Option<u64>,
    producers: BTreeMap<u32, (u64, u64)>,
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
        let is_closed = stream.closed.is_some();
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
                    let (verdict, after) = stream.append(append);
                    vec![(verdict, self.with(Life::Live(after)))]
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
                let stream = Stream {
                    items: content.iter().copied().collect(),
                    ..Stream::default()
                };
                vec![(Verdict::Created, self.with(Life::Live(stream)))]
            }
            Operation::Fork { source, at } => {
                let inherited = known.before(*at);
                let stream = Stream {
                    fork: Some((source.clone(), *at)),
                    hidden: inherited.as_ref().map_or(at.position, |_| 0),
                    items: inherited.unwrap_or_default(),
                    ..Stream::default()
                };
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

/// Whether something is so, as far as one name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maybe {
    Yes,
    No,
    Unknown,
}

impl Maybe {
    fn verdicts(self, yes: Verdict, no: Verdict) -> Vec<Verdict> {
        match self {
            Self::Yes => vec![yes],
            Self::No => vec![no],
            Self::Unknown => vec![yes, no],
        }
    }
}

impl From<bool> for Maybe {
    fn from(is_so: bool) -> Self {
        if is_so { Self::Yes } else { Self::No }
    }
}

impl Stream {
    fn position(&self) -> u64 {
        self.hidden
            + self
                .items
                .iter()
                .map(|item| u64::from(item.len))
                .sum::<u64>()
    }

    /// Where its own bytes begin. A fork of nothing inherits no token either.
    fn branched_at(&self) -> Option<Offset> {
        let at = self.fork.as_ref().map(|(_, at)| *at);
        at.filter(|at| at.position > 0)
    }

    /// Takes an answer's offset for the tail; whether it can be.
    fn learn_tail(&mut self, tail: Offset, floor: u64) -> bool {
        if tail.position != self.position() {
            return false;
        }
        let branch = self.branched_at();
        if let Some(at) = branch.filter(|at| at.position == tail.position) {
            return tail == at;
        }
        // A generation is above all earlier ones of the name, and above what a fork inherits.
        let above = floor.max(branch.map_or(0, |at| at.generation));
        let known = *self.generation.get_or_insert(tail.generation);
        known == tail.generation && known > above
    }

    /// Whether an offset is one of its own.
    fn owns(&self, offset: Offset) -> Maybe {
        if offset.position > self.position() {
            return Maybe::No;
        }
        match self.branched_at() {
            Some(at) if offset.position < at.position => Maybe::Unknown,
            Some(at) if offset.position == at.position => (offset == at).into(),
            _ => self
                .generation
                .map_or(Maybe::Unknown, |own| (own == offset.generation).into()),
        }
    }

    /// A PUT of a name that is taken: fine if it asks for what there is.
    fn found(&self, fork: Option<(&String, Offset)>) -> Verdict {
        let is_it = match (&self.fork, fork) {
            (None, None) => true,
            (Some((was, from)), Some((source, at))) => {
                // The start has a token in every stream.
                let at_start = from.position == 0 && at.position == 0;
                was == source && (*from == at || at_start)
            }
            _ => false,
        };
        if is_it && self.closed.is_none() {
            Verdict::Exists
        } else {
            Verdict::Refused(Refusal::Mismatch)
        }
    }

    fn append(&self, append: &Append) -> (Verdict, Self) {
        let same = |verdict| (verdict, self.clone());
        let refused = |refusal| same(Verdict::Refused(refusal));
        if let Some(by) = self.closed {
            return match append.producer {
                Some(claim) if by == Some(claim) => same(append.again(claim.seq)),
                _ if append.item.is_none() => same(Verdict::Done),
                _ => refused(Refusal::Closed),
            };
        }
        if let Some(claim) = append.producer {
            match self.judge(claim) {
                Ok(None) => {}
                Ok(Some(highest)) => return same(append.again(highest)),
                Err(refusal) => return refused(refusal),
            }
        }
        if let (Some(last), Some(seq)) = (self.seq, append.seq)
            && seq <= last
        {
            return refused(Refusal::SeqRegression);
        }
        let mut after = self.clone();
        after.items.extend(append.item);
        after.seq = append.seq.or(self.seq);
        if let Some(Claim { id, epoch, seq }) = append.producer {
            after.producers.insert(id, (epoch, seq));
        }
        if append.close {
            after.closed = Some(append.producer);
        }
        let brought = append.item.is_some();
        let verdict = if brought {
            Verdict::Appended
        } else {
            Verdict::Done
        };
        (verdict, after)
    }

    /// Whether a producer's request is new; if it is not, the highest sequence number accepted.
    fn judge(&self, claim: Claim) -> Result<Option<u64>, Refusal> {
        let Some(&(epoch, last)) = self.producers.get(&claim.id) else {
            return match claim.seq {
                0 => Ok(None),
                _ => Err(Refusal::SeqGap { expected: 0 }),
            };
        };
        if claim.epoch < epoch {
            return Err(Refusal::StaleEpoch { current: epoch });
        }
        if claim.epoch > epoch {
            return match claim.seq {
                0 => Ok(None),
                _ => Err(Refusal::NewEpochNotAtZero),
            };
        }
        if claim.seq <= last {
            return Ok(Some(last));
        }
        if claim.seq > last + 1 {
            return Err(Refusal::SeqGap { expected: last + 1 });
        }
        Ok(None)
    }

    fn read(&self, from: Option<Offset>, answer: Option<&Answer>) -> Vec<(Verdict, Self)> {
        let told = answer.and_then(|answer| match &answer.verdict {
            Verdict::Content(items) => Some(items),
            _ => None,
        });
        let Some(from) = from else {
            let seen = self.having_read(told);
            return vec![(Verdict::Content(seen.items.clone()), seen)];
        };
        let rest = match from.position.checked_sub(self.hidden) {
            Some(at) => index_at(&self.items, at).map(|index| self.items[index..].to_vec()),
            // It reads what nobody read from the start: whatever came is taken for that.
            None => told.cloned(),
        };
        let content = Verdict::Content(rest.unwrap_or_default());
        let gone = Verdict::Refused(Refusal::OffsetGone);
        let verdicts = self.owns(from).verdicts(content, gone);
        verdicts
            .into_iter()
            .map(|verdict| (verdict, self.clone()))
            .collect()
    }

    /// The stream, once its inherited bytes were read.
    fn having_read(&self, told: Option<&Vec<Item>>) -> Self {
        let mut seen = self.clone();
        if let (1.., Some(content)) = (self.hidden, told)
            && let Some(count) = index_at(content, self.hidden)
        {
            seen.hidden = 0;
            seen.items = [&content[..count], &self.items].concat();
        }
        seen
    }
}

impl Append {
    /// What a request is answered that was carried out before.
    fn again(&self, highest: u64) -> Verdict {
        if self.item.is_some() {
            Verdict::Duplicate { highest }
        } else {
            Verdict::Done
        }
    }
}

/// How many items lie before a position; `None` where it is inside of one, or past all.
fn index_at(items: &[Item], position: u64) -> Option<usize> {
    let ends = items.iter().scan(0, |end, item| {
        *end += u64::from(item.len);
        Some(*end)
    });
    let mut starts = [0].into_iter().chain(ends);
    starts.position(|start| start == position)
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stream = match &self.life {
            Life::Absent => return write!(f, "no stream"),
            Life::Held => return write!(f, "a deleted stream that forks need"),
            Life::Live(stream) => stream,
        };
        write!(f, "a stream ")?;
        if let Some(generation) = stream.generation {
            write!(f, "of generation {generation} ")?;
        }
        if stream.hidden > 0 {
            write!(f, "with {} inherited bytes and then ", stream.hidden)?;
        }
        write!(f, "{}", Items(&stream.items))?;
        if let Some(seq) = stream.seq {
            write!(f, ", Stream-Seq {seq}")?;
        }
        for (id, (epoch, seq)) in &stream.producers {
            write!(f, ", producer {id} at {epoch}/{seq}")?;
        }
        match stream.closed {
            Some(_) => write!(f, ", closed"),
            None => Ok(()),
        }
    }
}
