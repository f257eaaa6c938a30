//! The engine without its loops: shards driven step by step on a simulated disk, so that a seed
//! decides everything and power can fail between any two I/Os.

use std::{sync::Arc, time::Duration};

use millrace_core::{
    Append, Body, Create, CreateSpec, ForkAnchor, ForkRequest, ForkSource, Lifetime, Offset,
    Payload, ProducerClaim, Refusal, ShardId, StreamName, StreamPos,
    slot::{shard_of, slot_of},
    stream::{Outcome, StreamState},
};
use millrace_env::{Env, Rng, SimClock, SimDisk};
use millrace_store::{CompactOptions, StoreError};
use tokio::sync::oneshot;

use crate::{
    Durability, Options,
    open::{Base, OpenError, Recovered, recover},
    read::Holder,
    shard::{Command, Entry, LoadKey, Outgoing, Peer, Reply, ShardCore},
};

/// An engine that a test drives.
pub(super) struct Machine {
    base: Base,
    cores: Vec<ShardCore>,
}

/// What a reader finds under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// A document of its settings.
    pub(super) document: Option<String>,
    pub(super) bytes: Vec<u8>,
    pub(super) closed: bool,
    pub(super) tail: Offset,
}

/// Small enough that every run crosses segments, flushes and compactions.
pub(super) fn small_options(shards: u16) -> Options {
    Options {
        shards,
        wal_segment_bytes: 16 << 10,
        reserve_bytes: 256 << 10,
        flush_bytes: 8 << 10,
        flush_interval: Duration::from_secs(1),
        idle_after: Duration::ZERO,
        ..Options::for_memory(64 << 20)
    }
}

impl Machine {
    /// Opens the data directory on `disk`, as a start does.
    pub(super) fn open(
        disk: &Arc<SimDisk>,
        clock: &Arc<SimClock>,
        options: Options,
        seed: u64,
    ) -> Result<Self, OpenError> {
        let env = Env {
            disk: Arc::clone(disk) as _,
            clock: Arc::clone(clock) as _,
            rng: Arc::new(Rng::from_seed(seed)),
        };
        let shards = options.shards;
        let base = Base::open(env, options)?;
        let Recovered {
            cores, dangling, ..
        } = recover(&base)?;
        let mut machine = Self { base, cores };
        let drops = dangling.into_iter().map(|(source, fork)| Outgoing {
            to: shard_of(source.slot(), shards),
            peer: Peer::DropFork { source, fork },
        });
        machine.deliver(drops.collect());
        Ok(machine)
    }

    /// Carries commands for one shard out in one turn, and what follows from them.
    pub(super) fn turn(&mut self, commands: Vec<Command>) -> Vec<Result<Outcome, Refusal>> {
        self.turn_of(commands, |entries| entries)
    }

    /// Carries appends for one shard out in one turn, all or none.
    pub(super) fn atomic_turn(&mut self, commands: Vec<Command>) -> Vec<Result<Outcome, Refusal>> {
        self.turn_of(commands, |entries| {
            vec![Entry {
                command: Command::Atomic(entries),
                reply: Reply::Nobody,
                permit: None,
            }]
        })
    }

    fn turn_of(
        &mut self,
        commands: Vec<Command>,
        packed: impl FnOnce(Vec<Entry>) -> Vec<Entry>,
    ) -> Vec<Result<Outcome, Refusal>> {
        let Some(shard) = commands.first().map(|command| self.owner(command)) else {
            return Vec::new();
        };
        let mut answers = Vec::new();
        let mut entries = Vec::new();
        for command in commands {
            assert_eq!(self.owner(&command), shard, "one turn is one shard's");
            let (reply, answer) = oneshot::channel();
            entries.push(Entry {
                command,
                reply: Reply::Client(reply),
                permit: None,
            });
            answers.push(answer);
        }
        self.run(shard, packed(entries));
        answers
            .into_iter()
            .map(|mut answer| answer.try_recv().unwrap_or(Err(Refusal::Unavailable)))
            .collect()
    }

