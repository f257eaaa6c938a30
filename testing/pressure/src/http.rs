//! Just enough HTTP/1.1, on tokio.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// No honest answer may take longer; a server that hangs ends the run.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

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
        let mut request = head(method, path, &format!("content-length: {}\r\n", body.len()));
        request.extend_from_slice(body);
        self.socket.write_all(&request).await?;
        let answer = timeout(ANSWER_WITHIN, self.answer()).await;
        answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn answer(&mut self) -> io::Result<(u16, Vec<u8>)> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status: u16 = status.ok_or(io::ErrorKind::InvalidData)?;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok())
            .unwrap_or(0);
        let body_end = end + if status == 204 { 0 } else { length };
        while self.buffer.len() < body_end {
            self.more().await?;
        }
        let body = self.buffer[end..body_end].to_vec();
        self.buffer.drain(..body_end);
        Ok((status, body))
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
