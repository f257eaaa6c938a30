//! When a delivery that failed is tried again (PROTOCOL 7.1): after 1 second, then twice as long each
//! time, up to 60 seconds, give or take 20 %.

const FIRST_MILLIS: u64 = 1_000;
const LAST_MILLIS: u64 = 60_000;
/// The jitter, in hundredths of a percent, either way.
const JITTER: u64 = 2_000;
/// How many values [`delay_millis`] takes as its draw.
pub const DRAWS: u64 = 2 * JITTER + 1;

/// How long to wait after so many failures in a row, from 1. `draw` is a random number below [`DRAWS`].
pub fn delay_millis(failures: u32, draw: u64) -> u64 {
    let doublings = failures.saturating_sub(1).min(16);
    let plain = (FIRST_MILLIS << doublings).min(LAST_MILLIS);
    plain * (10_000 - JITTER + draw.min(DRAWS - 1)) / 10_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_minute() {
        let middle = |failures| delay_millis(failures, JITTER);
        let all: Vec<u64> = (1..=8).map(middle).collect();
        assert_eq!(all, [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
        assert_eq!(middle(u32::MAX), 60_000);
        assert_eq!(middle(0), 1000);
    }

    #[test]
    fn the_jitter_is_a_fifth_either_way() {
        assert_eq!(delay_millis(1, 0), 800);
        assert_eq!(delay_millis(1, DRAWS - 1), 1200);
        assert_eq!(delay_millis(7, u64::MAX), 72_000);
    }
}