    /// One command in a turn of its own, and a look at all between its frame's write and its sync.
    #[cfg(test)]
    pub(super) fn look_before_sync(
        &mut self,
        command: Command,
        look: impl FnOnce(&mut Self),
    ) -> Result<Outcome, Refusal> {
        let shard = usize::from(self.owner(&command).get());
        let (reply, mut answer) = oneshot::channel();
        let entry = Entry {
            command,
            reply: Reply::Client(reply),
            permit: None,
        };
        let mut turn = self.cores[shard].judge(vec![entry]);
        self.cores[shard].write(&mut turn).expect("it is written");
        look(self);
        assert!(
            answer.try_recv().is_err(),
            "nothing is said before the sync"
        );
        let core = &mut self.cores[shard];
        let synced = core.wal.as_mut().map_or(Ok(()), millrace_store::Wal::sync);
        let end = core.finish(turn, synced);
        self.deliver(end.outgoing);
        answer.try_recv().unwrap_or(Err(Refusal::Unavailable))
    }

    /// One command in a turn of its own.
    pub(super) fn submit(&mut self, command: Command) -> Result<Outcome, Refusal> {
        self.turn(vec![command]).remove(0)
    }

    fn run(&mut self, shard: ShardId, entries: Vec<Entry>) {
        let core = &mut self.cores[usize::from(shard.get())];
        let mut turn = core.judge(entries);
        let written = core
            .write(&mut turn)
            .and_then(|()| match (&turn.frame, &mut core.wal) {
                (Some(_), Some(wal)) if self.base.options.durability == Durability::Local => {
                    wal.sync()
                }
                _ => Ok(()),
            });
        let end = core.finish(turn, written);
        core.let_go(1);
        self.deliver(end.outgoing);
    }

    fn deliver(&mut self, outgoing: Vec<Outgoing>) {
        for Outgoing { to, peer } in outgoing {
            let entry = self.cores[usize::from(to.get())].entry_of(peer);
            if let Some(entry) = entry {
                self.run(to, vec![entry]);
            }
        }
    }

    fn owner(&self, command: &Command) -> ShardId {
        let name = match command {
            Command::Create(create) => &create.name,
            Command::Append { name, .. }
            | Command::Trim { name, .. }
            | Command::Configure { name, .. }
            | Command::Condense { name, .. }
            | Command::Delete { name } => name,
            #[cfg(test)]
            Command::Panic => return ShardId::ZERO,
            other => panic!("{other:?} is no client's"),
        };
        shard_of(slot_of(name.as_str()), self.base.options.shards)
    }

    /// Shows the first shard one more frame of its log.
    #[cfg(test)]
    pub(super) fn replay(&mut self, event: millrace_core::Event) -> Result<(), StoreError> {
        let core = &mut self.cores[0];
        let next = millrace_core::Lsn(core.published().get() + 1);
        core.replay(next, vec![event])
    }

