//! Random work under random power loss.

use std::{collections::BTreeMap, sync::Arc};

use millrace_core::{
    Lifetime, Offset, Payload, ProducerClaim, ProducerId, Refusal, SettingKey, ShardId, StreamName,
    StreamPos,
    slot::{shard_of, slot_of},
    stream::Outcome,
};
use millrace_env::{Env, Rng, SimClock, SimDisk};
use millrace_store::check;

use super::{
    machine::{self, Machine, small_options},
    world::{Change, World},
};
use crate::shard::Command;

const NAMES: [&str; 8] = ["a", "b", "c", "{tag}/d", "{tag}/e", "f", "g", "h"];
const GENERATIONS: u64 = 6;
const STEPS: u64 = 60;

#[test]
fn crash_seeds_lose_nothing_acknowledged() {
    let seeds = std::env::var("MILLRACE_SEEDS").map_or(200, |text| text.parse().expect("a number"));
    for seed in 0..seeds {
        run(seed);
    }
}

#[test]
fn crash_one_seed_pasted_from_a_failure() {
    let seed = std::env::var("MILLRACE_SEED").map_or(1, |text| text.parse().expect("a number"));
    run(seed);
}

#[test]
fn crash_seeds_are_deterministic() {
    assert_eq!(
        run(7),
        run(7),
        "the same seed does the same I/O and ends with the same bytes"
    );
}

/// One seed's run.
struct Run {
    rng: Rng,
    seed: u64,
    disk: Arc<SimDisk>,
    clock: Arc<SimClock>,
    /// What may be there: more than one only after power was lost in the middle of a change.
    worlds: Vec<World>,
    /// The last acknowledged tail of a name, with the length of its stream.
    tails: BTreeMap<String, (usize, Offset)>,
    shards: u16,
    /// Makes every body different.
    bodies: u64,
}

/// Runs a seed; answers its trace.
fn run(seed: u64) -> (u64, String) {
    let mut run = Run {
        rng: Rng::from_seed(seed),
        seed,
        disk: SimDisk::new(seed),
        clock: Arc::new(SimClock::new(1_800_000_000_000)),
        worlds: vec![World::default()],
        tails: BTreeMap::new(),
        shards: if seed.is_multiple_of(3) { 1 } else { 2 },
        bodies: 0,
    };
    let mut ios = 0;
    let mut machine = run.open();
    for generation in 0..GENERATIONS {
        run.live(&mut machine, generation);
        drop(machine);
        ios += run.disk.io_count();
        run.disk = run.disk.crash();
        if run.rng.below(4) == 0 {
            run.shards = 1 + u16::try_from(run.rng.below(3)).expect("small");
        }
        machine = run.open();
        run.check(&mut machine);
    }
    drop(machine);
    run.is_whole();
    (ios, format!("{:?}", run.worlds))
}

impl Run {
    /// Opens, losing power inside recovery now and then.
    fn open(&mut self) -> Machine {
        for _ in 0..self.rng.below(4) {
            self.disk.crash_after(self.rng.below(40));
            let seed = self.rng.next();
            let opened = Machine::open(&self.disk, &self.clock, small_options(self.shards), seed);
            if let (Err(error), false) = (&opened, self.disk.is_down()) {
                panic!(
                    "seed {}: recovery failed without power loss: {error}",
                    self.seed
                );
            }
            drop(opened);
            self.disk = self.disk.crash();
        }
        let seed = self.rng.next();
        Machine::open(&self.disk, &self.clock, small_options(self.shards), seed)
            .unwrap_or_else(|error| panic!("seed {}: {error}", self.seed))
    }

    /// The data directory is found whole.
    fn is_whole(&self) {
        let env = Env {
            disk: Arc::<SimDisk>::clone(&self.disk),
            clock: Arc::<SimClock>::clone(&self.clock),
            rng: Arc::new(Rng::from_seed(self.seed)),
        };
        let report = check::run(&env, check::Lock::Take).expect("it can be looked at");
        let is_bad = |finding: &&check::Finding| finding.severity == check::Severity::Error;
        let wrong: Vec<_> = report.findings.iter().filter(is_bad).collect();
        assert!(wrong.is_empty(), "seed {}: {wrong:?}", self.seed);
    }

