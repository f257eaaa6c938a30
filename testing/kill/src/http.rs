//! A small blocking HTTP/1.1 client: what it sends and what it took is all in view, and nothing is
//! retried behind the test's back.

use std::{
    fmt::Display,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use millrace_monitor::tee::{Overheard, Shared};

/// A server that answers nothing for this long is taken to hang.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: &'static str,
    /// The path and query.
    pub target: String,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body; `None` sends no `Content-Length`.
    pub body: Option<Vec<u8>>,
}

impl Request {
    /// A request of stream `name`; `query` begins with `?` or is empty.
    pub fn new(method: &'static str, name: &str, query: &str) -> Self {
        Self {
            method,
            target: format!("/v1/stream/{name}{query}"),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.headers.push((name, format!("{value}")));
        self
    }

    /// Adds a body of a content type.
    #[must_use]
    pub fn carrying(self, content_type: &str, body: Vec<u8>) -> Self {
        let mut request = self.with("Content-Type", content_type);
        request.body = Some(body);
        request
    }

    /// As it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: kill\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head += name;
            head += ": ";
            head += value;
            head += "\r\n";
        }
        let body = self.body.as_deref().unwrap_or_default();
        if self.body.is_some() || self.method == "POST" {
            head += "Content-Length: ";
            head += &body.len().to_string();
            head += "\r\n";
        }
        head += "\r\n";
        [head.as_bytes(), body].concat()
    }
}

/// A response's status and headers.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status.
    pub status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the stream is said to be closed.
    pub fn closed(&self) -> bool {
        self.header("stream-closed") == Some("true")
    }

    /// `Stream-Next-Offset`.
    pub fn next(&self) -> Option<&str> {
        self.header("stream-next-offset")
    }
}

/// A response with its whole body.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status and headers.
    pub head: Head,
    /// The body.
    pub body: Vec<u8>,
}

/// A connection, used for one request after the other.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<Overheard<TcpStream>>,
}

impl Connection {
    /// Connects, and nobody watches.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        connect(address).map(|socket| Self {
            stream: BufReader::new(Overheard::alone(socket)),
        })
    }

    /// Connects, and tells a watcher of all that passes.
    pub fn overheard(address: SocketAddr, watcher: &Shared) -> io::Result<Self> {
        connect(address).map(|socket| Self {
            stream: BufReader::new(Overheard::by(watcher, socket)),
        })
    }

    /// Asks for a path outside the streams.
    pub fn get(&mut self, path: &str) -> io::Result<Response> {
        let mut request = Request::new("GET", "", "");
        path.clone_into(&mut request.target);
        self.exchange(&request)
    }

    /// Sends a request and takes the whole response.
    pub fn exchange(&mut self, request: &Request) -> io::Result<Response> {
        self.write(&request.bytes())?;
        self.answer(request)
    }

    /// Sends these bytes of a request.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Takes the whole response to a request that was sent.
    pub fn answer(&mut self, request: &Request) -> io::Result<Response> {
        let head = self.final_head()?;
        let bodiless = request.method == "HEAD" || matches!(head.status, 204 | 304);
        let mut body = Vec::new();
        if !bodiless {
            if head.header("transfer-encoding").is_some() {
                while let Some(chunk) = self.chunk()? {
                    body.extend_from_slice(&chunk);
                }
            } else {
                self.sized(&head, &mut body)?;
            }
        }
        Ok(Response { head, body })
    }

    /// Sends a request and takes the head of the response; the body follows by [`Self::chunk`].
    pub fn begin(&mut self, request: &Request) -> io::Result<Head> {
        self.write(&request.bytes())?;
        self.final_head()
    }

    /// The head of the response that is not "continue".
    fn final_head(&mut self) -> io::Result<Head> {
        loop {
            let head = self.head()?;
            if head.status != 100 {
                return Ok(head);
            }
        }
    }

    fn head(&mut self) -> io::Result<Head> {
        let status = self.line()?;
        let status = status
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| broken(format!("no status in {status:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Head { status, headers });
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| broken(format!("no header in {line:?}")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn sized(&mut self, head: &Head, body: &mut Vec<u8>) -> io::Result<()> {
        match head.header("content-length") {
            Some(length) => {
                let length: usize = length
                    .parse()
                    .map_err(|_| broken("a length that is no number"))?;
                body.resize(length, 0);
                self.stream.read_exact(body)
            }
            None => self.stream.read_to_end(body).map(|_| ()),
        }
    }

    /// The next chunk of a chunked body; `None` after the last. A connection that is cut between
    /// two chunks is an error, so that a cut body is never taken for a whole one.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = self.line()?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16)
            .map_err(|_| broken(format!("no chunk size in {size:?}")))?;
        let mut bytes = vec![0; size];
        self.stream.read_exact(&mut bytes)?;
        let end = self.line()?;
        if !end.is_empty() {
            return Err(broken("a chunk that does not end"));
        }
        Ok((size > 0).then_some(bytes))
    }

    /// Waits until something has come, but no longer than `limit`; says whether something has.
    pub fn wait(&mut self, limit: Duration) -> io::Result<bool> {
        self.stream
            .get_ref()
            .get_ref()
            .set_read_timeout(Some(limit))?;
        let come = match self.stream.fill_buf() {
            Ok(_) => true,
            Err(error) if is_timeout(&error) => false,
            Err(error) => return Err(error),
        };
        self.stream
            .get_ref()
            .get_ref()
            .set_read_timeout(Some(PATIENCE))?;
        Ok(come)
    }

    /// What has come of a body that ends with the connection; `None` at the end.
    pub fn rest(&mut self) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.stream.fill_buf()?.to_vec();
        self.stream.consume(bytes.len());
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Whether nothing came for too long.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// The server did not speak HTTP: a defect, not a crash.
fn broken(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
