//! The verbs, as typed: the binary against a server of its own, over loopback.
#![allow(
    clippy::disallowed_methods,
    reason = "processes, files and waits are what is tested here"
)]

mod bench;
mod bench_matrix;
mod compact;
mod config;
mod exactly_once;
mod expected;
mod failures;
mod follow;
mod following;
mod lines;
mod matrix;
mod pipes;
mod reads;
mod ready;
mod settings;
mod stall;
mod support;
mod table;
mod terminal;
mod work;
