//! The clients that press: idle, slow to ask, slow to send, slow to read, deaf.
//!
//! Each is a task of its own that begins again when the server lets it go, as it may. What it may not
//! is told in [`Toll`]: to refuse or cut off one that keeps the rules, however slowly.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::{JoinSet, LocalSet},
    time::{sleep, timeout},
};

use crate::{
    http::{Connection, head},
    settings::Settings,
};

/// How many streams the readers read, and in how many appends of [`PIECE_BYTES`] each was written.
pub(crate) const PAGES: usize = 8;
pub(crate) const PIECES: usize = 8;
pub(crate) const PIECE_BYTES: usize = 1 << 20;
/// Between two signs of life of a slow client.
const DRIP: Duration = Duration::from_secs(1);
/// A deaf client comes back after so long.
const DEAF: Duration = Duration::from_secs(20);
/// The crowd has this long to be there.
const THERE_WITHIN: Duration = Duration::from_mins(1);

/// What happened to the crowd.
#[derive(Debug, Default)]
pub(crate) struct Toll {
    /// Clients that were there at least once.
    pub(crate) there: AtomicU64,
    /// Connections that did not keep the rules and were let go.
    pub(crate) let_go: AtomicU64,
    /// Clients that kept the rules and were refused or cut off.
    pub(crate) wronged: AtomicU64,
    /// Bytes that slow readers took.
    pub(crate) taken: AtomicU64,
    is_over: AtomicBool,
}

/// A crowd that presses until it is dismissed.
pub(crate) struct Crowd {
    toll: Arc<Toll>,
    thread: thread::JoinHandle<()>,
}

impl Crowd {
    /// Calls it together; returns when all are there.
    pub(crate) fn call(settings: &Settings, address: SocketAddr) -> Result<Self, String> {
        let toll = Arc::<Toll>::default();
        let (own, their) = (settings.clone(), Arc::clone(&toll));
        let thread = thread::spawn(move || press(&own, address, &their));
        let all = (settings.idle + settings.senders + settings.readers) as u64;
        let begun = Instant::now();
        while toll.there.load(Ordering::Relaxed) < all {
            if begun.elapsed() > THERE_WITHIN {
                let there = toll.there.load(Ordering::Relaxed);
                toll.is_over.store(true, Ordering::Relaxed);
                return Err(format!("only {there} of {all} clients were let in"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { toll, thread })
    }

    /// Sends it home.
    pub(crate) fn dismiss(self) -> Result<Arc<Toll>, String> {
        self.toll.is_over.store(true, Ordering::Relaxed);
        let joined = self.thread.join();
        joined.map_err(|_| "the crowd panicked".to_owned())?;
        Ok(self.toll)
    }
}

/// All clients, on this thread.
fn press(settings: &Settings, address: SocketAddr, toll: &Arc<Toll>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an event loop");
    LocalSet::new().block_on(&runtime, async {
        let mut clients = JoinSet::new();
        let all = settings.idle + settings.senders + settings.readers;
        for number in 0..all {
            let toll = Arc::clone(toll);
            let (idle, senders) = (settings.idle, settings.senders);
            clients.spawn_local(async move {
                // A bounded stampede: the kernel's queue of connections is no part of this test.
                sleep(Duration::from_millis(number as u64 / 2)).await;
                let client = Client { address, toll };
                if number < idle {
                    client.idles(number).await;
                } else if number < idle + senders {
                    client.sends(number - idle).await;
                } else {
                    client.reads(number - idle - senders).await;
                }
            });
        }
        while !toll.is_over.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(20)).await;
        }
        let honest = async { while clients.join_next().await.is_some() {} };
        // Those that keep the rules look whether they are still welcome; the others are cut.
        let _ = timeout(Duration::from_secs(3), honest).await;
    });
}

/// One of them.
struct Client {
    address: SocketAddr,
    toll: Arc<Toll>,
}

impl Client {
    fn is_over(&self) -> bool {
        self.toll.is_over.load(Ordering::Relaxed)
    }

