//! The nouns and rules of durable streams.
//!
//! Everything here is pure: no I/O, no async, no clock, no randomness, so nothing here can fail for
//! a reason outside its arguments. A command is judged by [`stream::decide`], which answers with an
//! event to be logged or a refusal; a logged event changes a stream only through
//! [`stream::apply`]. Recovery replays the same events through the same function.
//!
//! Layout: [`ids`] (one newtype per number space), [`name`], [`offset`], [`content_type`],
//! [`payload`] (bytes and message lengths), [`command`] (what a client asks), [`event`] (what the
//! log keeps), [`refusal`] (why not), [`settings`] (documents beside the bytes), [`limits`] (every
//! bound), [`stream`] (state and rules), [`subscription`] (the same for subscriptions).
//!
//! Not here: HTTP (see `millrace-wire`), bytes at rest (see `millrace-store`), waiting and
//! delivery (see `millrace-engine`).

pub mod command;
pub mod condense;
pub mod content_type;
pub mod event;
pub mod fold;
pub mod ids;
pub mod limits;
pub mod name;
pub mod offset;
pub mod payload;
pub mod refusal;
pub mod retention;
pub mod settings;
pub mod slot;
pub mod stream;
pub mod subscription;

pub use command::{
    Append, Body, BodyFault, Create, CreateSpec, ExpectedTail, ForkAnchor, ForkRequest, ForkSource,
    Lifetime, ProducerClaim, ProducerId,
};
pub use condense::Condensing;
pub use content_type::{ContentKind, ContentType};
pub use event::{Appended, Created, DeleteReason, Event, ForkPoint};
pub use ids::{
    FilePos, Generation, Lsn, SegmentId, ShardId, SlotId, StreamId, StreamPos, Timestamp,
};
pub use name::{NameFault, StreamName};
pub use offset::Offset;
pub use payload::{Messages, Payload};
pub use refusal::Refusal;
pub use retention::{NewLimit, Retention, RetentionChange};
pub use settings::{
    Change, NewSettings, SettingFault, SettingFaultKind, SettingKey, Settings, Standing,
};
