//! What all threads of a run share: where the server is, which streams live, and the judge.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use millrace_monitor::{
    judge::{Id, Judge, Mark, Whole},
    message::Kind,
    tee::Shared,
};

use crate::{
    http::{Connection, Head, Request, Response, is_timeout},
    server::Server,
};

/// A stream that lives.
#[derive(Debug)]
pub struct Live {
    /// Its number in the judge.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Held to read while a guest has an append to it that nobody answered, and to write while it
    /// is deleted, so that no append of one incarnation lands in the next.
    pub gate: RwLock<()>,
}

/// What all threads share.
#[derive(Debug, Default)]
pub struct World {
    judge: Mutex<Judge>,
    /// Sees all that passes between the clients and every server.
    pub watcher: Shared,
    place: Mutex<Place>,
    moved: Condvar,
    board: Mutex<Vec<Arc<Live>>>,
    stopping: AtomicBool,
    /// The server that the load leaves behind.
    left: Mutex<Option<Server>>,
    /// Requests that were cut off by a kill.
    pub lost: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    address: Option<SocketAddr>,
    started: Option<Instant>,
    generation: u64,
    abandoned: bool,
}

impl World {
    /// The judge.
    pub fn judge(&self) -> MutexGuard<'_, Judge> {
        lock(&self.judge)
    }

    /// The server, started at `started`, takes requests at `address`.
    pub fn server_is_up(&self, address: SocketAddr, started: Instant) {
        let mut place = lock(&self.place);
        place.address = Some(address);
        place.started = Some(started);
        place.generation += 1;
        self.moved.notify_all();
    }

    /// The server is about to be killed.
    pub fn server_is_down(&self) {
        lock(&self.place).address = None;
    }

    /// There will be no server any more; whoever waits for one goes home.
    pub fn abandon(&self) {
        lock(&self.place).abandoned = true;
        self.moved.notify_all();
        self.stop();
    }

    /// Whether there will be no server any more.
    pub fn is_abandoned(&self) -> bool {
        lock(&self.place).abandoned
    }

    /// Keeps the server running while the load ends.
    pub fn keep(&self, server: Server) {
        *lock(&self.left) = Some(server);
    }

    /// The server that was kept.
    pub fn give_back(&self) -> Option<Server> {
        lock(&self.left).take()
    }

    /// Asks the load to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Whether the load is asked to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// When the running server was started.
    pub fn started(&self) -> Option<Instant> {
        lock(&self.place).started
    }

    /// Waits for a server; `None` when there will be none.
    fn server(&self) -> Option<(SocketAddr, u64)> {
        let mut place = lock(&self.place);
        loop {
            if place.abandoned {
                return None;
            }
            if let Some(address) = place.address {
                return Some((address, place.generation));
            }
            place = self
                .moved
                .wait(place)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn still_at(&self, generation: u64) -> bool {
        let place = lock(&self.place);
        place.address.is_some() && place.generation == generation
    }

    /// Makes a stream known to readers and guests.
    pub fn publish(&self, live: &Arc<Live>) {
        lock(&self.board).push(Arc::clone(live));
    }

    /// Hides a stream from readers and guests.
    pub fn withdraw(&self, id: Id) {
        lock(&self.board).retain(|live| live.id != id);
    }

    /// The streams that live.
    pub fn board(&self) -> Vec<Arc<Live>> {
        lock(&self.board).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One thread's connection to the server, wherever that is.
#[derive(Debug)]
pub struct Caller<'a> {
    /// What all threads share.
    pub world: &'a World,
    connection: Option<(Connection, u64)>,
}

/// There will be no server any more.
#[derive(Clone, Copy, Debug)]
pub struct Abandoned;

impl<'a> Caller<'a> {
    /// A caller without a connection yet.
    pub fn new(world: &'a World) -> Self {
        Self {
            world,
            connection: None,
        }
    }

    /// Waits for a server and sends one request, once. `None`: no answer came, so that nobody knows
    /// whether it was carried out.
    pub fn once(&mut self, request: &Request) -> Result<Option<Response>, Abandoned> {
        let Some((mut connection, generation)) = self.connect()? else {
            return Ok(None);
        };
        match connection.exchange(request) {
            Ok(response) if response.head.status >= 500 || response.head.status == 429 => {
                self.refused(request, &response);
                Ok(None)
            }
            Ok(response) => {
                if response.head.header("connection") != Some("close") {
                    self.connection = Some((connection, generation));
                }
                Ok(Some(response))
            }
            Err(error) => {
                self.cut(&error, generation, &request.target);
                Ok(None)
            }
        }
    }

    /// Sends a request until an answer comes; says how many times none did before.
    pub fn insist(&mut self, request: &Request) -> Result<(Response, u32), Abandoned> {
        let mut lost = 0;
        loop {
            if let Some(response) = self.once(request)? {
                return Ok((response, lost));
            }
            lost += 1;
        }
    }

    /// A connection for a request that the caller drives itself, and the server's generation.
    pub fn connect(&mut self) -> Result<Option<(Connection, u64)>, Abandoned> {
        let (address, generation) = self.world.server().ok_or(Abandoned)?;
        match self.connection.take() {
            Some((connection, of)) if of == generation => Ok(Some((connection, of))),
            _ => match Connection::overheard(address, &self.world.watcher) {
                Ok(connection) => Ok(Some((connection, generation))),
                Err(error) => {
                    self.cut(&error, generation, "connect");
                    Ok(None)
                }
            },
        }
    }

    /// A connection ended before its answer did. That is what kills are for; but a server that lives
    /// must answer.
    pub fn cut(&self, error: &io::Error, generation: u64, what: &str) {
        self.world.lost.fetch_add(1, Ordering::Relaxed);
        let hangs = is_timeout(error);
        let broken = error.kind() == io::ErrorKind::InvalidData;
        if broken || (hangs && self.world.still_at(generation)) {
            let what = format!("{what}: {error}");
            self.world.judge().violation(what);
        }
        thread::sleep(Duration::from_millis(1));
    }

    /// An answer that says "not now".
    fn refused(&self, request: &Request, response: &Response) {
        let status = response.head.status;
        if !matches!(status, 429 | 503) {
            let body = String::from_utf8_lossy(&response.body).into_owned();
            let what = format!("{} {} → {status} {body}", request.method, request.target);
            self.world.judge().violation(what);
        }
        thread::sleep(Duration::from_millis(5));
    }

    /// Reads a stream from its start to its tail. `None` when it is gone.
    pub fn read_whole(&mut self, live: &Live) -> Result<Option<Whole>, Abandoned> {
        let mut place = Mark::start();
        let mut bytes = Vec::new();
        loop {
            let query = format!("?offset={}", place.token);
            let (response, _) = self.insist(&Request::new("GET", &live.name, &query))?;
            if matches!(response.head.status, 404 | 410) {
                self.gone(live, &place, &response.head);
                return Ok(None);
            }
            let Some((wire, next)) = self.take(live, &place, &response) else {
                return Ok(None);
            };
            bytes.extend_from_slice(&wire);
            place = next;
            if response.head.header("stream-up-to-date") == Some("true") {
                return Ok(Some(Whole {
                    bytes,
                    tail: place.token,
                    closed: response.head.closed(),
                }));
            }
        }
    }

    /// Tells the judge of a catch-up or long-poll response; `None` when reading cannot go on.
    pub fn take(
        &mut self,
        live: &Live,
        from: &Mark,
        response: &Response,
    ) -> Option<(Vec<u8>, Mark)> {
        let (status, body) = (response.head.status, &response.body);
        let mut judge = self.world.judge();
        if !judge.lives(live.id) {
            return None;
        }
        let wire = match status {
            200 => live.kind.wire(body),
            204 => Ok(Vec::new()),
            _ => Err(format!(
                "GET answered {status}: {}",
                String::from_utf8_lossy(body)
            )),
        };
        let next = response.head.next().ok_or("a read without an offset");
        match (wire, next) {
            (Ok(wire), Ok(next)) => {
                let place = judge.delivered(live.id, from, &wire, next)?;
                if response.head.closed() {
                    judge.closed(live.id);
                }
                Some((wire, place))
            }
            (Err(what), _) => {
                judge.violation(format!("{} from {}: {what}", live.name, from.token));
                None
            }
            (_, Err(what)) => {
                judge.violation(format!("{} from {}: {what}", live.name, from.token));
                None
            }
        }
    }

    /// A stream was said to be gone: only if somebody deleted it.
    pub fn gone(&self, live: &Live, place: &Mark, head: &Head) {
        let mut judge = self.world.judge();
        if judge.lives(live.id) {
            let (status, earliest) = (head.status, head.header("stream-earliest-offset"));
            judge.violation(format!(
                "{} from {} is {status}, and nobody deleted it; earliest offset {earliest:?}",
                live.name, place.token
            ));
        }
    }

    /// Reads a stream and compares it with everything known of it.
    pub fn verify(&mut self, live: &Live) -> Result<(), Abandoned> {
        let asof = self.world.judge().now();
        if let Some(whole) = self.read_whole(live)? {
            self.world.judge().verify(live.id, &whole, asof);
        }
        Ok(())
    }
}
