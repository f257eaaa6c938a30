//! What clients did and what they were told: the words that the driver records in and the checker
//! reads.

use std::fmt;

/// Nanoseconds since the run began.
pub type Moment = u64;

/// A place in a stream, as a client is told it. Its fields are those of `docs/format.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset {
    /// Which stream of this name, or of its source, wrote the byte before it.
    pub generation: u64,
    /// Bytes before it.
    pub position: u64,
}

/// Something that was appended; each has a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Item {
    /// Its number.
    pub id: u32,
    /// How many bytes it has.
    pub len: u32,
}

impl Item {
    /// The item of this number. Their lengths differ, so that positions tell some of them apart.
    pub fn new(id: u32) -> Self {
        Self {
            id,
            len: 12 + id % 7,
        }
    }

    /// Its bytes, which say of themselves which item they are and whether they are whole.
    pub fn bytes(self) -> Vec<u8> {
        format!("<{:0width$}>", self.id, width = self.len as usize - 2).into_bytes()
    }

    /// Cuts content into items; `None` where it is not made of whole ones.
    pub fn cut(text: &str) -> Option<Vec<Self>> {
        let parts = text.split_inclusive('>');
        let items = parts.map(|part| {
            let id = part.strip_prefix('<')?.strip_suffix('>')?;
            let found = Self::new(id.parse().ok()?);
            (found.len as usize == part.len()).then_some(found)
        });
        items.collect()
    }
}

/// A producer's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    /// Which producer.
    pub id: u32,
    /// Its epoch.
    pub epoch: u64,
    /// Its sequence number.
    pub seq: u64,
}

/// A POST.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Append {
    /// What it brings; nothing when it only closes.
    pub item: Option<Item>,
    /// `Stream-Seq`: the append counts only if the last one was smaller.
    pub seq: Option<u64>,
    /// Its producer.
    pub producer: Option<Claim>,
    /// `Stream-Expected-Offset`: it counts only if the stream ends there.
    pub expected: Option<Offset>,
    /// Whether it closes the stream.
    pub close: bool,
}

/// What a client asked of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// PUT of a plain stream with its first content.
    Create(Option<Item>),
    /// PUT of a fork.
    Fork {
        /// The name of the stream it begins as.
        source: String,
        /// Up to where.
        at: Offset,
    },
    /// What a fork of another name took from this one. The checker makes it of [`Self::Fork`].
    Lend {
        /// Up to where.
        at: Offset,
    },
    /// POST.
    Append(Append),
    /// GET of all there is from an offset on; `None` is the start.
    Read(Option<Offset>),
    /// HEAD.
    Head,
    /// DELETE.
    Delete,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 404.
    NotFound,
    /// 410: deleted, and forks still need it.
    Deleted,
    /// 410: an offset of another stream, or past the tail.
    OffsetGone,
    /// 409: the name belongs to a deleted stream that forks need.
    NameHeld,
    /// 409: there is another stream than the one asked for.
    Mismatch,
    /// 409.
    Closed,
    /// 409: `Stream-Seq` did not grow.
    SeqRegression,
    /// 409: the stream does not end where `Stream-Expected-Offset` says.
    ExpectedOffset,
    /// 409: a producer left requests out.
    SeqGap {
        /// `Producer-Expected-Seq`.
        expected: u64,
    },
    /// 403.
    StaleEpoch {
        /// `Producer-Epoch`.
        current: u64,
    },
    /// 400.
    NewEpochNotAtZero,
    /// 404: there is nothing to fork.
    SourceNotFound,
    /// 409: what was to be forked is deleted, and its forks need it.
    SourceDeleted,
    /// 400: no offset of the source.
    ForkPosition,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 201.
    Created,
    /// 200 to a PUT: it was there as asked for.
    Exists,
    /// Bytes were appended.
    Appended,
    /// A producer's bytes were there before.
    Duplicate {
        /// `Producer-Seq`: the highest accepted.
        highest: u64,
    },
    /// 204 to a close without bytes.
    Done,
    /// What was read.
    Content(Vec<Item>),
    /// 200 to HEAD, or a fork's source had what was asked of it.
    Found,
    /// 204 to DELETE.
    Gone,
    /// An error.
    Refused(Refusal),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What became of the request.
    pub verdict: Verdict,
    /// `Stream-Next-Offset`.
    pub tail: Option<Offset>,
    /// Whether the stream is said to be closed, where the answer says anything of that.
    pub closed: Option<bool>,
}

impl Answer {
    /// A refusal that says nothing of the stream.
    pub fn refused(refusal: Refusal) -> Self {
        Self {
            verdict: Verdict::Refused(refusal),
            tail: None,
            closed: None,
        }
    }
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who asked.
    pub client: u32,
    /// Of which name.
    pub name: String,
    /// What.
    pub operation: Operation,
    /// When it was sent.
    pub invoked: Moment,
    /// When the answer was there; without one, when it can no longer take effect.
    pub until: Moment,
    /// `None`: nobody knows whether it was carried out.
    pub answer: Option<Answer>,
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.position)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(None) => write!(f, "create"),
            Self::Create(Some(item)) => write!(f, "create with <{}>", item.id),
            Self::Fork { source, at } => write!(f, "fork {source} at {at}"),
            Self::Lend { at } => write!(f, "lend to a fork up to {at}"),
            Self::Append(append) => append.fmt(f),
            Self::Read(None) => write!(f, "read from the start"),
            Self::Read(Some(from)) => write!(f, "read from {from}"),
            Self::Head => write!(f, "head"),
            Self::Delete => write!(f, "delete"),
        }
    }
}

impl fmt::Display for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.item, self.close) {
            (Some(item), false) => write!(f, "append <{}>", item.id)?,
            (Some(item), true) => write!(f, "append <{}> and close", item.id)?,
            (None, _) => write!(f, "close")?,
        }
        if let Some(seq) = self.seq {
            write!(f, " with Stream-Seq {seq}")?;
        }
        if let Some(Claim { id, epoch, seq }) = self.producer {
            write!(f, " by producer {id} epoch {epoch} seq {seq}")?;
        }
        if let Some(tail) = self.expected {
            write!(f, " at {tail}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Content(items) => write!(f, "content {}", Items(items))?,
            Verdict::Refused(refusal) => write!(f, "{refusal:?}")?,
            other => write!(f, "{other:?}")?,
        }
        if let Some(tail) = self.tail {
            write!(f, ", tail {tail}")?;
        }
        match self.closed {
            Some(true) => write!(f, ", closed"),
            _ => Ok(()),
        }
    }
}

/// Content, in short.
pub(crate) struct Items<'a>(pub(crate) &'a [Item]);

impl fmt::Display for Items<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(f, "of no bytes");
        }
        self.0
            .iter()
            .try_for_each(|item| write!(f, "<{}>", item.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_and_half_ones_do_not() {
        let both = [Item::new(5), Item::new(123_456)];
        let text = String::from_utf8(both.map(Item::bytes).concat()).unwrap();
        assert_eq!(Item::cut(&text), Some(both.to_vec()));
        for cut in 1..text.len() {
            let whole = text.find('>').is_some_and(|end| cut == end + 1);
            assert_eq!(Item::cut(&text[..cut]).is_some(), whole, "{cut}");
        }
        assert_eq!(Item::cut(""), Some(Vec::new()));
    }
}
