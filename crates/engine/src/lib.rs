//! Live streams: appends, reads, forks, expiry and maintenance over the store.
//!
//! Layout, in the order of an append: [`engine`] (what users call), `shard` (the turn), `live` and
//! `directory` (what is published), [`read`] (one reader for all modes). Beside it: `fork` (where a
//! fork branches), [`list`], `open` (recovery), `feed` (which streams changed), `maintenance`
//! (compaction), `scrub` (looking for damage), `retention` (trimming what is not kept), `condense` (key
//! compaction), `budget` (memory), [`options`], [`status`], [`metrics`].
//!
//! Not here: HTTP (`millrace-server`), the rules themselves (`millrace-core`), bytes at rest
//! (`millrace-store`).

mod batch;
mod budget;
mod changes;
mod condense;
#[cfg(any(test, feature = "fuzzing"))]
mod crash;
mod directory;
pub mod engine;
mod feed;
mod fork;
mod frames;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod list;
mod live;
mod maintenance;
pub mod metrics;
mod open;
pub mod options;
pub mod read;
mod retention;
mod scrub;
mod shard;
pub mod status;
mod stream;

pub use budget::{Growing, Permit};
pub use condense::Condensed;
pub use engine::{Engine, NewStream, Stopping};
pub use feed::Change;
pub use frames::{FrameCache, FrameKey};
pub use list::Listed;
pub use metrics::Figures;
pub use open::{OpenError, Opened, open};
pub use options::{Durability, Options};
pub use read::{Batch, Changed, From, MessageEnd, Page, Reader};
pub use retention::{RetentionPass, RetentionStatus};
pub use shard::task::Shard;
pub use status::Status;
pub use stream::{Head, Stream};
