//! Random numbers, from the system or from a seed.
#![allow(clippy::disallowed_methods, reason = "this is the door")]

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    sync::{Mutex, PoisonError},
};

use rand::{Rng as _, RngExt as _, SeedableRng, rngs::StdRng};

/// A generator that many may share.
#[derive(Debug)]
pub struct Rng {
    numbers: Mutex<StdRng>,
    /// Whether secrets come from the operating system.
    from_os: bool,
}

impl Rng {
    /// Seeded by the operating system.
    ///
    /// By way of the standard library, which asks the kernel itself. `rand` asks the C library, and
    /// where that is linked statically it opens `/dev/random` instead and panics where there is none.
    pub fn from_os() -> Self {
        Self {
            from_os: true,
            ..Self::from_seed(RandomState::new().hash_one(()))
        }
    }

    /// The same numbers for the same seed.
    pub fn from_seed(seed: u64) -> Self {
        Self {
            numbers: Mutex::new(StdRng::seed_from_u64(seed)),
            from_os: false,
        }
    }

    /// Fills `bytes` with what nobody can guess: straight from the operating system, unlike
    /// [`Self::next`]. From a seed it is as predictable as all else.
    pub fn fill_secret(&self, bytes: &mut [u8]) -> io::Result<()> {
        if self.from_os {
            return getrandom::getrandom(bytes).map_err(io::Error::from);
        }
        self.numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(bytes);
        Ok(())
    }

    /// Any number.
    pub fn next(&self) -> u64 {
        self.numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next_u64()
    }

    /// A number from 0 up to, but without, `end`.
    ///
    /// # Panics
    /// When `end` is 0.
    pub fn below(&self, end: u64) -> u64 {
        self.numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .random_range(0..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(rng: &Rng) -> Vec<u64> {
        (0..8).map(|_| rng.next()).collect()
    }

    #[test]
    fn a_seed_gives_the_same_numbers_again() {
        assert_eq!(first(&Rng::from_seed(1)), first(&Rng::from_seed(1)));
        assert_ne!(first(&Rng::from_seed(1)), first(&Rng::from_seed(2)));
        assert_ne!(first(&Rng::from_os()), first(&Rng::from_os()));
    }

    #[test]
    fn secrets_repeat_only_from_a_seed() {
        let secret = |rng: &Rng| {
            let mut bytes = [0; 32];
            rng.fill_secret(&mut bytes).expect("there are some");
            bytes
        };
        assert_eq!(secret(&Rng::from_seed(1)), secret(&Rng::from_seed(1)));
        let own = Rng::from_os();
        assert_ne!(secret(&own), secret(&own));
    }

    #[test]
    fn below_stays_below() {
        let rng = Rng::from_seed(1);
        let mut seen = [false; 3];
        for _ in 0..100 {
            seen[usize::try_from(rng.below(3)).expect("small")] = true;
        }
        assert_eq!(seen, [true; 3]);
    }
}
