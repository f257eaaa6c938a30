//! Retention: after a pass a stream holds exactly what its limits keep, by a list of its messages; over
//! bytes in memory and in segments, forks, restarts, and policies that come and go.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use bytes::Bytes;
use millrace_core::{
    Append, Body, ContentType, CreateSpec, ForkAnchor, ForkRequest, NewLimit, NewSettings, Payload,
    Retention, RetentionChange, SettingFault, SettingKey, Standing, StreamName,
};
use millrace_engine::{Engine, From, NewStream, Opened, Options, open};
use millrace_env::{Clock as _, Env, Rng, SimClock, SimDisk, sleep};

const BEGUN: u64 = 1_800_000_000_000;

/// A message of the list.
#[derive(Clone, Debug)]
struct Message {
    at: u64,
    bytes: Vec<u8>,
}

struct World {
    disk: Arc<SimDisk>,
    clock: Arc<SimClock>,
    rng: Rng,
    flush_bytes: u64,
}

/// A PATCH of limits.
#[derive(Debug)]
struct Limits(RetentionChange);

impl millrace_core::Change for Limits {
    fn judge(&self, standing: Standing<'_>) -> Result<NewSettings, SettingFault> {
        self.0.judge(standing)
    }
}

fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a name")
}

impl World {
    fn new(seed: u64, flush_bytes: u64) -> Self {
        Self {
            disk: SimDisk::new(seed),
            clock: Arc::new(SimClock::new(BEGUN)),
            rng: Rng::from_seed(seed),
            flush_bytes,
        }
    }

    /// One run of an engine, ended in order.
    fn run(&self, test: impl AsyncFnOnce(&Engine)) {
        let env = Env {
            disk: Arc::<SimDisk>::clone(&self.disk),
            clock: Arc::<SimClock>::clone(&self.clock),
            rng: Arc::new(Rng::from_seed(self.rng.next())),
        };
        let options = Options {
            shards: 2,
            wal_segment_bytes: 256 << 10,
            flush_bytes: self.flush_bytes,
            compaction_interval: Duration::from_millis(20),
            ..Options::for_memory(64 << 20)
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let Opened { engine, shards } = open(env, options).expect("it opens");
            for shard in shards {
                tokio::task::spawn_local(shard.run());
            }
            test(&engine).await;
            engine.shutdown().await;
        });
    }

    fn some(&self, most: u64) -> Option<NonZeroU64> {
        NonZeroU64::new(self.rng.below(most + 1))
    }

    /// Any limits, most often one.
    fn limits(&self) -> Retention {
        let mut limits = Retention::default();
        for _ in 0..=self.rng.below(2) {
            match self.rng.below(3) {
                0 => limits.age_millis_max = self.some(400),
                1 => limits.bytes_max = self.some(900),
                _ => limits.messages_max = self.some(60),
            }
        }
        limits
    }
}

/// A stream and its list.
struct Kept {
    name: StreamName,
    json: bool,
    messages: Vec<Message>,
    limits: Retention,
}

impl Kept {
    fn content_type(&self) -> ContentType {
        let text = if self.json {
            "application/json"
        } else {
            "text/plain"
        };
        ContentType::new(text).expect("a type")
    }

    async fn create(&self, engine: &Engine) {
        let spec = CreateSpec {
            content_type: Some(self.content_type()),
            ..CreateSpec::default()
        };
        let mut new = NewStream::new(self.name.clone(), spec, Body::Empty);
        let document = self.limits.document().map(Into::into);
        if document.is_some() {
            new.settings = vec![(SettingKey::RETENTION, document)];
        }
        engine.create(new).await.expect("is new");
    }

    async fn append(&mut self, world: &World, engine: &Engine) {
        let count = if self.json { 1 + world.rng.below(5) } else { 1 };
        let values: Vec<String> = (0..count)
            .map(|_| {
                let text = "x".repeat(1 + usize::try_from(world.rng.below(40)).expect("small"));
                if self.json {
                    format!("\"{text}\",")
                } else {
                    text
                }
            })
            .collect();
        let lengths: Vec<u32> = values
            .iter()
            .map(|value| u32::try_from(value.len()).expect("short"))
            .collect();
        let append = Append {
            body: Body::Framed(Payload::from_lengths(
                Bytes::from(values.concat()),
                &lengths,
            )),
            content_type: Some(self.content_type()),
            ..Append::default()
        };
        engine
            .append(&self.name, append, None)
            .await
            .expect("is there");
        let at = world.clock.wall();
        self.messages
            .extend(values.into_iter().map(|value| Message {
                at,
                bytes: value.into_bytes(),
            }));
        if world.rng.below(2) == 0 {
            world
                .clock
                .advance(Duration::from_millis(world.rng.below(30)));
        }
        if world.rng.below(8) == 0 {
            sleep(Duration::from_millis(3)).await;
        }
    }

    async fn patch(&mut self, world: &World, engine: &Engine) {
        let next = world.limits();
        let change = RetentionChange {
            age_millis_max: NewLimit::new(next.age_millis_max),
            bytes_max: NewLimit::new(next.bytes_max),
            messages_max: NewLimit::new(next.messages_max),
        };
        self.limits = next;
        engine
            .configure(&self.name, Box::new(Limits(change)))
            .await
            .expect("is there");
    }

    /// What is there after a pass at this moment.
    fn retain(&mut self, now: u64) {
        let limits = self.limits;
        let mut first = 0;
        if let Some(age) = limits.age_millis_max {
            let old = |message: &&Message| message.at < now.saturating_sub(age.get());
            first = first.max(self.messages.iter().take_while(old).count());
        }
        if let Some(most) = limits.messages_max {
            let most = usize::try_from(most.get()).expect("small");
            first = first.max(self.messages.len().saturating_sub(most));
        }
        if let Some(most) = limits.bytes_max {
            let mut bytes = 0;
            let fits = |message: &&Message| {
                bytes += message.bytes.len() as u64;
                bytes <= most.get()
            };
            let count = self.messages.iter().rev().take_while(fits).count();
            first = first.max(self.messages.len() - count);
        }
        self.messages.drain(..first);
    }

