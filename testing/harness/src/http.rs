//! Just enough HTTP/1.1: requests are sent many at a time, answers are taken one by one.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// No answer may take longer; a server that hangs ends the run.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);

/// A connection that is kept open.
pub struct Connection {
    socket: BufReader<TcpStream>,
    waiting: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self {
            socket: BufReader::with_capacity(64 << 10, socket),
            waiting: Vec::new(),
        })
    }

    /// Adds a PUT or POST to a stream to what goes out with the next [`Self::send`].
    pub fn write(&mut self, method: &str, name: &str, body: &[u8]) {
        self.waiting.extend_from_slice(method.as_bytes());
        self.waiting.extend_from_slice(b" /v1/stream/");
        self.waiting.extend_from_slice(name.as_bytes());
        let rest = " HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: ";
        self.waiting.extend_from_slice(rest.as_bytes());
        let length = body.len().to_string();
        self.waiting.extend_from_slice(length.as_bytes());
        self.waiting.extend_from_slice(b"\r\n\r\n");
        self.waiting.extend_from_slice(body);
    }

    /// Sends what waits.
    pub fn send(&mut self) -> io::Result<()> {
        self.socket.get_mut().write_all(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }

    /// Takes one answer: its status and its body.
    pub fn answer(&mut self) -> io::Result<(u16, Vec<u8>)> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status = status.ok_or_else(|| malformed(&first))?;
        let mut length = 0;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(|_| malformed(&line))?;
            }
        }
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body)?;
        Ok((status, body))
    }

    /// One GET, to its end.
    pub fn get(&mut self, path: &str) -> io::Result<(u16, Vec<u8>)> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.waiting.extend_from_slice(request.as_bytes());
        self.send()?;
        self.answer()
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.socket.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

fn malformed(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP: {line:?}"))
}
