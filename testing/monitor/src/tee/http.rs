//! HTTP/1.1 read in passing, one direction at a time.
//!
//! It is strict: what two readers could read in two ways is not read at all.

use httparse::{EMPTY_HEADER, Header, Status};

use crate::watch::Fields;

/// BOUND: a longer head is not read.
const HEAD_BYTES_MAX: usize = 256 << 10;
const HEADERS_MAX: usize = 256;

/// What passes cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// A head.
#[derive(Debug)]
pub(super) struct Head {
    /// The method, or nothing for an answer.
    pub(super) method: String,
    pub(super) target: String,
    /// 0 for a request.
    pub(super) status: u16,
    pub(super) is_old: bool,
    pub(super) fields: Fields,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Sized(u64),
    Chunked,
    /// With the connection.
    Open,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Head,
    Sized(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    Open,
}

/// A part of what passes.
#[derive(Debug)]
pub(super) enum Part<'a> {
    Head(Head),
    Body(&'a [u8]),
    /// A body, even an empty one, has passed.
    End,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Messages {
    next: Next,
    /// A head or a line that is not whole yet.
    begun: Vec<u8>,
    is_request: bool,
}

impl Messages {
    pub(super) fn new(is_request: bool) -> Self {
        Self {
            next: Next::Head,
            begun: Vec::new(),
            is_request,
        }
    }

    /// Whether a body ends with the connection.
    pub(super) fn is_open(&self) -> bool {
        self.next == Next::Open
    }

    /// How the body goes on whose head was just given.
    pub(super) fn follows(&mut self, extent: Extent) {
        self.next = match extent {
            Extent::Sized(len) => Next::Sized(len),
            Extent::Chunked => Next::ChunkSize,
            Extent::Open => Next::Open,
        };
    }

    /// Takes the next part off `bytes`; `None` when there is no whole one.
    pub(super) fn take<'a>(
        &mut self,
        bytes: &mut &'a [u8],
    ) -> Result<Option<Part<'a>>, Unreadable> {
        loop {
            match self.next {
                Next::Sized(0) => {
                    self.next = Next::Head;
                    return Ok(Some(Part::End));
                }
                _ if bytes.is_empty() => return Ok(None),
                Next::Head => return self.head(bytes).map(|head| head.map(Part::Head)),
                Next::Sized(left) => {
                    let (part, left) = some(bytes, left);
                    self.next = Next::Sized(left);
                    return Ok(Some(Part::Body(part)));
                }
                Next::Chunk(left) => {
                    let (part, left) = some(bytes, left);
                    self.next = if left == 0 {
                        Next::ChunkEnd
                    } else {
                        Next::Chunk(left)
                    };
                    return Ok(Some(Part::Body(part)));
                }
                Next::Open => return Ok(Some(Part::Body(std::mem::take(bytes)))),
                Next::ChunkSize | Next::ChunkEnd | Next::Trailers => {
                    let Some(line) = self.line(bytes)? else {
                        return Ok(None);
                    };
                    if self.next == Next::Trailers && line.is_empty() {
                        self.next = Next::Head;
                        return Ok(Some(Part::End));
                    }
                    self.next = after(self.next, &line)?;
                }
            }
        }
    }

    fn head(&mut self, bytes: &mut &[u8]) -> Result<Option<Head>, Unreadable> {
        let before = self.begun.len();
        self.begun.extend_from_slice(bytes);
        match parsed(&self.begun, self.is_request)? {
            Some((head, len)) => {
                *bytes = &bytes[len - before..];
                self.begun.clear();
                Ok(Some(head))
            }
            None if self.begun.len() > HEAD_BYTES_MAX => Err(Unreadable),
            None => {
                *bytes = &[];
                Ok(None)
            }
        }
    }

    /// A line without its end, which must be CRLF.
    fn line(&mut self, bytes: &mut &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let len = end.map_or(bytes.len(), |end| end + 1);
        let (part, rest) = bytes.split_at(len);
        self.begun.extend_from_slice(part);
        *bytes = rest;
        if end.is_none() {
            return if self.begun.len() > HEAD_BYTES_MAX {
                Err(Unreadable)
            } else {
                Ok(None)
            };
        }
        let mut line = std::mem::take(&mut self.begun);
        if !line.ends_with(b"\r\n") {
            return Err(Unreadable);
        }
        line.truncate(line.len() - 2);
        Ok(Some(line))
    }
}

/// At most so many bytes, and how many are left to come.
fn some<'a>(bytes: &mut &'a [u8], left: u64) -> (&'a [u8], u64) {
    let len = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    let (part, rest) = bytes.split_at(len);
    *bytes = rest;
    (part, left - len as u64)
}

/// What follows a line of a chunked body.
fn after(next: Next, line: &[u8]) -> Result<Next, Unreadable> {
    match next {
        Next::ChunkSize => {
            let text = std::str::from_utf8(line).map_err(|_| Unreadable)?;
            let size = text.split(';').next().unwrap_or_default().trim();
            let is_hex = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
            match u64::from_str_radix(size, 16) {
                Ok(0) if is_hex => Ok(Next::Trailers),
                Ok(size) if is_hex => Ok(Next::Chunk(size)),
                _ => Err(Unreadable),
            }
        }
        Next::ChunkEnd if line.is_empty() => Ok(Next::ChunkSize),
        Next::Trailers => Ok(Next::Trailers),
        _ => Err(Unreadable),
    }
}

/// A head and its length, if it is whole.
fn parsed(bytes: &[u8], is_request: bool) -> Result<Option<(Head, usize)>, Unreadable> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    if is_request {
        let mut request = httparse::Request::new(&mut headers);
        let Status::Complete(len) = request.parse(bytes).map_err(|_| Unreadable)? else {
            return Ok(None);
        };
        let head = Head {
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            status: 0,
            is_old: request.version == Some(0),
            fields: fields(request.headers),
        };
        return Ok(Some((head, len)));
    }
    let mut answer = httparse::Response::new(&mut headers);
    let Status::Complete(len) = answer.parse(bytes).map_err(|_| Unreadable)? else {
        return Ok(None);
    };
    let head = Head {
        method: String::new(),
        target: String::new(),
        status: answer.code.unwrap_or_default(),
        is_old: answer.version == Some(0),
        fields: fields(answer.headers),
    };
    Ok(Some((head, len)))
}

fn fields(headers: &[Header<'_>]) -> Fields {
    Fields::new(headers.iter().map(|header| (header.name, header.value)))
}

impl Head {
    /// Where its body ends; `None` where neither header says so.
    pub(super) fn extent(&self) -> Result<Option<Extent>, Unreadable> {
        let codings: Vec<&str> = self.fields.all("transfer-encoding").collect();
        let lengths: Vec<&str> = self.fields.all("content-length").collect();
        match (codings.as_slice(), lengths.as_slice()) {
            ([], []) => Ok(None),
            ([coding], []) if coding.eq_ignore_ascii_case("chunked") && !self.is_old => {
                Ok(Some(Extent::Chunked))
            }
            ([], [length]) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                let length = length.parse().map_err(|_| Unreadable)?;
                Ok(Some(Extent::Sized(length)))
            }
            _ => Err(Unreadable),
        }
    }
}
