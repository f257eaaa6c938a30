//! Requests without a socket: before recovery is done, dropped half way, panicking.

mod access;

use std::{
    pin::Pin,
    task::{Context, Waker},
};

use http_body_util::{BodyExt as _, Full};
use millrace_engine::{Opened, Options};
use millrace_env::{Env, RealClock, Rng, SimDisk};
use tokio::task::LocalSet;

use super::*;
use crate::config::{Access, Config};

/// Answers as a core would, with figures of its own.
async fn answer<B: Body<Data = Bytes> + Unpin>(app: &Arc<App>, request: Request<B>) -> Answer {
    super::answer(&Router::new(Arc::clone(app)), request).await
}

fn app() -> Arc<App> {
    app_with(Access::Open)
}

fn app_with(access: Access) -> Arc<App> {
    let env = Env {
        disk: SimDisk::new(7),
        clock: Arc::new(RealClock::new()),
        rng: Arc::new(Rng::from_seed(7)),
    };
    let config = Config {
        access,
        ..Config::default()
    };
    Arc::new(App::new(config, env))
}

fn request(method: &str, path: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "text/plain")
        .body(Full::from(body))
        .unwrap()
}

async fn text(answer: Answer) -> String {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn before_recovery_is_done_the_server_is_alive_and_not_ready() {
    let app = app();
    let ask = async |method, path| answer(&app, request(method, path, "")).await;
    assert_eq!(ask("GET", "/health").await.status(), 200);
    let ready = ask("GET", "/ready").await;
    assert_eq!(ready.status(), 503);
    assert!(text(ready).await.contains("recovering"));
    for (method, path) in [
        ("GET", "/v1/stream/a"),
        ("PUT", "/v1/stream/a"),
        ("POST", "/v1/stream/a"),
        ("HEAD", "/v1/stream/a"),
        ("DELETE", "/v1/stream/a"),
        ("GET", "/v1/streams"),
        ("GET", "/v1/stream/__ds/subscriptions/s"),
        ("GET", "/v1/stream/__ds/jwks.json"),
    ] {
        let refused = ask(method, path).await;
        assert_eq!(refused.status(), 503, "{method}");
        assert_eq!(refused.headers()["retry-after"], "1", "{method}");
    }
    let figures = text(ask("GET", "/metrics").await).await;
    assert!(figures.contains("\nmillrace_ready 0\n"), "{figures}");
    assert!(!figures.contains("millrace_streams"), "{figures}");
    assert_eq!(ask("OPTIONS", "/v1/stream/a").await.status(), 204);
    assert_eq!(ask("GET", "/nowhere").await.status(), 404);
}

#[tokio::test]
async fn a_panic_is_the_answer_of_one_request() {
    let panics = pin!(async {
        tokio::task::yield_now().await;
        panic!("asked for");
    });
    assert!(unwinding(panics).await.is_err());
    assert_eq!(unwinding(pin!(async { 1 })).await.unwrap(), 1);
}

/// An engine on a simulated disk, its shards running.
async fn with_engine<F: Future<Output = ()>>(test: impl FnOnce(Arc<App>) -> F) {
    with_engine_and(Access::Open, test).await;
}

async fn with_engine_and<F: Future<Output = ()>>(access: Access, test: impl FnOnce(Arc<App>) -> F) {
    let app = app_with(access);
    let mut options = Options::for_memory(64 << 20);
    options.wal_segment_bytes = 1 << 20;
    let Opened { engine, shards } = millrace_engine::open(app.env.clone(), options).unwrap();
    let deliver = std::sync::Arc::new(millrace_subscribe::Webhooks::default());
    let (subscriptions, driver) = crate::running::subscriptions(&app, &engine, deliver);
    app.open(engine.clone(), subscriptions.clone());
    let local = LocalSet::new();
    local.spawn_local(millrace_subscribe::run(driver));
    for shard in shards {
        local.spawn_local(shard.run());
    }
    local.run_until(subscriptions.read_all()).await;
    local.run_until(test(app)).await;
    local.run_until(subscriptions.stop()).await;
    local.run_until(engine.shutdown()).await;
}

/// Polls `future` at most `polls` times, letting everything else run in between, and drops it.
async fn polled<F: Future>(mut future: Pin<&mut F>, polls: u32) -> Option<F::Output> {
    for _ in 0..polls {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return Some(done);
        }
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }
    None
}

/// Decision 8: the command owns all it needs; dropping the request leaves all of it or nothing, and
/// nothing hangs.
#[tokio::test]
async fn t19_a_request_dropped_at_any_await_is_done_whole_or_not_at_all() {
    with_engine(async |app| {
        answer(&app, request("PUT", "/v1/stream/a", "")).await;
        let mut want = String::new();
        let mut finished = 0;
        for polls in 0..40 {
            let append = request("POST", "/v1/stream/a", "0123456789");
            let future = Box::pin(answer(&app, append));
            let mut future = future;
            let done = polled(future.as_mut(), polls % 8).await;
            drop(future);
            if let Some(done) = &done {
                assert_eq!(done.status(), 204);
                finished += 1;
            }
            // What was handed over is carried out before what comes after it.
            let after = answer(&app, request("POST", "/v1/stream/a", ";")).await;
            assert_eq!(after.status(), 204);
            let read = text(answer(&app, request("GET", "/v1/stream/a", "")).await).await;
            let without = format!("{want};");
            let with = format!("{want}0123456789;");
            assert!(read == without && done.is_none() || read == with, "{read}");
            want = read;
        }
        assert!(finished > 0, "some were let through");
        assert!(finished < 40, "some were dropped");
    })
    .await;
}

#[tokio::test]
async fn t99_paths_are_taken_as_they_are() {
    for (path, want) in [
        ("/health", Some(Route::Health)),
        ("/ready", Some(Route::Ready)),
        ("/metrics", Some(Route::Metrics)),
        ("/metrics/", None),
        ("/v1/streams", Some(Route::Listing)),
        ("/v1/streams/", None),
        ("/v1/stream", None),
        ("/HEALTH", None),
        ("//health", None),
        ("/v1/stream/../../health", None),
    ] {
        assert_eq!(Route::parse(path).ok(), want, "{path}");
    }
    let name = StreamName::new("health").unwrap();
    let route = Route::parse("/v1/stream/health").unwrap();
    assert_eq!(route, Route::Stream(name));
}
