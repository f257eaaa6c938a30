//! The budget of answers on their way.

use bytes::Bytes;

use super::Budget;

/// Pieces up to this size are not charged: a connection costs more than that anyway, and most answers
/// are this small.
const SMALL_BYTES: u64 = 4 << 10;
/// The largest piece, unless it cannot be cut.
const PIECE_BYTES_MAX: u64 = 64 << 10;
/// A piece takes at most this part of what is free.
const SHARE: u64 = 16;

/// The budget of answers on their way; cheap to clone.
///
/// The fuller it is, the smaller pieces are made, so that a crowd of slow readers gets slower and does
/// not grow: near its end a reader costs [`SMALL_BYTES`] more.
#[derive(Clone, Debug)]
pub(crate) struct Reading(Budget);

impl Reading {
    pub(crate) fn new(max: u64) -> Self {
        Self(Budget::new(max, 0))
    }

    /// How many bytes the next piece of an answer should have at most.
    pub(crate) fn piece_bytes(&self) -> u64 {
        let free = self.0.max().saturating_sub(self.0.used());
        (free / SHARE).clamp(SMALL_BYTES, PIECE_BYTES_MAX)
    }

    /// Whether no more readers should be let in that may hold something for long.
    pub(crate) fn is_full(&self) -> bool {
        self.0.used() >= self.0.max()
    }

    /// Whether there is room for what readers need not, but may share.
    pub(crate) fn has_spare(&self) -> bool {
        self.0.used() < self.0.max() / 2
    }

    /// Whether a piece fits that cannot be cut. One larger than all there is does when nothing else is
    /// held.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        bytes <= PIECE_BYTES_MAX || self.0.take(bytes).is_ok()
    }

    /// `bytes`, charged until the last slice of the answer is gone.
    pub(crate) fn hold(&self, bytes: Bytes) -> Bytes {
        if bytes.len() as u64 <= SMALL_BYTES {
            return bytes;
        }
        self.0.hold(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_get_smaller_as_readers_hold_more_and_grow_again() {
        let reading = Reading::new(1 << 20);
        assert_eq!(reading.piece_bytes(), 64 << 10);
        let mut held = Vec::new();
        // A hundred readers that take nothing.
        for _ in 0..100 {
            let piece = usize::try_from(reading.piece_bytes()).expect("small");
            held.push(reading.hold(Bytes::from(vec![0; piece])));
        }
        let bytes: usize = held.iter().map(Bytes::len).sum();
        assert!(bytes <= (1 << 20) + 100 * 4096, "{bytes} bytes are held");
        assert!(!reading.has_spare());
        assert!(!reading.fits(1 << 20), "a large message has to wait");
        drop(held);
        assert!(reading.has_spare() && !reading.is_full());
        assert!(reading.fits(5 << 20), "one alone is let through");
        assert_eq!(reading.piece_bytes(), 64 << 10);
    }

    #[test]
    fn readers_that_may_hold_much_are_kept_out_once_it_is_full() {
        let reading = Reading::new(100 << 10);
        let held = reading.hold(Bytes::from(vec![0; 100 << 10]));
        assert!(reading.is_full());
        drop(held);
        assert!(!reading.is_full());
    }
}
