//! `millrace-limit [--port N] [--file PATH]`: what this machine's sockets and disk allow.
//!
//! One loop: read every head and body that is there, append the bodies to a file filled with zeros,
//! sync once, answer everyone with a fixed 204. There is no protocol in it: no names, no offsets, no
//! checksums, no index, nothing that could be recovered. What a server of streams reaches of this
//! is what its work costs.
//!
//! GET is answered with [`READ_BYTES`] from memory, HEAD and PUT with nothing, and neither waits for a
//! sync. The port is printed once it listens.
//!
//! Layout: this file (flags, the loop), [`conn`] (connections), [`log`] (the file).
#![allow(
    clippy::disallowed_methods,
    reason = "what is measured is the system, without our doors to it"
)]

mod conn;
mod log;

use std::{io, net::SocketAddr, path::PathBuf, process::ExitCode};

use mio::{Events, Interest, Poll, Token, net::TcpListener};

use crate::{
    conn::{Asked, Conn},
    log::Log,
};

const LISTENER: Token = Token(usize::MAX);
const USAGE: &str = "millrace-limit [--port <0: the system chooses>] [--file <where bodies go>]";
/// What a read brings.
const READ_BYTES: usize = 1024;

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("limit: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let (port, file) = flags().ok_or_else(|| io::Error::other(USAGE))?;
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut server = Server {
        listener,
        log: Log::create(&file)?,
        conns: Vec::new(),
        free: Vec::new(),
        buffer: vec![0; 256 << 10],
        answers: Answers::new(),
        syncing: Vec::new(),
    };
    println!("{}", server.listener.local_addr()?.port());
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => server.turn(&poll, &events)?,
        }
    }
}

fn flags() -> Option<(u16, PathBuf)> {
    let (mut port, mut file) = (0, std::env::temp_dir().join("millrace-limit"));
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        match flag.as_str() {
            "--port" => port = args.next()?.parse().ok()?,
            "--file" => file = args.next()?.into(),
            _ => return None,
        }
    }
    Some((port, file))
}

struct Server {
    listener: TcpListener,
    log: Log,
    conns: Vec<Option<Conn>>,
    /// Places in `conns` that are empty.
    free: Vec<usize>,
    buffer: Vec<u8>,
    answers: Answers,
    /// Those that are answered after the sync of this turn.
    syncing: Vec<usize>,
}

struct Answers {
    read: Vec<u8>,
}

const APPENDED: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const CREATED: &[u8] = b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n";
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

impl Answers {
    fn new() -> Self {
        let mut read =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {READ_BYTES}\r\n\r\n").into_bytes();
        read.resize(read.len() + READ_BYTES, b'x');
        Self { read }
    }
}

impl Server {
    /// Everything that is there is read, then one sync, then the answers.
    fn turn(&mut self, poll: &Poll, events: &Events) -> io::Result<()> {
        for event in events {
            if event.token() == LISTENER {
                self.accept(poll)?;
            } else {
                self.receive(event.token().0);
            }
        }
        if !self.syncing.is_empty() {
            self.log.sync()?;
            for at in std::mem::take(&mut self.syncing) {
                self.answer(at, APPENDED);
            }
        }
        Ok(())
    }

    fn accept(&mut self, poll: &Poll) -> io::Result<()> {
        loop {
            let (mut socket, _) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            socket.set_nodelay(true)?;
            let at = self.free.pop().unwrap_or_else(|| {
                self.conns.push(None);
                self.conns.len() - 1
            });
            poll.registry()
                .register(&mut socket, Token(at), Interest::READABLE)?;
            self.conns[at] = Some(Conn::new(socket));
        }
    }

    fn receive(&mut self, at: usize) {
        let Some(conn) = &mut self.conns[at] else {
            return;
        };
        let log = &mut self.log;
        let mut asked = Vec::new();
        let goes_on = conn.receive(&mut self.buffer, |what, body| {
            if what == Asked::Append {
                log.append(body);
            }
            asked.push(what);
        });
        if !matches!(goes_on, Ok(true)) {
            self.conns[at] = None;
            self.free.push(at);
            return;
        }
        for what in asked {
            match what {
                Asked::Append => self.syncing.push(at),
                Asked::Create => self.answer(at, CREATED),
                Asked::Head => self.answer(at, HEAD),
                Asked::Read => {
                    let read = std::mem::take(&mut self.answers.read);
                    self.answer(at, &read);
                    self.answers.read = read;
                }
            }
        }
    }

    fn answer(&mut self, at: usize, bytes: &[u8]) {
        // An answer that the socket does not take whole ends the connection: answers are small, and
        // who asks waits for one before asking again.
        let taken = self.conns[at].as_mut().is_none_or(|conn| conn.send(bytes));
        if !taken {
            self.conns[at] = None;
            self.free.push(at);
        }
    }
}
