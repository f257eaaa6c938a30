//! Reads: planned without I/O into owned slices, then executed without locks.
//!
//! One [`Reader`] serves catch-up, long-poll and SSE. INVARIANT: what a reader hands out never moves
//! an offset past the bytes it carried: a [`Batch`]'s `next` is computed from the slices in it.
//!
//! A fork's inherited bytes are read from the streams that hold them, found through one flat list;
//! nothing recurses over the depth of a fork.
//!
//! Not here: how a page or an event is framed (`millrace-wire`), how long to wait (the server).
//! Next on the live-read walk: `reader.rs`.

mod batch;
mod holder;
mod hot_tail;
mod messages;
mod reader;

pub use batch::Batch;
pub(crate) use holder::Holder;
pub(crate) use hot_tail::HotTail;
pub use reader::{Changed, From, MessageEnd, Page, Reader};
