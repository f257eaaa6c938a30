//! What the system says of a server process: shared with `testing/bench/compare`. The measurement
//! itself is the binary of this crate.
#![allow(
    clippy::disallowed_methods,
    reason = "what is looked at is the system, without our doors to it"
)]

pub mod probe;
