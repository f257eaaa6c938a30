//! Writers at full speed: the next append is sent when the last one is acknowledged.
//!
//! Each is an idempotent producer, so that one whose connection breaks can send its append again.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use super::{STREAMS, path, record::record, tally::Tally};
use crate::{http::Connection, settings::Settings};

/// Before a connection that broke is made again.
const AWAY: Duration = Duration::from_millis(100);

/// What one writer was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) writer: u32,
    /// Its records below this number were acknowledged.
    pub(crate) acknowledged: u32,
    /// The longest it waited from one acknowledgement to the next.
    pub(crate) gap: Duration,
}

/// All writers, to the end.
pub(super) async fn all(
    settings: &Settings,
    address: SocketAddr,
    tally: &Arc<Tally>,
) -> Result<Vec<Written>, String> {
    let mut writers = JoinSet::new();
    for writer in 0..settings.writers {
        writers.spawn_local(writes(address, writer, Arc::clone(tally)));
    }
    let mut written = Vec::new();
    while let Some(done) = writers.join_next().await {
        written.push(done.map_err(|_| "a writer panicked")?);
    }
    written.sort_by_key(|written| written.writer);
    Ok(written)
}

async fn writes(address: SocketAddr, writer: u32, tally: Arc<Tally>) -> Written {
    let mut written = Written {
        writer,
        acknowledged: 0,
        gap: Duration::ZERO,
    };
    let path = path(writer % STREAMS);
    let mut connection = None;
    let mut last = Instant::now();
    let mut body = record(writer, 0);
    // An append whose answer was lost is sent until there is one: only then is it known what must be
    // there in the end.
    let mut unsure = false;
    while !tally.is_over() || unsure {
        let Some(open) = &mut connection else {
            connection = Connection::open(address).await.ok();
            sleep(AWAY).await;
            continue;
        };
        let headers = format!(
            "producer-id: writer-{writer}\r\nproducer-epoch: 0\r\nproducer-seq: {}\r\n",
            written.acknowledged
        );
        match open.exchange("POST", &path, &headers, &body).await {
            // 204 says that it was there already.
            Ok(answer) if matches!(answer.status, 200 | 204) => {
                unsure = false;
                written.gap = written.gap.max(last.elapsed());
                last = Instant::now();
                written.acknowledged += 1;
                body = record(writer, written.acknowledged);
                Tally::add(&tally.writers.begun);
            }
            Ok(answer) => {
                let after = tally.refused(&tally.writers, "a writer", &answer);
                // Where a large body was refused in its midst, the server does not read on.
                connection = None;
                sleep(after).await;
            }
            Err(error) => {
                if error.kind() == std::io::ErrorKind::TimedOut {
                    tally.wrong(format!("writer {writer} was not answered"));
                }
                Tally::add(&tally.writers.let_go);
                unsure = true;
                connection = None;
            }
        }
    }
    written.gap = written.gap.max(last.elapsed());
    written
}
