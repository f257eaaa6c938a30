//! Entity tags of pages, and `If-None-Match`.
//!
//! A tag names the stream's incarnation, the page's first and last offset (each with its
//! generation), in which form it is, and how the page ends: at the tail, short of it, or at the end of a closed stream.
//! So it changes when bytes are added, when the stream is closed without bytes (PROTOCOL 10.1), and
//! when a stream is deleted and made again under the same name.

use std::fmt;

use millrace_core::{Offset, StreamId};

use crate::{
    offset::{TOKEN_BYTES, Token},
    query::Format,
};

/// How a page ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageEnd {
    /// More bytes follow.
    Short,
    /// At the tail of an open stream.
    Tail,
    /// At the end of a closed stream.
    Closed,
}

impl PageEnd {
    /// From what a read says of itself; `closed` counts only at the tail.
    pub fn new(up_to_date: bool, closed: bool) -> Self {
        match (up_to_date, closed) {
            (false, _) => Self::Short,
            (true, false) => Self::Tail,
            (true, true) => Self::Closed,
        }
    }
}

/// The most bytes of a tag: quotes, 16 hexadecimal digits, two tokens, a mark, and what is between.
const ETAG_BYTES_MAX: usize = 2 + 16 + 2 * (1 + TOKEN_BYTES) + 3;

/// A tag's text, with its quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ETag {
    text: [u8; ETAG_BYTES_MAX],
    len: usize,
}

impl ETag {
    /// The tag of the page of `stream` from `start` up to `next`, in this form.
    pub fn new(
        stream: StreamId,
        start: Offset,
        next: Offset,
        end: PageEnd,
        format: Format,
    ) -> Self {
        let mark: &[u8] = match (format, end) {
            (Format::Content, PageEnd::Short) => b":p",
            (Format::Content, PageEnd::Tail) => b"",
            (Format::Content, PageEnd::Closed) => b":c",
            (Format::Messages, PageEnd::Short) => b":mp",
            (Format::Messages, PageEnd::Tail) => b":m",
            (Format::Messages, PageEnd::Closed) => b":mc",
        };
        let mut tag = Self {
            text: [0; ETAG_BYTES_MAX],
            len: 0,
        };
        tag.push(b"\"");
        tag.push_hex(stream.get());
        for offset in [start, next] {
            tag.push(b":");
            tag.push(Token::new(offset).as_bytes());
        }
        tag.push(mark);
        tag.push(b"\"");
        tag
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.text[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Without zeros in front, but for 0 itself.
    fn push_hex(&mut self, number: u64) {
        let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            let digit = (number >> (4 * digit) & 0xF) as usize;
            self.push(&b"0123456789abcdef"[digit..=digit]);
        }
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// Whether one of a request's `If-None-Match` lists names `etag`, so that the answer is 304. The
/// comparison is the weak one (RFC 9110 section 13.1.2).
pub fn is_not_modified(lists: &[&[u8]], etag: &ETag) -> bool {
    lists.iter().any(|list| names(list, etag.as_bytes()))
}

fn names(mut list: &[u8], etag: &[u8]) -> bool {
    loop {
        list = list.trim_ascii_start();
        let Some(first) = list.first() else {
            return false;
        };
        match first {
            b',' => list = &list[1..],
            b'*' => return true,
            _ => {
                let (tag, rest) = split_tag(list);
                if tag == etag {
                    return true;
                }
                list = rest;
            }
        }
    }
}

/// The first tag without its weakness mark, and what follows it. A tag without quotes, as some
/// clients send it, ends at the comma and names nothing of ours.
fn split_tag(list: &[u8]) -> (&[u8], &[u8]) {
    let list = list.strip_prefix(b"W/").unwrap_or(list);
    let quoted = list
        .strip_prefix(b"\"")
        .and_then(|inside| inside.iter().position(|byte| *byte == b'"'));
    let len = match quoted {
        Some(inside) => inside + 2,
        None => list
            .iter()
            .position(|byte| *byte == b',')
            .unwrap_or(list.len()),
    };
    list.split_at(len)
}

#[cfg(test)]
mod tests {
    use millrace_core::{Generation, SlotId, StreamPos};
    use proptest::prelude::*;

    use super::*;

    fn offset(position: u64) -> Offset {
        Offset {
            generation: Generation(1),
            position: StreamPos(position),
        }
    }

    fn of(birth: u64, start: u64, next: u64, end: PageEnd) -> ETag {
        let stream = StreamId::new(SlotId(3), Generation(birth));
        ETag::new(stream, offset(start), offset(next), end, Format::Content)
    }

    fn matches(lists: &[&str], tag: &ETag) -> bool {
        let lists: Vec<&[u8]> = lists.iter().map(|list| list.as_bytes()).collect();
        is_not_modified(&lists, tag)
    }

    #[test]
    fn t54_a_tag_changes_with_everything_a_reader_must_notice() {
        let tags = [
            of(1, 0, 9, PageEnd::Tail),
            of(2, 0, 9, PageEnd::Tail),
            of(1, 3, 9, PageEnd::Tail),
            of(1, 0, 10, PageEnd::Tail),
            of(1, 0, 9, PageEnd::Closed),
            of(1, 0, 9, PageEnd::Short),
        ];
        for (i, tag) in tags.iter().enumerate() {
            assert!(tags[i + 1..].iter().all(|other| other != tag), "{tag:?}");
            assert!(tag.as_bytes().starts_with(b"\"") && tag.as_bytes().ends_with(b"\""));
        }
    }

    #[test]
    fn a_tag_is_written_as_it_always_was() {
        for (number, hex) in [
            (0, "0"),
            (0xa, "a"),
            (0x10, "10"),
            (u64::MAX, "ffffffffffffffff"),
        ] {
            let mut tag = of(1, 0, 9, PageEnd::Tail);
            tag.len = 0;
            tag.push_hex(number);
            assert_eq!(tag.as_bytes(), hex.as_bytes());
        }
        let stream = StreamId::new(SlotId(3), Generation(1));
        let (from, to) = (Token::new(offset(0)), Token::new(offset(9)));
        assert_eq!(
            format!("{:?}", of(1, 0, 9, PageEnd::Closed)),
            format!("\"{:x}:{from}:{to}:c\"", stream.get())
        );
    }

    #[test]
    fn lists_stars_and_weak_forms_are_understood() {
        let tag = of(1, 0, 9, PageEnd::Tail);
        let text = str::from_utf8(tag.as_bytes()).unwrap();
        for list in [
            text.to_owned(),
            format!("W/{text}"),
            format!("\"a\", {text}"),
            format!("\"a,b\",W/\"c\" , {text}, \"d\""),
            format!(",, {text}"),
            "*".to_owned(),
            format!("bare, {text}"),
        ] {
            assert!(matches(&[&list], &tag), "{list}");
        }
        assert!(matches(&["\"a\"", text], &tag), "a second header line");
    }

    #[test]
    fn other_tags_do_not_match() {
        let tag = of(1, 0, 9, PageEnd::Tail);
        let text = str::from_utf8(tag.as_bytes()).unwrap();
        let bare = text.trim_matches('"');
        for list in [
            "",
            ",",
            "\"wrong-etag\"",
            bare,
            "\"",
            "W/",
            "W/\"*\"",
            "\"*\"",
        ] {
            assert!(!matches(&[list], &tag), "{list}");
        }
        assert!(!matches(&[], &tag));
    }

    proptest! {
        #[test]
        fn no_list_makes_it_loop_or_panic(list in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = names(&list, b"\"x\"");
        }
    }
}
