//! The killing: the load in threads, and the server killed and started again beside it.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    expiry, guest,
    reader::{self, Mode},
    report::Outcome,
    schedule::{Chance, Settings},
    server::{Home, Server},
    world::{Caller, World},
    writer::Writer,
};

const WRITERS: u32 = 4;
const GUESTS: u32 = 2;
const READERS: [Mode; 6] = [
    Mode::Sse,
    Mode::Sse,
    Mode::LongPoll,
    Mode::LongPoll,
    Mode::CatchUp,
    Mode::CatchUp,
];
/// More than this many broken promises say nothing new.
const VIOLATIONS_MAX: usize = 20;

/// A long run says how far it is that often.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Runs the test.
pub fn run(settings: &Settings) -> Result<Outcome, String> {
    let mut home = Home::new(settings).map_err(|error| format!("no directory: {error}"))?;
    let world = World::default();
    let mut killer = Killer {
        world: &world,
        chance: Chance::new(settings.seed, 0),
        home: &mut home,
        begun: Instant::now(),
        within: settings.within,
        said: Instant::now(),
        outcome: Outcome::default(),
    };
    thread::scope(|scope| {
        load(scope, &world, settings.seed);
        if let Err(what) = killer.campaign(settings.kills) {
            world.judge().violation(what);
            world.abandon();
        }
    });
    if !world.is_abandoned()
        && let Err(what) = killer.epilogue()
    {
        world.judge().violation(what);
    }
    let mut outcome = killer.outcome;
    outcome.took = killer.begun.elapsed();
    outcome.counts = world.judge().counts;
    outcome.lost = world.lost.load(std::sync::atomic::Ordering::Relaxed);
    outcome.watched = world.watcher.lock().counts();
    outcome.violations = world.judge().violations().to_vec();
    let seen = world.watcher.lock().violations().to_vec();
    outcome
        .violations
        .extend(seen.iter().map(ToString::to_string));
    if outcome.violations.is_empty() {
        home.remove().map_err(|error| error.to_string())?;
    } else {
        eprintln!(
            "the data directory is kept in {}",
            home.directory().display()
        );
        eprintln!("the server's last words:\n{}", home.log_tail());
    }
    Ok(outcome)
}

/// Starts everything that sends requests.
fn load<'scope, 'env>(scope: &'scope thread::Scope<'scope, 'env>, world: &'env World, seed: u64) {
    for number in 1..=WRITERS {
        let chance = Chance::new(seed, u64::from(number));
        scope.spawn(move || Writer::new(world, number, chance).work());
    }
    for number in 101..=100 + GUESTS {
        let chance = Chance::new(seed, u64::from(number));
        scope.spawn(move || guest::work(world, number, chance));
    }
    for (number, mode) in (201..).zip(READERS) {
        let chance = Chance::new(seed, number);
        scope.spawn(move || reader::work(world, mode, chance));
    }
    let chance = Chance::new(seed, 301);
    scope.spawn(move || expiry::work(world, chance));
}

struct Killer<'a> {
    world: &'a World,
    chance: Chance,
    home: &'a mut Home,
    begun: Instant,
    within: Option<Duration>,
    /// When it last said how far it is.
    said: Instant,
    outcome: Outcome,
}

