//! Real HTTP/2 clients over memory, whose windows open when the test says so.

use std::cell::Cell;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, client::conn::http2, rt::Executor};
use hyper_util::rt::{TokioIo, TokioTimer};
use millrace_env::Switch;
use tokio::{io::duplex, task::LocalSet};

use super::*;
use crate::{
    config::Config,
    conn::{Protocol, Service, tests::elapsed},
    refusals::Refusals,
};

const PAGE_BYTES: u64 = 1 << 20;

/// A megabyte in large pieces.
#[derive(Debug)]
struct Page {
    left: u64,
    made: Rc<Cell<u64>>,
}

impl Body for Page {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = self.left.min(256 << 10);
        self.left -= piece;
        self.made.set(self.made.get() + piece);
        let len = usize::try_from(piece).unwrap();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; len])))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Answers every request with a page.
#[derive(Default)]
struct Pages {
    made: Rc<Cell<u64>>,
}

impl Service for Pages {
    type Body = Page;

    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Response<Page> {
        let left = match request.uri().path() {
            "/page" => PAGE_BYTES,
            _ => 10,
        };
        let made = Rc::clone(&self.made);
        Response::new(Page { left, made })
    }
}

#[derive(Clone)]
struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

struct Client {
    sender: http2::SendRequest<http_body_util::Empty<Bytes>>,
    refusals: Arc<Refusals>,
    served: tokio::task::JoinHandle<()>,
    made: Rc<Cell<u64>>,
    _draining: Switch,
}

impl Client {
    /// A client whose windows for answers are `window` bytes.
    async fn new(window: u32) -> Self {
        let (ours, theirs) = duplex(4 << 20);
        let pages = Rc::new(Pages::default());
        let made = Rc::clone(&pages.made);
        let refusals = Arc::<Refusals>::default();
        let peer = Peer::new("192.0.2.1:9".parse().unwrap(), Arc::clone(&refusals));
        let draining = Switch::new();
        let protocol = Protocol::new(&Config::default());
        let stop = draining.watcher();
        let served = tokio::task::spawn_local(async move {
            protocol.serve(theirs, peer, pages, stop).await;
        });
        let (sender, driver) = http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .initial_stream_window_size(window)
            .handshake(TokioIo::new(ours))
            .await
            .unwrap();
        tokio::task::spawn_local(async move { drop(driver.await) });
        Self {
            sender,
            refusals,
            served,
            made,
            _draining: draining,
        }
    }

    async fn get(&mut self, path: &str) -> Incoming {
        let request = Request::builder()
            .uri(format!("http://test.example{path}"))
            .body(http_body_util::Empty::new())
            .unwrap();
        self.sender.send_request(request).await.unwrap().into_body()
    }

    fn stalled(&self) -> u64 {
        self.refusals.count(Refused::StalledStream)
    }
}

async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

/// Whether a window is shut from the first byte on, or runs full amid the answer.
#[tokio::test(start_paused = true)]
async fn t58_a_stream_that_takes_nothing_is_reset_and_no_other() {
    for window in [0, 1, 100, 20 << 10, 300 << 10] {
        local(async {
            let mut client = Client::new(window).await;
            let stalled = client.get("/page").await;
            sleep(Times::default().write * 2).await;
            assert_eq!(client.stalled(), 1, "window {window}");
            assert!(
                client.made.get() <= u64::from(window) + (512 << 10),
                "what nobody takes is not made"
            );
            let ended = stalled.collect().await;
            assert!(ended.is_err(), "no client takes a part for the whole");
            if window > 10 {
                let whole = client.get("/small").await.collect().await.unwrap();
                assert_eq!(whole.to_bytes().len(), 10);
            }
            assert!(!client.served.is_finished(), "the connection goes on");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_little_at_a_time_gets_all_of_it() {
    local(async {
        let mut client = Client::new(16 << 10).await;
        let mut body = client.get("/page").await;
        let mut len = 0;
        let ((), took) = elapsed(async {
            while let Some(frame) = body.frame().await {
                len += frame.unwrap().into_data().unwrap().len() as u64;
                sleep(Times::default().write / 2).await;
            }
        })
        .await;
        assert_eq!(len, PAGE_BYTES);
        assert!(took > Times::default().write * 10);
        assert_eq!(client.stalled(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_http2_connection_without_requests_is_let_go_after_a_while() {
    local(async {
        let mut client = Client::new(1 << 20).await;
        for _ in 0..3 {
            let whole = client.get("/small").await.collect().await.unwrap();
            assert_eq!(whole.to_bytes().len(), 10);
            sleep(Times::default().idle * 2 / 3).await;
        }
        assert!(!client.served.is_finished());
        let (ended, took) = elapsed(client.served).await;
        ended.unwrap();
        assert!(took < Times::default().idle * 2, "{took:?}");
        assert_eq!(client.refusals.count(Refused::Idle), 1);
    })
    .await;
}