    fn count(number: &AtomicU64) {
        number.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs `once` again and again; the first time it is told when it is there.
    async fn again(&self, once: impl AsyncFn(&mut Arrival<'_>) -> io::Result<()>) {
        let mut arrival = Arrival {
            toll: &self.toll,
            is_there: false,
        };
        while !self.is_over() {
            // Being let go is an error, or the end of the connection.
            if once(&mut arrival).await.is_err() {
                Self::count(&self.toll.let_go);
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Half keep a connection that was used; the others never end asking.
    async fn idles(&self, number: usize) {
        match number % 8 {
            0..4 => self.rests().await,
            4 => self.begins(b"").await,
            5 => self.begins(b"G").await,
            _ => {
                self.begins(
                    b"GET /v1/stream/page-0 HTTP/1.1\r\nhost: localhost\r\nx-never-ending: ",
                )
                .await;
            }
        }
    }

    /// Asks once, rests, and asks again at the end: it must be as welcome as before.
    async fn rests(&self) {
        let mut arrival = Arrival {
            toll: &self.toll,
            is_there: false,
        };
        let welcome = async {
            let mut connection = Connection::open(self.address).await?;
            let (first, _) = connection.ask("GET", "/v1/stream/drip-0", b"").await?;
            arrival.there();
            while !self.is_over() {
                sleep(Duration::from_millis(100)).await;
            }
            let (second, _) = connection.ask("GET", "/health", b"").await?;
            Ok::<_, io::Error>(first == 200 && second == 200)
        };
        if !welcome.await.unwrap_or(false) {
            Self::count(&self.toll.wronged);
        }
    }

    /// Sends the beginning of a request, and then a byte a second where it began.
    async fn begins(&self, beginning: &[u8]) {
        self.again(async |arrival: &mut Arrival<'_>| {
            let mut connection = Connection::open(self.address).await?;
            connection.socket.write_all(beginning).await?;
            arrival.there();
            while !self.is_over() {
                if beginning.len() > 1 {
                    connection.socket.write_all(b"y").await?;
                }
                ended_within(&mut connection, DRIP).await?;
            }
            Ok(())
        })
        .await;
    }

    /// Appends a body of some announced length, four bytes a second.
    async fn sends(&self, number: usize) {
        let (framing, drop): (_, &[u8]) = match number % 4 {
            0 => ("content-length: 16777216\r\n", b"drip"),
            1 => ("content-length: 1048576\r\n", b"drip"),
            2 => ("content-length: 65536\r\n", b"drip"),
            _ => ("transfer-encoding: chunked\r\n", b"4\r\ndrip\r\n"),
        };
        let path = format!("/v1/stream/drip-{}", number % 50);
        self.again(async |arrival: &mut Arrival<'_>| {
            let mut connection = Connection::open(self.address).await?;
            let request = head("POST", &path, framing);
            connection.socket.write_all(&request).await?;
            arrival.there();
            while !self.is_over() {
                connection.socket.write_all(drop).await?;
                ended_within(&mut connection, DRIP).await?;
            }
            Ok(())
        })
        .await;
    }

    /// Three of five read slowly, one is deaf to events, one to the answer of a long-poll.
    async fn reads(&self, number: usize) {
        let page = number % PAGES;
        match number % 5 {
            0..3 => self.reads_slowly(page).await,
            3 => {
                let path = format!("/v1/stream/page-{page}?offset=-1&live=sse");
                self.is_deaf(&path).await;
            }
            _ => {
                let path = format!("/v1/stream/page-{page}?offset=-1&live=long-poll");
                self.is_deaf(&path).await;
            }
        }
    }

    /// Reads a large page at 4 KiB/s; nobody may take that amiss.
    async fn reads_slowly(&self, page: usize) {
        let mut arrival = Arrival {
            toll: &self.toll,
            is_there: false,
        };
        let reading = async {
            let mut connection = Connection::open_narrow(self.address).await?;
            let path = format!("/v1/stream/page-{page}?offset=-1");
            let request = head("GET", &path, "");
            connection.socket.write_all(&request).await?;
            let mut piece = [0; 1024];
            while !self.is_over() {
                connection.socket.read_exact(&mut piece).await?;
                if !arrival.is_there && !piece.starts_with(b"HTTP/1.1 200") {
                    return Err(io::Error::from(io::ErrorKind::InvalidData));
                }
                arrival.there();
                self.toll.taken.fetch_add(1024, Ordering::Relaxed);
                sleep(DRIP / 4).await;
            }
            Ok(())
        };
        if reading.await.is_err() {
            Self::count(&self.toll.wronged);
            arrival.there();
        }
    }

    /// Asks and never listens.
    async fn is_deaf(&self, path: &str) {
        self.again(async |arrival: &mut Arrival<'_>| {
            let mut connection = Connection::open_narrow(self.address).await?;
            connection.socket.write_all(&head("GET", path, "")).await?;
            arrival.there();
            let begun = Instant::now();
            while !self.is_over() && begun.elapsed() < DEAF {
                sleep(DRIP).await;
            }
            Ok(())
        })
        .await;
    }
}

/// Tells once that a client is there.
struct Arrival<'a> {
    toll: &'a Toll,
    is_there: bool,
}

impl Arrival<'_> {
    fn there(&mut self) {
        if !std::mem::replace(&mut self.is_there, true) {
            Client::count(&self.toll.there);
        }
    }
}

/// Waits; an error when the server answers or ends the connection meanwhile.
async fn ended_within(connection: &mut Connection, wait: Duration) -> io::Result<()> {
    let mut some = [0; 512];
    match timeout(wait, connection.socket.read(&mut some)).await {
        Err(_) => Ok(()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}
