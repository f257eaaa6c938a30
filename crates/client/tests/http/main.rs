//! The client against a server in the same process, over real TCP on loopback.
//!
//! Each test starts its own server on a free port with a fresh data directory. What needs no server
//! is tested beside the code.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests, with helpers that are no tests themselves"
)]

mod append_all;
mod append_at;
mod compact;
mod cut;
mod follow_many;
mod guide;
mod messages;
mod settings;
mod support;
