//! Servers and readers that stop taking part, so that a verb can be interrupted in the middle.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rustix::fs::{OFlags, fcntl_setfl};

use crate::support::eventually;

/// Between a client and a server: lets some requests through, then holds the next one for ever.
pub(crate) struct Stall {
    pub(crate) url: String,
    /// How many requests came.
    seen: Arc<AtomicUsize>,
    through: usize,
}

impl Stall {
    /// In front of the server at `url`.
    pub(crate) fn after(through: usize, url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("is bound").port();
        let target = url.trim_start_matches("http://").to_owned();
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        // Ends with the test's process; nothing waits for it.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(&target).expect("the server is there");
                let (target, count) = (server.try_clone().expect("a socket"), Arc::clone(&count));
                let mut back = client.try_clone().expect("a socket");
                thread::spawn(move || std::io::copy(&mut { server }, &mut back));
                thread::spawn(move || forward(client, target, through, &count));
            }
        });
        Self {
            url: format!("http://127.0.0.1:{port}"),
            seen,
            through,
        }
    }

    /// Waits until a request is held.
    pub(crate) fn holds(&self) {
        eventually("a request is held", || {
            (self.seen.load(Ordering::SeqCst) > self.through).then_some(())
        });
    }
}

/// Requests here are small: each comes with one read.
fn forward(mut from: TcpStream, mut to: TcpStream, through: usize, seen: &AtomicUsize) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(len) = from.read(&mut buffer) {
        let piece = &buffer[..len];
        let requests = String::from_utf8_lossy(piece)
            .matches(" HTTP/1.1\r\n")
            .count();
        if seen.fetch_add(requests, Ordering::SeqCst) + requests > through {
            // Held, both sockets open.
            thread::park();
        }
        if len == 0 || to.write_all(piece).is_err() {
            return;
        }
    }
}

/// A pipe that takes nothing, and nobody reads.
pub(crate) fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    fcntl_setfl(&writer, OFlags::NONBLOCK).expect("a flag");
    for chunk in [4096, 1] {
        while writer.write(&vec![b'x'; chunk]).is_ok() {}
    }
    fcntl_setfl(&writer, OFlags::empty()).expect("a flag");
    (reader, writer)
}

/// Waits until a process would hear a SIGINT.
pub(crate) fn hears_interrupts(child: &Child) {
    let path = format!("/proc/{}/status", child.id());
    eventually("it hears signals", || {
        let status = fs::read_to_string(&path).ok()?;
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        (caught & 0b10 != 0).then_some(())
    });
}
