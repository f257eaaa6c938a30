//! One file a verb, the same three steps in each: parse, call, answer.
//!
//! INVARIANT: nothing here judges what a shard judges; a refusal passes through to its one table in
//! `millrace-wire`.

pub(crate) mod append;
pub(crate) mod batch;
pub(crate) mod compact;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod head;
pub(crate) mod list;
pub(crate) mod live;
pub(crate) mod long_poll;
pub(crate) mod options;
pub(crate) mod patch;
pub(crate) mod read;
pub(crate) mod retention;
pub(crate) mod sse;
pub(crate) mod status;
pub(crate) mod subscriptions;
pub(crate) mod trim;
