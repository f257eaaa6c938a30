//! Connections: the server is generic over those it takes, so that a simulated network can stand in.
//! Those it makes are plain functions here, behind a seam of whoever makes them.

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

/// The addresses of a host, as the system resolves its name; an address as text is itself.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

/// Connects to an address.
pub async fn connect(address: SocketAddr) -> io::Result<tokio::net::TcpStream> {
    let conn = tokio::net::TcpStream::connect(address).await?;
    conn.set_nodelay(true)?;
    Ok(conn)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    // The one unit test that takes a port: there is nothing here but the port.
    #[tokio::test]
    async fn a_bound_socket_takes_connections_without_delay() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let addr = socket.local_addr().expect("has an address");
        let listener = TcpListener::new(socket).expect("listens");
        let connect = tokio::net::TcpStream::connect(addr);
        let (client, accepted) = tokio::join!(connect, listener.accept());
        let (mut conn, peer) = accepted.expect("accepts");
        let mut client = client.expect("connects");
        assert_eq!(peer, client.local_addr().expect("has an address"));
        assert!(conn.nodelay().expect("tells"));
        client.write_all(b"hi").await.expect("writes");
        let mut buf = [0; 2];
        conn.read_exact(&mut buf).await.expect("reads");
        assert_eq!(&buf, b"hi");
    }
}
