//! Connections over memory: no port, no engine, a service of the test's own.

use std::{cell::Cell, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use millrace_env::{Switch, sleep};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    task::LocalSet,
};

use super::*;
use crate::refusals::Refusals;

/// Says the path back; panics, sleeps or counts where the path says so.
#[derive(Default)]
struct Echo {
    served: Cell<u32>,
}

impl Service for Echo {
    type Body = Full<Bytes>;

    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.served.set(self.served.get() + 1);
        let path = request.uri().path().to_owned();
        if path == "/slow" {
            sleep(Duration::from_secs(1)).await;
        }
        assert_ne!(path, "/panic", "asked for");
        Response::new(Full::new(Bytes::from(path)))
    }
}

struct Bench {
    protocol: Rc<Protocol>,
    echo: Rc<Echo>,
    draining: Switch,
    refusals: Arc<Refusals>,
}

/// A client of the test's own.
pub(super) fn peer(refusals: &Arc<Refusals>) -> Peer {
    Peer::new("192.0.2.1:9".parse().unwrap(), Arc::clone(refusals))
}

impl Bench {
    fn new() -> Self {
        Self {
            protocol: Rc::new(Protocol::new(&Config::default())),
            echo: Rc::new(Echo::default()),
            draining: Switch::new(),
            refusals: Arc::default(),
        }
    }

    /// A connection that is being served.
    fn connect(&self) -> (DuplexStream, tokio::task::JoinHandle<()>) {
        let (client, server) = duplex(64 << 10);
        let (protocol, echo) = (Rc::clone(&self.protocol), Rc::clone(&self.echo));
        let (peer, draining) = (peer(&self.refusals), self.draining.watcher());
        let served = tokio::task::spawn_local(async move {
            protocol.serve(server, peer, echo, draining).await;
        });
        (client, served)
    }
}

async fn get(client: &mut DuplexStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
}

/// Reads one answer of the service, whose bodies do not end in a digit.
async fn answer(client: &mut DuplexStream, body: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(&format!("\r\n\r\n{body}")) {
        let mut piece = [0; 1024];
        let read = client.read(&mut piece).await.unwrap();
        assert!(read > 0, "ended after {text:?}");
        text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    text
}

/// What `work` gives, and how long it took by the paused clock.
#[expect(clippy::disallowed_methods, reason = "the clock that tests pause")]
pub(super) async fn elapsed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let start = tokio::time::Instant::now();
    let done = work.await;
    (done, start.elapsed())
}

async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

