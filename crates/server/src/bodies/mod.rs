//! Bodies of answers that are made while they are sent.
//!
//! hyper asks for the next piece only when the socket took the last ones, so a slow client is never
//! read ahead for: what it holds in memory is one piece and the connection's buffer.

mod bulk;
mod events;
mod followed;
mod lines;
mod many;
mod page;
mod pulled;

pub(crate) use bulk::Bulk;
pub(crate) use events::StreamEvents;
pub(crate) use followed::{EventBody, Events};
pub(crate) use lines::lines;
pub(crate) use many::{Followed, ManyEvents};
pub(crate) use page::{PageBody, page};
pub(crate) use pulled::Source;

/// The body cannot be finished: the connection is cut, so that no client takes the part for the
/// whole (T81).
#[derive(Debug, thiserror::Error)]
#[error("the answer cannot be finished: {0}")]
pub(crate) struct Broken(pub(crate) &'static str);
