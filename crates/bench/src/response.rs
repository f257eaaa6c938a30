//! Responses, as they come in: the few headers that matter, and bodies by length, by chunks, or to
//! the end of the connection. Nothing of a body is kept here.

use memchr::memchr;

use crate::BenchError;

/// A line of a head may be so long.
const LINE_BYTES_MAX: usize = 16 << 10;

/// What matters of a head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// `Stream-Next-Offset`; empty where there was none.
    pub(crate) next_offset: Vec<u8>,
    /// `Stream-Up-To-Date` was there.
    pub(crate) is_up_to_date: bool,
    /// The server will end the connection.
    pub(crate) closes: bool,
    length: Option<u64>,
    is_chunked: bool,
}

/// A part of a response.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    Head(&'a Head),
    Body(&'a [u8]),
    End(&'a Head),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    First,
    Header,
    Body(u64),
    ToTheEnd,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
}

/// Takes bytes, gives pieces.
#[derive(Debug)]
pub(crate) struct Responses {
    state: State,
    head: Head,
    /// The beginning of a line that is not whole yet.
    line: Vec<u8>,
    /// Answers to HEAD have no body, whatever they say.
    is_bodyless: bool,
}

impl Responses {
    pub(crate) fn new(is_bodyless: bool) -> Self {
        Self {
            state: State::First,
            head: Head::default(),
            line: Vec::new(),
            is_bodyless,
        }
    }

    /// The head that was read last.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Whether a response has begun and not ended.
    pub(crate) fn is_amid(&self) -> bool {
        self.state != State::First || !self.line.is_empty()
    }

    /// Whether the end of the connection is the end of the response.
    pub(crate) fn is_to_the_end(&self) -> bool {
        self.state == State::ToTheEnd
    }

    /// Goes through `bytes`; `take` is called with each piece in turn.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(Piece<'_>) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        while !bytes.is_empty() {
            match self.state {
                State::Body(left) | State::Chunk(left) => {
                    let (now, rest) = split(bytes, left);
                    take(Piece::Body(now))?;
                    bytes = rest;
                    self.took(now.len() as u64, left, &mut take)?;
                }
                State::ToTheEnd => {
                    take(Piece::Body(bytes))?;
                    return Ok(());
                }
                _ => bytes = self.line(bytes, &mut take)?,
            }
        }
        Ok(())
    }

    fn took(
        &mut self,
        taken: u64,
        left: u64,
        take: &mut impl FnMut(Piece<'_>) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        self.state = match self.state {
            State::Body(_) if taken == left => return self.end(take),
            State::Body(_) => State::Body(left - taken),
            _ if taken == left => State::ChunkEnd,
            _ => State::Chunk(left - taken),
        };
        Ok(())
    }

    /// Takes a line, or the beginning of one.
    fn line<'a>(
        &mut self,
        bytes: &'a [u8],
        take: &mut impl FnMut(Piece<'_>) -> Result<(), BenchError>,
    ) -> Result<&'a [u8], BenchError> {
        let Some(end) = memchr(b'\n', bytes) else {
            if self.line.len() + bytes.len() > LINE_BYTES_MAX {
                return Err(malformed(bytes));
            }
            self.line.extend_from_slice(bytes);
            return Ok(&[]);
        };
        let (now, rest) = (&bytes[..end], &bytes[end + 1..]);
        if self.line.is_empty() {
            self.whole(now, take)?;
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(now);
            self.whole(&line, take)?;
            line.clear();
            self.line = line;
        }
        Ok(rest)
    }

    fn whole(
        &mut self,
        line: &[u8],
        take: &mut impl FnMut(Piece<'_>) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.state {
            State::First => {
                self.head.begin(line)?;
                self.state = State::Header;
            }
            State::Header if line.is_empty() => return self.body(take),
            State::Header => self.head.header(line)?,
            State::ChunkSize => {
                let digits = line.split(|byte| *byte == b';').next().unwrap_or(line);
                let size = std::str::from_utf8(digits).ok();
                let size = size.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
                self.state = match size.ok_or_else(|| malformed(line))? {
                    0 => State::Trailer,
                    size => State::Chunk(size),
                };
            }
            State::ChunkEnd => self.state = State::ChunkSize,
            State::Trailer if line.is_empty() => return self.end(take),
            _ => {}
        }
        Ok(())
    }

    fn body(
        &mut self,
        take: &mut impl FnMut(Piece<'_>) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        let head = &self.head;
        take(Piece::Head(head))?;
        let has_none = self.is_bodyless || matches!(head.status, 100..200 | 204 | 304);
        self.state = match head.length {
            _ if has_none => return self.end(take),
            _ if head.is_chunked => State::ChunkSize,
            Some(0) => return self.end(take),
            Some(length) => State::Body(length),
            None => State::ToTheEnd,
        };
        Ok(())
    }

    fn end(
        &mut self,
        take: &mut impl FnMut(Piece<'_>) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        self.state = State::First;
        take(Piece::End(&self.head))
    }
}

impl Head {
    fn begin(&mut self, line: &[u8]) -> Result<(), BenchError> {
        let status = line
            .strip_prefix(b"HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        let status = status.and_then(number).ok_or_else(|| malformed(line))?;
        let mut next_offset = std::mem::take(&mut self.next_offset);
        next_offset.clear();
        *self = Self {
            status: u16::try_from(status).expect("three digits"),
            next_offset,
            ..Self::default()
        };
        Ok(())
    }

    fn header(&mut self, line: &[u8]) -> Result<(), BenchError> {
        let colon = memchr(b':', line).ok_or_else(|| malformed(line))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // The length of a name tells most of them apart.
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.closes = value.eq_ignore_ascii_case(b"close");
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.length = Some(number(value).ok_or_else(|| malformed(line))?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.is_chunked = value.eq_ignore_ascii_case(b"chunked");
            }
            17 if name.eq_ignore_ascii_case(b"stream-up-to-date") => self.is_up_to_date = true,
            18 if name.eq_ignore_ascii_case(b"stream-next-offset") => {
                self.next_offset.extend_from_slice(value);
            }
            _ => {}
        }
        Ok(())
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn split(bytes: &[u8], at_most: u64) -> (&[u8], &[u8]) {
    let at = usize::try_from(at_most).map_or(bytes.len(), |most| most.min(bytes.len()));
    bytes.split_at(at)
}

fn malformed(line: &[u8]) -> BenchError {
    let line = &line[..line.len().min(80)];
    BenchError::Broken(format!("no HTTP: {:?}", String::from_utf8_lossy(line)))
}

#[cfg(test)]
mod tests;
