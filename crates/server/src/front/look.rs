//! The look at a connection's first bytes: whether it asks for the state of the server.
//!
//! Without TLS the bytes are peeked at and stay in the kernel. With TLS they are decrypted, looked
//! at, and handed over with the connection. Probes that speak TLS often speak HTTP/2, so its first
//! request is looked at as well (`first_request.rs`).

use std::{io, time::Duration};

use millrace_env::{sleep, timeout};
use tokio::net::TcpStream;

use super::first_request::{First, first_request};
use crate::{conn::PREFACE, tls::TlsConn};

/// What asks for the state of the server begins with one of these.
const STAY: [&[u8]; 4] = [
    b"GET /health",
    b"HEAD /health",
    b"GET /ready",
    b"HEAD /ready",
];
/// The length of the longest of them.
const LOOK_BYTES: usize = 12;
/// How long to wait for the rest of a beginning that could still be one of them, at first and at most:
/// many clients that stop there must not keep this thread busy.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(500);
/// BOUND: how much of an HTTP/2 connection is looked at; a probe's first request is a few hundred
/// bytes.
const HTTP2_LOOK_BYTES: usize = 4 << 10;
/// How long a client that began with HTTP/2 may take to its first request. Some wait for the
/// server's settings first, which come from the core.
const HTTP2_PAUSE: Duration = Duration::from_millis(50);

/// Whether the first request on `conn` asks for the state of the server. Reads nothing away.
pub(super) async fn plain_stays(conn: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; LOOK_BYTES];
    let mut pause = LOOK_PAUSE;
    loop {
        let len = conn.peek(&mut seen).await?;
        match verdict(&seen[..len]) {
            Some(stays) => return Ok(stays),
            // The same bytes are readable again at once: there is nothing to wait on but time.
            None => sleep(pause).await,
        }
        pause = (pause * 2).min(LOOK_PAUSE_MAX);
    }
}

/// The same inside TLS.
pub(super) async fn tls_stays(conn: &mut TlsConn) -> io::Result<bool> {
    loop {
        let len = conn.look(HTTP2_LOOK_BYTES - conn.seen().len()).await?;
        let begins_http2 = conn.seen().starts_with(PREFACE);
        let verdict = match conn.seen().strip_prefix(PREFACE) {
            Some(frames) => http2_verdict(frames),
            None if PREFACE.starts_with(conn.seen()) => None,
            None => verdict(conn.seen()),
        };
        if let Some(stays) = verdict {
            return Ok(stays);
        }
        if len == 0 || conn.seen().len() == HTTP2_LOOK_BYTES {
            return Ok(false);
        }
        if begins_http2 {
            return timeout(HTTP2_PAUSE, rest_stays(conn))
                .await
                .unwrap_or(Ok(false));
        }
    }
}

/// Looks on until the first request of HTTP/2 is there. What was looked at when this is dropped
/// stays with the connection.
async fn rest_stays(conn: &mut TlsConn) -> io::Result<bool> {
    loop {
        let room = HTTP2_LOOK_BYTES - conn.seen().len();
        if room == 0 || conn.look(room).await? == 0 {
            return Ok(false);
        }
        let frames = conn.seen().strip_prefix(PREFACE).unwrap_or_default();
        if let Some(stays) = http2_verdict(frames) {
            return Ok(stays);
        }
    }
}

fn http2_verdict(frames: &[u8]) -> Option<bool> {
    match first_request(frames) {
        First::AsksForState => Some(true),
        First::Other => Some(false),
        First::NotThere => None,
    }
}

/// `None` while it could still be either.
fn verdict(seen: &[u8]) -> Option<bool> {
    if seen.is_empty() {
        return Some(false);
    }
    if STAY.iter().any(|ask| seen.starts_with(ask)) {
        return Some(true);
    }
    let undecided = STAY.iter().any(|ask| ask.starts_with(seen));
    (!undecided).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_questions_about_the_server_stay() {
        for (seen, want) in [
            ("GET /health HTTP/1.1", Some(true)),
            ("HEAD /ready", Some(true)),
            ("GET /v1/stream/a", Some(false)),
            ("POST /v1/str", Some(false)),
            ("PRI * HTTP/2", Some(false)),
            ("GET /h", None),
            ("G", None),
            ("", Some(false)),
        ] {
            assert_eq!(verdict(seen.as_bytes()), want, "{seen}");
        }
        assert!(STAY.iter().all(|ask| ask.len() <= LOOK_BYTES));
    }
}
