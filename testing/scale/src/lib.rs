//! What other measurements share with this one: what the system says of a process, and a small HTTP
//! client. The measurement itself is the binary of this crate.
#![allow(
    clippy::disallowed_methods,
    reason = "this is a client of the real binary: real clocks, threads and sockets"
)]

pub mod http;
pub mod probe;
