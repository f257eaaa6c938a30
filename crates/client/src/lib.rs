//! A client for durable streams.
//!
//! [`Client`] knows a server, [`Stream`] one of its streams: create, append, head, close, delete,
//! fork. [`Reader`] reads page after page up to the tail; [`Follower`] goes on from there, reconnects
//! and resumes by offset, until the stream is closed. [`Producer`] appends exactly once, whatever
//! breaks in between; [`batch`] cuts input into the batches that make that worth while.
//!
//! INVARIANT: a page is handed out with the offset after it, and asked for again from the offset
//! before it when a connection breaks: nothing is lost, nothing comes twice.
//!
//! What headers and queries are called is `millrace-wire`'s; client and server meet only there.
//!
//! Layout: `client.rs` (the server, the listing), `stream.rs` (the verbs of one stream), `reader.rs`,
//! `follower.rs`, `events.rs` (server-sent events, decoded), `producer.rs`, `batch.rs`, `page.rs`,
//! `patience.rs` (when and how often to try again), `transport.rs` (connections), `trust.rs`
//! (TLS), `error.rs`.

pub mod batch;
mod client;
mod error;
mod events;
mod follower;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod offset;
mod page;
mod patience;
mod producer;
mod reader;
mod stream;
mod transport;
mod trust;

pub use batch::{Batch, JsonBatcher};
pub use client::{Client, Listing, Row};
pub use error::{Error, Refused};
pub use follower::{Follower, Live};
pub use millrace_core::{ContentKind, ContentType, Lifetime, NameFault, StreamName, Timestamp};
pub use offset::Offset;
pub use page::Page;
pub use patience::Patience;
pub use producer::{Produced, Producer};
pub use reader::Reader;
pub use stream::{Appended, CreateOptions, Created, ForkAt, Head, Stream};
pub use trust::{TlsTrouble, Trust};
