//! The monitor: what must hold of every answer of the server, checked on every answer of the tests.
//!
//! Two judges. The [`judge`] belongs to tests whose clients say what they write and what became of it:
//! the kill test and the simulation. The [`watch`]er needs nobody's help: it sees requests and answers
//! pass, and the tests of the binary run through it by the [`tee`]. What they hold the server to:
//!
//! - no acknowledged byte is lost, repeated, reordered or changed;
//! - no answer moves an offset past the bytes that it carried;
//! - readers never see what is not durable: what was seen once is there after every restart;
//! - closed is final;
//! - deleted stays deleted, and another life of the name has other offsets;
//! - positions keep their order, and each has one offset;
//! - a producer's request that is sent again never makes a second copy;
//! - a wake of a subscription is one worker's, and what is processed stays so.
//!
//! Layout: [`watch`] (pure), [`judge`] (pure) and [`message`] (what its clients write), [`tee`] (the
//! connections between a client and the server, read in passing).
#![allow(
    clippy::disallowed_methods,
    reason = "it stands beside the real binary: real sockets and tasks"
)]

pub mod judge;
pub mod message;
pub mod report;
pub mod tee;
pub mod watch;
