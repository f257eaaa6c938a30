//! The rounds: clients at work on a few fresh names, the server killed, stopped or paused amid them,
//! and what all of them were told checked at once.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use millrace_kill::{
    schedule::{Chance, Settings as KillSettings},
    server::{Home, Server},
};

use crate::{
    check::{Checked, check},
    client::Client,
    history::Record,
    place::Place,
    round::{Open, Round, Shared, close},
    settings::{Judge, Settings},
};

const CLIENTS: u32 = 6;
const NAMES: u32 = 3;
/// How many operations a client does in a round.
const OPERATIONS: u32 = 40;
/// After so many rounds it is told how far the run is.
const ROUNDS_BETWEEN_LINES: u32 = 25;

/// How a run ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many rounds there were.
    pub rounds: u32,
    /// What was checked.
    pub checked: Checked,
    /// How often the server was killed.
    pub kills: u32,
    /// How often it ended as it was asked to.
    pub ends: u32,
    /// How often it was paused.
    pub pauses: u32,
    /// Requests that were cut off half way.
    pub cut: u64,
    /// Why the history cannot be.
    pub broken: Vec<String>,
}

/// Runs the rounds.
pub fn run(settings: &Settings) -> Result<Outcome, String> {
    let home = KillSettings {
        binary: settings.binary.clone(),
        kills: 0,
        within: None,
        seed: settings.seed,
        durability: settings.durability.clone(),
        json: false,
    };
    let mut home = Home::new(&home).map_err(|error| format!("no directory: {error}"))?;
    let (place, shared) = (Place::default(), Shared::default());
    let done = Run::start(settings, &mut home, &place, &shared).map(Run::rounds);
    match &done {
        Ok(outcome) if outcome.broken.is_empty() => {
            home.remove().map_err(|error| error.to_string())?;
        }
        _ => {
            eprintln!(
                "the data directory is kept in {}",
                home.directory().display()
            );
            eprintln!("the server's last words:\n{}", home.log_tail());
        }
    }
    done
}

struct Run<'a> {
    settings: &'a Settings,
    home: &'a mut Home,
    place: &'a Place,
    shared: &'a Shared,
    chance: Chance,
    server: Server,
    outcome: Outcome,
}

impl<'a> Run<'a> {
    fn start(
        settings: &'a Settings,
        home: &'a mut Home,
        place: &'a Place,
        shared: &'a Shared,
    ) -> Result<Self, String> {
        let mut chance = Chance::new(settings.seed, 0);
        let server = started(home, place, &mut chance)?;
        Ok(Self {
            settings,
            home,
            place,
            shared,
            chance,
            server,
            outcome: Outcome::default(),
        })
    }

    fn rounds(mut self) -> Outcome {
        let begun = Instant::now();
        let within = self.settings.within;
        let over = || within.is_some_and(|within| begun.elapsed() > within);
        while self.outcome.rounds < self.settings.rounds && !over() {
            self.outcome.rounds += 1;
            let (history, troubled) = self.round();
            self.judge(&history);
            self.outcome.broken.extend(troubled.err());
            if !self.outcome.broken.is_empty() {
                break;
            }
            if self.outcome.rounds.is_multiple_of(ROUNDS_BETWEEN_LINES) {
                self.tell(begun);
            }
        }
        self.outcome.cut = self.shared.cut.load(Ordering::Relaxed);
        self.outcome
    }

    /// One round: all that its clients recorded, also when the server did not come back.
    fn round(&mut self) -> (Vec<Record>, Result<(), String>) {
        let number = self.outcome.rounds;
        let names = (0..NAMES).map(|name| format!("history/{number}/{name}"));
        let round = Round::new(self.place, self.shared, names.collect());
        let mut records = Vec::new();
        let troubled = self
            .load(&round, &mut records)
            .and_then(|()| self.look(&round, &mut records));
        (close(records, self.place), troubled)
    }

    /// Clients at work, and what happens to the server meanwhile.
    fn load(&mut self, round: &Round<'_>, records: &mut Vec<Open>) -> Result<(), String> {
        let (seed, number) = (self.settings.seed, self.outcome.rounds);
        thread::scope(|scope| {
            let clients: Vec<_> = (1..=CLIENTS)
                .map(|client| {
                    let chance = Chance::new(seed, u64::from(number * 100 + client));
                    scope.spawn(move || Client::new(round, client, chance).work(OPERATIONS))
                })
                .collect();
            let troubled = self.trouble();
            if troubled.is_err() {
                self.place.abandon();
            }
            for client in clients {
                records.extend(client.join().map_err(|_| "a client panicked")?);
            }
            troubled
        })
    }

    /// One client looks at what is there in the end.
    fn look(&mut self, round: &Round<'_>, records: &mut Vec<Open>) -> Result<(), String> {
        if self.chance.percent(30) {
            self.kill()?;
        }
        let chance = Chance::new(self.settings.seed, u64::from(self.outcome.rounds));
        records.extend(Client::new(round, 0, chance).look());
        Ok(())
    }

    /// What happens to the server amid a round.
    fn trouble(&mut self) -> Result<(), String> {
        for _ in 0..self.chance.between(0, 3) {
            thread::sleep(self.chance.millis(5, 90));
            match self.chance.between(0, 100) {
                0..50 => self.kill()?,
                50..55 => {
                    self.place.going_down();
                    self.server.stop()?;
                    self.outcome.ends += 1;
                    self.restart()?;
                }
                _ => {
                    self.server.pause()?;
                    thread::sleep(self.chance.millis(5, 300));
                    self.outcome.pauses += 1;
                    // A process that is paused can be killed as it is.
                    if self.chance.percent(25) {
                        self.kill()?;
                    } else {
                        self.server.go_on()?;
                    }
                }
            }
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<(), String> {
        self.place.going_down();
        self.server.kill().map_err(|error| error.to_string())?;
        self.outcome.kills += 1;
        self.restart()
    }

    fn restart(&mut self) -> Result<(), String> {
        self.place.dead();
        self.server = started(self.home, self.place, &mut self.chance)?;
        Ok(())
    }

    fn judge(&mut self, history: &[Record]) {
        if self.settings.judge != Judge::Watcher {
            match check(history) {
                Ok(checked) => self.outcome.checked.add(checked),
                Err(why) => self.outcome.broken.push(why.explain().to_string()),
            }
            let wrong = self.shared.broken.lock();
            let mut wrong = wrong.unwrap_or_else(std::sync::PoisonError::into_inner);
            self.outcome.broken.append(&mut wrong);
        }
        if self.settings.judge != Judge::Order {
            let seen = self.shared.watcher.lock().violations().to_vec();
            let seen = seen.iter().map(ToString::to_string);
            self.outcome.broken.extend(seen);
        }
    }

    fn tell(&self, begun: Instant) {
        let Outcome {
            rounds,
            checked,
            kills,
            ..
        } = &self.outcome;
        println!(
            "  {rounds} rounds, {} operations, {kills} kills, {:.0} s",
            checked.operations,
            Duration::as_secs_f64(&begun.elapsed())
        );
    }
}

fn started(home: &mut Home, place: &Place, chance: &mut Chance) -> Result<Server, String> {
    let shards = [1, 2, 4][chance.index(3)];
    let mut server = home.start(shards).map_err(|error| error.to_string())?;
    let address = server.ready()?;
    place.up(address);
    Ok(server)
}
