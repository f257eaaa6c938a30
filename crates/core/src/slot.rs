//! Which slot a stream name belongs to: fixed for ever, whatever the number of shards or nodes.
//!
//! The hash is CRC-16/XMODEM modulo [`SLOTS`] (the function and hash-tag rule of Redis Cluster, at
//! 1,024 slots); test vectors stand in `docs/format.md`.

use crate::ids::{Generation, ShardId, SlotId};

/// How many slots there are.
pub const SLOTS: u16 = 1024;

/// How many generations one slot can have given out beyond what is known of it, at most: between two
/// flushes, which come long before so many streams changed, or in a log that was lost.
pub const GENERATIONS_LOST_MAX: u64 = 1 << 20;

/// The slot of a stream name: of the part inside its first non-empty `{…}`, else of all of it.
pub fn slot_of(name: &str) -> SlotId {
    SlotId(crc16(hash_tag(name).as_bytes()) % SLOTS)
}

/// The shard that owns `slot` when there are `shards` of them.
pub fn shard_of(slot: SlotId, shards: u16) -> ShardId {
    ShardId(slot.0 % shards)
}

/// The first generation of `slot` above `above`. The generations of different slots never meet, so a
/// fork that inherits those of a stream in another slot cannot take an old token of its own name for
/// one of its own (T64a).
pub fn next_generation(slot: SlotId, above: Generation) -> Generation {
    let (slots, slot) = (u64::from(SLOTS), u64::from(slot.0));
    let round = (above.0 + slots - slot) / slots;
    Generation(round * slots + slot)
}

/// What of a name is hashed: the part inside its first non-empty `{…}`, else all of it. Streams for
/// which it is equal have one log, whatever the number of shards or nodes: only for them can several
/// appends be one.
pub fn hash_tag(name: &str) -> &str {
    let Some(open) = name.find('{') else {
        return name;
    };
    let inside = &name[open + 1..];
    match inside.find('}') {
        Some(len) if len > 0 => &inside[..len],
        _ => name,
    }
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let mut crc = crc ^ (u16::from(*byte) << 8);
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_matches_the_published_check_value() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
    }

    #[test]
    fn generations_grow_and_name_their_slot() {
        for slot in [0, 1, 7, 1023] {
            let mut last = Generation::ZERO;
            for above in [0, 1, 7, 1023, 1024, 1025, 5_000_000] {
                let next = next_generation(SlotId(slot), Generation(above).max(last));
                assert!(
                    next.0 > above && next > last,
                    "{next} after {above} and {last}"
                );
                assert_eq!(next.0 % u64::from(SLOTS), u64::from(slot));
                last = next;
            }
            let after = next_generation(SlotId(slot), last);
            assert_eq!(after.0, last.0 + u64::from(SLOTS), "none is left out");
        }
    }

    #[test]
    fn only_the_first_non_empty_tag_counts() {
        assert_eq!(slot_of("a/{user1}/x"), slot_of("b/{user1}/y"));
        assert_eq!(slot_of("a/{user1}/x"), slot_of("user1"));
        assert_eq!(hash_tag("a{}b"), "a{}b");
        assert_eq!(hash_tag("a{b"), "a{b");
        assert_eq!(hash_tag("{a}{b}"), "a");
    }

    #[test]
    fn vectors_of_the_format_document() {
        for (name, slot) in [
            ("", 0),
            ("a", 135),
            ("123456789", 451),
            ("user1", 938),
            ("a/{user1}/x", 938),
            ("a{}b", 382),
            ("{a}{b}", 135),
        ] {
            assert_eq!(slot_of(name), SlotId(slot), "{name}");
        }
    }
}
