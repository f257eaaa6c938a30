//! One blocking connection, one request at a time: what is done before and after a run.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use millrace_env::{Clock as _, RealClock};

use crate::{
    BenchError, Target,
    request::Requests,
    response::{Head, Piece, Responses},
};

/// No answer may take longer.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// How long to stay away when the server says that it has too much to do.
const AWAY: Duration = Duration::from_millis(20);
/// A connection that was unused for longer is not trusted to be there still.
const KEPT_UNUSED: Duration = Duration::from_millis(500);

/// A connection.
#[derive(Debug)]
pub(crate) struct Plain<'a> {
    target: &'a Target,
    socket: TcpStream,
    clock: RealClock,
    /// When the socket was opened, or used last, by that clock.
    used: Duration,
    requests: &'a Requests,
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl<'a> Plain<'a> {
    pub(crate) fn open(target: &'a Target, requests: &'a Requests) -> Result<Self, BenchError> {
        let clock = RealClock::new();
        Ok(Self {
            target,
            socket: connect(target)?,
            used: clock.mono(),
            clock,
            requests,
            buffer: vec![0; 256 << 10],
        })
    }

    /// Appends; waits and sends again while the server has too much to do.
    pub(crate) fn append(
        &mut self,
        name: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Head, BenchError> {
        let mut out = Vec::with_capacity(body.len() + 300);
        self.requests
            .with_body(&mut out, "POST", name, content_type, body.len());
        out.extend_from_slice(body);
        Ok(self.ask("an append", &out, false)?.head)
    }

    /// Creates an empty stream.
    pub(crate) fn create(&mut self, name: &str, content_type: &str) -> Result<Head, BenchError> {
        let mut out = Vec::new();
        self.requests
            .with_body(&mut out, "PUT", name, content_type, 0);
        Ok(self.ask("a creation", &out, false)?.head)
    }

    /// Makes what is described in JSON.
    pub(crate) fn describe(&mut self, name: &str, body: &str) -> Result<(), BenchError> {
        let mut out = Vec::new();
        self.requests
            .with_body(&mut out, "PUT", name, "application/json", body.len());
        out.extend_from_slice(body.as_bytes());
        self.ask("a creation", &out, false)?;
        Ok(())
    }

    /// Deletes a stream, or what is named like one.
    pub(crate) fn delete(&mut self, name: &str) -> Result<(), BenchError> {
        let mut out = Vec::new();
        self.requests.bare(&mut out, "DELETE", name, b"");
        self.ask("a deletion", &out, false)?;
        Ok(())
    }

    /// Whether a stream is there.
    pub(crate) fn head(&mut self, name: &str) -> Result<Head, BenchError> {
        let mut out = Vec::new();
        self.requests.bare(&mut out, "HEAD", name, b"");
        Ok(self.ask("HEAD", &out, true)?.head)
    }

    /// Reads a stream from its start to its tail; `take` is called with each page.
    pub(crate) fn read(
        &mut self,
        name: &str,
        mut take: impl FnMut(&[u8]) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        let mut offset = b"-1".to_vec();
        loop {
            let mut out = Vec::new();
            let query = [b"?offset=", offset.as_slice()].concat();
            self.requests.bare(&mut out, "GET", name, &query);
            let answer = self.ask("a read", &out, false)?;
            take(&answer.body)?;
            let stands_still = answer.head.next_offset == offset;
            if answer.head.is_up_to_date || answer.head.next_offset.is_empty() || stands_still {
                return Ok(());
            }
            offset = answer.head.next_offset;
        }
    }

    fn ask(
        &mut self,
        what: &'static str,
        request: &[u8],
        is_bodyless: bool,
    ) -> Result<Answer, BenchError> {
        // Servers close a connection that asked nothing for long, while load ran on others.
        if self.clock.mono().saturating_sub(self.used) > KEPT_UNUSED {
            self.socket = connect(self.target)?;
        }
        loop {
            self.used = self.clock.mono();
            let broken = |error: std::io::Error| BenchError::Broken(format!("{what}: {error}"));
            self.socket.write_all(request).map_err(broken)?;
            let answer = self.answer(is_bodyless)?;
            match answer.head.status {
                200..300 => return Ok(answer),
                429 | 503 => thread::park_timeout(AWAY),
                status => {
                    let text = &answer.body[..answer.body.len().min(1000)];
                    return Err(BenchError::Refused {
                        status,
                        what,
                        text: String::from_utf8_lossy(text).into_owned(),
                    });
                }
            }
        }
    }

    fn answer(&mut self, is_bodyless: bool) -> Result<Answer, BenchError> {
        let mut responses = Responses::new(is_bodyless);
        let (mut body, mut whole) = (Vec::new(), None);
        while whole.is_none() {
            let read = self.socket.read(&mut self.buffer);
            let read = read.map_err(|error| BenchError::Broken(error.to_string()))?;
            if read == 0 {
                return Err(BenchError::Broken("the server ended it".to_owned()));
            }
            responses.feed(&self.buffer[..read], |piece| {
                match piece {
                    Piece::Head(_) => {}
                    Piece::Body(bytes) => body.extend_from_slice(bytes),
                    Piece::End(head) => whole = Some(head.clone()),
                }
                Ok(())
            })?;
        }
        let head = whole.unwrap_or_default();
        Ok(Answer { head, body })
    }
}

fn connect(target: &Target) -> Result<TcpStream, BenchError> {
    let connect = || {
        let socket = TcpStream::connect(target.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(socket)
    };
    connect().map_err(|error| BenchError::Connect {
        authority: target.authority.clone(),
        error,
    })
}
