//! The first request of an HTTP/2 connection, as far as to tell whether it asks for `/health` or
//! `/ready`.
//!
//! The first header block of a connection is encoded against an empty dynamic table, so that its
//! path is there as it is: a literal, or one of two that stand in the static table and are neither.
//! Whatever is not understood is no such request; hyper judges it, on a core.
//!
//! Next, whatever it is: `conn` reads the same bytes from the start.

/// What the beginning of a connection holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// `/health` or `/ready`.
    AsksForState,
    /// Another request, or nothing that is understood.
    Other,
    /// No whole request yet.
    NotThere,
}

const FRAME_HEADER_BYTES: usize = 9;
/// The type of a frame that begins a request (RFC 9113, 6.2), and its flags.
const HEADERS: u8 = 1;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

/// `/health` and `/ready`, as they are and in HPACK's Huffman code (RFC 7541, appendix B).
const PLAIN: [&[u8]; 2] = [b"/health", b"/ready"];
const CODED: [&[u8]; 2] = [
    &[0x62, 0x72, 0x8e, 0x84, 0xcf],
    &[0x62, 0xc2, 0x8e, 0x4f, 0x5f],
];
/// Where `:path` stands in HPACK's static table.
const PATH: std::ops::RangeInclusive<usize> = 4..=5;

/// Looks at the frames behind the preface.
pub(super) fn first_request(mut frames: &[u8]) -> First {
    loop {
        let Some((header, rest)) = frames.split_at_checked(FRAME_HEADER_BYTES) else {
            return First::NotThere;
        };
        let len =
            usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let Some((payload, rest)) = rest.split_at_checked(len) else {
            return First::NotThere;
        };
        if header[3] == HEADERS {
            let asks = block_of(payload, header[4]).and_then(asks_for_state);
            return if asks == Some(true) {
                First::AsksForState
            } else {
                First::Other
            };
        }
        frames = rest;
    }
}

/// The header block of a HEADERS frame; the padding behind it does no harm.
fn block_of(payload: &[u8], flags: u8) -> Option<&[u8]> {
    let padding = usize::from(flags & PADDED != 0);
    let priority = if flags & PRIORITY == 0 { 0 } else { 5 };
    payload.get(padding + priority..)
}

/// Walks over header fields to the path. `None`: it has none, or is not understood.
fn asks_for_state(mut block: &[u8]) -> Option<bool> {
    loop {
        let first = *block.first()?;
        let (prefix_bits, is_literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            // The size of the dynamic table.
            0x20.. => (5, false),
            _ => (4, true),
        };
        let number = integer(&mut block, prefix_bits)?;
        if !is_literal {
            if first >= 0x80 && PATH.contains(&number) {
                return Some(false);
            }
            continue;
        }
        if number == 0 {
            string(&mut block)?;
        }
        let (is_coded, value) = string(&mut block)?;
        if PATH.contains(&number) {
            let asks = if is_coded { CODED } else { PLAIN };
            return Some(asks.contains(&value));
        }
    }
}

/// An integer behind a prefix of so many bits (RFC 7541, 5.1).
fn integer(block: &mut &[u8], prefix_bits: u32) -> Option<usize> {
    let full = (1 << prefix_bits) - 1;
    let mut next = || {
        let (first, rest) = block.split_first()?;
        *block = rest;
        Some(usize::from(*first))
    };
    let mut value = next()? & full;
    if value < full {
        return Some(value);
    }
    for shift in [0, 7, 14] {
        let byte = next()?;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A string, and whether it is in Huffman code (RFC 7541, 5.2).
fn string<'a>(block: &mut &'a [u8]) -> Option<(bool, &'a [u8])> {
    let is_coded = block.first()? & 0x80 != 0;
    let len = integer(block, 7)?;
    let (value, rest) = block.split_at_checked(len)?;
    *block = rest;
    Some((is_coded, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let len = u8::try_from(payload.len()).unwrap();
        [&[0, 0, len, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// A request with a method of the static table, an authority, and then a path as given.
    fn block(path: &[u8]) -> Vec<u8> {
        [&[0x82, 0x87, 0x41, 3, b'a', b'.', b'b'], path].concat()
    }

    #[test]
    fn the_path_is_found_in_every_encoding() {
        let literal = |first: u8, value: &[u8]| {
            let len = u8::try_from(value.len()).unwrap();
            [&[first, len], value].concat()
        };
        let coded = |first: u8, value: &[u8]| {
            let mut path = literal(first, value);
            path[1] |= 0x80;
            path
        };
        for (path, want) in [
            (literal(0x44, b"/health"), First::AsksForState),
            (literal(0x04, b"/ready"), First::AsksForState),
            (literal(0x15, b"/ready"), First::AsksForState),
            (coded(0x44, CODED[0]), First::AsksForState),
            (coded(0x04, CODED[1]), First::AsksForState),
            (literal(0x44, CODED[0]), First::Other),
            (literal(0x44, b"/healthy"), First::Other),
            (literal(0x44, b"/v1/stream/health"), First::Other),
            (vec![0x84], First::Other),
            (literal(0x53, b"/health"), First::Other),
            (
                [literal(0x53, b"*/*"), literal(0x44, b"/health")].concat(),
                First::AsksForState,
            ),
            (
                [&[0, 1, b'x', 1, b'y'][..], &literal(4, b"/ready")].concat(),
                First::AsksForState,
            ),
            (
                [&[0x3f, 0xe1, 0x1f][..], &literal(4, b"/ready")].concat(),
                First::AsksForState,
            ),
        ] {
            let frames = [
                frame(4, 0, &[]),
                frame(8, 0, &[0; 4]),
                frame(HEADERS, 4, &block(&path)),
            ];
            assert_eq!(first_request(&frames.concat()), want, "{path:x?}");
        }
    }

    #[test]
    fn padding_and_priority_stand_before_the_block() {
        let block = block(&[0x44, 0x85, 0x62, 0x72, 0x8e, 0x84, 0xcf]);
        let padded = [&[2, 0, 0, 0, 0, 0], &block[..], &[0, 0]].concat();
        let headers = frame(HEADERS, 4 | PADDED | PRIORITY, &padded);
        assert_eq!(first_request(&headers), First::AsksForState);
    }

    #[test]
    fn cut_anywhere_it_is_not_there_and_cut_in_the_block_it_is_another() {
        let block = block(&[0x44, 7, b'/', b'h', b'e', b'a', b'l', b't', b'h']);
        let whole = [frame(4, 0, &[0; 6]), frame(HEADERS, 4, &block)].concat();
        for len in 0..whole.len() {
            assert_eq!(first_request(&whole[..len]), First::NotThere, "{len}");
        }
        for len in 0..block.len() {
            let cut = frame(HEADERS, 0, &block[..len]);
            assert_eq!(first_request(&cut), First::Other, "{len}");
        }
        let endless = [0xff; 40];
        assert_eq!(first_request(&frame(HEADERS, 4, &endless)), First::Other);
    }
}
