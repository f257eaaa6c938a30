//! Choices out of bytes: the first bytes decide first, and bytes that are not there are zeros, so that
//! cutting or changing an input changes little of what it means.

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.u8()))
    }

    /// A number below `end`, of one byte.
    pub fn below(&mut self, end: u8) -> u8 {
        self.u8() % end
    }

    /// One of two.
    pub fn coin(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// A place in something of this length, of two bytes, or three where those do not reach; 0 where it
    /// has none.
    pub fn place(&mut self, len: usize) -> usize {
        let mut place = usize::from(self.u16());
        if len > 1 << 16 {
            place |= usize::from(self.u8()) << 16;
        }
        place % len.max(1)
    }

    /// At most `len` bytes.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}