    /// Prepares spare log segments, flushes and recycles every shard.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        let done = self.flush_and_let_go_later();
        for core in &mut self.cores {
            core.let_go(usize::MAX);
        }
        done
    }

    /// The same, but memory is let go of between the turns that follow.
    pub(super) fn flush_and_let_go_later(&mut self) -> Result<(), StoreError> {
        for core in &mut self.cores {
            let spare = core.wal.as_mut().and_then(millrace_store::Wal::spare_job);
            if let (Some(job), Some(wal)) = (spare, &mut core.wal) {
                wal.add_spare(job.run());
            }
            core.let_go(usize::MAX);
            let Some(start) = core.freeze() else { continue };
            let Base {
                env,
                segments,
                catalog,
                ..
            } = &self.base;
            core.flushed(start.run(env, segments, catalog));
            if let Some(why) = core.poisoned() {
                return Err(StoreError::corrupt(why));
            }
        }
        Ok(())
    }

    /// Begins to freeze every shard, lets `during` happen, then freezes the rest and carries the
    /// flushes out.
    pub(super) fn flush_around(
        &mut self,
        during: impl FnOnce(&mut Self),
    ) -> Result<(), StoreError> {
        for core in &mut self.cores {
            core.let_go(usize::MAX);
        }
        let mut frozen = Vec::new();
        for core in &mut self.cores {
            core.begin_freeze();
            frozen.push(core.freeze_some(1));
        }
        during(self);
        for (core, start) in self.cores.iter_mut().zip(frozen) {
            let rest = || core.freeze_some(usize::MAX);
            let Some(start) = start.or_else(rest) else {
                continue;
            };
            let Base {
                env,
                segments,
                catalog,
                ..
            } = &self.base;
            core.flushed_at_once(start.run(env, segments, catalog));
        }
        match self.cores.iter().find_map(ShardCore::poisoned) {
            Some(why) => Err(StoreError::corrupt(why)),
            None => Ok(()),
        }
    }

    /// Compacts, and lets every view follow.
    pub(super) fn compact(&mut self) -> Result<(), StoreError> {
        let Base {
            env,
            segments,
            catalog,
            ..
        } = &self.base;
        let hold = segments.hold_removals();
        let compacted =
            millrace_store::compact(env, segments, catalog, &CompactOptions::default())?;
        for core in &mut self.cores {
            core.moved(&compacted.moved);
        }
        drop(hold);
        Ok(())
    }

    /// Ends what has expired and lets idle streams leave memory.
    pub(super) fn sweep(&mut self) -> Result<(), StoreError> {
        for shard in 0..self.cores.len() {
            let core = &mut self.cores[shard];
            let now = core.now();
            let mut commands = core.sweep(now)?;
            commands.extend(core.evict(now));
            let entry = |command| Entry {
                command,
                reply: Reply::Nobody,
                permit: None,
            };
            let entries: Vec<Entry> = commands.into_iter().map(entry).collect();
            let shard = ShardId(u16::try_from(shard).expect("few shards"));
            self.run(shard, entries);
        }
        Ok(())
    }

    /// The time.
    pub(super) fn now(&self) -> millrace_core::Timestamp {
        self.cores[0].now()
    }

    /// How long all logs are.
    pub(super) fn log_bytes(&self) -> u64 {
        let wals = self.cores.iter().filter_map(|core| core.wal.as_ref());
        wals.map(millrace_store::Wal::bytes_retained).sum()
    }

    /// The number of the last frame of every log, by shard.
    #[cfg(test)]
    pub(super) fn last_frames(&self) -> Vec<u64> {
        let wals = self.cores.iter().filter_map(|core| core.wal.as_ref());
        wals.map(|wal| wal.next_lsn().get() - 1).collect()
    }

    /// The highest generation that any slot has given out.
    pub(super) fn highest_generation(&self) -> millrace_core::Generation {
        let highest = self.cores.iter().map(ShardCore::highest_generation);
        highest.max().unwrap_or_default()
    }

    /// Bytes charged to the memory budget.
    pub(super) fn charged(&self) -> u64 {
        self.base.budget.used()
    }

    /// The stream under `name`, as readers hold it.
    pub(super) fn live(&mut self, name: &StreamName) -> Option<Arc<crate::live::Live>> {
        let shard = shard_of(slot_of(name.as_str()), self.base.options.shards);
        let core = &mut self.cores[usize::from(shard.get())];
        core.load(&LoadKey::Name(name.clone()))
            .expect("the stream loads")
    }

    /// How many streams are in memory.
    pub(super) fn resident(&self) -> usize {
        self.cores.iter().map(|core| core.directory.len()).sum()
    }

    /// What a reader finds under `name` now; `None` when it is not to be reached.
    pub(super) fn find(&mut self, name: &StreamName) -> Option<Found> {
        let state = self.state(name)?;
        if state.soft_deleted {
            return None;
        }
        Some(Found {
            document: state
                .setting(millrace_core::SettingKey::ATTRIBUTES)
                .map(|document| String::from_utf8_lossy(document).into_owned()),
            bytes: self.read(&state, state.trimmed),
            closed: state.is_closed(),
            tail: state.tail_offset(),
        })
    }

    /// The state that readers have under `name`, if the stream is in memory. Asks no disk.
    pub(super) fn shown(&self, name: &StreamName) -> Option<StreamState> {
        let shard = shard_of(slot_of(name.as_str()), self.base.options.shards);
        let directory = &self.cores[usize::from(shard.get())].directory;
        let live = directory.by_name(name.as_str())?;
        let state = live.view().state.clone();
        Some(state)
    }

    /// The published state under `name`.
    pub(super) fn state(&mut self, name: &StreamName) -> Option<StreamState> {
        let shard = shard_of(slot_of(name.as_str()), self.base.options.shards);
        let core = &mut self.cores[usize::from(shard.get())];
        let live = core
            .load(&LoadKey::Name(name.clone()))
            .expect("the stream loads")?;
        let state = live.view().state.clone();
        Some(state)
    }

    /// The bytes of a stream from `from` on, ancestors included.
    pub(super) fn read(&mut self, state: &StreamState, from: StreamPos) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut start = StreamPos::ZERO;
        let own = (state.id, state.tail);
        let lineage = state
            .config
            .lineage
            .iter()
            .map(|ancestor| (ancestor.stream, ancestor.until));
        for (stream, until) in lineage.chain([own]) {
            let shard = shard_of(stream.slot(), self.base.options.shards);
            let core = &mut self.cores[usize::from(shard.get())];
            let live = core
                .load(&LoadKey::Id(stream))
                .expect("it loads")
                .expect("it is there");
            let holder = Holder {
                live,
                from: start,
                until,
            };
            if from.max(start) < until {
                bytes.extend(holder.bytes(&self.base.segments, from.max(start), until));
            }
            start = until;
        }
        bytes
    }

    /// The source of a fork of `name` at `at`.
    pub(super) fn fork_source(&mut self, name: &StreamName, at: StreamPos) -> ForkSource {
        let state = self.state(name).expect("the source is there");
        ForkSource {
            trimmed: state.trimmed,
            stream: state.id,
            anchor: at,
            at,
            content_type: state.config.content_type.clone(),
            lifetime: state.config.lifetime,
            generations: state.generations.clone(),
            lineage: state.lineage_until(at),
        }
    }
}

