//! What a boot must know before it reads anything else.

use millrace_core::{Lsn, SegmentId};

use crate::{
    codec::{Decoder, Encoder, Malformed, Stored},
    wal::LogId,
};

/// The head of a data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The version of the data directory as a whole; the engine's to raise.
    pub version: u32,
    /// Counts the boots; frames of an older one are the end of a log.
    pub boot_epoch: u64,
    /// The durability mode: 0 is `local`, 1 is `memory`.
    pub mode: u8,
    /// Whether the last process ended in order.
    pub clean: bool,
    /// Every log there is, and up to where the catalog holds what it says. A boot refuses when the
    /// directory of one is missing (T9).
    pub logs: Vec<(LogId, Lsn)>,
    /// The first segment id that was never used.
    pub next_segment: SegmentId,
    /// The first log id that was never used.
    pub next_log: LogId,
    /// Streams whose newest generation is not above this may have lost a tail.
    pub generation_floor: u64,
}

/// All but the logs and the next segment, which have tables and rows of their own.
impl Stored for Manifest {
    fn put(&self, out: &mut Encoder) {
        out.u32(self.version);
        out.u64(self.boot_epoch);
        out.u8(self.mode);
        self.clean.put(out);
        out.u64(self.next_log.0);
        out.u64(self.generation_floor);
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            version: from.u32("the version")?,
            boot_epoch: from.u64("the boot epoch")?,
            mode: from.u8("the mode")?,
            clean: Stored::take(from)?,
            logs: Vec::new(),
            next_segment: SegmentId::ZERO,
            next_log: LogId(from.u64("the next log")?),
            generation_floor: from.u64("the generation floor")?,
        })
    }
}