    /// Works until power is lost or the generation is over.
    fn live(&mut self, machine: &mut Machine, generation: u64) {
        if self.rng.below(5) > 0 {
            self.disk
                .crash_after(self.rng.below(150 + 100 * generation));
        }
        for _ in 0..STEPS {
            self.step(machine);
            if self.disk.is_down() {
                return;
            }
        }
    }

    fn step(&mut self, machine: &mut Machine) {
        let done = match self.rng.below(20) {
            0..12 => return self.change(machine),
            12..15 => machine.flush_and_let_go_later(),
            15..17 => {
                let mut changes = Vec::new();
                let flushed = machine.flush_around(|machine| {
                    changes.push(());
                    self.change(machine);
                });
                assert_eq!(changes.len(), 1);
                flushed
            }
            17..19 => machine.compact(),
            _ => {
                self.clock.advance(std::time::Duration::from_millis(10));
                machine.sweep()
            }
        };
        if let (Err(error), false) = (done, self.disk.is_down()) {
            panic!(
                "seed {}: maintenance failed without power loss: {error}",
                self.seed
            );
        }
        if !self.disk.is_down() && self.worlds.len() == 1 {
            self.look(machine);
        }
    }

    /// One turn of changes; they are there afterwards, or, when power was lost, all or none.
    fn change(&mut self, machine: &mut Machine) {
        if self.disk.is_down() {
            return;
        }
        let before = self.worlds[0].clone();
        let mut after = before.clone();
        let mut commands = Vec::new();
        let mut changes = Vec::new();
        let shard = ShardId(u16::try_from(self.rng.below(u64::from(self.shards))).expect("small"));
        for _ in 0..=self.rng.below(4) {
            let Some(change) = self.invent(&after, shard) else {
                continue;
            };
            let is_fork = matches!(change, Change::Fork { .. });
            let is_delete = matches!(change, Change::Delete { .. });
            // What these say of offsets is so before the turn alone.
            let is_trim = matches!(change, Change::Trim { .. } | Change::Condense { .. });
            if (is_fork || is_trim) && !commands.is_empty() {
                continue;
            }
            commands.push(command(machine, &change));
            after.apply(&change);
            changes.push(change);
            // What a deletion gives back further up, and a fork's creation, take turns of their own.
            if is_fork || is_delete {
                break;
            }
        }
        let are_appends = changes
            .iter()
            .all(|change| matches!(change, Change::Append { .. }));
        let is_atomic = are_appends && self.rng.below(2) == 0;
        if is_atomic && !changes.is_empty() && self.rng.below(3) == 0 {
            return self.refused_batch(machine, commands, &changes);
        }
        let answers = if is_atomic {
            machine.atomic_turn(commands)
        } else {
            machine.turn(commands)
        };
        let all = answers.iter().all(Result::is_ok);
        assert!(
            all || self.disk.is_down(),
            "seed {}: {answers:?} to {changes:?}",
            self.seed
        );
        if all {
            self.remember(&changes, &answers, &after);
            self.worlds = vec![after];
        } else {
            assert!(
                answers.iter().all(Result::is_err),
                "a turn is acknowledged whole"
            );
            self.nothing_shows(machine, &before);
            self.worlds = vec![before, after];
        }
    }

    /// An atomic batch with one append that cannot be: nothing of it happens, with or without power.
    fn refused_batch(
        &mut self,
        machine: &mut Machine,
        mut commands: Vec<Command>,
        changes: &[Change],
    ) {
        let place = self.rng.below(commands.len() as u64 + 1);
        let place = usize::try_from(place).expect("small");
        let mut spoiled = machine::append(&named(changes[0].name()), b"never", None, false);
        if let Command::Append { append, .. } = &mut spoiled {
            append.content_type = millrace_core::ContentType::new("application/json");
        }
        commands.insert(place, spoiled);
        let answers = machine.atomic_turn(commands);
        assert!(
            answers.iter().all(Result::is_err),
            "seed {}: {answers:?} in a batch that is refused",
            self.seed
        );
        if !self.disk.is_down() {
            assert_ne!(answers[place], Err(Refusal::NotAlone), "it is the one");
            self.look(machine);
        }
    }

