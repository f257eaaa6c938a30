//! Linearizability of the real binary: what several clients do to a few streams at once is recorded,
//! while the server is killed, paused and cut off, and a checker looks for one order of all of it that
//! explains every answer.
//!
//! Layout: [`history`] (what is recorded), [`state`] and `stream` (how one name should behave), `search`
//! (for an order), [`check`] (a whole history), [`explain`] (the smallest contradiction); [`place`]
//! (where the server is, its lives and deaths), [`round`] (what clients have in common), [`client`]
//! (random operations), `answers` (from HTTP to what the checker reads), [`run`] (rounds of all that),
//! [`settings`].
//!
//! Not here: live reads, lifetimes and large bodies (`testing/kill` has them), power loss (the
//! simulated disk of `millrace-env` has it).
#![allow(
    clippy::disallowed_methods,
    reason = "this is a client of the real binary: real clocks, threads and sockets"
)]

mod answers;
pub mod check;
pub mod client;
pub mod explain;
pub mod history;
pub mod place;
pub mod round;
pub mod run;
mod search;
pub mod settings;
pub mod state;
mod stream;
