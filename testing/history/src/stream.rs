//! A stream that is there: what it answers, and what it is afterwards. Written from `docs/protocol.md`.

use std::{collections::BTreeMap, fmt};

use crate::history::{Answer, Append, Claim, Item, Items, Offset, Refusal, Verdict};

/// Whether a stream is closed, and by which producer's request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Closed {
    #[default]
    No,
    By(Option<Claim>),
}

/// A stream that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Stream {
    /// Its own; `None` until an answer tells it.
    pub(crate) generation: Option<u64>,
    /// Which source it was forked from, and where.
    fork: Option<(String, Offset)>,
    /// Inherited bytes that nobody has read yet.
    hidden: u64,
    items: Vec<Item>,
    closed: Closed,
    seq: Option<u64>,
    producers: BTreeMap<u32, (u64, u64)>,
}

/// Whether something is so, as far as one name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maybe {
    Yes,
    No,
    Unknown,
}

impl Maybe {
    /// The verdict, or both.
    pub(crate) fn verdicts(self, yes: Verdict, no: Verdict) -> Vec<Verdict> {
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
    /// One that is created with this content.
    pub(crate) fn plain(content: Option<Item>) -> Self {
        Self {
            items: content.into_iter().collect(),
            ..Self::default()
        }
    }

    /// A fork, and what its source has before that place where somebody read it.
    pub(crate) fn forked(source: &str, at: Offset, inherited: Option<Vec<Item>>) -> Self {
        Self {
            fork: Some((source.into(), at)),
            hidden: inherited.as_ref().map_or(at.position, |_| 0),
            items: inherited.unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Whether it takes no more appends.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed != Closed::No
    }

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
    pub(crate) fn learn_tail(&mut self, tail: Offset, floor: u64) -> bool {
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
    pub(crate) fn owns(&self, offset: Offset) -> Maybe {
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
    pub(crate) fn found(&self, fork: Option<(&String, Offset)>) -> Verdict {
        let is_it = match (&self.fork, fork) {
            (None, None) => true,
            (Some((was, from)), Some((source, at))) => {
                // The start has a token in every stream.
                let at_start = from.position == 0 && at.position == 0;
                was == source && (*from == at || at_start)
            }
            _ => false,
        };
        if is_it && !self.is_closed() {
            Verdict::Exists
        } else {
            Verdict::Refused(Refusal::Mismatch)
        }
    }

    /// Both, where one name does not tell whether it ends where the append expects.
    pub(crate) fn append(&self, append: &Append) -> Vec<(Verdict, Self)> {
        let as_is = |verdict| (verdict, self.clone());
        let same = |verdict| vec![as_is(verdict)];
        let refused = |refusal| same(Verdict::Refused(refusal));
        if let Closed::By(by) = self.closed {
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
        let elsewhere = Refusal::ExpectedOffset;
        match append.expected.map_or(Maybe::Yes, |at| self.ends_at(at)) {
            Maybe::Yes => vec![self.taking(append)],
            Maybe::No => refused(elsewhere),
            Maybe::Unknown => vec![self.taking(append), as_is(Verdict::Refused(elsewhere))],
        }
    }

    fn ends_at(&self, offset: Offset) -> Maybe {
        if offset.position == self.position() {
            self.owns(offset)
        } else {
            Maybe::No
        }
    }

    /// What an append that is accepted is answered, and leaves behind.
    fn taking(&self, append: &Append) -> (Verdict, Self) {
        let mut after = self.clone();
        after.items.extend(append.item);
        after.seq = append.seq.or(self.seq);
        if let Some(Claim { id, epoch, seq }) = append.producer {
            after.producers.insert(id, (epoch, seq));
        }
        if append.close {
            after.closed = Closed::By(append.producer);
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

    pub(crate) fn read(
        &self,
        from: Option<Offset>,
        answer: Option<&Answer>,
    ) -> Vec<(Verdict, Self)> {
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
pub(crate) fn index_at(items: &[Item], position: u64) -> Option<usize> {
    let ends = items.iter().scan(0, |end, item| {
        *end += u64::from(item.len);
        Some(*end)
    });
    let mut starts = [0].into_iter().chain(ends);
    starts.position(|start| start == position)
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a stream ")?;
        if let Some(generation) = self.generation {
            write!(f, "of generation {generation} ")?;
        }
        if self.hidden > 0 {
            write!(f, "with {} inherited bytes and then ", self.hidden)?;
        }
        write!(f, "{}", Items(&self.items))?;
        if let Some(seq) = self.seq {
            write!(f, ", Stream-Seq {seq}")?;
        }
        for (id, (epoch, seq)) in &self.producers {
            write!(f, ", producer {id} at {epoch}/{seq}")?;
        }
        if self.is_closed() {
            write!(f, ", closed")?;
        }
        Ok(())
    }
}
