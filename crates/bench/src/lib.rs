//! Load for a server of durable streams, ours or another: what `millrace bench` and
//! `testing/bench/compare` run.
//!
//! One thread, one event loop, requests written by hand: on a machine whose cores the server and
//! its load share, what the load costs bounds what can be measured (ADR 10 has the figures).
//! Everything that is read is verified: appends carry a chained hash that is followed through the
//! whole stream at the end, live readers compare byte for byte with what the writer sent, and
//! catch-up reads compare a checksum.
//!
//! Layout: [`plan`] (what to do), `target` (where), `run` (the order of things), `drive` (the
//! event loop), `work/` (one file for each kind of load), `response` and `events` (parsers),
//! `chain` (messages that can be verified), `histogram`, `report`.
//!
//! Not here: starting servers and comparing them (`testing/bench/compare`), flags and tables
//! (`millrace-cli`), TLS and HTTP/2.

mod chain;
mod connection;
mod drive;
mod error;
mod events;
mod histogram;
mod pace;
mod plain;
pub mod plan;
mod report;
mod request;
mod response;
mod run;
mod target;
mod verify;
mod work;

pub use error::BenchError;
pub use plan::{Kind, Plan};
pub use report::{Latency, Report, Verified};
pub use run::{Observer, Phase, Progress, fill, run};
pub use target::Target;
pub use work::Content;
