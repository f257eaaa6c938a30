//! The server over real TCP on loopback: what clients send and what they get, byte by byte.
//!
//! Each test starts its own server on a free port with a fresh data directory. What only needs a
//! request and an answer is tested beside the code.

#![allow(
    clippy::unwrap_used,
    clippy::assigning_clones,
    clippy::float_cmp,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "tests, with helpers that are no tests themselves"
)]

mod batch;
mod bodies;
mod compact;
mod connections;
mod extensions;
mod faults;
mod lifecycle;
mod live;
mod long_poll;
mod metrics;
mod races;
mod reads;
mod refusals;
mod scrub;
mod settings;
mod short_way;
mod sse;
mod stall;
mod support;
mod tls;
mod trim;
mod verbs;
