//! What the tests and measurements of the real binary share: where it is, what the system says of a
//! process, and a small HTTP client.
//!
//! Not here: starting it. Each test starts it its own way, because how it starts and ends is part of
//! what is tested.
#![allow(
    clippy::disallowed_methods,
    reason = "this is a client of the real binary: real clocks, threads and sockets"
)]

pub mod http;
pub mod probe;

use std::path::PathBuf;

/// The binary under test: what `MILLRACE_BIN` names, otherwise the `millrace` that was built into
/// the directory of the running program.
pub fn binary() -> PathBuf {
    std::env::var_os("MILLRACE_BIN").map_or_else(beside_me, PathBuf::from)
}

/// Not a path from when this was compiled: a build that moved would start another's server.
fn beside_me() -> PathBuf {
    let me = std::env::current_exe().unwrap_or_default();
    me.with_file_name("millrace")
}