    async fn assert_holds(&self, engine: &Engine, when: &str) {
        let stream = engine.open(&self.name).await.expect("is there");
        let mut reader = stream.read_from(From::Start).await.expect("a start");
        let mut found = Vec::new();
        loop {
            let batch = reader.next(1 << 20).await.expect("a page");
            let is_last = batch.up_to_date;
            found.extend_from_slice(&batch.collect().await.expect("its bytes"));
            if is_last {
                break;
            }
        }
        let want: Vec<u8> = self
            .messages
            .iter()
            .flat_map(|message| message.bytes.clone())
            .collect();
        assert_eq!(
            String::from_utf8_lossy(&found),
            String::from_utf8_lossy(&want),
            "{} {when}, under {:?}",
            self.name,
            self.limits
        );
    }
}

#[test]
fn after_a_pass_a_stream_holds_what_its_limits_keep() {
    for seed in 0..2 {
        for flush_bytes in [1, 20_000, u64::MAX] {
            let world = World::new(seed, flush_bytes);
            let mut streams: Vec<Kept> = (0..6)
                .map(|number| Kept {
                    name: name(&format!("s/{number}")),
                    json: number % 2 == 0,
                    messages: Vec::new(),
                    limits: world.limits(),
                })
                .collect();
            for run in 0..3 {
                world.run(async |engine| {
                    for stream in streams.iter().filter(|_| run == 0) {
                        stream.create(engine).await;
                    }
                    for round in 0..6 {
                        for stream in &mut streams {
                            for _ in 0..world.rng.below(20) {
                                stream.append(&world, engine).await;
                            }
                            if world.rng.below(3) == 0 {
                                stream.patch(&world, engine).await;
                            }
                        }
                        world
                            .clock
                            .advance(Duration::from_millis(world.rng.below(300)));
                        let pass = engine.retain_now().await;
                        assert_eq!(pass.failed, 0);
                        let now = world.clock.wall();
                        for stream in &mut streams {
                            stream.retain(now);
                            let when = format!("in round {round} of run {run}, seed {seed}");
                            stream.assert_holds(engine, &when).await;
                        }
                    }
                });
            }
        }
    }
}

#[test]
fn a_pass_looks_only_at_streams_that_may_have_changed() {
    let world = World::new(7, u64::MAX);
    let limited = |number: u32, limits: Retention| Kept {
        name: name(&format!("s/{number}")),
        json: false,
        messages: Vec::new(),
        limits,
    };
    let most = NonZeroU64::new(1000);
    let by_count = Retention {
        messages_max: most,
        ..Retention::default()
    };
    let by_age = Retention {
        age_millis_max: most,
        ..Retention::default()
    };
    world.run(async |engine| {
        let mut streams = [
            limited(0, by_count),
            limited(1, by_age),
            limited(2, Retention::default()),
        ];
        for stream in &mut streams {
            stream.create(engine).await;
            stream.append(&world, engine).await;
        }
        assert_eq!(engine.retention().streams, 2);
        assert_eq!(engine.retain_now().await.streams, 2);
        assert_eq!(engine.retain_now().await.streams, 0, "nothing happened");
        streams[0].append(&world, engine).await;
        assert_eq!(engine.retain_now().await.streams, 1, "one was appended to");
        world.clock.advance(Duration::from_secs(2));
        let pass = engine.retain_now().await;
        assert_eq!(
            (pass.streams, pass.trimmed),
            (1, 1),
            "the other's message grew old"
        );
        assert_eq!(engine.retain_now().await.streams, 0, "and is gone");
        engine.delete(&streams[0].name).await.expect("is there");
        assert_eq!(engine.retention().streams, 1);
        assert_eq!(engine.retention().passes, 5);
    });
    world.run(async |engine| {
        assert_eq!(engine.retention().streams, 1);
        assert_eq!(
            engine.retain_now().await.streams,
            1,
            "each once after a start"
        );
    });
}

#[test]
fn a_fork_keeps_what_its_sources_retention_lets_go_of() {
    let world = World::new(9, 20_000);
    let mut source = Kept {
        name: name("source"),
        json: true,
        messages: Vec::new(),
        limits: Retention {
            messages_max: NonZeroU64::new(2),
            ..Retention::default()
        },
    };
    let mut fork = Kept {
        name: name("fork"),
        json: true,
        messages: Vec::new(),
        limits: Retention::default(),
    };
    world.run(async |engine| {
        source.create(engine).await;
        for _ in 0..50 {
            source.append(&world, engine).await;
        }
        fork.messages.clone_from(&source.messages);
        let request = ForkRequest {
            source: source.name.clone(),
            anchor: ForkAnchor::Tail,
            sub_offset: 0,
        };
        let spec = CreateSpec {
            fork: Some(request),
            ..CreateSpec::default()
        };
        let new = NewStream::new(fork.name.clone(), spec, Body::Empty);
        engine.create(new).await.expect("is new");
        engine.retain_now().await;
        source.retain(world.clock.wall());
        sleep(Duration::from_millis(300)).await;
        source.assert_holds(engine, "after the pass").await;
        fork.assert_holds(engine, "after its source's pass").await;
    });
    world.run(async |engine| {
        engine.retain_now().await;
        source.assert_holds(engine, "after a restart").await;
        fork.assert_holds(engine, "after a restart").await;
    });
}
