//! A stream's state and its rules.
//!
//! [`decide`] judges a command against the state and yields events and a reply; [`apply`] turns an
//! event into the next state. Nothing else changes state, so a refused command has no effect and
//! recovery cannot differ from what was acknowledged.
//!
//! Next on the append walk: `millrace-store`'s `wal/writer.rs`.

mod apply;
pub mod decide;
mod state;

pub use apply::apply;
pub use decide::{Decision, Judge, Outcome, Producers};
pub use state::{
    Ancestor, Closure, GenerationStart, Generations, ProducerState, StreamConfig, StreamState,
};

#[cfg(test)]
mod tests;
