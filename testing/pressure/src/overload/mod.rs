//! `--overload`: more readers and writers than the server has memory for.
//!
//! Slow readers of events, slow uploads and writers at full speed press at once on a server with a small
//! `--memory-max`. It holds Millrace to:
//! - the process stays under one and a half times `--memory-max`, by the most that it ever had resident;
//! - who is refused is told 429 with `Retry-After`;
//! - every request is answered, or its connection ends, within the server's own times;
//! - every writer goes on: none waits long for its next acknowledgement;
//! - in the end every acknowledged append is there, once, in order, byte for byte; and of uploads that
//!   never ended nothing.
//!
//! Layout: [`record`] (the bytes, and the look at them), [`writers`], [`readers`], [`uploads`] (the
//! clients), [`tally`] (what happened to them), [`figures`].

mod figures;
mod readers;
mod record;
mod tally;
mod uploads;
mod writers;

use std::{
    future::Future,
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::task::{JoinSet, LocalSet};

pub(crate) use self::figures::Figures;
use self::{tally::Tally, writers::Written};
use crate::{
    http::Connection,
    run::until_taken,
    server::{Server, raise_descriptors},
    settings::Settings,
};

/// How many streams the writers write and the readers read.
const STREAMS: u32 = 8;
/// How many streams uploads go to.
const UPLOADS: u32 = 8;
/// How often the process's memory is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// After the end, clients have this long to notice.
const HOME_WITHIN: Duration = Duration::from_secs(35);

fn path(stream: u32) -> String {
    format!("/v1/stream/over-{stream}")
}

fn upload_path(stream: u32) -> String {
    format!("/v1/stream/upload-{stream}")
}

/// Presses, and looks at everything afterwards.
pub(crate) fn run(settings: &Settings) -> Result<Figures, String> {
    raise_descriptors();
    let server = Server::start(settings)?;
    let address = server.address;
    on_a_loop(make(address))?;
    let tally = Arc::<Tally>::default();
    let before = server.memory()?.now;
    eprintln!("pressure: {} s of overload", settings.measured.as_secs());
    let (written, memory) = press(settings, &server, &tally)?;
    let peak = server.memory()?.peak;
    eprintln!("pressure: looking at all that was acknowledged");
    let (bytes, found) = on_a_loop(record::look(address, &written))?;
    on_a_loop(nothing_uploaded(address))?;
    server.stop()?;
    Ok(Figures::new(
        settings,
        &tally,
        &written,
        figures::Memory {
            before,
            peak,
            anonymous: memory,
        },
        (bytes, found),
    ))
}

/// All clients at once, for as long as is measured. What writers were acknowledged, and the most
/// anonymous memory that was seen.
fn press(
    settings: &Settings,
    server: &Server,
    tally: &Arc<Tally>,
) -> Result<(Vec<Written>, u64), String> {
    thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut most = 0;
            while !tally.is_over() {
                most = most.max(server.memory().map_or(0, |memory| memory.anonymous));
                thread::sleep(LOOK);
            }
            most
        });
        let crowd = scope.spawn(|| on_a_loop(crowd(settings, server.address, tally)));
        let writing = scope.spawn(|| on_a_loop(writers::all(settings, server.address, tally)));
        let begun = Instant::now();
        while begun.elapsed() < settings.measured && !writing.is_finished() {
            thread::sleep(LOOK);
        }
        tally.end();
        let written = joined(writing.join())?;
        joined(crowd.join())?;
        let most = sampler.join().map_err(|_| "the sampler panicked")?;
        Ok((written, most))
    })
}

fn joined<T>(done: thread::Result<Result<T, String>>) -> Result<T, String> {
    done.map_err(|_| "a client panicked".to_owned())?
}

/// The slow ones.
async fn crowd(settings: &Settings, address: SocketAddr, tally: &Arc<Tally>) -> Result<(), String> {
    let mut clients = JoinSet::new();
    for number in 0..settings.readers {
        clients.spawn_local(readers::reads(address, number, Arc::clone(tally)));
    }
    for number in 0..settings.senders {
        clients.spawn_local(uploads::sends(address, number, Arc::clone(tally)));
    }
    let all = async {
        while let Some(done) = clients.join_next().await {
            done.map_err(|_| "a slow client panicked")?;
        }
        Ok::<_, String>(())
    };
    tokio::select! {
        done = all => done,
        () = tally.long_over(HOME_WITHIN) => Err("slow clients did not end".into()),
    }
}

async fn make(address: SocketAddr) -> Result<(), String> {
    let work = async {
        let mut connection = Connection::open(address).await?;
        let paths = (0..STREAMS).map(path).chain((0..UPLOADS).map(upload_path));
        for path in paths {
            until_taken(address, &mut connection, "PUT", &path, b"").await?;
        }
        Ok(())
    };
    let made = work.await;
    made.map_err(|error: std::io::Error| format!("the streams cannot be made: {error}"))
}

/// No upload ended: not a byte of any may be there.
async fn nothing_uploaded(address: SocketAddr) -> Result<(), String> {
    for stream in 0..UPLOADS {
        let path = format!("{}?offset=-1", upload_path(stream));
        let body = async {
            let mut connection = Connection::open(address).await?;
            connection.ask("GET", &path, b"").await
        };
        let (status, body) = body.await.map_err(|error| format!("{path}: {error}"))?;
        if status != 200 || !body.is_empty() {
            let len = body.len();
            return Err(format!(
                "{path} is answered {status} with {len} bytes of uploads that broke off"
            ));
        }
    }
    Ok(())
}

/// Runs `work` on an event loop of its own, on this thread.
fn on_a_loop<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    LocalSet::new().block_on(&runtime, work)
}
