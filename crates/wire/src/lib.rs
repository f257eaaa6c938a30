//! The HTTP dialect of durable streams: how requests are read and answers are written.
//!
//! Everything here is pure: no I/O, no clock, no async, no randomness. What a function needs of
//! those comes in as an argument, so server and client share one reading of the protocol, and every
//! rule is tested without a socket. The `http` crate's types are the vocabulary.
//!
//! Layout, in the order a request meets it: [`path`] (which stream), [`headers`] (what the request's
//! headers ask), [`query`] (how to read, what to list), [`offset`] (tokens), [`body`] and [`json`]
//! (bytes to messages); then for the answer [`outcome`] (success), [`listing`], [`problem`] (everything else),
//! [`page`] (how stored bytes are sent), [`sse`], [`cursor`], [`etag`], [`cache`], [`cors`].
//! [`subscription`] is all of subscriptions: their paths, what they are asked and answer, what wakes a worker.
//!
//! Choices that the protocol leaves open are written down in `docs/protocol.md`.
//!
//! Not here: what a request means for a stream (`millrace-core`), sockets (`millrace-server`).

pub mod batch;
pub mod body;
pub mod cache;
pub mod cors;
pub mod cursor;
pub mod etag;
pub mod headers;
pub mod json;
pub mod lines;
pub mod listing;
pub mod live;
pub mod offset;
pub mod outcome;
pub mod page;
pub mod path;
pub mod problem;
pub mod query;
pub mod refused;
pub mod retention;
pub mod settings;
pub mod sse;
pub mod state;
pub mod subscription;
pub mod trim;

pub use body::frame;
pub use headers::{AppendHead, CreateHead, Fields, Found};
pub use offset::{OffsetArg, Token};
pub use problem::{Code, Problem};
pub use query::{Format, ListQuery, Live, Place, ReadQuery};
pub use refused::{BadRequest, HttpFault};
pub use settings::SettingsHead;
