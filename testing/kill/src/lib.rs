//! The kill test: the real binary under load, `kill -9` at random times, and a monitor that compares
//! everything any client was ever told with everything that is there afterwards.
//!
//! What it holds Millrace to:
//! - an acknowledged append is there exactly once, in order, unchanged; one that was not
//!   acknowledged at most once;
//! - a producer that sends again is answered, and never makes a second copy;
//! - no response moves a reader's offset past the bytes it carried;
//! - what a reader saw at a position is there after every restart;
//! - closed stays closed, deleted stays deleted, a fork keeps its source's bytes, and a stream that
//!   is in use does not expire.
//!
//! Layout: [`schedule`] (seed and settings), [`server`] (the process), [`http`] and [`sse`] (a small
//! client), [`world`] (what all threads share), [`writer`], [`guest`], [`reader`], [`expiry`] (the
//! load), [`run`] (the killing), [`report`] (what it came to). What is written and the checks are in
//! `testing/monitor`.
//!
//! Not here: power loss, which no process can simulate on a real disk; see the simulated disk of
//! `millrace-env`.
#![allow(
    clippy::disallowed_methods,
    reason = "this is a client of the real binary: real clocks, threads and sockets"
)]

pub mod expiry;
pub mod guest;
pub mod http;
pub mod reader;
pub mod report;
pub mod run;
pub mod schedule;
pub mod server;
pub mod sse;
pub mod world;
pub mod writer;