    /// Power was lost before a turn was durable: readers that are still there see nothing of it (T35).
    fn nothing_shows(&self, machine: &Machine, before: &World) {
        for name in NAMES {
            let shown = machine.shown(&named(name));
            let shown = shown.filter(|state| !state.soft_deleted);
            let shown = shown.map(|state| (state.tail, state.is_closed()));
            let wanted = before.get(name);
            let wanted = wanted.map(|was| (StreamPos(was.bytes.len() as u64), was.closed));
            assert!(
                shown.is_none() || shown == wanted,
                "seed {}: readers see {shown:?} of {name}, and {wanted:?} is durable",
                self.seed
            );
        }
    }

    fn remember(
        &mut self,
        changes: &[Change],
        answers: &[Result<Outcome, Refusal>],
        after: &World,
    ) {
        for (change, answer) in changes.iter().zip(answers) {
            let name = change.name();
            self.tails.remove(name);
            let tail = match answer {
                Ok(Outcome::Created(summary) | Outcome::Appended { summary, .. }) => summary.tail,
                _ => continue,
            };
            if let Some(stream) = after.get(name) {
                self.tails
                    .insert(name.to_owned(), (stream.bytes.len(), tail));
            }
        }
        self.tails.retain(|name, (len, _)| {
            after
                .get(name)
                .is_some_and(|stream| stream.bytes.len() == *len)
        });
    }

    /// A change that `world` is sure to accept, to a stream of `shard`.
    fn invent(&mut self, world: &World, shard: ShardId) -> Option<Change> {
        let own: Vec<&str> = NAMES
            .into_iter()
            .filter(|name| shard_of(slot_of(name), self.shards) == shard)
            .collect();
        let name = self.pick(&own)?.to_owned();
        if world.is_free(&name) {
            let sources: Vec<&str> = NAMES
                .into_iter()
                .filter(|name| world.get(name).is_some())
                .collect();
            if let (0..3, Some(source)) = (self.rng.below(6), self.pick(&sources)) {
                let stream = world.get(source).expect("filtered");
                let nth = self.rng.below(stream.ends.len() as u64 + 1);
                let at = stream
                    .ends
                    .get(usize::try_from(nth).expect("small"))
                    .copied()
                    .filter(|at| *at >= stream.trimmed);
                return Some(Change::Fork {
                    name,
                    source: source.into(),
                    at: at.unwrap_or(stream.trimmed),
                });
            }
            let body = self.body();
            return Some(Change::Create { name, body });
        }
        let stream = world.get(&name)?;
        let kind = self.rng.below(20);
        if kind == 0 || (stream.closed && kind < 8) {
            return Some(Change::Delete { name });
        }
        if kind < 3 && stream.trimmed < stream.bytes.len() {
            let most = (stream.bytes.len() - stream.trimmed) as u64;
            let by = 1 + self.rng.below(most);
            let to = stream.trimmed + usize::try_from(by).expect("small");
            return Some(Change::Trim { name, to });
        }
        if kind == 3 {
            self.bodies += 1;
            let document = (self.rng.below(3) > 0).then(|| format!("{}", self.bodies));
            return Some(Change::Configure { name, document });
        }
        if stream.closed {
            return None;
        }
        if kind == 4 {
            let mut body = self.body();
            body.push(b'!');
            return Some(Change::Condense { name, body });
        }
        let producer = (self.rng.below(2) == 0).then(|| {
            let id = format!("p{}", self.rng.below(3));
            let seq = stream.producers.get(&id).map_or(0, |last| last + 1);
            (id, seq)
        });
        let close = self.rng.below(12) == 0;
        let mut body = self.body();
        if body.is_empty() && !close {
            body.push(b'.');
        }
        Some(Change::Append {
            name,
            body,
            producer,
            close,
        })
    }

    fn body(&mut self) -> Vec<u8> {
        self.bodies += 1;
        let len = match self.rng.below(12) {
            0 => 0,
            1 => 5_000 + self.rng.below(20_000),
            _ => 1 + self.rng.below(300),
        };
        let text = format!("<{}>", self.bodies);
        text.bytes()
            .cycle()
            .take(usize::try_from(len).expect("small"))
            .collect()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> Option<&'a str> {
        if from.is_empty() {
            return None;
        }
        let at = self.rng.below(from.len() as u64);
        Some(from[usize::try_from(at).expect("small")])
    }

