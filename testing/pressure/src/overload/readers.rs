//! Slow readers of events: a few hundred bytes a second of streams that grow by megabytes.
//!
//! Half begin at the start of a stream, so that what each is sent is its own; half at the tail, where
//! followers share. Who is let go comes back, at the start or the tail again.

use std::{io, net::SocketAddr, sync::Arc, sync::atomic::Ordering, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{sleep, timeout},
};

use super::{STREAMS, path, tally::Tally};
use crate::http::{Connection, head};

/// Taken at a time, and how often.
const SIP_BYTES: usize = 256;
const BETWEEN: Duration = Duration::from_secs(1);
/// A stream that is being written has something to say sooner, and a server that ends a connection too.
const WORD_WITHIN: Duration = Duration::from_secs(30);

/// One of them, to the end.
pub(super) async fn reads(address: SocketAddr, number: usize, tally: Arc<Tally>) {
    // No stampede: the kernel's queue of connections is no part of this.
    sleep(Duration::from_millis(number as u64)).await;
    let stream = u32::try_from(number).expect("a few") % STREAMS;
    let offset = if number.is_multiple_of(2) {
        "-1"
    } else {
        "now"
    };
    let target = format!("{}?offset={offset}&live=sse", path(stream));
    while !tally.is_over() {
        match once(address, &target, &tally).await {
            Ok(away) => sleep(away).await,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                tally.wrong(format!(
                    "reader {number} was told nothing for {WORD_WITHIN:?}"
                ));
            }
            Err(_) => {
                Tally::add(&tally.readers.let_go);
                sleep(BETWEEN).await;
            }
        }
    }
}

/// One connection. How long to stay away after it.
async fn once(address: SocketAddr, target: &str, tally: &Tally) -> io::Result<Duration> {
    let mut connection = Connection::open_narrow(address).await?;
    connection
        .socket
        .write_all(&head("GET", target, ""))
        .await?;
    let answer = timeout(WORD_WITHIN, connection.head()).await??;
    if answer.status != 200 {
        return Ok(tally.refused(&tally.readers, "a reader", &answer));
    }
    Tally::add(&tally.readers.begun);
    let mut sip = [0; SIP_BYTES];
    while !tally.is_over() {
        match timeout(WORD_WITHIN, connection.socket.read(&mut sip)).await?? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => tally.taken.fetch_add(len as u64, Ordering::Relaxed),
        };
        sleep(BETWEEN).await;
    }
    Ok(Duration::ZERO)
}
