//! The front: a thread of its own that accepts connections and hands them to the cores in turn.
//!
//! It waits for a connection's first bytes before it hands it over. Connections that ask for
//! `/health`, `/ready` or `/metrics` stay here, so that whoever asks whether the process lives is answered by a
//! thread that owns no shard and waits for no disk (decision 5), and a core whose disk stalls does
//! not look dead. A connection that stays may ask for anything; it is served as well, only from
//! here. The hand-over costs a connection once, its requests nothing.
//!
//! Layout: `arrive.rs` (TLS, and who gets a connection), `look.rs` and `first_request.rs` (what its
//! first bytes ask for), `handed.rs` (connections on their way).
//!
//! BOUND: the number of connections, and [`SHED_MAX`] more, which are told 429 and end, so that nobody
//! waits without a word. Those that ask for the state of the server are answered even then. More wait
//! in the kernel's queue.

mod arrive;
mod first_request;
mod handed;
mod look;

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use millrace_env::{Listener, TcpListener, sleep, timeout};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

pub(crate) use self::handed::{Inlet, Outlet, way};
use self::{
    arrive::{Arrival, arrive, refuse, shed},
    handed::{Handed, Wire},
};
use crate::{
    addresses::Addresses,
    app::App,
    conn::Protocol,
    core::{self, Signals},
    held::Ticket,
    metrics::Connected,
    refusals::{Peer, Refusals, Refused},
};

/// How long to wait when connections cannot be accepted: out of descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections at a time beyond [`crate::Config::connections_max`] that are told so.
const SHED_MAX: usize = 64;

/// Accepts connections until the server drains.
pub(crate) async fn run(
    socket: std::net::TcpListener,
    cores: Vec<Outlet>,
    app: Arc<App>,
    signals: Signals,
) {
    let (stay, inlet) = way();
    let accepting = accept(socket, cores, stay, Arc::clone(&app), signals.clone());
    let renewing = renew(&app, signals.clone());
    let serving = core::serve(inlet, Arc::clone(&app), signals);
    tokio::join!(accepting, renewing, serving);
}

/// Takes up new certificates until the server drains.
async fn renew(app: &App, signals: Signals) {
    let Some(tls) = &app.config.tls else { return };
    tokio::select! {
        biased;
        // A server that is gone stops too.
        () = signals.draining.wait() => {}
        () = tls.renew(app.config.times.certificates) => {}
    }
}

async fn accept(
    socket: std::net::TcpListener,
    cores: Vec<Outlet>,
    stay: Outlet,
    app: Arc<App>,
    signals: Signals,
) {
    let listener = match TcpListener::new(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the listening socket cannot be used");
            return;
        }
    };
    let room = Room::new(app.config.connections_max);
    let addresses = app.config.connections_per_address_max.map(Addresses::new);
    let protocol = Rc::new(Protocol::new(&app.config));
    let metrics = app.metrics.core();
    let mut arrivals = JoinSet::new();
    let mut turn = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = signals.draining.wait() => return,
            accepted = next(&listener, &room, &app.refusals) => accepted,
        };
        while arrivals.try_join_next().is_some() {}
        let Some((conn, address, (permit, is_extra))) = accepted else {
            continue;
        };
        let peer = Peer::new(address, Arc::clone(&app.refusals));
        let place = addresses
            .as_ref()
            .map(|addresses| addresses.place(address.ip()));
        if let Some(None) = place {
            peer.refused(Refused::AddressLimit);
            continue;
        }
        let ticket = Ticket::new(permit, place.flatten());
        metrics.accepted();
        let connected = Connected::new(&metrics);
        turn = (turn + 1) % cores.len();
        let ways = (stay.clone(), cores[turn].clone());
        let (app, protocol) = (Arc::clone(&app), Rc::clone(&protocol));
        let draining = signals.draining.clone();
        arrivals.spawn_local(async move {
            // Counted here until it is handed over, and there from then on.
            let _connected = connected;
            // Who says nothing in time, or leaves at once, is let go.
            let arriving = arrive(conn, app.config.tls.as_ref());
            match timeout(app.config.times.head, arriving).await {
                Some(Ok(Arrival::Served { conn, stays: false })) if is_extra => {
                    peer.refused(Refused::ConnectionLimit);
                    shed(&protocol, conn, peer, draining).await;
                }
                Some(Ok(Arrival::Served { conn, stays })) => {
                    let to = if stays { ways.0 } else { ways.1 };
                    hand_over(conn, address, ticket, &to).await;
                }
                Some(Ok(Arrival::NotTls(conn))) => refuse(&protocol, conn, peer, draining).await,
                Some(Err(error)) => {
                    tracing::debug!(%error, peer = %address, "a connection did not begin");
                }
                None => peer.refused(Refused::HeaderTimeout),
            }
        });
    }
}

/// Gives a connection to who serves it.
async fn hand_over(conn: Wire, peer: SocketAddr, ticket: Ticket, to: &Outlet) {
    let Ok(conn) = conn.pack() else { return };
    // A core that has ended takes no connections; dropping this one closes it.
    let _ = to.send(Handed { conn, peer, ticket }).await;
}

/// Places for connections.
#[derive(Debug)]
struct Room {
    all: Arc<Semaphore>,
    extra: Arc<Semaphore>,
}

/// A place, and whether it is one of those for who is told that there is none.
type Seated = (OwnedSemaphorePermit, bool);

impl Room {
    fn new(connections_max: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(connections_max)),
            extra: Arc::new(Semaphore::new(SHED_MAX)),
        }
    }

    /// A proper place, if there is one.
    fn proper(&self) -> Option<Seated> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some((permit, false))
    }

    /// The next place of either kind.
    async fn next(&self) -> Option<Seated> {
        let (all, extra) = (Arc::clone(&self.all), Arc::clone(&self.extra));
        tokio::select! {
            biased;
            permit = all.acquire_owned() => Some((permit.ok()?, false)),
            permit = extra.acquire_owned() => Some((permit.ok()?, true)),
        }
    }
}

/// The next connection, once there is a place for one.
async fn next(
    listener: &TcpListener,
    room: &Room,
    refusals: &Refusals,
) -> Option<(TcpStream, SocketAddr, Seated)> {
    let mut seated = room.next().await?;
    match listener.accept().await {
        Ok((conn, peer)) => {
            // Connections may have ended while none came.
            if let (true, Some(proper)) = (seated.1, room.proper()) {
                seated = proper;
            }
            Some((conn, peer, seated))
        }
        Err(error) => {
            refusals.add(Refused::NotAccepted);
            tracing::warn!(%error, "a connection cannot be accepted");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
