//! What a seed decides about a run before it begins.

use std::{ops::Range, time::Duration};

use millrace_engine::{Durability, Options};
use millrace_kill::schedule::Chance;
use millrace_server::{Config, Times};

use crate::power::Death;

/// A run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How the engine is configured; the number of shards is each life's own.
    pub(crate) options: Options,
    pub(crate) config: Config,
    /// The lives of the server that end badly, or at least early.
    pub(crate) lives: Vec<LifePlan>,
    pub(crate) faults: Faults,
}

/// One life of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LifePlan {
    pub(crate) shards: u16,
    pub(crate) death: Death,
    /// When it is asked to end, if it lives until then.
    pub(crate) stop_at: Duration,
    /// It dies in this I/O after that.
    pub(crate) death_amid_stop: Option<u64>,
    /// Whether what was not synced is at risk then; otherwise only the process ends.
    pub(crate) loses_power: bool,
    /// How it finds its disk.
    pub(crate) start: Start,
    /// Whether bits flip at rest before it.
    pub(crate) flips: bool,
    /// How long there is no server after it.
    pub(crate) pause: Duration,
}

/// How a life of the server finds its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nothing fails that was to fail in the last life, and was not asked for then.
    Healed,
    /// What was to fail may fail now.
    AsLeft,
    /// More fails while it recovers.
    Spoiled,
}

/// What can go wrong while the server lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// A read, write, sync, open or rename fails.
    DiskError,
    FullDisk,
    SlowDisk,
    ShortWrites,
    /// A bit of a stored file reads wrong for a while.
    BitFlip,
    /// A client is parted from the server.
    Partition,
    /// Connections cannot be accepted.
    NoDescriptors,
    ClockJump,
}

impl FaultKind {
    const ALL: [Self; 8] = [
        Self::DiskError,
        Self::FullDisk,
        Self::SlowDisk,
        Self::ShortWrites,
        Self::BitFlip,
        Self::Partition,
        Self::NoDescriptors,
        Self::ClockJump,
    ];

    /// How many of 100 runs have it.
    fn share(self) -> u64 {
        match self {
            // It has many forms.
            Self::DiskError => 75,
            _ => 50,
        }
    }

    pub(crate) fn is_of_disk(self) -> bool {
        !matches!(
            self,
            Self::Partition | Self::NoDescriptors | Self::ClockJump
        )
    }
}

/// Which faults a run has. Not all kinds: some hide others.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    pub(crate) kinds: Vec<FaultKind>,
    /// How many of 100 connections are bad.
    pub(crate) rough_net: u64,
    /// How long every sync takes, on a disk that is never quick.
    pub(crate) slow_disk: Option<Range<Duration>>,
    /// The longest time from one fault to the next, in milliseconds.
    pub(crate) pause_millis: u64,
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 1000);
        let options = options(&mut chance);
        let kinds = FaultKind::ALL.into_iter();
        let kinds = kinds.filter(|kind| chance.percent(kind.share()));
        let kinds: Vec<FaultKind> = kinds.collect();
        let rough_net = [0, 15, 60][chance.index(3)];
        let slow_disk = chance.percent(25).then(|| {
            let longest = chance.millis(8, 50);
            longest / 4..longest
        });
        let usual_shards = if chance.percent(50) { 1 } else { 2 };
        let lives = (0..chance.between(4, 9))
            .map(|_| {
                let shards = if chance.percent(15) {
                    3 - usual_shards
                } else {
                    usual_shards
                };
                let mut life = LifePlan::draw(&mut chance, shards, options.durability);
                life.flips &= kinds.contains(&FaultKind::BitFlip);
                if !kinds.contains(&FaultKind::DiskError) {
                    life.start = Start::Healed;
                }
                life
            })
            .collect();
        let config = Config {
            long_poll_timeout: Duration::from_secs(1),
            short_way: chance.percent(80),
            times: Times {
                keep_alive: Duration::from_secs(1),
                sse: Duration::from_secs(5),
                sse_jitter: Duration::from_secs(1),
                drain: Duration::from_millis(chance.between(10, 1500)),
                ..Times::default()
            },
            ..Config::default()
        };
        Self {
            options,
            config,
            lives,
            faults: Faults {
                kinds,
                rough_net,
                slow_disk,
                pause_millis: [500, 2500][chance.index(2)],
            },
        }
    }
}

/// Small enough that every run crosses log segments, flushes and compactions.
fn options(chance: &mut Chance) -> Options {
    let durability = if chance.percent(10) {
        Durability::Memory
    } else {
        Durability::Local
    };
    Options {
        durability,
        wal_segment_bytes: [16 << 10, 64 << 10, 256 << 10][chance.index(3)],
        read_bytes_max: [1 << 10, 8 << 10, 1 << 20][chance.index(3)],
        reserve_bytes: 256 << 10,
        flush_bytes: chance.between(2 << 10, 64 << 10),
        flush_interval: chance.millis(200, 3000),
        compaction_interval: chance.millis(200, 3000),
        idle_after: chance.millis(0, 1500),
        ..Options::for_memory(64 << 20)
    }
}

impl LifePlan {
    fn draw(chance: &mut Chance, shards: u16, durability: Durability) -> Self {
        let death = match chance.between(0, 100) {
            // Recovery is among the first I/Os.
            0..15 => Death::AtIo(chance.between(1, 60)),
            15..50 => Death::AtIo(chance.between(1, 500)),
            50..63 => Death::AtSend(chance.between(1, 150)),
            63..76 => Death::AtRound(chance.between(1, 2500)),
            76..87 => Death::AtTime(chance.millis(1, 4000)),
            _ => Death::Never,
        };
        let amid_stop = chance.percent(40).then(|| chance.between(1, 40));
        Self {
            shards,
            death,
            stop_at: chance.millis(500, 5000),
            death_amid_stop: amid_stop,
            // Unsafe mode promises nothing there.
            loses_power: durability == Durability::Local && chance.percent(75),
            start: match chance.between(0, 100) {
                0..35 => Start::Spoiled,
                35..70 => Start::AsLeft,
                _ => Start::Healed,
            },
            flips: chance.percent(35),
            pause: chance.millis(0, 300),
        }
    }

    /// The same on a disk in order, after a start that was refused.
    pub(crate) fn again(self) -> Self {
        Self {
            start: Start::Healed,
            flips: false,
            ..self
        }
    }

    /// One that ends in order when it is told to. Nothing is at risk after that.
    pub(crate) fn calm(shards: u16) -> Self {
        Self {
            shards,
            death: Death::Never,
            stop_at: Duration::MAX,
            death_amid_stop: None,
            loses_power: true,
            start: Start::Healed,
            flips: false,
            pause: Duration::ZERO,
        }
    }
}
