//! Crash tests of the whole engine on the simulated disk: random work, power loss at any I/O, in
//! recovery too, over several generations a seed. What was acknowledged must be there, what was
//! being done may be there as a whole, and nothing else.
//!
//! `MILLRACE_SEEDS` sets how many seeds run (200), `MILLRACE_SEED` runs one.

mod hazards;
mod machine;
mod seeds;
mod world;
