//! Offset tokens: `<generation, 13 digits>-<position, 16 digits>`.
//!
//! Fixed width, so that the order of texts is the order of offsets (PROTOCOL 8). No `_`, because a
//! public Yjs server adds 1 to what follows an underscore. Only the exact form is read: a token that
//! was shortened, padded or signed is malformed, never guessed at.
//!
//! Not here: whether a stream owns an offset (`millrace-core`).

use std::fmt;

use http::HeaderValue;
use millrace_core::{ForkAnchor, Generation, Offset, StreamPos};

const GENERATION_DIGITS: usize = 13;
const POSITION_DIGITS: usize = 16;
/// The bytes of a token.
pub(crate) const TOKEN_BYTES: usize = GENERATION_DIGITS + 1 + POSITION_DIGITS;
const POSITION_MAX: u64 = 9_999_999_999_999_999;

/// What other systems and the public test suite use for a stream's start; read, never written.
const ZERO_LITERAL: &str = "0000000000000000_0000000000000000";

/// An offset as a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetArg {
    /// `-1`, or the all-zero literal: the stream's start.
    Start,
    /// `now`: the tail at the time of the request.
    Now,
    /// A token.
    At(Offset),
}

impl OffsetArg {
    /// Reads a request's offset; `None` when it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "-1" | ZERO_LITERAL => Some(Self::Start),
            "now" => Some(Self::Now),
            _ => parse_token(text).map(Self::At),
        }
    }

    /// What it means in `Stream-Fork-Offset`.
    pub fn anchor(self) -> ForkAnchor {
        match self {
            Self::Start => ForkAnchor::Start,
            Self::Now => ForkAnchor::Tail,
            Self::At(offset) => ForkAnchor::At(offset),
        }
    }

    /// Whether it names one position for ever, so that what follows it may be cached.
    pub fn is_concrete(self) -> bool {
        matches!(self, Self::At(_))
    }
}

/// Reads a token; `None` when it is not exactly of the fixed form.
pub fn parse_token(text: &str) -> Option<Offset> {
    let bytes = text.as_bytes();
    if bytes.len() != TOKEN_BYTES || bytes[GENERATION_DIGITS] != b'-' {
        return None;
    }
    Some(Offset {
        generation: Generation(number(&bytes[..GENERATION_DIGITS])?),
        position: StreamPos(number(&bytes[GENERATION_DIGITS + 1..])?),
    })
}

/// At most 16 digits, so the sum stays far inside 64 bits.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number: u64, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + u64::from(byte - b'0'))
    })
}

/// An offset's text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token([u8; TOKEN_BYTES]);

impl Token {
    /// The text of `offset`.
    ///
    /// # Panics
    /// When a number has more digits than the form: a stream of 10 petabytes.
    pub fn new(offset: Offset) -> Self {
        assert!(
            offset.generation <= Generation::MAX && offset.position.get() <= POSITION_MAX,
            "{offset:?} fits a token"
        );
        let mut text = [b'-'; TOKEN_BYTES];
        write_digits(&mut text[..GENERATION_DIGITS], offset.generation.get());
        write_digits(&mut text[GENERATION_DIGITS + 1..], offset.position.get());
        Self(text)
    }

    /// The text, as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a token is digits and a hyphen")
    }
}

impl From<Offset> for Token {
    fn from(offset: Offset) -> Self {
        Self::new(offset)
    }
}

impl From<Token> for HeaderValue {
    fn from(token: Token) -> Self {
        Self::from_bytes(&token.0).expect("a token is digits and a hyphen")
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Most numbers are much shorter than their place.
fn write_digits(out: &mut [u8], mut number: u64) {
    out.fill(b'0');
    for byte in out.iter_mut().rev() {
        if number == 0 {
            break;
        }
        *byte = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offset(generation: u64, position: u64) -> Offset {
        Offset {
            generation: Generation(generation),
            position: StreamPos(position),
        }
    }

    #[test]
    fn tokens_have_a_fixed_width() {
        let token = Token::new(offset(7, 42));
        assert_eq!(token.as_str(), "0000000000007-0000000000000042");
        let last = Token::new(offset(9_999_999_999, POSITION_MAX));
        assert_eq!(last.as_str(), "0009999999999-9999999999999999");
    }

    #[test]
    fn sentinels_and_tokens_are_read() {
        for (text, want) in [
            ("-1", OffsetArg::Start),
            (ZERO_LITERAL, OffsetArg::Start),
            ("now", OffsetArg::Now),
            (
                "0000000000007-0000000000000042",
                OffsetArg::At(offset(7, 42)),
            ),
            (
                "0000000000000-0000000000000000",
                OffsetArg::At(offset(0, 0)),
            ),
        ] {
            assert_eq!(OffsetArg::parse(text), Some(want), "{text}");
        }
    }

    #[test]
    fn t36_anything_else_is_malformed() {
        for text in [
            "",
            "0",
            "-2",
            "NOW",
            "now ",
            " -1",
            "7-42",
            "0,1",
            "18446744073709551615",
            "9999999999999999_9999999999999999",
            "0000000000000000_0000000000000001",
            "0000000007_0000000000000042",
            "0000000007-000000000000004",
            "0000000007-00000000000000042",
            "+000000007-0000000000000042",
            "0000000007-+000000000000042",
            "0000000007-000000000000004a",
            "0000000007-00000000000000\u{664}",
        ] {
            assert_eq!(OffsetArg::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_fork_offset_is_an_anchor() {
        assert_eq!(OffsetArg::Start.anchor(), ForkAnchor::Start);
        assert_eq!(OffsetArg::Now.anchor(), ForkAnchor::Tail);
        let at = offset(1, 2);
        assert_eq!(OffsetArg::At(at).anchor(), ForkAnchor::At(at));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(generation in 0..=9_999_999_999_u64, position in 0..=POSITION_MAX) {
            let offset = offset(generation, position);
            prop_assert_eq!(parse_token(Token::new(offset).as_str()), Some(offset));
        }

        #[test]
        fn texts_sort_as_offsets_do(
            a in (0..=9_999_999_999_u64, 0..=POSITION_MAX),
            b in (0..=9_999_999_999_u64, 0..=POSITION_MAX),
        ) {
            let (a, b) = (offset(a.0, a.1), offset(b.0, b.1));
            prop_assert_eq!(a.cmp(&b), Token::new(a).as_str().cmp(Token::new(b).as_str()));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = OffsetArg::parse(&text);
        }
    }
}
