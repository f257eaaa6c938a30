//! Offset tokens. Only the exact form is read, what is read is written back the same, and the order of
//! texts is the order of offsets (PROTOCOL 8; T34, T36).

use http::HeaderValue;
use millrace_core::{Generation, Offset, StreamPos};
use millrace_wire::{OffsetArg, Token, offset::parse_token};

use crate::input::Input;

const POSITION_MAX: u64 = 9_999_999_999_999_999;

/// Half of the input is a text to read, the other half two offsets to write.
pub fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        read(text);
    }
    let mut input = Input::new(bytes);
    let (one, other) = (offset(&mut input), offset(&mut input));
    let (first, second) = (Token::new(one), Token::new(other));
    assert_eq!(parse_token(first.as_str()), Some(one), "it leads back");
    assert_eq!(
        first.as_str().cmp(second.as_str()),
        (one.generation, one.position).cmp(&(other.generation, other.position)),
        "texts are ordered as offsets"
    );
    assert_eq!(HeaderValue::from(first).as_bytes(), first.as_bytes());
}

fn read(text: &str) {
    let wanted = match text {
        "-1" | "0000000000000000_0000000000000000" => Some(OffsetArg::Start),
        "now" => Some(OffsetArg::Now),
        _ => spelled(text).map(OffsetArg::At),
    };
    assert_eq!(OffsetArg::parse(text), wanted, "{text:?}");
    if let Some(OffsetArg::At(offset)) = wanted {
        assert_eq!(Token::new(offset).as_str(), text, "one text an offset");
    }
}

/// The form as its documentation has it.
fn spelled(text: &str) -> Option<Offset> {
    let (generation, position) = text.split_once('-')?;
    let digits =
        |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    (digits(generation, 13) && digits(position, 16)).then(|| Offset {
        generation: Generation(generation.parse().expect("13 digits")),
        position: StreamPos(position.parse().expect("16 digits")),
    })
}

fn offset(input: &mut Input<'_>) -> Offset {
    // Mostly neighbours: an order goes wrong between them first.
    let (generation, position) = if input.coin() {
        (input.u64(), input.u64())
    } else {
        (u64::from(input.u8()), u64::from(input.u16()))
    };
    Offset {
        generation: Generation(generation % (Generation::MAX.get() + 1)),
        position: StreamPos(position % (POSITION_MAX + 1)),
    }
}
