//! What the rules know of a stream. Small and cheap to clone: the parts that never change are
//! shared, and producers are kept apart (a stream may have 65,536 of them).

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    command::{CreateSpec, Lifetime, ProducerClaim},
    content_type::{ContentKind, ContentType},
    event::ForkPoint,
    ids::{Generation, StreamId, StreamPos, Timestamp},
    name::StreamName,
    offset::Offset,
    settings::{SettingKey, Settings},
};

/// A stream as the rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Its identity.
    pub id: StreamId,
    /// What never changes after creation.
    pub config: Arc<StreamConfig>,
    /// Which generation wrote which positions.
    pub generations: Generations,
    /// The position after the last byte.
    pub tail: StreamPos,
    /// Whether it takes appends.
    pub closure: Closure,
    /// The last `Stream-Seq`. Its scope is the stream.
    pub last_seq: Option<Arc<str>>,
    /// Deleted while forks refer to it.
    pub soft_deleted: bool,
    /// The forks that refer to it: a set, never a counter, so that repeating a step is harmless.
    pub forks: Arc<BTreeSet<StreamId>>,
    /// When it expires, as far as the log knows; reads and open readers may have moved it since.
    pub deadline: Option<Timestamp>,
    /// How many producers it remembers.
    pub producer_count: u32,
    /// When it was last appended to or, before that, created.
    pub written_at: Timestamp,
    /// The first position that can be read; 0 where nothing was trimmed.
    pub trimmed: StreamPos,
    /// Its documents; `None` where there never were any.
    pub settings: Option<Arc<Settings>>,
}

/// What never changes after a stream's creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// The name.
    pub name: StreamName,
    /// The request that created it.
    pub spec: CreateSpec,
    /// The content type it has.
    pub content_type: ContentType,
    /// The lifetime it has.
    pub lifetime: Lifetime,
    /// Where it branched, if it is a fork.
    pub origin: Option<ForkPoint>,
    /// Who holds its inherited bytes, in order.
    pub lineage: Arc<[Ancestor]>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A stream that holds inherited bytes of a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// The stream.
    pub stream: StreamId,
    /// The first position that it does not hold for the fork.
    pub until: StreamPos,
}

/// A generation and the first position that it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationStart {
    /// The generation.
    pub generation: Generation,
    /// Its first position.
    pub from: StreamPos,
}

/// Whether a stream takes appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closure {
    /// It does.
    Open,
    /// It does not. Who closed it, where a producer did: its repeated request is a duplicate.
    Closed(Option<Arc<ProducerClaim>>),
}

/// What a stream remembers of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// The newest epoch.
    pub epoch: u64,
    /// The highest accepted sequence number of that epoch.
    pub seq: u64,
    /// When it last appended.
    pub used_at: Timestamp,
}

/// Which generation wrote which positions: never empty, increasing, the first at position 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generations(Arc<[GenerationStart]>);

impl Generations {
    /// Takes over a list.
    ///
    /// # Panics
    /// When it is empty or not increasing; decoders check before they call.
    pub fn new(list: Arc<[GenerationStart]>) -> Self {
        assert!(Self::is_valid(&list), "generations are in order");
        Self(list)
    }

    /// Whether a list may stand in a stream.
    pub fn is_valid(list: &[GenerationStart]) -> bool {
        // The first two may both begin at 0: nothing can be lost before position 0, so its token
        // stays the first one's when a stream is raised before its first byte.
        let later = list.get(1..).unwrap_or_default();
        list.first()
            .is_some_and(|first| first.from == StreamPos::ZERO)
            && list.is_sorted_by(|a, b| a.generation < b.generation)
            && later.is_sorted_by(|a, b| a.from < b.from)
    }

    /// The list.
    pub fn as_slice(&self) -> &[GenerationStart] {
        &self.0
    }

    /// The one that writes now.
    pub fn current(&self) -> Generation {
        self.0[self.0.len() - 1].generation
    }

    /// The offset of `position`: under the generation of the byte before it.
    pub fn offset_at(&self, position: StreamPos) -> Offset {
        let later = self.0.partition_point(|start| start.from < position);
        Offset {
            generation: self.0[later.saturating_sub(1)].generation,
            position,
        }
    }

