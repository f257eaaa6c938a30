//! Cursors: numbers that move with time, so that caches collapse live requests without serving one
//! answer for ever (PROTOCOL 10.1).
//!
//! A cursor that a client sends is an echo of what some server said. One that is no number of that
//! kind is treated as absent, as the reference server does: the client then gets a good cursor,
//! where an error would end a reader that did nothing wrong.
//!
//! Not here: the clock and the random number, which come in as arguments.

use millrace_core::Timestamp;

/// The length of an interval, in milliseconds.
pub const INTERVAL_MILLIS: u64 = 20_000;
/// When interval 0 began: 2024-10-09T00:00:00Z, in milliseconds since the Unix epoch.
pub const EPOCH_MILLIS: u64 = 1_728_432_000_000;
/// The most by which a cursor is moved on past the client's: 3,600 seconds.
const JITTER_INTERVALS_MAX: u64 = 3600 * 1000 / INTERVAL_MILLIS;
/// The largest cursor that is taken for one; leaves room for jitter below 2^53.
const CURSOR_MAX: u64 = 1 << 52;

/// Reads a client's cursor; `None` when it is none.
pub fn parse(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|cursor| *cursor <= CURSOR_MAX)
}

/// The cursor of an answer given at `now` to a client that sent `client`. `random` is any number.
///
/// INVARIANT: greater than the client's, and never below the current interval.
pub fn next(now: Timestamp, client: Option<u64>, random: u64) -> u64 {
    let current = now.get().saturating_sub(EPOCH_MILLIS) / INTERVAL_MILLIS;
    match client {
        Some(client) if client >= current => client + 1 + random % JITTER_INTERVALS_MAX,
        _ => current,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn intervals_count_from_the_epoch() {
        for (since, want) in [(0, 0), (19_999, 0), (20_000, 1), (20_000_000, 1000)] {
            assert_eq!(next(Timestamp(EPOCH_MILLIS + since), None, 9), want);
        }
        assert_eq!(next(Timestamp(0), None, 9), 0, "a clock before the epoch");
    }

    #[test]
    fn a_client_in_the_same_interval_is_moved_on_by_at_most_an_hour() {
        let now = Timestamp(EPOCH_MILLIS + 20_000_000);
        assert_eq!(next(now, Some(999), 7), 1000);
        assert_eq!(next(now, Some(1000), 0), 1001);
        assert_eq!(next(now, Some(1000), 179), 1180);
        assert_eq!(next(now, Some(1000), 180), 1001);
        assert_eq!(next(now, Some(5000), 0), 5001);
    }

    #[test]
    fn t36_what_is_no_cursor_is_absent() {
        for text in [
            "",
            "-1",
            "+1",
            "1.5",
            "1e3",
            "abc",
            "18446744073709551615",
            "99999999999999999999",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse("0"), Some(0));
        assert_eq!(parse("4503599627370496"), Some(CURSOR_MAX));
    }

    proptest! {
        #[test]
        fn t55_a_cursor_never_goes_back(now: u64, text in "[0-9]{0,22}", random: u64) {
            let client = parse(&text);
            let cursor = next(Timestamp(now), client, random);
            prop_assert!(client.is_none_or(|client| cursor > client));
        }
    }
}
