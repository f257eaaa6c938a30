//! The catalog's file: a page of checksums before every group of pages, the first of which is the
//! header's.

use super::Place;

/// The length of a page.
pub(in super::super) const PAGE: usize = 4096;
const GROUP_PAGES: usize = 1020;
const CHECKSUMS_AT: usize = 16;
const COPY: usize = 512;

/// How many pages of `redb` a file has.
pub(in super::super) fn page_count(bytes: &[u8]) -> usize {
    let pages = bytes.len() / PAGE;
    pages - pages.div_ceil(GROUP_PAGES + 1)
}

/// Where a page stands in the file.
pub(in super::super) fn page_place(page: usize) -> usize {
    ((GROUP_PAGES + 1) * (page / GROUP_PAGES) + 1 + page % GROUP_PAGES) * PAGE
}

pub(super) fn places(path: &str, bytes: &[u8], in_use: &[bool]) -> Vec<Place> {
    let mut places = Vec::new();
    let mut add = |structure, from, len| {
        let file = path.to_owned();
        let bytes = from..from + len;
        places.push(Place {
            structure,
            file,
            bytes,
        });
    };
    for group in 0..page_count(bytes).div_ceil(GROUP_PAGES) {
        let at = group * (GROUP_PAGES + 1) * PAGE;
        assert!(bytes[at..].starts_with(b"millrcat"), "{path}");
        add("the catalog: head of a page of checksums", at, CHECKSUMS_AT);
    }
    let header = page_place(0);
    add("the catalog: first copy of the header", header, COPY);
    add(
        "the catalog: second copy of the header",
        header + COPY,
        COPY,
    );
    add(
        "the catalog: what is behind the copies",
        header + 2 * COPY,
        PAGE - 2 * COPY,
    );
    for (page, is_used) in in_use.iter().enumerate().skip(1) {
        let group = page_place(page - page % GROUP_PAGES) - PAGE;
        let checksum = group + CHECKSUMS_AT + 4 * (page % GROUP_PAGES);
        if *is_used {
            add("the catalog: checksum of a page in use", checksum, 4);
            add("the catalog: a page in use", page_place(page), PAGE);
        } else {
            add("the catalog: checksum of a page not in use", checksum, 4);
            add("the catalog: a page not in use", page_place(page), PAGE);
        }
    }
    places
}
