//! Telling the same with fewer messages: of a stream whose messages replace each other, the latest of
//! each.
//!
//! The rules of a stream never look into a message. Whoever understands a kind of content makes a [`Fold`];
//! the engine feeds it a stream from its start to its tail and appends what comes out, in one step with
//! a trim of all that went in (`millrace-engine`'s `condense`).

use std::fmt;

use bytes::Bytes;

/// Takes a stream's messages in order, and tells the same with fewer.
pub trait Fold: fmt::Debug + Send {
    /// The next message, as it is stored but for its separator. Why it cannot be folded, if so: a clause.
    fn take(&mut self, message: &[u8]) -> Result<(), String>;

    /// The bytes of what [`Self::messages`] would be, roughly.
    fn bytes(&self) -> u64;

    /// How many keys have a value.
    fn keys(&self) -> u64;

    /// What says the same as all that was taken, in order.
    fn messages(&self) -> Vec<Bytes>;
}

/// Makes an empty one.
pub type NewFold = fn() -> Box<dyn Fold>;
