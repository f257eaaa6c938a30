//! What clients write, and the judge of all they were told: those of the kill test. The judge is pure
//! and has tests of its own; another can take its place here.
//!
//! It knows of every stream what was sent to it and what came of that, and the hash of all bytes before
//! every position that some client has seen.

pub(crate) use millrace_kill::{
    message::{Found, HASH_START, Key, Kind, encode, fold},
    monitor::{
        Closing, Counts, Deleting, Id, Incarnation, Mark, Monitor, Settled, Whole, position,
    },
};
