//! Why a command was not carried out. A refusal is a value, not an error: `millrace-wire` maps each
//! to a status and headers in one table.

use std::fmt;

use crate::{command::BodyFault, offset::Offset, settings::SettingFault};

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such stream.
    NotFound,
    /// Deleted, but forks still need its bytes.
    SoftDeleted,
    /// The stream is closed; its final offset.
    Closed {
        /// The final offset.
        tail: Offset,
    },
    /// The content types differ.
    ContentType,
    /// `Stream-Seq` does not come after the last one.
    SeqRegression,
    /// The stream does not end where `Stream-Expected-Offset` says; where it ends.
    ExpectedOffset {
        /// The tail.
        tail: Offset,
    },
    /// A newer epoch of this producer is known.
    StaleEpoch {
        /// The newest epoch.
        current: u64,
    },
    /// A producer's requests before this one are missing.
    SeqGap {
        /// The sequence number that comes next.
        expected: u64,
        /// The one that came.
        received: u64,
    },
    /// A new epoch has to start at sequence number 0.
    NewEpochNotAtZero,
    /// The stream knows as many producers as it may, and none has been idle long enough.
    TooManyProducers,
    /// Another append of the same atomic batch was refused.
    NotAlone,
    /// The streams of an atomic batch have different hash tags.
    HashTags,
    /// The body is no valid content.
    Body(BodyFault),
    /// PUT found a stream that was asked for differently; which part differs.
    Config {
        /// The part, as a noun phrase.
        differs: &'static str,
    },
    /// PUT found the name taken by a deleted stream that forks still need.
    NameHeld,
    /// The name is reserved for sub-resources.
    ReservedName,
    /// An absolute expiry in the past.
    ExpiresInThePast,
    /// A fork's source does not exist.
    SourceNotFound,
    /// A fork's source is deleted.
    SourceSoftDeleted,
    /// A fork's content type is not its source's.
    ForkContentType,
    /// A fork's offset or sub-offset names no position of its source.
    ForkPosition,
    /// The chain of forks is as long as it may be.
    ForkDepth,
    /// The offset is of another incarnation, or lies past what its generation wrote.
    OffsetGone {
        /// The first offset that can be read.
        earliest: Offset,
    },
    /// The offset names no message boundary.
    OffsetNotABoundary,
    /// A change of the settings is not made; why, in the words of who understands them.
    Setting(SettingFault),
    /// What judges the content changed since it was judged: judge it again.
    JudgedUnderOther,
    /// More waits than can be held; try again.
    Overloaded,
    /// The disk is full.
    StorageFull,
    /// This shard's log failed; it takes no writes until a restart.
    Poisoned,
    /// The server is stopping or not ready.
    Unavailable,
    /// Stored bytes failed their checksum.
    Corrupt,
    /// A defect of the server; nothing was changed.
    Internal,
}

/// For programs that embed the engine and pass refusals on as errors; what clients of the server are
/// told is `millrace-wire`'s table.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {self:?}")
    }
}

impl std::error::Error for Refusal {}
