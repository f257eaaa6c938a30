//! The requests that are counted, one after the other on one connection.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use millrace_harness::http::Connection;

/// How many followers an event is delivered to.
pub(crate) const SUBSCRIBERS: u64 = 8;
/// Under valgrind everything takes fifty times as long.
const WITHIN: Duration = Duration::from_mins(2);
const STREAM: &str = "instructions";
const BODY: [u8; 128] = [b'x'; 128];

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// A durable append of 128 bytes.
    Append,
    /// A read of the last 128 bytes of a stream.
    Read,
    /// An append that [`SUBSCRIBERS`] get as a server-sent event before the next is sent.
    Deliver,
}

impl Scenario {
    /// Appends first: deliveries are counted without them.
    pub(crate) const ALL: [Self; 3] = [Self::Append, Self::Read, Self::Deliver];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Read => "read",
            Self::Deliver => "delivery",
        }
    }

    /// How many requests the short and the long run have. Followers are sent away after a minute or
    /// less, which a busy machine under valgrind must not reach.
    pub(crate) fn requests(self) -> (u64, u64) {
        match self {
            Self::Append | Self::Read => (400, 2_400),
            Self::Deliver => (100, 600),
        }
    }

    /// Sends so many requests.
    pub(crate) fn run(self, address: SocketAddr, requests: u64) -> io::Result<()> {
        let mut connection = Connection::open(address)?;
        ask(&mut connection, "PUT", b"")?;
        match self {
            Self::Append => (0..requests).try_for_each(|_| ask(&mut connection, "POST", &BODY)),
            Self::Read => {
                ask(&mut connection, "POST", &BODY)?;
                (0..requests).try_for_each(|_| read(&mut connection))
            }
            Self::Deliver => {
                let subscribers = (0..SUBSCRIBERS).map(|_| Subscriber::open(address));
                let mut subscribers = subscribers.collect::<io::Result<Vec<_>>>()?;
                for _ in 0..requests {
                    ask(&mut connection, "POST", &BODY)?;
                    subscribers.iter_mut().try_for_each(Subscriber::event)?;
                }
                Ok(())
            }
        }
    }
}

fn ask(connection: &mut Connection, method: &str, body: &[u8]) -> io::Result<()> {
    connection.write(method, STREAM, body);
    connection.send()?;
    match connection.answer()?.0 {
        200..300 => Ok(()),
        status => Err(io::Error::other(format!("{method} was answered {status}"))),
    }
}

fn read(connection: &mut Connection) -> io::Result<()> {
    let (status, body) = connection.get(&format!("/v1/stream/{STREAM}?offset=-1"))?;
    if status == 200 && body == BODY {
        return Ok(());
    }
    Err(io::Error::other(format!("a read was answered {status}")))
}

/// A follower by server-sent events.
struct Subscriber {
    socket: TcpStream,
    got: Vec<u8>,
}

impl Subscriber {
    /// Connects, and waits until it follows.
    fn open(address: SocketAddr) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(WITHIN))?;
        let request = format!(
            "GET /v1/stream/{STREAM}?offset=now&live=sse HTTP/1.1\r\nhost: localhost\r\n\r\n"
        );
        socket.write_all(request.as_bytes())?;
        let mut subscriber = Self {
            socket,
            got: Vec::new(),
        };
        // At the tail there is a control event at once.
        subscriber.until(b"streamNextOffset", b"\n\n")?;
        Ok(subscriber)
    }

    /// Takes one data event and the control event after it.
    fn event(&mut self) -> io::Result<()> {
        self.until(&BODY, b"streamNextOffset")?;
        self.until(b"", b"\n\n")
    }

    /// Reads until `first` and, after it, `then` came; forgets what came up to there.
    fn until(&mut self, first: &[u8], then: &[u8]) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(end) =
                end_of(&self.got, first, 0).and_then(|at| end_of(&self.got, then, at))
            {
                self.got.drain(..end);
                return Ok(());
            }
            let read = self.socket.read(&mut buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.got.extend_from_slice(&buffer[..read]);
        }
    }
}

/// Where `what` ends, at or after a place.
fn end_of(text: &[u8], what: &[u8], from: usize) -> Option<usize> {
    if what.is_empty() {
        return Some(from);
    }
    let found = text[from..]
        .windows(what.len())
        .position(|window| window == what)?;
    Some(from + found + what.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_something_is_found_after_a_place() {
        assert_eq!(end_of(b"abcabc", b"bc", 0), Some(3));
        assert_eq!(end_of(b"abcabc", b"bc", 3), Some(6));
        assert_eq!(end_of(b"abcabc", b"x", 0), None);
        assert_eq!(end_of(b"abc", b"", 2), Some(2));
    }
}
