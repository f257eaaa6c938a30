//! The whole server on a simulated network, disk and clock: one seed decides everything.
//!
//! The code under test is the server's own, from the accepted connection to the disk: its connections,
//! handlers, engine and store, without the threads (`millrace_server::one_thread`). A run is several
//! lives of it on one disk. Clients work against it the whole time; it is killed between any two of the
//! things that it does, and a judge compares everything any client was told.
//!
//! Layout, from the outside in: [`run()`] (a run and its verdict), `plan` (what a seed decides
//! beforehand), `server` (life after life), `power` (the end of each), `saboteur` (what fails
//! meanwhile), `rot` (bits that flip at rest), [`mishap`] (what is counted of all that), `medium` (the
//! disk), [`net`], [`clock`], [`trace`] (what happened, to the byte),
//! `clients` (the load), `http` and `sse` (their side of the protocol), `world` (what they share),
//! `witness` (the judge).
//!
//! Not here: threads, sockets and the front that hands these over (`testing/kill` has the real ones),
//! and steps of a flush that fall between two turns, because work beside the loop is carried out in one
//! moment (the engine's crash tests have them).
#![allow(
    clippy::disallowed_methods,
    reason = "this is the simulation: it holds the clock"
)]

mod clients;
pub mod clock;
mod http;
pub mod medium;
pub mod mishap;
pub mod net;
mod plan;
pub mod power;
mod rot;
pub mod run;
mod saboteur;
mod server;
mod sse;
pub mod trace;
mod witness;
mod world;

pub use mishap::{Mishap, Mishaps};
pub use run::{Mutant, Outcome, run, same_twice};
