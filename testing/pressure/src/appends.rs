//! What is measured: durable appends at a fixed rate, each from when it was due. An append that is
//! late because the one before it was is late: the loop is open.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    task::{JoinSet, LocalSet},
    time::sleep_until,
};

use crate::{http::Connection, settings::Settings};

/// One append's bytes.
const BODY: &[u8] = &[b'a'; 200];

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Appended {
    /// From when each append was due to its acknowledgement, rising.
    pub(crate) took: Vec<Duration>,
    /// Appends that were answered anything else, or not at all.
    pub(crate) refused: u64,
}

impl Appended {
    /// The time that `percent` of the appends did not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let at = (self.took.len() * percent).div_ceil(100).max(1) - 1;
        self.took.get(at).copied().unwrap_or_default()
    }
}

/// The path of the stream of one connection.
pub(crate) fn path(number: u32) -> String {
    format!("/v1/stream/append-{number}")
}

/// Appends for as long as is measured.
pub(crate) fn measure(settings: &Settings, address: SocketAddr) -> Result<Appended, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let mut all = LocalSet::new().block_on(&runtime, async {
        let begin = Instant::now() + Duration::from_millis(100);
        let mut connections = JoinSet::new();
        for number in 0..settings.connections {
            connections.spawn_local(appends(settings.clone(), address, number, begin));
        }
        connections.join_all().await
    });
    let mut sum = Appended::default();
    for part in &mut all {
        sum.took.append(&mut part.took);
        sum.refused += part.refused;
    }
    sum.took.sort_unstable();
    Ok(sum)
}

/// One connection's share.
async fn appends(settings: Settings, address: SocketAddr, number: u32, begin: Instant) -> Appended {
    let mut appended = Appended::default();
    let between = Duration::from_secs(1) * settings.connections / settings.rate;
    let mut due = begin + Duration::from_secs(1) * number / settings.rate;
    let mut connection = None;
    while due < begin + settings.measured {
        sleep_until(due.into()).await;
        if connection.is_none() {
            connection = Connection::open(address).await.ok();
        }
        let answer = match &mut connection {
            Some(connection) => connection.ask("POST", &path(number), BODY).await.ok(),
            None => None,
        };
        if let Some((204, _)) = answer {
            appended.took.push(due.elapsed());
        } else {
            appended.refused += 1;
            connection = None;
        }
        due += between;
    }
    appended
}
