//! One newtype for every number space, so that no bare `u64` crosses a module.
//!
//! The positions of a stream have one published order, asserted wherever two meet:
//! `uploaded <= sealed <= durable <= accepted` and `trimmed <= durable`.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The smallest value.
            pub const ZERO: Self = Self(0);

            /// The plain number, for encoding and arithmetic at the edge of a module.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// A byte position in a stream's wire bytes; the tail is the position after the last byte.
    StreamPos(u64)
}
number! {
    /// The place of a frame in a shard's write-ahead log; counts up by one a frame, across segments.
    Lsn(u64)
}
number! {
    /// A byte position in a file.
    FilePos(u64)
}
number! {
    /// Tells incarnations of streams apart: a number belongs to one slot, given out once and in
    /// growing order (see [`crate::slot::next_generation`]). At most 13 decimal digits, because an
    /// offset token carries it in that width.
    Generation(u64)
}
number! {
    /// A segment file; never reused.
    SegmentId(u64)
}
number! {
    /// One of the shards of this process.
    ShardId(u16)
}
number! {
    /// One of the [`crate::slot::SLOTS`] fixed slots that a stream's name hashes to.
    SlotId(u16)
}
number! {
    /// Milliseconds since the Unix epoch.
    Timestamp(u64)
}

impl Generation {
    /// The largest generation that fits an offset token.
    pub const MAX: Self = Self(9_999_999_999_999);
}

impl StreamPos {
    /// The position `bytes` further on.
    #[must_use]
    pub const fn advance(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }

    /// How many bytes lie between `earlier` and this position.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0 - earlier.0
    }
}

impl Timestamp {
    /// The time `millis` milliseconds later, saturating.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// A stream's identity, never reused: its slot and the generation taken at its creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(u64);

impl StreamId {
    const GENERATION_BITS: u32 = 48;

    /// The identity of the stream created in `slot` under `birth`.
    pub const fn new(slot: SlotId, birth: Generation) -> Self {
        Self((slot.0 as u64) << Self::GENERATION_BITS | birth.0)
    }

    /// The identity that [`Self::get`] gave; used by decoders.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The plain number, for encoding.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The slot the stream's name hashes to.
    pub const fn slot(self) -> SlotId {
        SlotId((self.0 >> Self::GENERATION_BITS) as u16)
    }

    /// The generation taken at creation.
    pub const fn birth(self) -> Generation {
        Generation(self.0 & ((1 << Self::GENERATION_BITS) - 1))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot(), self.birth())
    }
}