    /// The list as of `position`, for a fork that goes on from there under `own`.
    pub fn forked(&self, position: StreamPos, own: Generation) -> Arc<[GenerationStart]> {
        self.followed(0, position, own)
    }

    /// The list after `generation` starts at `position`; a later one than the first that wrote
    /// nothing goes. The token of position 0 stays what it is.
    ///
    /// # Panics
    /// When `generation` is not above those that stay.
    #[must_use]
    pub fn raised(&self, position: StreamPos, generation: Generation) -> Self {
        Self::new(self.followed(1, position, generation))
    }

    /// The first `kept` entries and those that wrote anything before `from`, then `generation`.
    fn followed(
        &self,
        kept: usize,
        from: StreamPos,
        generation: Generation,
    ) -> Arc<[GenerationStart]> {
        let wrote = self.0.iter().enumerate();
        let wrote = wrote.take_while(|(at, start)| *at < kept || start.from < from);
        let wrote = wrote.map(|(_, start)| *start);
        wrote
            .chain([GenerationStart { generation, from }])
            .collect()
    }
}

impl StreamState {
    /// The offset after the last byte.
    pub fn tail_offset(&self) -> Offset {
        self.generations.offset_at(self.tail)
    }

    /// The first offset that can be read.
    pub fn start_offset(&self) -> Offset {
        self.generations.offset_at(self.trimmed)
    }

    /// Whether `offset` is one of this stream's that can be read from.
    pub fn reads_from(&self, offset: Offset) -> bool {
        self.owns(offset) && offset.position >= self.trimmed
    }

    /// The first position whose bytes anybody may still need: forks keep what they inherited.
    pub fn needed_from(&self) -> StreamPos {
        if self.forks.is_empty() {
            self.trimmed.max(self.own_from())
        } else {
            self.own_from()
        }
    }

    /// Whether `offset` is one of this stream's: its position exists and carries its generation.
    pub fn owns(&self, offset: Offset) -> bool {
        offset.position <= self.tail && self.generations.offset_at(offset.position) == offset
    }

    /// One of its documents.
    pub fn setting(&self, key: SettingKey) -> Option<&Arc<[u8]>> {
        self.settings.as_ref()?.get(key)
    }

    /// How many changes there were of the documents that judge its content.
    pub fn content_revision(&self) -> u64 {
        let settings = self.settings.as_ref();
        settings.map_or(0, |settings| settings.content_revision())
    }

    /// How its bytes are framed.
    pub fn kind(&self) -> ContentKind {
        self.config.content_type.kind()
    }

    /// Whether it takes no more appends.
    pub fn is_closed(&self) -> bool {
        matches!(self.closure, Closure::Closed(_))
    }

    /// Who holds the bytes below `at`, in order: the lineage of a fork taken there.
    ///
    /// # Panics
    /// When `at` lies past the tail.
    pub fn lineage_until(&self, at: StreamPos) -> Arc<[Ancestor]> {
        assert!(
            at <= self.tail,
            "a fork branches at or before its source's tail"
        );
        let inherited = self.config.lineage.iter();
        let below = |from: StreamPos| from < at;
        let mut lineage: Vec<Ancestor> = Vec::new();
        for ancestor in inherited {
            if below(lineage.last().map_or(StreamPos::ZERO, |last| last.until)) {
                lineage.push(Ancestor {
                    until: ancestor.until.min(at),
                    ..*ancestor
                });
            }
        }
        if below(self.own_from()) {
            lineage.push(Ancestor {
                stream: self.id,
                until: at,
            });
        }
        lineage.into()
    }

    /// The first position that this stream itself holds.
    pub fn own_from(&self) -> StreamPos {
        self.config
            .lineage
            .last()
            .map_or(StreamPos::ZERO, |ancestor| ancestor.until)
    }
}

impl Lifetime {
    /// The deadline of a stream with this lifetime that was used at `now`.
    pub fn deadline(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Unlimited => None,
            Self::Ttl(seconds) => Some(now.plus_millis(seconds.saturating_mul(1000))),
            Self::Until(at) => Some(at),
        }
    }
}
