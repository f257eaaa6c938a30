//! A hash of the bytes before a position, whose difference between two positions is the hash of the
//! bytes between them.
//!
//! Each byte counts with a weight that its position gives it, modulo a prime. So bytes that were read
//! from the middle of a stream can be compared with those of somebody who read it in other pieces, and
//! what is known on both sides of a gap is joined when the gap is filled. Equal bytes have equal sums
//! always; that different bytes have equal sums happens once in 2^60 times.

/// The prime.
const MODULUS: u64 = (1 << 61) - 1;
/// What the weight grows by from byte to byte: any number will do.
const STEP: u64 = 0x0b4d_5e8f_61c3_a297;

/// How many bytes are added up at a time.
const AT_ONCE: usize = 32;
/// The powers of [`STEP`].
const POWERS: [u64; AT_ONCE + 1] = powers();

/// A sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub(crate) const NOTHING: Self = Self(0);

    pub(crate) fn plus(self, other: Self) -> Self {
        Self(reduce(u128::from(self.0) + u128::from(other.0)))
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        self.plus(Self(MODULUS - other.0))
    }
}

/// Adds bytes up, from a position on.
pub(crate) struct Adder {
    weight: u64,
    sum: Sum,
}

impl Adder {
    pub(crate) fn at(position: u64) -> Self {
        Self {
            weight: power(position),
            sum: Sum::NOTHING,
        }
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        // Many at a time: only one remainder is taken for all of them.
        for some in bytes.chunks(AT_ONCE) {
            // A zero counts, too.
            let worth = |(byte, power): (&u8, &u64)| u128::from(*power) * (u128::from(*byte) + 1);
            let worth: u128 = some.iter().zip(&POWERS).map(worth).sum();
            let worth = times(reduce(worth), self.weight);
            self.sum = self.sum.plus(Sum(worth));
            self.weight = times(self.weight, POWERS[some.len()]);
        }
    }

    /// The sum of what was added.
    pub(crate) fn sum(&self) -> Sum {
        self.sum
    }
}

fn power(mut exponent: u64) -> u64 {
    let (mut result, mut square) = (1, STEP);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = times(result, square);
        }
        square = times(square, square);
        exponent >>= 1;
    }
    result
}

const fn powers() -> [u64; AT_ONCE + 1] {
    let mut powers = [1; AT_ONCE + 1];
    let mut index = 1;
    while index <= AT_ONCE {
        powers[index] = times(powers[index - 1], STEP);
        index += 1;
    }
    powers
}

const fn times(one: u64, other: u64) -> u64 {
    reduce(one as u128 * other as u128)
}

/// The remainder of less than 2^122.
#[expect(clippy::cast_possible_truncation, reason = "both parts have 61 bits")]
const fn reduce(number: u128) -> u64 {
    let low = number as u64 & MODULUS;
    let high = (number >> 61) as u64;
    let sum = low + high;
    if sum >= MODULUS { sum - MODULUS } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(position: u64, bytes: &[u8]) -> Sum {
        let mut adder = Adder::at(position);
        adder.add(bytes);
        adder.sum()
    }

    #[test]
    fn pieces_add_up_to_the_whole() {
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let whole = sum(7, &bytes);
        for cut in [0, 1, 255, 4999, 5000] {
            let parts = sum(7, &bytes[..cut]).plus(sum(7 + cut as u64, &bytes[cut..]));
            assert_eq!(parts, whole);
            assert_eq!(
                whole
                    .minus(sum(7, &bytes[..cut]))
                    .plus(sum(7, &bytes[..cut])),
                whole
            );
        }
    }

    #[test]
    fn what_is_changed_moved_or_missing_counts() {
        let whole = sum(0, b"abcabc\0");
        for other in [&b"abcacb\0"[..], b"abcabc", b"abcabc\0\0", b"bcabca\0"] {
            assert_ne!(sum(0, other), whole);
        }
        assert_ne!(sum(1, b"abcabc\0"), whole);
    }
}
