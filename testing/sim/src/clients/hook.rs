//! A webhook and its worker: it takes deliveries, or does not, acks by its answer or by calling back, or
//! dies in between.
//!
//! The server's own connections to it are not simulated: what they can do to a delivery is drawn here. It
//! is lost on its way, it arrives and its answer is lost, or nobody answers in time.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use millrace_env::{Clock as _, sleep, timeout};
use millrace_monitor::tee;
use millrace_subscribe::{Deliver, Post, webhook::Delivering};
use serde_json::json;
use tokio::sync::{Notify, oneshot};

use super::{
    Caller,
    wake::{Wake, ack, read, subscribe, unprocessed},
};
use crate::{trace::Trace, world::World};

/// The subscription.
pub(crate) const ID: &str = "hook";
/// The streams of owners, forks among them.
const PATTERN: &str = "sim/w*/*";
const LEASE_MILLIS: u64 = 1000;
/// BOUND: deliveries that are left without an answer; of the oldest the connection breaks.
const SILENT_MAX: usize = 2;
/// Everything is processed within this time once nothing fails: the wall clock may have been set when the
/// next attempt was put off.
const DONE_WITHIN: Duration = Duration::from_mins(30);

/// What a delivery is answered with: the body of an answer that is success, or why there is none.
type Answer = oneshot::Sender<Result<Bytes, String>>;

/// Where deliveries arrive.
#[derive(Debug)]
pub(crate) struct Inbox {
    trace: Trace,
    watcher: tee::Shared,
    came: Notify,
    /// BOUND: one delivery at a time, and those of earlier lives of the server.
    posts: Mutex<VecDeque<(Post, Answer)>>,
}

impl Inbox {
    pub(crate) fn new(trace: Trace, watcher: tee::Shared) -> Arc<Self> {
        Arc::new(Self {
            trace,
            watcher,
            came: Notify::new(),
            posts: Mutex::default(),
        })
    }

    async fn next(&self) -> (Post, Answer) {
        loop {
            let first = self
                .posts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            match first {
                Some(first) => return first,
                None => self.came.notified().await,
            }
        }
    }
}

impl Deliver for Inbox {
    fn post(&self, post: Post) -> Delivering<'_> {
        let wake = &post.wake_id.0;
        self.trace.note(format_args!(
            "delivery of {wake}: {} bytes",
            post.body.len()
        ));
        self.watcher.lock().delivered(&post.body);
        let (answer, wait) = oneshot::channel();
        let limit = post.limit;
        self.posts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back((post, answer));
        self.came.notify_one();
        Box::pin(async move {
            match timeout(limit, wait).await {
                Some(Ok(answer)) => answer,
                Some(Err(_)) => Err("the connection broke".to_owned()),
                None => Err("no answer in time".to_owned()),
            }
        })
    }
}

/// The worker behind it.
#[derive(Debug)]
struct Receiver {
    caller: Caller,
    /// Deliveries that nobody answers.
    silent: VecDeque<Answer>,
}

/// Works until the run is settled, and then until everything is processed.
pub(crate) async fn work(caller: Caller) {
    let silent = VecDeque::new();
    let mut receiver = Receiver { caller, silent };
    let config = json!({
        "type": "webhook",
        "pattern": PATTERN,
        "webhook": {"url": "https://worker.example/hook"},
        "lease_ttl_ms": LEASE_MILLIS,
    });
    subscribe(&mut receiver.caller, ID, &config).await;
    while !receiver.caller.world.is_settled() {
        if let Some((post, answer)) = receiver.next(200).await {
            receiver.take(&post, answer).await;
        }
    }
    receiver.finish().await;
}

/// Whoever delivered may be dead.
fn say(answer: Answer, body: &'static [u8]) {
    let _ = answer.send(Ok(Bytes::from_static(body)));
}

/// The streams that have to be linked.
pub(crate) fn expected(world: &World) -> Vec<String> {
    world.board().iter().map(|live| live.name.clone()).collect()
}

impl Receiver {
    async fn next(&mut self, within_millis: u64) -> Option<(Post, Answer)> {
        let inbox = Arc::clone(&self.caller.world.inbox);
        timeout(Duration::from_millis(within_millis), inbox.next()).await
    }

    async fn take(&mut self, post: &Post, answer: Answer) {
        let way = self.caller.chance.millis(0, 40);
        sleep(way).await;
        let draw = self.caller.chance.between(0, 100);
        if draw < 10 {
            self.caller.world.count("deliveries lost");
            return;
        }
        if draw < 15 {
            self.caller.world.count("deliveries that nobody answered");
            self.silent.push_back(answer);
            if self.silent.len() > SILENT_MAX {
                self.silent.pop_front();
            }
            return;
        }
        let Some(wake) = Wake::parse(&post.body) else {
            let what = format!("no delivery: {:?}", post.body);
            return self.caller.world.monitor().violation(what);
        };
        self.caller.world.count("deliveries taken");
        let is_taken = (15..50).contains(&draw);
        if is_taken {
            say(answer, b"");
            if draw < 25 {
                self.caller.world.count("workers that died with a wake");
            } else {
                self.call_back(&wake).await;
            }
            return;
        }
        for told in &wake.streams {
            read(&mut self.caller, told).await;
        }
        if draw < 60 {
            self.caller.world.count("answers to deliveries lost");
        } else {
            say(answer, br#"{"done":true}"#);
        }
    }

    async fn call_back(&mut self, wake: &Wake) {
        let mut acks = Vec::new();
        for told in &wake.streams {
            if self.caller.chance.percent(80) {
                acks.extend(read(&mut self.caller, told).await);
            }
        }
        let done = self.caller.chance.percent(70);
        ack(
            &mut self.caller,
            &wake.request(ID, "/callback", &acks, done),
        )
        .await;
        if self.caller.chance.percent(20) {
            // Another time, when it may be over.
            sleep(Duration::from_millis(LEASE_MILLIS)).await;
            let late = wake.request(ID, "/callback", &wake.tails(), true);
            ack(&mut self.caller, &late).await;
        }
    }

    /// Does all that there is to be done.
    async fn finish(&mut self) {
        let begun = self.caller.world.clock.mono();
        self.silent.clear();
        loop {
            let expected = expected(&self.caller.world);
            let left = unprocessed(&mut self.caller, ID, &expected).await;
            if left.is_empty() {
                return self
                    .caller
                    .world
                    .count("subscriptions that were served to the end");
            }
            if self.caller.world.clock.mono() > begun + DONE_WITHIN {
                let what = format!("subscription {ID}: nobody is told that {left:?}");
                return self.caller.world.monitor().violation(what);
            }
            if let Some((post, answer)) = self.next(5000).await {
                let wake = Wake::parse(&post.body);
                for told in wake.iter().flat_map(|wake| &wake.streams) {
                    read(&mut self.caller, told).await;
                }
                say(answer, br#"{"done":true}"#);
                // The server takes it up.
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