#[tokio::test(start_paused = true)]
async fn t94_a_panic_ends_one_connection_and_no_other() {
    local(async {
        let bench = Bench::new();
        let (mut other, _served) = bench.connect();
        let (mut doomed, served) = bench.connect();
        get(&mut doomed, "/panic").await;
        assert!(served.await.is_err_and(|error| error.is_panic()));
        get(&mut other, "/fine").await;
        answer(&mut other, "/fine").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn draining_ends_what_is_idle_and_finishes_what_is_not() {
    local(async {
        let bench = Bench::new();
        let (mut silent, silent_served) = bench.connect();
        let (mut idle, idle_served) = bench.connect();
        get(&mut idle, "/first").await;
        answer(&mut idle, "/first").await;
        let (mut busy, busy_served) = bench.connect();
        get(&mut busy, "/slow").await;
        sleep(Duration::from_millis(100)).await;
        bench.draining.on();
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).await.unwrap();
        silent.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
        drop((idle, silent));
        silent_served.await.unwrap();
        idle_served.await.unwrap();
        let text = answer(&mut busy, "/slow").await;
        assert!(text.contains("connection: close"), "{text}");
        drop(busy);
        busy_served.await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_let_go_after_a_while() {
    local(async {
        let bench = Bench::new();
        let (mut client, served) = bench.connect();
        get(&mut client, "/first").await;
        answer(&mut client, "/first").await;
        sleep(Times::default().idle * 9 / 10).await;
        get(&mut client, "/second").await;
        answer(&mut client, "/second").await;
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        drop(client);
        served.await.unwrap();
        assert_eq!(bench.echo.served.get(), 2);
        assert_eq!(bench.refusals.count(Refused::Idle), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn t94_half_a_head_is_let_go_soon() {
    local(async {
        let bench = Bench::new();
        for begin in [
            "",
            "G",
            "GET /x HTTP/1.1\r\nHost: x\r\nX-Half",
            "PRI * HTTP/2.0\r\n",
        ] {
            let (mut client, served) = bench.connect();
            client.write_all(begin.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            let (ended, took) = elapsed(client.read_to_end(&mut rest)).await;
            ended.unwrap();
            assert!(
                took <= Times::default().head + Duration::from_secs(1),
                "{begin}: {took:?}"
            );
            drop(client);
            served.await.unwrap();
        }
        assert_eq!(bench.echo.served.get(), 0);
        assert_eq!(bench.refusals.count(Refused::HeaderTimeout), 4);
    })
    .await;
}

/// Asked with `head`, what is answered.
async fn answered(bench: &Bench, head: &str) -> String {
    let (mut client, served) = bench.connect();
    client.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    drop(client);
    served.await.unwrap();
    text
}

#[tokio::test(start_paused = true)]
async fn headers_too_large_or_too_many_are_refused_and_counted() {
    local(async {
        let mut bench = Bench::new();
        let config = Config {
            header_bytes_max: 8 << 10,
            ..Config::default()
        };
        bench.protocol = Rc::new(Protocol::new(&config));
        let with = |headers: &str| format!("GET /x HTTP/1.1\r\nHost: x\r\n{headers}");
        let close = "Connection: close\r\n\r\n";
        let fits = with(&format!("X: {}\r\n{close}", "y".repeat(7 << 10)));
        assert!(answered(&bench, &fits).await.starts_with("HTTP/1.1 200"));
        let many = with(&format!("{}{close}", "X: y\r\n".repeat(99)));
        for head in [
            with(&format!("X: {}\r\n{close}", "y".repeat(9 << 10))),
            with(&format!("X: {}", "y".repeat(9 << 10))),
            many,
        ] {
            let text = answered(&bench, &head).await;
            assert!(text.starts_with("HTTP/1.1 431"), "{text}");
        }
        assert_eq!(bench.refusals.count(Refused::HeaderTooLarge), 3);
        assert_eq!(bench.echo.served.get(), 1);
    })
    .await;
}

/// A body without end that counts what is taken of it.
struct Endless(Rc<Cell<u64>>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        self.0.set(self.0.get() + 1);
        assert!(self.0.get() < 1000, "it is made for nobody");
        let piece = Bytes::from(vec![b'x'; 64 << 10]);
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(piece))))
    }
}

struct Flood(Rc<Cell<u64>>);

impl Service for Flood {
    type Body = Endless;

    async fn answer(self: Rc<Self>, _request: Request<Incoming>) -> Response<Endless> {
        Response::new(Endless(Rc::clone(&self.0)))
    }
}

/// What a client does not take is not made, even while it has begun another request.
#[tokio::test(start_paused = true)]
async fn t58_a_deaf_client_is_not_read_ahead_for_and_let_go() {
    local(async {
        let taken = Rc::new(Cell::new(0));
        let refusals = Arc::<Refusals>::default();
        let protocol = Rc::new(Protocol::new(&Config::default()));
        let (mut client, server) = duplex(64 << 10);
        let flood = Rc::new(Flood(Rc::clone(&taken)));
        let draining = Switch::new();
        let serve = {
            let (protocol, draining) = (Rc::clone(&protocol), draining.watcher());
            let peer = peer(&refusals);
            async move { protocol.serve(server, peer, flood, draining).await }
        };
        let served = tokio::task::spawn_local(serve);
        get(&mut client, "/").await;
        client.write_all(b"GET /next").await.unwrap();
        let ((), took) = elapsed(async { served.await.unwrap() }).await;
        assert!(taken.get() <= 5, "{} pieces were made", taken.get());
        assert!(took >= Times::default().write && took < Times::default().write * 2);
        assert_eq!(refusals.count(Refused::SlowReader), 1);
    })
    .await;
}
