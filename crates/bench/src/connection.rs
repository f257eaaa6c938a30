//! One connection of the event loop: its socket, what is still to be sent, what is being received.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use mio::{Interest, Registry, Token};

use crate::{BenchError, Target, response::Responses};

/// A connection that is kept open.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: mio::net::TcpStream,
    pub(crate) responses: Responses,
    /// The request under way; empty once all of it is sent.
    pub(crate) out: Vec<u8>,
    sent: usize,
    waits_to_write: bool,
    /// When the request under way was due; none when there is none.
    pub(crate) due: Option<Duration>,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many bytes, and there may be more.
    Some(usize),
    /// So many bytes, and no more for now.
    Last(usize),
    /// The server ended the connection.
    End,
}

impl Connection {
    /// Connects, and joins the event loop.
    pub(crate) fn open(
        target: &Target,
        registry: &Registry,
        token: Token,
        is_bodyless: bool,
    ) -> Result<Self, BenchError> {
        let connect = || -> io::Result<mio::net::TcpStream> {
            let socket = TcpStream::connect(target.address)?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            let mut socket = mio::net::TcpStream::from_std(socket);
            registry.register(&mut socket, token, Interest::READABLE)?;
            Ok(socket)
        };
        let socket = connect().map_err(|error| BenchError::Connect {
            authority: target.authority.clone(),
            error,
        })?;
        Ok(Self {
            socket,
            responses: Responses::new(is_bodyless),
            out: Vec::new(),
            sent: 0,
            waits_to_write: false,
            due: None,
        })
    }

    /// Sends what the socket takes now; the loop comes back for the rest.
    pub(crate) fn send(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        while self.sent < self.out.len() {
            match self.socket.write(&self.out[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.wait_to_write(registry, token, true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        self.wait_to_write(registry, token, false)
    }

    fn wait_to_write(&mut self, registry: &Registry, token: Token, waits: bool) -> io::Result<()> {
        if self.waits_to_write == waits {
            return Ok(());
        }
        self.waits_to_write = waits;
        let interest = if waits {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        registry.reregister(&mut self.socket, token, interest)
    }

    /// Takes what there is. A read that does not fill the buffer has emptied the socket: whatever
    /// comes later is told anew, so that most responses cost one call.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            return match self.socket.read(buffer) {
                Ok(0) => Ok(Received::End),
                Ok(read) if read < buffer.len() => Ok(Received::Last(read)),
                Ok(read) => Ok(Received::Some(read)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Last(0)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }
}
