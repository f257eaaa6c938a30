//! Connections: where a head ends, how long its body is, and nothing else.

use std::io::{self, Read as _, Write as _};

use memchr::memmem;
use mio::net::TcpStream;

/// What a request wants, by its first letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Append,
    Create,
    Head,
    Read,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Conn {
    socket: TcpStream,
    /// The beginning of a request that is not whole yet.
    rest: Vec<u8>,
}

impl Conn {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            rest: Vec::new(),
        }
    }

    /// Reads what there is; `take` is called with every request that is whole. False at the end.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut [u8],
        mut take: impl FnMut(Asked, &[u8]),
    ) -> io::Result<bool> {
        loop {
            let read = match self.socket.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if self.rest.is_empty() {
                let taken = requests(&buffer[..read], &mut take)?;
                self.rest.extend_from_slice(&buffer[taken..read]);
            } else {
                self.rest.extend_from_slice(&buffer[..read]);
                let taken = requests(&self.rest, &mut take)?;
                self.rest.drain(..taken);
            }
            if read < buffer.len() {
                return Ok(true);
            }
        }
    }

    /// Whether the socket took all of it.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(self.socket.write(bytes), Ok(written) if written == bytes.len())
    }
}

/// Goes through the requests that are whole; how many bytes those are.
fn requests(bytes: &[u8], take: &mut impl FnMut(Asked, &[u8])) -> io::Result<usize> {
    let mut taken = 0;
    while let Some(end) = memmem::find(&bytes[taken..], b"\r\n\r\n") {
        let head = &bytes[taken..taken + end];
        let body = taken + end + 4;
        let Some(content) = bytes.get(body..body + length(head)?) else {
            break;
        };
        take(asked(head)?, content);
        taken = body + content.len();
    }
    Ok(taken)
}

fn asked(head: &[u8]) -> io::Result<Asked> {
    match head.get(..2) {
        Some(b"PO") => Ok(Asked::Append),
        // A deletion is answered as a creation is.
        Some(b"PU" | b"DE") => Ok(Asked::Create),
        Some(b"HE") => Ok(Asked::Head),
        Some(b"GE") => Ok(Asked::Read),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn length(head: &[u8]) -> io::Result<usize> {
    const NAME: &[u8] = b"\r\ncontent-length: ";
    let Some(at) = memmem::find(head, NAME) else {
        return Ok(0);
    };
    let digits = head[at + NAME.len()..].split(|byte| *byte == b'\r').next();
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    digits
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_requests_are_taken_and_the_rest_is_left() {
        let text =
            b"POST /a HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcGET /b HTTP/1.1\r\n\r\nPOST /c HT";
        let mut all = Vec::new();
        let taken = requests(text, &mut |what, body: &[u8]| {
            all.push((what, body.to_vec()))
        });
        assert_eq!(taken.expect("is HTTP"), text.len() - 10);
        assert_eq!(
            all,
            [(Asked::Append, b"abc".to_vec()), (Asked::Read, Vec::new())]
        );
    }

    #[test]
    fn a_body_that_is_not_whole_waits() {
        let text = b"POST /a HTTP/1.1\r\ncontent-length: 3\r\n\r\nab";
        let taken = requests(text, &mut |_, _: &[u8]| panic!("nothing is whole"));
        assert_eq!(taken.expect("is HTTP"), 0);
    }
}
