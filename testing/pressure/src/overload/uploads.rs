//! Slow uploads: bodies announced as 1 MiB that come at a few bytes a second.
//!
//! One in four begins with a quarter of the body at once, which is memory that it then holds. None ever
//! ends.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::AsyncWriteExt as _,
    time::{sleep, timeout},
};

use super::{UPLOADS, tally::Tally, upload_path};
use crate::http::{Connection, head};

const BODY_BYTES: usize = 1 << 20;
/// What one in four sends at once.
const AT_ONCE_BYTES: usize = 256 << 10;
const DRIP: &[u8] = b"drip";
const BETWEEN: Duration = Duration::from_secs(1);
/// A body that is refused is answered; until then it may go on.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// One of them, to the end.
pub(super) async fn sends(address: SocketAddr, number: usize, tally: Arc<Tally>) {
    sleep(Duration::from_millis(number as u64)).await;
    let stream = u32::try_from(number).expect("a few") % UPLOADS;
    let at_once = if number.is_multiple_of(4) {
        AT_ONCE_BYTES
    } else {
        0
    };
    while !tally.is_over() {
        match once(address, &upload_path(stream), at_once, &tally).await {
            Ok(away) => sleep(away).await,
            Err(error) => {
                // A refusal whose answer was lost to a reset is none.
                tally.wrong(format!("upload {number} ended without an answer: {error}"));
                sleep(BETWEEN).await;
            }
        }
    }
}

/// One connection. How long to stay away after it.
async fn once(
    address: SocketAddr,
    path: &str,
    at_once: usize,
    tally: &Tally,
) -> io::Result<Duration> {
    let mut connection = Connection::open(address).await?;
    let framing = format!("content-length: {BODY_BYTES}\r\n");
    let mut beginning = head("POST", path, &framing);
    beginning.resize(beginning.len() + at_once, b'u');
    // What is refused meanwhile is not taken to its end: the answer says so.
    let mut is_sent = connection.socket.write_all(&beginning).await.is_ok();
    Tally::add(&tally.uploads.begun);
    loop {
        let patience = if is_sent { BETWEEN } else { ANSWER_WITHIN };
        match timeout(patience, connection.head()).await {
            Ok(answer) => {
                let answer = answer?;
                if answer.status == 408 {
                    Tally::add(&tally.uploads.let_go);
                    return Ok(BETWEEN);
                }
                return Ok(tally.refused(&tally.uploads, "an upload", &answer));
            }
            Err(_) if !is_sent => return Err(io::ErrorKind::TimedOut.into()),
            Err(_) => {}
        }
        if tally.is_over() {
            return Ok(Duration::ZERO);
        }
        is_sent = connection.socket.write_all(DRIP).await.is_ok();
    }
}
