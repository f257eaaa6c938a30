//! Properties of everything in Millrace that reads bytes it did not write, as functions of bytes: a
//! target panics when its property does not hold, whatever the bytes are.
//!
//! Two things call them. `tests/short.rs` replays the kept corpus and a fixed number of seeded
//! mutations of it, with nothing but `cargo test`. `fuzz/` at the top of the repository hands them to
//! libFuzzer, for as long as one likes; `testing/fuzz/long` runs that and keeps what it finds.
//!
//! Where random bytes would only ever meet a checksum, a target builds what it reads from the input:
//! a file that is whole, then damage as a medium does it, or changes with every checksum made right
//! again. Those encoders are written from `docs/format.md`, not from the code they test.
//!
//! Layout: [`Target`] (what there is), [`targets`] (one file a target), [`input`] (choices out of
//! bytes), [`damage`] (what a medium does), [`corpus`] (the kept inputs), [`mutate`] (inputs out of
//! inputs). `docs/reliability.md` has the table of properties.
//!
//! Not here: faults between calls (`crates/engine/src/crash`), the network.

pub mod corpus;
pub mod damage;
pub mod input;
pub mod mutate;
pub mod targets;

/// A property, as a function of bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Names its corpus and its libFuzzer binary.
    pub name: &'static str,
    /// Panics when the property does not hold for these bytes.
    pub check: fn(&[u8]),
    /// How many mutations of each kept input the short pass tries.
    pub mutations: u32,
}

/// Every target. The number of mutations follows from what one run costs.
pub const TARGETS: [Target; 10] = [
    target("catalog", targets::catalog::check, 2),
    target("engine", targets::engine::check, 3),
    target("head", targets::head::check, 60),
    target("json", targets::json::check, 200),
    target("offset", targets::offset::check, 200),
    target("query", targets::query::check, 200),
    target("records", targets::records::check, 200),
    target("segment", targets::segment::check, 20),
    target("sse", targets::sse::check, 100),
    target("wal", targets::wal::check, 20),
];

const fn target(name: &'static str, check: fn(&[u8]), mutations: u32) -> Target {
    Target {
        name,
        check,
        mutations,
    }
}
