//! Subscriptions over an engine on a simulated disk, with a webhook that answers as a test says: wakes,
//! retries and leases over crashes, nothing lost and nobody let through who was fenced.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a clock that follows the event loop's is made of it; helpers of tests are tests"
)]

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use millrace_core::{
    Append, ContentType, CreateSpec, Refusal, StreamName,
    subscription::{SubscriptionId, SubscriptionRefusal},
};
use millrace_engine::{Engine, From, NewStream, Opened, Options, open};
use millrace_env::{
    Clock, Env, Fault as DiskFault, FaultError, FaultOp, Rng, SimDisk, sleep,
    tasks::{self, Took},
};
use millrace_subscribe::{
    Deliver, Fault, Post, Rules, SubscriptionOptions, Subscriptions, run, webhook::Delivering,
};
use millrace_wire::{
    frame,
    subscription::{self as wire, AckRequest},
};
use serde_json::Value;
use tokio::{task::LocalSet, time::Instant};

/// Follows the event loop's time.
#[derive(Debug)]
struct LoopClock(Instant);

impl Clock for LoopClock {
    fn wall(&self) -> u64 {
        1_800_000_000_000 + u64::try_from(self.mono().as_millis()).unwrap()
    }

    fn mono(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What the webhook does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Taken,
    Fails,
    Never,
}

/// A webhook, and what was sent to it.
#[derive(Debug)]
struct Receiver {
    answer: Mutex<Answer>,
    posts: Mutex<Vec<(Duration, Value)>>,
    clock: Arc<LoopClock>,
}

impl Deliver for Receiver {
    fn post(&self, post: Post) -> Delivering<'_> {
        let body = serde_json::from_slice(&post.body).unwrap();
        self.posts.lock().unwrap().push((self.clock.mono(), body));
        let answer = *self.answer.lock().unwrap();
        Box::pin(async move {
            match answer {
                Answer::Done => Ok(Bytes::from_static(br#"{"done":true}"#)),
                Answer::Taken => Ok(Bytes::new()),
                Answer::Fails => Err("status 500".to_owned()),
                Answer::Never => {
                    sleep(post.limit).await;
                    Err("no answer".to_owned())
                }
            }
        })
    }
}

impl Receiver {
    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn take(&self) -> Vec<(Duration, Value)> {
        std::mem::take(&mut self.posts.lock().unwrap())
    }

