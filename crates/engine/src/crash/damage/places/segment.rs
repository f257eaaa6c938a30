//! A segment: everything is found from its trailer.

use super::{Place, number, place_in};

const HEADER: usize = 32;
/// What one checksum covers.
const BLOCK: usize = 16 << 10;
const TRAILER: usize = 64;
const ENTRY: usize = 52;
const PAGE_ENTRY: usize = 20;

pub(super) fn places(path: &str, bytes: &[u8]) -> Vec<Place> {
    let trailer = bytes.len() - TRAILER;
    assert!(bytes[trailer..].starts_with(b"millrend"), "{path}");
    let extents = usize::try_from(number::<4>(bytes, trailer + 12)).expect("few");
    let index = place_in(bytes, trailer + 24);
    let directory = place_in(bytes, trailer + 32);
    let footer = place_in(bytes, trailer + 40);
    let mut places = Vec::new();
    let mut add = |structure: &'static str, from: usize, until: usize| {
        let file = path.to_owned();
        let bytes = from..until;
        let in_first_block = (HEADER..BLOCK.min(footer)).contains(&from);
        let structure = if in_first_block {
            "a segment: what else is in its first block"
        } else {
            structure
        };
        places.push(Place {
            structure,
            file,
            bytes,
        });
    };
    add("a segment: header", 0, HEADER);
    let mut from = HEADER;
    while from < index {
        let until = (from / BLOCK * BLOCK + BLOCK).min(index);
        add("a segment: data", from, until);
        from = until;
    }
    for extent in (0..extents).map(|n| directory + n * ENTRY) {
        let pages_at = place_in(bytes, extent + 32);
        let pages = usize::try_from(number::<4>(bytes, extent + 40)).expect("few");
        for entry in (0..pages).map(|n| pages_at + n * PAGE_ENTRY) {
            let page = place_in(bytes, entry + 8);
            let len = usize::try_from(number::<4>(bytes, entry + 16)).expect("short");
            add("a segment: index pages", page, page + len);
        }
        add(
            "a segment: page directory",
            pages_at,
            pages_at + pages * PAGE_ENTRY,
        );
    }
    add("a segment: extent directory", directory, footer);
    add("a segment: footer", footer, trailer);
    add("a segment: trailer", trailer, bytes.len());
    places
}
