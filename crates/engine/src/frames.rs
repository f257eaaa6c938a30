//! Encoded live events, kept so that followers at the same position share the bytes.
//!
//! The engine does not know the forms; whoever delivers asks for a range under a number of its
//! own choosing and encodes only when nobody has. BOUND: a handful of events and
//! [`FRAME_BYTES_MAX`] bytes a stream, oldest out first.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use millrace_core::StreamPos;

/// The most encoded bytes that one stream keeps.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// The most encoded events that one stream keeps.
const FRAMES_MAX: usize = 8;

/// What an encoded event is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameKey {
    /// The first position.
    pub from: StreamPos,
    /// The position after the last.
    pub until: StreamPos,
    /// In which form, numbered by the caller.
    pub form: u64,
}

/// The latest encoded events of one stream.
#[derive(Debug, Default)]
pub struct FrameCache(Mutex<VecDeque<(FrameKey, Bytes)>>);

impl FrameCache {
    /// The event, if it was encoded lately.
    pub fn get(&self, key: FrameKey) -> Option<Bytes> {
        let frames = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frames
            .iter()
            .rev()
            .find(|(kept, _)| *kept == key)
            .map(|(_, frame)| frame.clone())
    }

    /// Keeps an encoded event for the others.
    pub fn put(&self, key: FrameKey, frame: Bytes) {
        let mut frames = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frames.push_back((key, frame));
        let mut bytes: usize = frames.iter().map(|(_, frame)| frame.len()).sum();
        while frames.len() > FRAMES_MAX || bytes > FRAME_BYTES_MAX {
            let Some((_, oldest)) = frames.pop_front() else {
                break;
            };
            bytes -= oldest.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(from: u64) -> FrameKey {
        FrameKey {
            from: StreamPos(from),
            until: StreamPos(from + 1),
            form: 0,
        }
    }

    #[test]
    fn old_events_leave_by_number_and_by_bytes() {
        let cache = FrameCache::default();
        for from in 0..20 {
            cache.put(key(from), Bytes::from_static(b"x"));
        }
        assert_eq!(cache.get(key(11)), None);
        assert!(cache.get(key(12)).is_some());
        cache.put(key(30), Bytes::from(vec![0; FRAME_BYTES_MAX]));
        assert_eq!(cache.get(key(19)), None);
        cache.put(key(31), Bytes::from(vec![0; FRAME_BYTES_MAX + 1]));
        assert_eq!(
            cache.get(key(31)),
            None,
            "nothing larger than the bound is kept"
        );
    }
}
