//! The naive oracle: the whole protocol at the level of names and bytes.
//!
//! Written from the protocol text and the recorded decisions, not from the rules it judges, and as
//! plainly as can be: a stream is a list of messages, a fork is a copy, references are counted by
//! looking, and nothing is ever optimised. Of `millrace-core` it takes the nouns (names, commands,
//! the shapes of replies) and none of the rules.
//!
//! Layout: [`Model`] (what clients do), [`Stream`] (one stream), [`Content`] and [`Head`] (what reads
//! see), [`Tokens`] (comparing its offsets with those of the system under test).
//!
//! Two things it decides by itself and the system need not:
//! - Its offsets carry a *writer* in the place of the generation: a number of its own for every
//!   stream that wrote bytes. Two of its offsets are equal exactly when the bytes before them were
//!   written by the same hand. [`Tokens`] pairs them with real ones.
//! - An expiry takes effect when a client touches the name, or at [`Model::sweep`].
//!
//! Not here: HTTP, waiting, storage, the bound on the depth of forks.

mod create;
mod model;
mod read;
mod stream;
mod tokens;

pub use model::{Model, Reply};
pub use read::{Content, Head};
pub use stream::Stream;
pub use tokens::Tokens;
