//! A client for durable streams.
//!
//! [`Client`] knows a server, [`Stream`] one of its streams: create, append, head, close, delete,
//! fork, trim, compact, patch. [`Reader`] reads page after page up to the tail, [`MessageReader`]
//! message by message; [`Follower`] goes on from there, reconnects and resumes by offset, until the
//! stream is closed, and [`ManyFollower`] does so with up to 1,000 streams on one connection.
//! [`Producer`] appends exactly once, whatever breaks in between; [`batch`] cuts input into the
//! batches that make that worth while. [`Client::append_all`] appends to many streams in one request.
//!
//! INVARIANT: a page is handed out with the offset after it, and asked for again from the offset
//! before it when a connection breaks: nothing is lost, nothing comes twice.
//!
//! What headers and queries are called is `millrace-wire`'s; client and server meet only there.
//!
//! Layout: `client.rs` (the server, the listing), `stream.rs` (the verbs of one stream), `reader.rs`,
//! `messages.rs`, `follower.rs`, `many.rs`, `events.rs` (server-sent events, decoded), `producer.rs`,
//! `append_all.rs`, `batch.rs`, `page.rs`, `compact.rs`, `settings.rs` (of a stream), `retention.rs`
//! (of a server), `patience.rs` (when and how often to try again), `transport.rs` (connections),
//! `trust.rs` (TLS), `error.rs`.

mod append_all;
pub mod batch;
mod client;
mod compact;
mod error;
mod events;
mod follower;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod many;
mod messages;
mod offset;
mod page;
mod patience;
mod producer;
mod reader;
mod retention;
mod settings;
mod stream;
mod transport;
mod trust;

pub use append_all::{AppendContent, AppendLine, LineAnswer, LineOutcome, Together};
pub use batch::{Batch, JsonBatcher};
pub use client::{Client, Listing, Row};
pub use compact::Compacted;
pub use error::{Error, Refused};
pub use follower::{Follower, Live};
pub use many::{Followed, ManyFollower};
pub use messages::{Data, Message, MessagePage, MessageReader};
pub use millrace_core::{ContentKind, ContentType, Lifetime, NameFault, StreamName, Timestamp};
pub use offset::Offset;
pub use page::Page;
pub use patience::Patience;
pub use producer::{Produced, Producer};
pub use reader::{Place, Reader};
pub use retention::{RetentionPass, RetentionStatus};
pub use settings::{Attributes, NewAttributes, NewLimit, Retention, Settings, SettingsPatch};
pub use stream::{Appended, CreateOptions, Created, ForkAt, Head, Stream, Trimmed};
pub use trust::{TlsTrouble, Trust};