/// PUT of a plain stream of bytes.
pub(super) fn create(name: &StreamName, body: &[u8], lifetime: Lifetime) -> Command {
    let spec = CreateSpec {
        content_type: None,
        lifetime,
        closed: false,
        fork: None,
    };
    Command::Create(Box::new(Create {
        name: name.clone(),
        spec,
        settings: Vec::new(),
        body: framed(body),
        source: None,
    }))
}

/// PUT of a fork whose source is resolved.
pub(super) fn fork(name: &StreamName, source: &StreamName, resolved: ForkSource) -> Command {
    let offset = resolved.generations.offset_at(resolved.anchor);
    let anchor = ForkAnchor::At(offset);
    let request = ForkRequest {
        source: source.clone(),
        anchor,
        sub_offset: 0,
    };
    let spec = CreateSpec {
        content_type: None,
        lifetime: Lifetime::Unlimited,
        closed: false,
        fork: Some(request),
    };
    let (name, body, source) = (name.clone(), Body::Empty, Some(resolved));
    Command::Create(Box::new(Create {
        name,
        spec,
        settings: Vec::new(),
        body,
        source,
    }))
}

/// POST.
pub(super) fn append(
    name: &StreamName,
    body: &[u8],
    producer: Option<ProducerClaim>,
    close: bool,
) -> Command {
    let content_type = Some(millrace_core::ContentType::default());
    let append = Append {
        body: framed(body),
        content_type,
        producer,
        close,
        ..Append::default()
    };
    Command::Append {
        name: name.clone(),
        append,
    }
}

fn framed(body: &[u8]) -> Body {
    match body {
        [] => Body::Empty,
        body => Body::Framed(Payload::single(bytes::Bytes::copy_from_slice(body))),
    }
}
