//! Connections: the server is generic over them, so that a simulated network can stand in.

use std::{future::Future, io, net::SocketAddr};

use tokio::io::{AsyncRead, AsyncWrite};

/// Takes connections.
pub trait Listener: 'static {
    /// What it takes.
    type Conn: AsyncRead + AsyncWrite + Unpin + 'static;
    /// Waits for the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Conn, SocketAddr)>>;
}

/// The system's TCP.
#[derive(Debug)]
pub struct TcpListener(tokio::net::TcpListener);

impl TcpListener {
    /// Listens on a bound socket; call it on the runtime that will accept.
    pub fn new(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self(tokio::net::TcpListener::from_std(socket)?))
    }
}

impl Listener for TcpListener {
    type Conn = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<(Self::Conn, SocketAddr)> {
        let (conn, peer) = self.0.accept().await?;
        conn.set_nodelay(true)?;
        Ok((conn, peer))
    }
}
