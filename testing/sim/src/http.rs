//! A small HTTP/1.1 client over the simulated network: what it sends and took is all in view, and
//! nothing is sent again behind the test's back.

use std::{fmt::Display, io};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{net::Conn, witness::Passing};

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// `None` sends no `Content-Length`.
    pub(crate) body: Option<Vec<u8>>,
}

impl Request {
    /// A request of stream `name`; `query` begins with `?` or is empty.
    pub(crate) fn new(method: &'static str, name: &str, query: &str) -> Self {
        Self {
            method,
            target: format!("/v1/stream/{name}{query}"),
            headers: Vec::new(),
            body: None,
        }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    #[must_use]
    pub(crate) fn carrying(self, content_type: &str, body: Vec<u8>) -> Self {
        let mut request = self.with("Content-Type", content_type);
        request.body = Some(body);
        request
    }

    /// Whether a second one is told from the first by the server.
    pub(crate) fn is_idempotent(&self) -> bool {
        let has_producer = self.headers.iter().any(|(name, _)| *name == "Producer-Id");
        has_producer || matches!(self.method, "GET" | "HEAD")
    }

    /// As bytes; `chunked` tells the length of the body only at its end.
    fn bytes(&self, chunked: bool) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: sim\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let body = self.body.as_deref().unwrap_or_default();
        if chunked && !body.is_empty() {
            let (one, two) = body.split_at(body.len().div_ceil(2));
            let mut bytes = (head + "Transfer-Encoding: chunked\r\n\r\n").into_bytes();
            for chunk in [one, two].into_iter().filter(|chunk| !chunk.is_empty()) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            return bytes;
        }
        if self.body.is_some() || self.method == "POST" {
            head.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
        }
        head += "\r\n";
        [head.as_bytes(), body].concat()
    }
}

/// A response's status and headers.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The value of a header, by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name)?;
        Some(&found.1)
    }

    /// Whether the stream is said to be closed.
    pub(crate) fn closed(&self) -> bool {
        self.header("stream-closed") == Some("true")
    }

    /// `Stream-Next-Offset`.
    pub(crate) fn next(&self) -> Option<&str> {
        self.header("stream-next-offset")
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some()
    }

    fn length(&self) -> io::Result<usize> {
        let length = self.header("content-length");
        length
            .and_then(|length| length.parse().ok())
            .ok_or_else(|| broken("a response without a length"))
    }
}

/// A response with its whole body.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// A connection, used for one request after the other.
#[derive(Debug)]
pub(crate) struct Line {
    conn: Conn,
    passing: Passing,
    /// Bytes that came and are not taken yet.
    came: Vec<u8>,
}

impl Line {
    pub(crate) fn new(conn: Conn, passing: Passing) -> Self {
        let came = Vec::new();
        Self {
            conn,
            passing,
            came,
        }
    }

    /// Gives it up with all that is under way.
    pub(crate) fn abort(self) {
        self.conn.abort();
    }

    /// Whether something that was sent on it has not arrived yet, and still may.
    pub(crate) fn has_under_way(&self) -> bool {
        self.conn.has_under_way()
    }

    /// Sends a request and takes the whole response.
    pub(crate) async fn exchange(
        &mut self,
        request: &Request,
        chunked: bool,
    ) -> io::Result<Response> {
        let head = self.begin(request, chunked).await?;
        let is_bodiless = request.method == "HEAD" || matches!(head.status, 204 | 304);
        let body = match (is_bodiless, head.is_chunked()) {
            (true, _) => Vec::new(),
            (false, false) => self.take(head.length()?).await?,
            (false, true) => {
                let mut body = Vec::new();
                while let Some(chunk) = self.chunk().await? {
                    body.extend(chunk);
                }
                body
            }
        };
        Ok(Response { head, body })
    }

    /// Sends a request and takes the head of the response.
    pub(crate) async fn begin(&mut self, request: &Request, chunked: bool) -> io::Result<Head> {
        let bytes = request.bytes(chunked);
        self.passing.request(&bytes);
        self.conn.write_all(&bytes).await?;
        let end = self.find(b"\r\n\r\n").await? + 4;
        let bytes: Vec<u8> = self.came.drain(..end).collect();
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut headers);
        let whole = parsed
            .parse(&bytes)
            .is_ok_and(|status| status.is_complete());
        let Some(status) = parsed.code.filter(|_| whole) else {
            return Err(broken("a response that is no HTTP"));
        };
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let named = |header: &httparse::Header<'_>| {
            let name = header.name.to_ascii_lowercase();
            (name, text(header.value))
        };
        let headers = parsed.headers.iter().map(named).collect();
        Ok(Head { status, headers })
    }

    /// The next chunk of a chunked body.
    pub(crate) async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let end = self.find(b"\r\n").await?;
        let line: Vec<u8> = self.came.drain(..end + 2).collect();
        let size = std::str::from_utf8(&line[..end]).ok();
        let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.ok_or_else(|| broken("a chunk without a size"))?;
        let mut chunk = self.take(size + 2).await?;
        if chunk.split_off(size) != b"\r\n" {
            return Err(broken("a chunk that is longer than its size"));
        }
        Ok((size > 0).then_some(chunk))
    }

    /// The next `len` bytes.
    async fn take(&mut self, len: usize) -> io::Result<Vec<u8>> {
        while self.came.len() < len {
            self.more().await?;
        }
        Ok(self.came.drain(..len).collect())
    }

    /// Where `mark` begins, in bytes that are to come.
    async fn find(&mut self, mark: &[u8]) -> io::Result<usize> {
        loop {
            let mut windows = self.came.windows(mark.len());
            if let Some(at) = windows.position(|window| window == mark) {
                return Ok(at);
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        let known = self.came.len();
        if self.conn.read_buf(&mut self.came).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.passing.answer(&self.came[known..]);
        Ok(())
    }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
