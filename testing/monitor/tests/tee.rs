//! Bytes pass through the tee as they are, with the ends and the resets of connections.
#![allow(
    clippy::disallowed_methods,
    reason = "real sockets and threads, as the tee has"
)]

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

use millrace_monitor::tee::Tee;

const REQUEST: &[u8] = b"GET /v1/stream/s HTTP/1.1\r\nHost: x\r\n\r\n";

/// A server that does this with its first connection, behind a tee.
fn serving(work: impl FnOnce(TcpStream) + Send + 'static) -> (Tee, thread::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = thread::spawn(move || work(listener.accept().expect("a client").0));
    (Tee::begin(address).expect("another port"), server)
}

fn connect(to: SocketAddr) -> TcpStream {
    TcpStream::connect(to).expect("somebody listens")
}

fn noise() -> Vec<u8> {
    (0..3_000_000_u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

#[test]
fn bytes_pass_as_they_are_and_each_half_ends_by_itself() {
    let (tee, server) = serving(|mut connection| {
        let mut come = Vec::new();
        connection.read_to_end(&mut come).unwrap();
        assert_eq!(come, noise());
        come.reverse();
        connection.write_all(&come).unwrap();
    });
    let mut client = connect(tee.address());
    client.write_all(&noise()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut come = Vec::new();
    client.read_to_end(&mut come).unwrap();
    come.reverse();
    assert_eq!(come, noise());
    server.join().unwrap();
    assert_eq!(tee.watcher().lock().counts().unwatched, 1);
}

#[test]
fn a_server_that_is_not_there_resets_its_clients() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let tee = Tee::begin(nobody).unwrap();
    let mut client = connect(tee.address());
    let came = client.read(&mut [0]);
    assert_eq!(came.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_server_that_moves_is_found_and_lies_are_told_of() {
    let (tee, first) = serving(|mut connection| {
        let mut come = [0; 1];
        connection.read_exact(&mut come).unwrap();
    });
    connect(tee.address()).write_all(b"G").unwrap();
    first.join().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    tee.leads_to(listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut come = [0; REQUEST.len()];
        connection.read_exact(&mut come).unwrap();
        let lie = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nstream-next-offset: 0000000000005-0000000000000009\r\n\r\nabc";
        connection.write_all(lie.as_bytes()).unwrap();
    });
    let mut client = connect(tee.address());
    client.write_all(REQUEST).unwrap();
    let mut come = String::new();
    client.read_to_string(&mut come).unwrap();
    server.join().unwrap();
    assert!(come.ends_with("\r\n\r\nabc"), "{come}");
    let watcher = tee.watcher().lock();
    assert!(
        watcher.violations()[0]
            .what
            .starts_with("3 bytes moved a reader"),
        "{:?}",
        watcher.violations()
    );
}
