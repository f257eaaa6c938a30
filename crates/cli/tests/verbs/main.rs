//! The verbs, as typed: the binary against a server of its own, over loopback.
#![allow(
    clippy::disallowed_methods,
    reason = "processes, files and waits are what is tested here"
)]

mod bench;
mod exactly_once;
mod failures;
mod following;
mod pipes;
mod support;
mod table;
mod work;
