//! What an offset token means; its text form is `millrace-wire`'s.

use serde::{Deserialize, Serialize};

use crate::ids::{Generation, StreamPos};

/// A position of a stream under the generation of the byte before it (of the first byte for
/// position 0). A position has exactly one offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct Offset {
    /// The generation that wrote the byte before the position.
    pub generation: Generation,
    /// The position.
    pub position: StreamPos,
}

impl From<(u64, u64)> for Offset {
    fn from((generation, position): (u64, u64)) -> Self {
        Self {
            generation: Generation(generation),
            position: StreamPos(position),
        }
    }
}

impl From<Offset> for (u64, u64) {
    fn from(offset: Offset) -> Self {
        (offset.generation.get(), offset.position.get())
    }
}
