//! How a range of wire bytes is sent as a page.
//!
//! A JSON stream's wire bytes are messages that each end in `,`; a page is `[`, the range without
//! its last byte, `]` (PROTOCOL 9.1.5), and `[]` when there is nothing. All other streams are sent
//! as they are. Chunks pass through untouched, so that a server copies nothing.

use bytes::Bytes;
use millrace_core::ContentKind;

/// Sends one page: [`Self::opening`], then every chunk through [`Self::pass`], then
/// [`Self::closing`].
#[derive(Clone, Copy, Debug)]
pub struct Page {
    is_array: bool,
    /// How many wire bytes are still to be sent as they are.
    left: u64,
    content_length: u64,
}

impl Page {
    /// A page of `wire_bytes` bytes of a stream of this kind. For JSON the range ends at a message
    /// boundary.
    pub fn new(kind: ContentKind, wire_bytes: u64) -> Self {
        let is_array = kind == ContentKind::Json;
        let left = if is_array {
            wire_bytes.saturating_sub(1)
        } else {
            wire_bytes
        };
        Self {
            is_array,
            left,
            content_length: if is_array { left + 2 } else { left },
        }
    }

    /// The body's length.
    pub fn content_length(&self) -> u64 {
        self.content_length
    }

    /// What comes before the chunks.
    pub fn opening(&self) -> Bytes {
        Bytes::from_static(if self.is_array { b"[" } else { b"" })
    }

    /// The part of the next chunk that is sent; without the last byte of a JSON range.
    pub fn pass(&mut self, mut chunk: Bytes) -> Bytes {
        let len = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(chunk.len());
        chunk.truncate(len);
        self.left -= len as u64;
        chunk
    }

    /// What comes after the chunks.
    pub fn closing(&self) -> Bytes {
        Bytes::from_static(if self.is_array { b"]" } else { b"" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sent(kind: ContentKind, chunks: &[&[u8]]) -> Vec<u8> {
        let total: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        let mut page = Page::new(kind, total as u64);
        let mut body = page.opening().to_vec();
        for chunk in chunks {
            body.extend_from_slice(&page.pass(Bytes::copy_from_slice(chunk)));
        }
        body.extend_from_slice(&page.closing());
        assert_eq!(body.len() as u64, page.content_length());
        body
    }

    #[test]
    fn pages() {
        let json = ContentKind::Json;
        assert_eq!(sent(json, &[]), b"[]");
        assert_eq!(sent(json, &[b"1,"]), b"[1]");
        assert_eq!(sent(json, &[b"1,{},", b"2", b","]), b"[1,{},2]");
        assert_eq!(sent(ContentKind::Text, &[b"ab", b"c"]), b"abc");
        assert_eq!(sent(ContentKind::Binary, &[]), b"");
    }

    proptest! {
        #[test]
        fn chunking_does_not_show(messages in proptest::collection::vec("[0-9]{1,5}", 1..6), cut in 0..20_usize) {
            let wire = messages.join(",") + ",";
            let cut = cut.min(wire.len());
            let (a, b) = wire.as_bytes().split_at(cut);
            let want = format!("[{}]", messages.join(","));
            prop_assert_eq!(sent(ContentKind::Json, &[a, b]), want.into_bytes());
        }
    }
}
