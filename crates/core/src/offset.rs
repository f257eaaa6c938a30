//! What an offset token means; its text form is `millrace-wire`'s.

use crate::ids::{Generation, StreamPos};

/// A position of a stream under the generation of the byte before it (of the first byte for
/// position 0). A position has exactly one offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset {
    /// The generation that wrote the byte before the position.
    pub generation: Generation,
    /// The position.
    pub position: StreamPos,
}