    async fn wait(&self) -> Value {
        for _ in 0..10_000 {
            if let Some((_, body)) = self.posts.lock().unwrap().pop() {
                return body;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("nothing was delivered");
    }
}

/// What outlives a life of the server.
struct World {
    disk: Arc<SimDisk>,
    clock: Arc<LoopClock>,
    receiver: Arc<Receiver>,
    lives: u64,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stop,
    Kill,
    PowerLoss,
}

/// A life of the server.
#[derive(Clone)]
struct Life {
    engine: Engine,
    subscriptions: Subscriptions,
    receiver: Arc<Receiver>,
    disk: Arc<SimDisk>,
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(LoopClock(Instant::now()));
        let receiver = Arc::new(Receiver {
            answer: Mutex::new(Answer::Done),
            posts: Mutex::default(),
            clock: Arc::clone(&clock),
        });
        Self {
            disk: SimDisk::new(seed),
            clock,
            receiver,
            lives: 0,
        }
    }

    async fn live<F: Future>(&mut self, end: End, test: impl FnOnce(Life) -> F) -> F::Output {
        self.lives += 1;
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let env = Env {
            disk: Arc::clone(&self.disk) as _,
            clock,
            rng: Arc::new(Rng::from_seed(self.lives)),
        };
        let options = Options {
            shards: 2,
            wal_segment_bytes: 256 << 10,
            ..Options::for_memory(64 << 20)
        };
        let Opened { engine, shards } = open(env, options).expect("it opens");
        let local = LocalSet::new();
        for shard in shards {
            local.spawn_local(shard.run());
        }
        let (subscriptions, driver) = Subscriptions::new(
            engine.clone(),
            SubscriptionOptions {
                public_url: Some("https://s.example".to_owned()),
                rules: Rules::default(),
                deliver: Arc::clone(&self.receiver) as _,
                key_age_max: Duration::from_hours(24),
            },
        );
        local.spawn_local(run(driver));
        let life = Life {
            engine: engine.clone(),
            subscriptions: subscriptions.clone(),
            receiver: Arc::clone(&self.receiver),
            disk: Arc::clone(&self.disk),
        };
        let done = local.run_until(test(life)).await;
        if end == End::Stop {
            local
                .run_until(async {
                    engine.stop_readers();
                    subscriptions.stop().await;
                    engine.shutdown().await;
                })
                .await;
        }
        drop(local);
        self.disk = match end {
            End::PowerLoss => self.disk.crash(),
            End::Stop | End::Kill => self.disk.kill(),
        };
        done
    }
}

impl Life {
    async fn append(&self, name: &str, text: &'static str) -> Result<(), Refusal> {
        let name = StreamName::new(name).unwrap();
        let text_type = ContentType::new("text/plain").unwrap();
        let spec = CreateSpec {
            content_type: Some(text_type.clone()),
            ..CreateSpec::default()
        };
        let new = NewStream::new(name.clone(), spec, millrace_core::Body::Empty);
        self.engine.create(new).await?;
        let append = Append {
            body: frame(Some(&text_type), Bytes::from_static(text.as_bytes())),
            content_type: Some(text_type),
            ..Append::default()
        };
        self.engine.append(&name, append, None).await.map(|_| ())
    }

    async fn create(&self, body: &str) -> Result<Value, Fault> {
        let config = wire::create(body.as_bytes()).unwrap();
        let made = self.subscriptions.create(id(), config, String::new());
        made.await.map(|(_, told)| json(&told))
    }

    async fn add(&self, names: impl IntoIterator<Item = String>) -> Result<(), Fault> {
        let names = names
            .into_iter()
            .map(|name| StreamName::new(&name).unwrap());
        self.subscriptions.add(id(), names.collect()).await
    }

    async fn told(&self) -> Value {
        json(&self.subscriptions.read(id()).await.expect("it is there"))
    }

    async fn acked(&self, name: &str) -> String {
        let told = self.told().await;
        let streams = told["streams"].as_array().unwrap();
        let own = streams.iter().find(|stream| stream["path"] == name);
        own.map_or("none", |own| own["acked_offset"].as_str().unwrap())
            .to_owned()
    }

    async fn claim(&self, worker: &str) -> Result<Value, Fault> {
        let claimed = self.subscriptions.claim(id(), worker.to_owned()).await;
        claimed.map(|told| json(&told))
    }

    /// Acks all that a wake tells of.
    async fn ack(&self, wake: &Value, done: bool) -> Result<Value, Fault> {
        let request = request_of(wake, done);
        let of_claim = wake.get("token").and_then(Value::as_str);
        let acked = if let Some(token) = of_claim {
            self.subscriptions.ack(id(), token.into(), request).await
        } else {
            let token = wake["callback_token"].as_str().unwrap();
            self.subscriptions
                .callback(id(), token.into(), request)
                .await
        };
        acked.map(|told| json(&told))
    }

