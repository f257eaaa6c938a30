//! Facts and states to bytes and back, by hand: every persisted byte stands in `docs/format.md`.
//!
//! Numbers are LEB128 varints in their shortest form, or fixed little-endian; byte strings are
//! prefixed with their length. A [`Decoder`] answers an error on any malformed input; it never
//! panics and never makes room for more than what the input can hold.
//!
//! Layout: this file (bytes and numbers), [`parts`] (the protocol's nouns), [`event`] (the log's
//! facts).
//!
//! Not here: checksums and framing; what is decoded here has passed one before.

pub mod event;
pub mod parts;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

use std::ops::Range;

/// Something with one byte form.
pub trait Stored: Sized {
    /// Appends the byte form.
    fn put(&self, out: &mut Encoder);
    /// Reads one.
    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed>;
}

/// Bytes that are no byte form of what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is malformed at byte {at}")]
pub struct Malformed {
    /// What was expected.
    pub what: &'static str,
    /// Where, from the start of the decoder's input.
    pub at: usize,
}

/// Collects bytes.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
        }
    }

    /// How many bytes there are so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none so far.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes so far, to fill in what is known only at the end.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// All of it.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    /// A number in one to ten bytes.
    #[expect(clippy::cast_possible_truncation, reason = "seven bits a byte")]
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A length, then the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }

    /// A length, then UTF-8.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// How many, then each.
    pub fn list<'a, T: Stored + 'a>(&mut self, items: impl ExactSizeIterator<Item = &'a T>) {
        self.varint(items.len() as u64);
        for item in items {
            item.put(self);
        }
    }

    /// Zeros until the length is a multiple of `to`.
    pub fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }
}

/// Reads what an [`Encoder`] wrote, from bytes that may be anything.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    /// Reads `bytes` from their start.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Reads `bytes` from `at`, so that positions count from the start of `bytes`.
    pub fn starting_at(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at: at.min(bytes.len()),
        }
    }

    /// How far it has read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// What is wrong here, for decoders built on this one.
    pub fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { what, at: self.at }
    }

    /// Fails unless all was read.
    pub fn finish(&self) -> Result<(), Malformed> {
        match self.remaining() {
            0 => Ok(()),
            _ => Err(self.malformed("the end")),
        }
    }

    /// The next `len` bytes, as a range of the input.
    pub fn range(&mut self, len: usize, what: &'static str) -> Result<Range<usize>, Malformed> {
        if len > self.remaining() {
            return Err(self.malformed(what));
        }
        let start = self.at;
        self.at += len;
        Ok(start..self.at)
    }

    /// The next `len` bytes.
    pub fn raw(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let range = self.range(len, what)?;
        Ok(&self.bytes[range])
    }

    fn fixed<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let raw = self.raw(N, what)?;
        Ok(raw.try_into().expect("as many bytes as were asked for"))
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.fixed::<1>(what).map(|[byte]| byte)
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        self.fixed(what).map(u16::from_le_bytes)
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.fixed(what).map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.fixed(what).map(u64::from_le_bytes)
    }

    /// A varint. Only its shortest form is accepted, so that equal things have equal bytes.
    pub fn varint(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let start = self.at;
        let fault = Malformed { what, at: start };
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(fault);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return shortest.then_some(value).ok_or(fault);
            }
        }
        Err(fault)
    }

    /// A varint that fits 32 bits.
    pub fn varint_u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        let at = self.at;
        u32::try_from(self.varint(what)?).map_err(|_| Malformed { what, at })
    }

    /// How many things follow, each of at least `bytes_min` bytes: never more than the input can
    /// hold, so that room may be made for them.
    pub fn count(&mut self, bytes_min: usize, what: &'static str) -> Result<usize, Malformed> {
        let at = self.at;
        let count = self.varint(what)?;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.remaining() / bytes_min.max(1))
            .ok_or(Malformed { what, at })
    }

    /// A length, then as many bytes.
    pub fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let len = self.count(1, what)?;
        self.raw(len, what)
    }

    /// A length, then UTF-8.
    pub fn text(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        let at = self.at;
        std::str::from_utf8(self.bytes(what)?).map_err(|_| Malformed { what, at })
    }

    /// How many, then each; each takes at least one byte.
    pub fn list<T: Stored>(&mut self, what: &'static str) -> Result<Vec<T>, Malformed> {
        let count = self.count(1, what)?;
        // A count is bounded by the input's bytes, the items' size in memory is not: grow as read.
        let mut items = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            items.push(T::take(self)?);
        }
        Ok(items)
    }
}

impl Stored for bool {
    fn put(&self, out: &mut Encoder) {
        out.u8(u8::from(*self));
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let fault = from.malformed("a flag");
        match from.u8("a flag")? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(fault),
        }
    }
}

impl<T: Stored> Stored for Option<T> {
    fn put(&self, out: &mut Encoder) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        bool::take(from)?.then(|| T::take(from)).transpose()
    }
}
