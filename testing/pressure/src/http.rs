//! Just enough HTTP/1.1, on tokio.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// No honest answer may take longer; a server that hangs ends the run.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What a request was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Its line and headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's value, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key == name).then_some(value.trim())
        })
    }
}

/// A connection that is kept open.
pub(crate) struct Connection {
    /// The socket itself, for who does not play by the rules.
    pub(crate) socket: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            buffer: Vec::new(),
        })
    }

    /// Connects with as little room for what comes as the system allows.
    pub(crate) async fn open_narrow(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        let socket = socket.connect(address).await?;
        Ok(Self {
            socket,
            buffer: Vec::new(),
        })
    }

    /// One request, and its answer: status and body.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> io::Result<(u16, Vec<u8>)> {
        let answer = self.exchange(method, path, "", body).await?;
        Ok((answer.status, answer.body))
    }

    /// One request with further headers, each with its line break, and its answer.
    pub(crate) async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> io::Result<Answer> {
        let headers = format!("{headers}content-length: {}\r\n", body.len());
        let mut request = head(method, path, &headers);
        request.extend_from_slice(body);
        let exchange = async {
            let sent = self.socket.write_all(&request).await;
            // Who is refused amid a body cannot send the rest; the answer is there all the same.
            let answer = self.answer().await;
            answer.map_err(|error| sent.err().unwrap_or(error))
        };
        let answer = timeout(ANSWER_WITHIN, exchange).await;
        answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.head().await?;
        let length = answer
            .header("content-length")
            .and_then(|text| text.parse().ok());
        let length = if answer.status == 204 {
            0
        } else {
            length.unwrap_or(0)
        };
        while self.buffer.len() < length {
            self.more().await?;
        }
        answer.body = self.buffer.drain(..length).collect();
        Ok(answer)
    }

    /// The head of the next answer; its body is not read yet.
    pub(crate) async fn head(&mut self) -> io::Result<Answer> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_lowercase();
        self.buffer.drain(..end);
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
        Ok(Answer {
            status: status.ok_or(io::ErrorKind::InvalidData)?,
            head,
            body: Vec::new(),
        })
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.socket.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// A request's line and headers.
pub(crate) fn head(method: &str, path: &str, headers: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n{headers}\r\n"
    )
    .into_bytes()
}
