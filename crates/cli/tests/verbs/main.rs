//! The verbs, as typed: the binary against a server of its own, over loopback.
#![allow(
    clippy::disallowed_methods,
    reason = "processes, files and waits are what is tested here"
)]

mod bench;
mod bench_matrix;
mod config;
mod exactly_once;
mod failures;
mod following;
mod matrix;
mod pipes;
mod ready;
mod stall;
mod support;
mod table;
mod terminal;
mod work;
