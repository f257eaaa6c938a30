//! Creates streams, each with a first append, and appends to them, on several connections at once.

use std::{
    io,
    net::SocketAddr,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{http::Connection, settings::Settings};

/// The first append of every stream.
pub(crate) const BODY: &[u8] = b"one small append, 32 bytes long.";
/// How long to stay away when the server says that it has too much to do.
const AWAY: Duration = Duration::from_millis(20);

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Created {
    /// How many streams the server said it created.
    pub(crate) streams: u64,
    /// How many requests were refused and sent again.
    pub(crate) refused: u64,
    /// From the first request to the last answer.
    pub(crate) took: Duration,
    /// From sending to the last answer of each group of pipelined requests, rising.
    pub(crate) groups: Vec<Duration>,
    /// The connections that the server cut off.
    pub(crate) cut_off: u64,
}

/// What is done to streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Each is created with a first append.
    Create,
    /// Each is appended to.
    Append,
}

/// The name of a stream: 32 bytes, in no order, as names are that hold a UUID.
pub(crate) fn name(number: u64) -> String {
    format!("{:016x}{number:016x}", mixed(number))
}

/// A number that looks drawn at random; other ones for other ones.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Creates the streams of these numbers, or appends to as many of those that there are. Ends early,
/// and says so, when the server goes away.
pub(crate) fn run(
    settings: &Settings,
    address: SocketAddr,
    work: Work,
    numbers: Range<u64>,
) -> Created {
    let begun = Instant::now();
    let stop = AtomicBool::new(false);
    let parts: Vec<Created> = thread::scope(|scope| {
        let workers: Vec<_> = (0..settings.connections)
            .map(|worker| {
                let own = (numbers.start + worker..numbers.end)
                    .step_by(usize::try_from(settings.connections).expect("a small number"));
                let stop = &stop;
                let own = own.map(|number| match work {
                    Work::Create => number,
                    Work::Append => mixed(number) % settings.streams,
                });
                scope.spawn(move || part(settings.pipeline, address, work, own, stop))
            })
            .collect();
        let done = workers.into_iter();
        done.map(|worker| worker.join().expect("a worker does not panic"))
            .collect()
    });
    let mut all = Created::default();
    for part in parts {
        all.streams += part.streams;
        all.refused += part.refused;
        all.cut_off += part.cut_off;
        all.groups.extend(part.groups);
    }
    all.groups.sort_unstable();
    all.took = begun.elapsed();
    all
}

/// One connection's share.
fn part(
    pipeline: u64,
    address: SocketAddr,
    work: Work,
    mut numbers: impl Iterator<Item = u64>,
    stop: &AtomicBool,
) -> Created {
    let mut created = Created::default();
    let mut again: Vec<u64> = Vec::new();
    let Ok(mut connection) = Connection::open(address) else {
        created.cut_off = 1;
        return created;
    };
    while !stop.load(Ordering::Relaxed) {
        let room = usize::try_from(pipeline).expect("a small number") - again.len();
        let mut group = std::mem::take(&mut again);
        group.extend(numbers.by_ref().take(room));
        if group.is_empty() {
            return created;
        }
        let begun = Instant::now();
        if let Ok(refused) = exchange(&mut connection, work, &group) {
            created.groups.push(begun.elapsed());
            created.streams += (group.len() - refused.len()) as u64;
            created.refused += refused.len() as u64;
            again = refused;
        } else {
            stop.store(true, Ordering::Relaxed);
            created.cut_off = 1;
        }
        if !again.is_empty() {
            thread::sleep(AWAY);
        }
    }
    created
}

/// Sends a group and takes its answers; tells which are to be sent again.
fn exchange(connection: &mut Connection, work: Work, group: &[u64]) -> io::Result<Vec<u64>> {
    for number in group {
        let method = match work {
            Work::Create => "PUT",
            Work::Append => "POST",
        };
        connection.write(method, &name(*number), BODY);
    }
    connection.send()?;
    let mut refused = Vec::new();
    for number in group {
        match connection.answer()?.0 {
            200 | 201 | 204 => {}
            _ => refused.push(*number),
        }
    }
    Ok(refused)
}