    /// A look at one name while all is well.
    fn look(&mut self, machine: &mut Machine) {
        let name = NAMES[usize::try_from(self.rng.below(NAMES.len() as u64)).expect("small")];
        let found = machine.find(&named(name));
        let wanted = self.worlds[0].get(name);
        let same = found
            .as_ref()
            .map(|found| (&found.bytes[..], found.closed, &found.document))
            == wanted.map(|stream| (stream.shown(), stream.closed, &stream.document));
        assert!(
            same,
            "seed {}: {name} reads differently than written",
            self.seed
        );
    }

    /// After a restart: one of the worlds that may be there is, in every name, and producers that
    /// repeat themselves are told so.
    fn check(&mut self, machine: &mut Machine) {
        let matching = self
            .worlds
            .iter()
            .position(|world| Self::matches(machine, world));
        let Some(at) = matching else {
            let found: Vec<_> = NAMES
                .iter()
                .map(|name| (name, machine.find(&named(name))))
                .collect();
            panic!(
                "seed {}: found {found:?}\nwanted one of {:?}",
                self.seed, self.worlds
            );
        };
        let settled = self.worlds.len() == 1;
        let world = self.worlds.swap_remove(at);
        if settled {
            for (name, (_, tail)) in &self.tails {
                let found = machine.find(&named(name)).map(|found| found.tail);
                assert_eq!(
                    found,
                    Some(*tail),
                    "seed {}: the offset of {name}",
                    self.seed
                );
            }
        } else {
            self.tails.clear();
        }
        for name in NAMES {
            let Some(stream) = world.get(name).filter(|stream| !stream.closed) else {
                continue;
            };
            for (producer, last) in &stream.producers {
                let claim = claim(producer, *last);
                let again =
                    machine.submit(machine::append(&named(name), b"again", Some(claim), false));
                assert!(
                    matches!(again, Ok(Outcome::Duplicate { producer: (0, seq), .. }) if seq == *last),
                    "seed {}: {producer} of {name} repeats {last}: {again:?}",
                    self.seed
                );
            }
        }
        self.worlds = vec![world];
    }

    fn matches(machine: &mut Machine, world: &World) -> bool {
        NAMES.into_iter().all(|name| {
            let free = machine.state(&named(name)).is_none();
            let found = machine
                .find(&named(name))
                .map(|found| (found.bytes, found.closed, found.document));
            let wanted = world.get(name).map(|stream| {
                let document = stream.document.clone();
                (stream.shown().to_vec(), stream.closed, document)
            });
            free == world.is_free(name) && found == wanted
        })
    }
}

fn named(name: &str) -> StreamName {
    StreamName::new(name).expect("a name")
}

fn claim(producer: &str, seq: u64) -> ProducerClaim {
    ProducerClaim {
        id: ProducerId::new(producer).expect("an id"),
        epoch: 0,
        seq,
    }
}

fn command(machine: &mut Machine, change: &Change) -> Command {
    match change {
        Change::Create { name, body } => machine::create(&named(name), body, Lifetime::Unlimited),
        Change::Append {
            name,
            body,
            producer,
            close,
        } => {
            let producer = producer.as_ref().map(|(id, seq)| claim(id, *seq));
            machine::append(&named(name), body, producer, *close)
        }
        Change::Fork { name, source, at } => {
            let resolved = machine.fork_source(&named(source), StreamPos(*at as u64));
            machine::fork(&named(name), &named(source), resolved)
        }
        Change::Trim { name, to } => {
            let state = machine.state(&named(name)).expect("it is there");
            let to = state.generations.offset_at(StreamPos(*to as u64));
            Command::Trim {
                name: named(name),
                to,
            }
        }
        Change::Condense { name, body } => {
            let state = machine.state(&named(name)).expect("it is there");
            Command::Condense {
                name: named(name),
                fold: Payload::single(bytes::Bytes::from(body.clone())),
                tail: state.tail_offset(),
            }
        }
        Change::Configure { name, document } => Command::Configure {
            name: named(name),
            change: Box::new(vec![(
                SettingKey::ATTRIBUTES,
                document.as_ref().map(|text| text.as_bytes().into()),
            )]),
        },
        Change::Delete { name } => Command::Delete { name: named(name) },
    }
}
