//! One file a target: what it makes of its bytes, and what must hold.

pub mod catalog;
pub mod engine;
pub mod head;
pub mod json;
pub mod offset;
pub mod query;
pub mod records;
pub mod segment;
mod specimen;
pub mod sse;
pub mod wal;
