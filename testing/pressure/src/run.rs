//! The order of things: fill, then measure quiet and pressed in turn.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use crate::{
    appends::{self, Appended},
    crowd::{Crowd, PAGES, PIECE_BYTES, PIECES},
    http::Connection,
    report::{Figures, Round},
    server::{Server, raise_descriptors},
    settings::Settings,
};

/// How often the process's memory is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// A refused append of the filling is sent again after so long.
const AWAY: Duration = Duration::from_millis(50);

/// Measures everything. What was measured before a failure stands in `figures`.
pub(crate) fn run(settings: &Settings, figures: &mut Figures) -> Result<(), String> {
    raise_descriptors();
    let server = Server::start(settings)?;
    fill(settings, server.address)?;
    // Streams, connections and the log are warm before anything counts.
    appends::measure(settings, server.address)?;
    figures.memory_before = server.memory()?.now;
    for round in 1..=settings.rounds {
        say(&format!("round {round} of {}: quiet", settings.rounds));
        let quiet = appends::measure(settings, server.address)?;
        say(&format!("round {round} of {}: pressed", settings.rounds));
        figures.rounds.push(pressed(settings, &server, quiet)?);
    }
    figures.memory_peak = server.memory()?.peak;
    server.stop()
}

fn pressed(settings: &Settings, server: &Server, quiet: Appended) -> Result<Round, String> {
    let is_over = AtomicBool::new(false);
    let most = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let memory = server.memory().map_or(0, |memory| memory.now);
                most.fetch_max(memory, Ordering::Relaxed);
                thread::sleep(LOOK);
            }
        });
        let measured = || {
            let crowd = Crowd::call(settings, server.address)?;
            // Over loopback the system takes megabytes of each answer at once, whatever the reader
            // does: that burst is the system's, and over when its buffers are full.
            thread::sleep(settings.settle);
            let pressed = appends::measure(settings, server.address)?;
            Ok::<_, String>((pressed, crowd.dismiss()?))
        };
        let done = measured();
        is_over.store(true, Ordering::Relaxed);
        let (pressed, toll) = done?;
        Ok(Round {
            quiet,
            pressed,
            memory: most.load(Ordering::Relaxed),
            let_go: toll.let_go.load(Ordering::Relaxed),
            wronged: toll.wronged.load(Ordering::Relaxed),
            taken: toll.taken.load(Ordering::Relaxed),
        })
    })
}

/// Creates what is read, what is dripped into, and what is appended to.
fn fill(settings: &Settings, address: SocketAddr) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let work = async {
        let mut connection = Connection::open(address).await?;
        let drips = (0..50).map(|number| format!("/v1/stream/drip-{number}"));
        let pages = (0..PAGES).map(|number| format!("/v1/stream/page-{number}"));
        let measured = (0..settings.connections).map(appends::path);
        for path in drips.chain(pages).chain(measured) {
            until_taken(address, &mut connection, "PUT", &path, b"").await?;
        }
        let piece = vec![b'p'; PIECE_BYTES];
        for number in 0..PAGES * PIECES {
            let path = format!("/v1/stream/page-{}", number % PAGES);
            until_taken(address, &mut connection, "POST", &path, &piece).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let done = runtime.block_on(work);
    done.map_err(|error| format!("the streams cannot be made: {error}"))
}

/// While it starts, or fills, the server may be asked for more than it can do, and say so.
pub(crate) async fn until_taken(
    address: SocketAddr,
    connection: &mut Connection,
    method: &str,
    path: &str,
    body: &[u8],
) -> std::io::Result<()> {
    loop {
        match connection.ask(method, path, body).await?.0 {
            201 | 204 => return Ok(()),
            429 | 503 => {
                tokio::time::sleep(AWAY).await;
                // Who is refused amid a large body is not read on from.
                *connection = Connection::open(address).await?;
            }
            other => {
                let what = format!("{method} {path} is answered {other}");
                return Err(std::io::Error::other(what));
            }
        }
    }
}

/// Tells people how far it is; figures go to the standard output.
fn say(what: &str) {
    eprintln!("pressure: {what}");
}