impl Killer<'_> {
    /// Kills and starts the server, and leaves it running, without load, at the end.
    fn campaign(&mut self, kills: u32) -> Result<(), String> {
        let mut server = self.start()?;
        while self.outcome.kills < kills && !self.is_over() {
            self.live();
            if let Some(status) = server.ended() {
                return Err(format!("the server ended by itself: {status}"));
            }
            self.world.server_is_down();
            let ending = Instant::now();
            self.end(&mut server)?;
            self.outcome.spent.ending += ending.elapsed();
            server = self.start()?;
            self.say();
        }
        // Everything that waits for an answer gets it, and then the load ends.
        self.world.stop();
        self.world.keep(server);
        Ok(())
    }

    /// Mostly `kill -9`; sometimes while the server ends gracefully, and sometimes it may do that.
    fn end(&mut self, server: &mut Server) -> Result<(), String> {
        match self.chance.between(0, 100) {
            0..8 => {
                let took = server.stop()?;
                self.outcome.graceful_ends += 1;
                self.outcome.slowest_end = self.outcome.slowest_end.max(took);
                Ok(())
            }
            8..18 => {
                server.ask_to_stop()?;
                thread::sleep(self.chance.millis(0, 20));
                self.outcome.kills_while_stopping += 1;
                self.kill(server)
            }
            _ => self.kill(server),
        }
    }

    fn kill(&mut self, server: &mut Server) -> Result<(), String> {
        server.kill().map_err(|error| error.to_string())?;
        let remains = self.home.remains();
        let outcome = &mut self.outcome;
        outcome.kills += 1;
        outcome.kills_amid_a_flush += u32::from(remains.half_written);
        outcome.segments = outcome.segments.max(remains.newest);
        outcome.segments_at_once = outcome.segments_at_once.max(remains.segments);
        Ok(())
    }

    /// Fewer flushes than kills: the thresholds do not do what they are there for.
    fn missed_the_point(&self) -> Option<String> {
        let Outcome {
            kills, segments, ..
        } = self.outcome;
        (segments < u64::from(kills)).then(|| {
            format!("only {segments} segments were written in {kills} kills: nothing was flushed")
        })
    }

    /// A server's life. Some are so short that the kill falls into the first work after a recovery; in
    /// the others all streams are compared first.
    fn live(&mut self) {
        let begun = Instant::now();
        let span = if self.chance.percent(30) {
            self.chance.millis(1, 60)
        } else {
            self.verify_all();
            self.outcome.spent.verifying += begun.elapsed();
            self.chance.millis(60, 500)
        };
        let rest = span.saturating_sub(begun.elapsed());
        self.outcome.spent.waiting += rest;
        thread::sleep(rest);
    }

    /// Says how far a long run is.
    fn say(&mut self) {
        self.outcome.bytes_at_once = self.outcome.bytes_at_once.max(self.home.bytes());
        if self.said.elapsed() >= LINE_EVERY {
            self.said = Instant::now();
            let (kills, took) = (self.outcome.kills, self.begun.elapsed().as_secs());
            let appends = self.world.judge().counts.acked;
            eprintln!("  {kills} kills, {appends} appends acknowledged, {took} s");
        }
    }

    /// Starts the server, sometimes killing it while it recovers.
    fn start(&mut self) -> Result<Server, String> {
        loop {
            let shards = [1, 2, 4][self.chance.index(3)];
            let started = Instant::now();
            let mut server = self.home.start(shards).map_err(|error| error.to_string())?;
            if self.outcome.kills > 0 && self.chance.percent(20) {
                thread::sleep(self.chance.millis(0, 60));
                self.outcome.spent.starting += started.elapsed();
                if let Some(status) = server.ended() {
                    return Err(format!("the server ended while starting: {status}"));
                }
                self.kill(&mut server)?;
                self.outcome.kills_while_starting += 1;
                continue;
            }
            let address = server.ready()?;
            self.outcome.spent.starting += started.elapsed();
            self.outcome.slowest_start = self.outcome.slowest_start.max(started.elapsed());
            self.world.server_is_up(address, started);
            return Ok(server);
        }
    }

    /// Compares every stream with everything known of it.
    fn verify_all(&mut self) {
        let mut caller = Caller::new(self.world);
        for live in self.world.board() {
            if caller.verify(&live).is_err() {
                return;
            }
        }
    }

    /// There is no time left, or nothing new to be said.
    fn is_over(&self) -> bool {
        let late = self
            .within
            .is_some_and(|within| self.begun.elapsed() > within);
        let seen = self.world.watcher.lock().violations().len();
        late || self.world.judge().violations().len() + seen > VIOLATIONS_MAX
    }

    /// The load is gone: a graceful end, an offline check, another start, and all is still there.
    fn epilogue(&mut self) -> Result<(), String> {
        let mut server = self.world.give_back().ok_or("no server is left")?;
        self.verify_all();
        if let Some(what) = self.missed_the_point() {
            return Err(what);
        }
        server.stop()?;
        self.home.check()?;
        let mut server = self.start_for_good()?;
        self.verify_all();
        server.stop()?;
        self.home.check()
    }

    fn start_for_good(&mut self) -> Result<Server, String> {
        let started = Instant::now();
        let mut server = self.home.start(2).map_err(|error| error.to_string())?;
        let address = server.ready()?;
        self.world.server_is_up(address, started);
        Ok(server)
    }
}