    async fn read(&self, name: &str) -> String {
        let stream = self.engine.open(&StreamName::new(name).unwrap()).await;
        let mut reader = stream.unwrap().read_from(From::Start).await.unwrap();
        let bytes = reader.next(1 << 20).await.unwrap().collect().await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }
}

fn id() -> SubscriptionId {
    SubscriptionId::new("s").unwrap()
}

fn json(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap()
}

fn request_of(wake: &Value, done: bool) -> AckRequest {
    let streams = wake["streams"].as_array().unwrap();
    let acks: Vec<Value> = streams
        .iter()
        .map(
            |stream| serde_json::json!({"stream": stream["path"], "offset": stream["tail_offset"]}),
        )
        .collect();
    let body = serde_json::json!({
        "wake_id": wake["wake_id"], "generation": wake["generation"], "acks": acks, "done": done,
    });
    wire::ack(body.to_string().as_bytes()).unwrap()
}

const WEBHOOK: &str = r#"{"type":"webhook","pattern":"e/*","lease_ttl_ms":1000,
    "webhook":{"url":"https://w.example/"}}"#;
const PULL: &str =
    r#"{"type":"pull-wake","pattern":"e/*","lease_ttl_ms":1000,"wake_stream":"wake"}"#;

/// Runs a test on a loop whose time stands still while there is something to do.
fn simulated<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let _simulated = tasks::simulate(|| Took {
        before: Duration::from_micros(100),
        after: Duration::from_micros(100),
    });
    runtime.block_on(async { LocalSet::new().run_until(test()).await });
}

#[test]
fn a_subscription_begins_at_the_tails_and_is_woken_for_what_comes_after() {
    simulated(|| async {
        let mut world = World::new(1);
        world
            .live(End::Stop, async |life| {
                life.append("e/old", "before").await.unwrap();
                life.create(WEBHOOK).await.unwrap();
                let at_start = life.acked("e/old").await;
                assert!(at_start.ends_with("0006"), "{at_start}");
                sleep(Duration::from_secs(5)).await;
                assert!(life.receiver.take().is_empty(), "nothing is new");
                life.append("e/new", "after").await.unwrap();
                let wake = life.receiver.wait().await;
                let streams = wake["streams"].as_array().unwrap();
                assert_eq!(streams.len(), 1, "{wake}");
                assert_eq!(streams[0]["path"], "e/new");
                assert_eq!(wake["generation"], 1);
                let tail = streams[0]["tail_offset"].as_str().unwrap().to_owned();
                sleep(Duration::from_secs(5)).await;
                assert_eq!(life.acked("e/new").await, tail);
                assert!(life.receiver.take().is_empty(), "done is done");
                life.append("e/old", "more").await.unwrap();
                life.append("other", "x").await.unwrap();
                let wake = life.receiver.wait().await;
                assert_eq!(
                    (&wake["generation"], &wake["streams"][0]["path"]),
                    (&2.into(), &"e/old".into())
                );
            })
            .await;
    });
}

#[test]
fn failed_deliveries_are_tried_later_each_time_over_a_restart() {
    simulated(|| async {
        let mut world = World::new(2);
        world.receiver.answers(Answer::Fails);
        world
            .live(End::PowerLoss, async |life| {
                life.create(WEBHOOK).await.unwrap();
                life.append("e/a", "x").await.unwrap();
                sleep(Duration::from_secs(20)).await;
                assert_eq!(life.told().await["status"], "failed");
            })
            .await;
        let posts = world.receiver.take();
        let mut before = Duration::from_millis(800);
        for pair in posts.windows(2) {
            let waited = pair[1].0.saturating_sub(pair[0].0);
            assert!(waited >= before, "{waited:?} after {before:?}");
            before = waited.mul_f64(1.3);
        }
        assert_eq!(posts.len(), 5, "after 0, 1, 3, 7 and 15 s, give or take");
        let last = posts[4].0;
        world.receiver.answers(Answer::Done);
        world
            .live(End::Stop, async |life| {
                life.receiver.wait().await;
                sleep(Duration::from_secs(1)).await;
                assert_eq!(life.told().await["status"], "active");
            })
            .await;
        let waited = world.clock.mono().saturating_sub(last);
        assert!(waited >= Duration::from_millis(12_800), "{waited:?}");
    });
}

#[test]
fn a_callback_is_taken_after_a_crash_between_delivery_and_callback() {
    simulated(|| async {
        let mut world = World::new(3);
        world.receiver.answers(Answer::Taken);
        let wake = world
            .live(End::PowerLoss, async |life| {
                life.create(WEBHOOK).await.unwrap();
                life.append("e/a", "x").await.unwrap();
                life.receiver.wait().await
            })
            .await;
        world
            .live(End::Stop, async |life| {
                let acked = life.ack(&wake, true).await.unwrap();
                assert_eq!(acked, serde_json::json!({"ok": true, "next_wake": false}));
                let fenced = Fault::Refused(SubscriptionRefusal::Fenced);
                assert_eq!(life.ack(&wake, true).await, Err(fenced));
                sleep(Duration::from_secs(10)).await;
                assert!(life.receiver.take().is_empty());
            })
            .await;
    });
}

#[test]
fn a_worker_whose_lease_ended_is_fenced_and_the_work_goes_to_another() {
    simulated(|| async {
        let mut world = World::new(4);
        world.receiver.answers(Answer::Taken);
        world
            .live(End::Stop, async |life| {
                life.create(WEBHOOK).await.unwrap();
                life.append("e/a", "x").await.unwrap();
                let first = life.receiver.wait().await;
                // A sign of life keeps the lease.
                sleep(Duration::from_millis(900)).await;
                let request = AckRequest {
                    acks: vec![],
                    ..request_of(&first, false)
                };
                let token = first["callback_token"].as_str().unwrap();
                let beat = life.subscriptions.callback(id(), token.into(), request);
                beat.await.unwrap();
                sleep(Duration::from_millis(900)).await;
                assert!(life.receiver.take().is_empty());
                let second = life.receiver.wait().await;
                assert_eq!(second["generation"], 2);
                let fenced = Fault::Refused(SubscriptionRefusal::Fenced);
                assert_eq!(life.ack(&first, true).await, Err(fenced));
                assert_eq!(life.ack(&second, true).await.unwrap()["next_wake"], false);
            })
            .await;
    });
}

#[test]
fn a_webhook_that_never_answers_delays_nobody_else() {
    simulated(|| async {
        let mut world = World::new(5);
        world.receiver.answers(Answer::Never);
        world
            .live(End::Stop, async |life| {
                life.create(WEBHOOK).await.unwrap();
                life.append("e/a", "x").await.unwrap();
                life.receiver.wait().await;
                life.receiver.answers(Answer::Done);
                let other = SubscriptionId::new("other").unwrap();
                let body = WEBHOOK.replace("w.example", "other.example");
                let config = wire::create(body.as_bytes()).unwrap();
                life.subscriptions
                    .create(other, config, String::new())
                    .await
                    .unwrap();
                life.append("e/a", "y").await.unwrap();
                sleep(Duration::from_millis(100)).await;
                let posts = life.receiver.take();
                assert_eq!(posts.len(), 1);
                assert_eq!(posts[0].1["subscription_id"], "other");
            })
            .await;
    });
}

#[test]
fn wakes_tell_of_many_streams_at_once_and_all_are_told() {
    simulated(|| async {
        let mut world = World::new(6);
        world
            .live(End::Stop, async |life| {
                life.create(WEBHOOK).await.unwrap();
                for n in 0..2500 {
                    life.append(&format!("e/{n}"), "x").await.unwrap();
                }
                sleep(Duration::from_mins(1)).await;
                let posts = life.receiver.take();
                assert!(posts.len() < 2500, "{} wakes", posts.len());
                let told = posts
                    .iter()
                    .flat_map(|(_, wake)| wake["streams"].as_array().unwrap());
                assert_eq!(told.count(), 2500, "each once");
                for (_, wake) in &posts {
                    assert!(wake["streams"].as_array().unwrap().len() <= 1000);
                }
            })
            .await;
    });
}

#[test]
fn a_wake_event_is_on_the_wake_stream_once_whatever_is_killed() {
    simulated(|| async {
        let mut world = World::new(7);
        world
            .live(End::Kill, async |life| {
                life.create(PULL).await.unwrap();
                life.append("e/a", "x").await.unwrap();
                // There is no wake stream yet: it is tried again.
                sleep(Duration::from_secs(3)).await;
                let spec = CreateSpec {
                    content_type: ContentType::new("application/json"),
                    ..CreateSpec::default()
                };
                let name = StreamName::new("wake").unwrap();
                let new = NewStream::new(name, spec, millrace_core::Body::Empty);
                life.engine.create(new).await.unwrap();
                sleep(Duration::from_secs(10)).await;
            })
            .await;
        for end in [End::Kill, End::PowerLoss, End::Stop] {
            world
                .live(end, async |life| {
                    sleep(Duration::from_secs(10)).await;
                    let events = life.read("wake").await;
                    assert_eq!(events.matches("\"generation\":1").count(), 1, "{events}");
                    assert_eq!(events.matches("\"stream\":\"e/a\"").count(), 1, "{events}");
                })
                .await;
        }
        world
            .live(End::Stop, async |life| {
                let claimed = life.claim("w").await.unwrap();
                assert_eq!(claimed["generation"], 1);
                let busy = life.claim("v").await;
                let holder = "w".to_owned();
                let claimed_by = SubscriptionRefusal::AlreadyClaimed {
                    holder,
                    generation: 1,
                };
                assert_eq!(busy, Err(Fault::Refused(claimed_by)));
                sleep(Duration::from_secs(2)).await;
                let events = life.read("wake").await;
                assert_eq!(
                    events.matches("\"generation\":2").count(),
                    1,
                    "the lease ended: {events}"
                );
            })
            .await;
    });
}

#[test]
fn a_deleted_subscription_is_gone_and_its_workers_are_refused() {
    simulated(|| async {
        let mut world = World::new(8);
        let wake = world
            .live(End::PowerLoss, async |life| {
                life.create(PULL).await.unwrap();
                life.append("e/a", "x").await.unwrap();
                let wake = life.claim("w").await.unwrap();
                life.subscriptions.delete(id()).await.unwrap();
                let gone = Fault::Refused(SubscriptionRefusal::NotFound);
                assert_eq!(life.ack(&wake, true).await, Err(gone.clone()));
                assert_eq!(life.subscriptions.delete(id()).await, Err(gone));
                wake
            })
            .await;
        world
            .live(End::Stop, async |life| {
                let gone = Fault::Refused(SubscriptionRefusal::NotFound);
                assert_eq!(life.subscriptions.read(id()).await, Err(gone));
                // Another with its id is another: tokens of the first are not its own.
                life.create(PULL).await.unwrap();
                life.append("e/a", "y").await.unwrap();
                life.claim("w").await.unwrap();
                let invalid = Fault::Refused(SubscriptionRefusal::TokenInvalid);
                assert_eq!(life.ack(&wake, true).await, Err(invalid));
            })
            .await;
    });
}

#[test]
fn a_configuration_is_confirmed_or_refused_over_a_restart() {
    simulated(|| async {
        let mut world = World::new(9);
        let told = world
            .live(End::PowerLoss, async |life| {
                life.create(WEBHOOK).await.unwrap()
            })
            .await;
        world
            .live(End::Stop, async |life| {
                assert_eq!(life.create(WEBHOOK).await.unwrap(), told);
                let exists = Fault::Refused(SubscriptionRefusal::Exists);
                assert_eq!(life.create(PULL).await, Err(exists));
                let local = WEBHOOK.replace("https://w.example/", "http://127.0.0.1/");
                let refused = life.create(&local).await;
                assert!(matches!(
                    refused,
                    Err(Fault::Refused(SubscriptionRefusal::WebhookUrl(_)))
                ));
            })
            .await;
    });
}

#[test]
fn a_journal_stays_small_and_keeps_what_counts() {
    simulated(|| async {
        let mut world = World::new(10);
        let kept = world
            .live(End::Kill, async |life| {
                life.create(PULL).await.unwrap();
                for _ in 0..600 {
                    life.append("e/a", "x").await.unwrap();
                    let wake = life.claim("w").await.unwrap();
                    life.ack(&wake, true).await.unwrap();
                }
                let journals = life
                    .engine
                    .list_internal("__ds/sub/s/", None, 10)
                    .await
                    .unwrap();
                assert_eq!(journals.len(), 1, "{journals:?}");
                let bytes = journals[0].tail.position.get();
                assert!(bytes < 100_000, "{bytes}");
                assert!(journals[0].name.as_str() > "__ds/sub/s/0000000000000001");
                assert!(
                    life.engine
                        .list("", None, 10)
                        .await
                        .unwrap()
                        .iter()
                        .all(|own| !own.name.is_internal())
                );
                life.told().await
            })
            .await;
        world
            .live(End::Stop, async |life| {
                assert_eq!(life.told().await, kept);
                life.append("e/a", "x").await.unwrap();
                assert_eq!(life.claim("w").await.unwrap()["generation"], 601);
            })
            .await;
    });
}

#[test]
fn named_streams_are_linked_at_their_tails_and_let_go_of() {
    simulated(|| async {
        let mut world = World::new(11);
        let name = |text| vec![StreamName::new(text).unwrap()];
        world
            .live(End::Kill, async |life| {
                life.create(PULL).await.unwrap();
                life.append("x/a", "before").await.unwrap();
                life.subscriptions.add(id(), name("x/a")).await.unwrap();
                life.subscriptions.add(id(), name("x/later")).await.unwrap();
                assert!(life.acked("x/a").await.ends_with("0006"));
                assert_eq!(life.acked("x/later").await, "-1");
                let nothing = Fault::Refused(SubscriptionRefusal::NoPendingWork);
                assert_eq!(life.claim("w").await, Err(nothing));
            })
            .await;
        world
            .live(End::Stop, async |life| {
                life.append("x/later", "y").await.unwrap();
                life.append("x/a", "y").await.unwrap();
                let wake = life.claim("w").await.unwrap();
                assert_eq!(wake["streams"].as_array().unwrap().len(), 2, "{wake}");
                life.ack(&wake, true).await.unwrap();
                for text in ["x/a", "x/a", "x/later"] {
                    let own = StreamName::new(text).unwrap();
                    life.subscriptions.remove(id(), own).await.unwrap();
                }
                assert_eq!(life.acked("x/a").await, "none");
                life.append("x/a", "z").await.unwrap();
                let nothing = Fault::Refused(SubscriptionRefusal::NoPendingWork);
                assert_eq!(life.claim("w").await, Err(nothing));
            })
            .await;
    });
}

/// Workers over lives that end at any I/O: a generation is never told twice, an answered ack is never
/// taken back, and in the end all that was appended is acknowledged.
#[test]
fn nothing_is_lost_or_told_twice_whatever_fails() {
    for seed in 0..25 {
        simulated(|| async move {
            let mut world = World::new(seed);
            let chance = Rng::from_seed(seed);
            let mut generation = 0;
            let mut acked: BTreeMap<String, String> = BTreeMap::new();
            let mut appended: BTreeMap<String, u64> = BTreeMap::new();
            for _ in 0..6 {
                let disk_fails = world.lives > 0;
                let (chance, generation) = (&chance, &mut generation);
                let (acked, appended) = (&mut acked, &mut appended);
                world
                    .live(End::PowerLoss, async |life| {
                        if disk_fails {
                            life.disk.crash_after(1 + chance.below(300));
                        }
                        let made = life.create(PULL).await;
                        assert!(made.is_ok() || disk_fails, "{made:?}");
                        for _ in 0..40 {
                            let own = format!("e/{}", chance.below(4));
                            match life.append(&own, "0123456789").await {
                                Ok(()) => *appended.entry(own).or_default() += 10,
                                Err(_) => break,
                            }
                            if chance.below(3) > 0 {
                                continue;
                            }
                            let Ok(wake) = life.claim("w").await else {
                                continue;
                            };
                            let told = wake["generation"].as_u64().unwrap();
                            assert!(told > *generation, "{told} after {generation}");
                            *generation = told;
                            if chance.below(4) == 0 {
                                sleep(Duration::from_millis(1100)).await;
                                let late = life.ack(&wake, true).await;
                                assert!(late.is_err(), "{late:?}");
                                continue;
                            }
                            if life.ack(&wake, chance.below(4) > 0).await.is_ok() {
                                for stream in wake["streams"].as_array().unwrap() {
                                    let of = |what: &str| stream[what].as_str().unwrap().to_owned();
                                    acked.insert(of("path"), of("tail_offset"));
                                }
                            }
                            sleep(Duration::from_millis(chance.below(1500))).await;
                        }
                    })
                    .await;
            }
            world
                .live(End::Stop, async |life| {
                    life.create(PULL).await.unwrap();
                    for (own, told) in &acked {
                        let kept = life.acked(own).await;
                        assert!(kept >= *told, "seed {seed}: {own} at {kept} after {told}");
                    }
                    sleep(Duration::from_secs(2)).await;
                    while let Ok(wake) = life.claim("w").await {
                        assert!(wake["generation"].as_u64().unwrap() > generation);
                        life.ack(&wake, true).await.unwrap();
                    }
                    for (own, bytes) in &appended {
                        let name = StreamName::new(own).unwrap();
                        let head = life.engine.open(&name).await.unwrap().head();
                        assert!(head.tail.position.get() >= *bytes);
                        let tail = millrace_wire::Token::new(head.tail);
                        assert_eq!(life.acked(own).await, tail.as_str(), "seed {seed}: {own}");
                    }
                })
                .await;
        });
    }
}

/// The journal is written anew to a stream of another shard, whose log fails in the last sync, as the
/// process sees it; all of it is on disk. The old journal goes on, and the next start finds both.
#[test]
fn a_journal_that_could_not_be_renewed_keeps_what_is_answered_after_that() {
    simulated(|| async {
        let names = |letter: char| (0..800).map(move |number| format!("{letter}/{number:040}"));
        for failing in 0..16 {
            let mut world = World::new(failing + 1);
            let answered = world
                .live(End::Kill, async |life| {
                    life.create(PULL).await.unwrap();
                    life.add(names('x')).await.unwrap();
                    let fault = DiskFault::new(FaultOp::Sync, FaultError::Io).after(failing);
                    life.disk.fail(fault);
                    let _ = life.add(names('y')).await;
                    life.add(["z".to_owned()]).await.is_ok()
                })
                .await;
            world
                .live(End::Kill, async |life| {
                    let is_there = life.acked("z").await != "none";
                    assert!(is_there || !answered, "sync {failing} failed");
                })
                .await;
        }
    });
}

/// A loop that never rests lets no time pass where time is simulated, so that only another thread can end
/// the test.
#[test]
fn a_driver_rests_while_the_server_stops() {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let waited = wait.recv_timeout(Duration::from_mins(1));
        if waited == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("the driver does not rest");
            std::process::abort();
        }
    });
    simulated(|| async {
        let mut world = World::new(1);
        world
            .live(End::Stop, async |life| {
                life.create(PULL).await.unwrap();
                life.append("e/1", "x").await.unwrap();
                life.claim("w").await.unwrap();
                life.engine.stop_readers();
                life.append("e/1", "y").await.unwrap();
                // The lease runs out meanwhile.
                sleep(Duration::from_secs(5)).await;
            })
            .await;
    });
    drop(done);
}
