//! Connections over memory: no port, no engine, a service of the test's own.

use std::cell::Cell;

use bytes::Bytes;
use http_body_util::Full;
use millrace_env::sleep;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    task::LocalSet,
};

use super::*;

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
    draining: watch::Sender<bool>,
}

impl Bench {
    fn new() -> Self {
        Self {
            protocol: Rc::new(Protocol::new(Times::default())),
            echo: Rc::new(Echo::default()),
            draining: watch::Sender::new(false),
        }
    }

    /// A connection that is being served.
    fn connect(&self) -> (DuplexStream, tokio::task::JoinHandle<Option<Cut>>) {
        let (client, server) = duplex(64 << 10);
        let (protocol, echo) = (Rc::clone(&self.protocol), Rc::clone(&self.echo));
        let draining = self.draining.subscribe();
        let served =
            tokio::task::spawn_local(async move { protocol.serve(server, echo, draining).await });
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
        bench.draining.send_replace(true);
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).await.unwrap();
        silent.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
        drop((idle, silent));
        assert_eq!(silent_served.await.unwrap(), None);
        assert_eq!(idle_served.await.unwrap(), None);
        let text = answer(&mut busy, "/slow").await;
        assert!(text.contains("connection: close"), "{text}");
        drop(busy);
        assert_eq!(busy_served.await.unwrap(), None);
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
        assert_eq!(served.await.unwrap(), Some(Cut::Idle));
        assert_eq!(bench.echo.served.get(), 2);
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
            assert_eq!(served.await.unwrap(), Some(Cut::Head), "{begin}");
        }
        assert_eq!(bench.echo.served.get(), 0);
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
        let protocol = Rc::new(Protocol::new(Times::default()));
        let (mut client, server) = duplex(64 << 10);
        let flood = Rc::new(Flood(Rc::clone(&taken)));
        let draining = watch::Sender::new(false);
        let serve = {
            let (protocol, draining) = (Rc::clone(&protocol), draining.subscribe());
            async move { protocol.serve(server, flood, draining).await }
        };
        let served = tokio::task::spawn_local(serve);
        get(&mut client, "/").await;
        client.write_all(b"GET /next").await.unwrap();
        let (cut, took) = elapsed(async { served.await.unwrap() }).await;
        assert_eq!(cut, Some(Cut::Write));
        assert!(taken.get() <= 5, "{} pieces were made", taken.get());
        assert!(took >= Times::default().write && took < Times::default().write * 2);
    })
    .await;
}
