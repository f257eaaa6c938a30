//! What clients write, and the judge of all they were told: those of `testing/monitor`. The judge is
//! pure and has tests of its own; another can take its place here.
//!
//! It knows of every stream what was sent to it and what came of that, and the hash of all bytes before
//! every position that some client has seen.

pub(crate) use millrace_monitor::{
    judge::{
        Closing, Counts, Deleting, Id, Incarnation, Judge as Monitor, Mark, Settled, Whole,
        position,
    },
    message::{Found, HASH_START, Key, Kind, encode, fold},
};
