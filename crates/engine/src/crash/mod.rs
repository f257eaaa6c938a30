//! Crash tests of the whole engine on the simulated disk: random work, power loss at any I/O, in
//! recovery too, over several generations a seed. What was acknowledged must be there, what was
//! being done may be there as a whole, and nothing else.
//!
//! `MILLRACE_SEEDS` sets how many seeds run (200), `MILLRACE_SEED` runs one.

#[cfg(test)]
mod damage;
#[cfg(feature = "fuzzing")]
pub(crate) mod driver;
#[cfg(test)]
mod hazards;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "fuzzing drives less of it than the tests do")
)]
mod machine;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod world;
