//! The front: a thread of its own that accepts connections and hands them to the cores in turn.
//!
//! It waits for a connection's first bytes before it hands it over. Connections that ask for
//! `/health`, `/ready` or `/metrics` stay here, so that whoever asks whether the process lives is answered by a
//! thread that owns no shard and waits for no disk (decision 5), and a core whose disk stalls does
//! not look dead. A connection that stays may ask for anything; it is served as well, only from
//! here. The hand-over costs a connection once, its requests nothing.
//!
//! BOUND: the number of connections; more wait in the kernel's queue.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use millrace_env::{Listener, TcpListener, sleep, timeout};
use tokio::{
    net::TcpStream,
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};

use crate::{
    app::App,
    core::{self, Signals},
    held::Held,
    metrics::{Connected, Cut},
};

/// What asks for the state of the server begins with one of these.
const STAY: [&[u8]; 6] = [
    b"GET /health",
    b"HEAD /health",
    b"GET /ready",
    b"HEAD /ready",
    b"GET /metrics",
    b"HEAD /metrics",
];
/// The length of the longest of them.
const LOOK_BYTES: usize = 13;
/// How long to wait for the rest of a beginning that could still be one of them.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// How long to wait when connections cannot be accepted: out of descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The most connections on their way to one core.
const HANDED_MAX: usize = 1024;

/// A connection on its way to a core.
#[derive(Debug)]
pub(crate) struct Handed {
    conn: std::net::TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
}

/// Takes the connections that the front hands over.
#[derive(Debug)]
pub(crate) struct Inlet(Mutex<mpsc::Receiver<Handed>>);

/// The front's end of an [`Inlet`].
pub(crate) type Outlet = mpsc::Sender<Handed>;

/// A way from the front to a core.
pub(crate) fn way() -> (Outlet, Inlet) {
    let (outlet, inlet) = mpsc::channel(HANDED_MAX);
    (outlet, Inlet(Mutex::new(inlet)))
}

impl Listener for Inlet {
    type Conn = Held<TcpStream>;

    async fn accept(&self) -> io::Result<(Self::Conn, SocketAddr)> {
        let Some(handed) = self.0.lock().await.recv().await else {
            // The front has ended; no more will come.
            return std::future::pending().await;
        };
        let conn = TcpStream::from_std(handed.conn)?;
        Ok((Held::new(conn, handed.permit), handed.peer))
    }
}

/// Accepts connections until the server drains.
pub(crate) async fn run(
    socket: std::net::TcpListener,
    cores: Vec<Outlet>,
    app: Arc<App>,
    signals: Signals,
) {
    let (stay, inlet) = way();
    let accepting = accept(socket, cores, stay, Arc::clone(&app), signals.clone());
    tokio::join!(accepting, core::serve(inlet, app, signals));
}

async fn accept(
    socket: std::net::TcpListener,
    cores: Vec<Outlet>,
    stay: Outlet,
    app: Arc<App>,
    mut signals: Signals,
) {
    let listener = match TcpListener::new(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the listening socket cannot be used");
            return;
        }
    };
    let room = Arc::new(Semaphore::new(app.config.connections_max));
    let metrics = app.metrics.core();
    let mut looks = JoinSet::new();
    let mut turn = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = signals.draining.wait_for(|draining| *draining) => return,
            accepted = next(&listener, &room, &app) => accepted,
        };
        while looks.try_join_next().is_some() {}
        let Some((conn, peer, permit)) = accepted else {
            continue;
        };
        metrics.accepted();
        let connected = Connected::new(&metrics);
        turn = (turn + 1) % cores.len();
        let (stay, core) = (stay.clone(), cores[turn].clone());
        let (patience, app) = (app.config.times.head, Arc::clone(&app));
        looks.spawn_local(async move {
            // Counted here until it is handed over, and there from then on.
            let _connected = connected;
            // Who says nothing in time, or leaves at once, is let go.
            let stays = match timeout(patience, asks_for_state(&conn)).await {
                Some(Ok(stays)) => stays,
                Some(Err(_)) => return,
                None => return app.metrics.cut(Cut::Head),
            };
            let Ok(conn) = conn.into_std() else { return };
            let to = if stays { stay } else { core };
            // A core that has ended takes no connections; dropping this one closes it.
            let _ = to.send(Handed { conn, peer, permit }).await;
        });
    }
}

/// The next connection, once there is room for one.
async fn next(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    app: &App,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((conn, peer)) => Some((conn, peer, permit)),
        Err(error) => {
            app.metrics.cut(Cut::Accept);
            tracing::warn!(%error, "a connection cannot be accepted");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Whether the first request on `conn` asks for the state of the server. Reads nothing away.
async fn asks_for_state(conn: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; LOOK_BYTES];
    loop {
        let len = conn.peek(&mut seen).await?;
        match verdict(&seen[..len]) {
            Some(stays) => return Ok(stays),
            // The same bytes are readable again at once: there is nothing to wait on but time.
            None => sleep(LOOK_PAUSE).await,
        }
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
            ("GET /metrics HTTP/1.1", Some(true)),
            ("HEAD /metrics", Some(true)),
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
