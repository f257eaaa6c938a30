//! Inputs out of inputs, as libFuzzer makes them but without its eyes: the short pass tries the
//! neighbourhood of what is kept, the same one every time.

use millrace_env::Rng;

/// The longest input that is made.
const BYTES_MAX: usize = 4096;
/// Bytes that mean something to one of the readers.
const TOKENS: [&[u8]; 24] = [
    b"\0",
    b"\xff",
    b"\r\n",
    b"\r",
    b"\n",
    b"\n\n",
    b" ",
    b",",
    b":",
    b"&",
    b"%",
    b"+",
    b"-1",
    b"0",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b"\\u",
    b"\xe2\x80\xa8",
    b"\xef\xbb\xbf",
    b"\x80\x80",
    b"18446744073709551615",
];

/// A neighbour of `input`; `other` lends bytes.
pub fn mutated(rng: &Rng, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=rng.below(3) {
        stroke(rng, &mut bytes, other);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn stroke(rng: &Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = place(rng, bytes.len() + 1);
    match rng.below(7) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = rng.next().to_le_bytes()[0];
            }
        }
        2 => {
            let until = bytes.len().min(at + place(rng, 16));
            bytes.drain(at..until);
        }
        3 => {
            let token = TOKENS[place(rng, TOKENS.len())];
            bytes.splice(at..at, token.iter().copied());
        }
        4 => {
            let until = bytes.len().min(at + place(rng, 64));
            let again = bytes[at..until].to_vec();
            bytes.splice(at..at, again);
        }
        5 => {
            let from = place(rng, other.len() + 1);
            let until = other.len().min(from + place(rng, 128));
            bytes.splice(at..at, other[from..until].iter().copied());
        }
        _ => bytes.truncate(at),
    }
}

fn place(rng: &Rng, len: usize) -> usize {
    let at = rng.below(len.max(1) as u64);
    usize::try_from(at).expect("it fits a length")
}
