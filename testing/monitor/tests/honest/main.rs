//! What an honest server answers never alarms the watcher, and what a broken one answers does.
//!
//! The honest server is the oracle of `testing/model`, which was written without the watcher in view.
//! Clients send random requests to a few names, many at once; the server carries them out in any order,
//! answers arrive in any order, and some never do.

mod server;

use http::{HeaderMap, HeaderName};
use millrace_core::StreamName;
use millrace_monitor::watch::{Counts, Exchange, Fields, Violation, Watcher};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use server::{Answer, Defect, Server, token};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// Runs of an honest server, unless `MILLRACE_SEEDS` says how many.
const SEEDS: u64 = 20;
/// Runs of each broken one.
const BROKEN: u64 = 8;
/// Requests at once.
const AT_ONCE: usize = 6;
/// Requests and answers a run.
const STEPS: usize = 800;

/// A request on its way.
struct Flight {
    exchange: Exchange,
    index: usize,
    method: &'static str,
    target: String,
    headers: HeaderMap,
    body: Vec<u8>,
    answer: Option<Answer>,
}

/// Clients, a server, and the watcher between them.
struct Run {
    chance: StdRng,
    server: Server,
    watcher: Watcher,
    flights: Vec<Flight>,
    /// Offsets that somebody was told, of which name.
    told: Vec<(usize, String)>,
    /// What each producer sends next, by name.
    next: [[u64; 2]; NAMES.len()],
}

impl Run {
    fn new(seed: u64, defect: Defect) -> Self {
        Self {
            chance: StdRng::seed_from_u64(seed),
            server: Server::new(defect),
            watcher: Watcher::default(),
            flights: Vec::new(),
            told: vec![(0, token(1, 3))],
            next: [[0; 2]; NAMES.len()],
        }
    }

    fn go(mut self) -> (Vec<Violation>, Counts) {
        for _ in 0..STEPS {
            while self.flights.len() < AT_ONCE && self.chance.random_ratio(2, 3) {
                self.invent();
            }
            if !self.flights.is_empty() {
                let which = self.chance.random_range(0..self.flights.len());
                self.step(which);
            }
            if self.chance.random_ratio(1, 40) {
                self.flights.clear();
                self.server.restart();
            }
            if self.chance.random_ratio(1, 20) {
                self.server
                    .model
                    .advance(std::time::Duration::from_millis(700));
            }
        }
        (self.watcher.violations().to_vec(), self.watcher.counts())
    }

    /// A request is carried out, or its answer arrives, or it does not.
    fn step(&mut self, which: usize) {
        let flight = &mut self.flights[which];
        let Some(answer) = flight.answer.take() else {
            let Flight {
                method,
                target,
                headers,
                body,
                ..
            } = flight;
            let answer = self
                .server
                .carry_out(method, target, headers, body, &mut self.chance);
            flight.answer = Some(answer);
            return;
        };
        let mut flight = self.flights.swap_remove(which);
        if self.chance.random_ratio(1, 25) {
            return;
        }
        let headers = answer
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        self.watcher
            .answer(&mut flight.exchange, answer.status, Fields::new(headers));
        let mut rest = answer.body.as_slice();
        while !rest.is_empty() {
            let (part, after) = rest.split_at(self.chance.random_range(1..=rest.len()));
            self.watcher.carry(&mut flight.exchange, part);
            rest = after;
        }
        self.watcher.end(&mut flight.exchange);
        if let Some(next) = answer.headers.get("stream-next-offset") {
            let next = next.to_str().expect("a token").to_owned();
            self.told.push((flight.index, next));
        }
    }

    fn invent(&mut self) {
        let index = self.chance.random_range(0..NAMES.len());
        let mut headers = HeaderMap::new();
        let mut body = Vec::new();
        let mut query = String::new();
        let name = StreamName::new(NAMES[index]).expect("a name");
        let is_free = self.server.model.stream(&name).is_none();
        let what = if is_free && self.chance.random_ratio(2, 3) {
            0
        } else {
            self.chance.random_range(0..40)
        };
        let method = match what {
            0..3 => {
                self.creation(index, &mut headers, &mut body);
                "PUT"
            }
            3 => "DELETE",
            4..8 => "HEAD",
            8..20 => {
                let live = ["", "&live=long-poll", "&live=sse"];
                let live = live[self.chance.random_range(0..live.len())];
                query = format!("?offset={}{live}", self.offset(index));
                "GET"
            }
            _ => {
                self.append(index, &mut headers, &mut body);
                "POST"
            }
        };
        let target = format!("/v1/stream/{}{query}", NAMES[index]);
        let fields = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        let mut exchange = self.watcher.ask(method, &target, &Fields::new(fields));
        self.watcher.sent(&mut exchange, Some(body.clone()));
        self.flights.push(Flight {
            exchange,
            index,
            method,
            target,
            headers,
            body,
            answer: None,
        });
    }

    /// Mostly a late one of this name.
    fn offset(&mut self, index: usize) -> String {
        match self.chance.random_range(0..10) {
            0..3 => return "-1".into(),
            3 => return "now".into(),
            _ => {}
        }
        let any = self.chance.random_ratio(1, 8);
        let fits = |(of, _): &&(usize, String)| any || *of == index;
        let late = if self.chance.random_ratio(1, 2) {
            5
        } else {
            1000
        };
        let some: Vec<&String> = self
            .told
            .iter()
            .rev()
            .filter(fits)
            .take(late)
            .map(|(_, text)| text)
            .collect();
        match some.len() {
            0 => "-1".into(),
            len => some[self.chance.random_range(0..len)].clone(),
        }
    }

    fn creation(&mut self, index: usize, headers: &mut HeaderMap, body: &mut Vec<u8>) {
        if self.chance.random_ratio(1, 4) {
            let source = self.chance.random_range(0..NAMES.len());
            let path = format!("/v1/stream/{}", NAMES[source]);
            put(headers, "stream-forked-from", &path);
            if self.chance.random_ratio(1, 2) {
                let offset = self.offset(source);
                put(headers, "stream-fork-offset", &offset);
                if self.chance.random_ratio(1, 3) {
                    put(headers, "stream-fork-sub-offset", "1");
                }
            }
            return;
        }
        put(headers, "content-type", kind(index));
        if self.chance.random_ratio(1, 8) {
            put(headers, "stream-ttl", "2");
        }
        if self.chance.random_ratio(1, 20) {
            put(headers, "stream-closed", "true");
        }
        if self.chance.random_ratio(1, 3) {
            *body = self.content(index);
        }
    }

    fn append(&mut self, index: usize, headers: &mut HeaderMap, body: &mut Vec<u8>) {
        put(headers, "content-type", kind(index));
        let closes = self.chance.random_ratio(1, 60);
        if closes {
            put(headers, "stream-closed", "true");
        }
        if !closes || self.chance.random_ratio(1, 2) {
            *body = self.content(index);
        }
        if self.chance.random_ratio(1, 2) {
            let producer = self.chance.random_range(0..2);
            let next = &mut self.next[index][producer];
            let seq = match self.chance.random_range(0..10) {
                0 => next.saturating_sub(1),
                1 => 0,
                _ => {
                    *next += 1;
                    *next - 1
                }
            };
            if self.chance.random_ratio(1, 15) {
                *next = 0;
            }
            put(headers, "producer-id", ["p", "q"][producer]);
            put(headers, "producer-epoch", "0");
            put(headers, "producer-seq", &seq.to_string());
        }
    }

    fn content(&mut self, index: usize) -> Vec<u8> {
        let number: u32 = self.chance.random_range(0..1_000_000);
        match kind(index) {
            "application/json" if number.is_multiple_of(3) => {
                format!("[{number}, \"x\\n\",[{number}]]").into_bytes()
            }
            "application/json" => format!(" {{\"n\":\n{number}}}").into_bytes(),
            "text/plain" if number.is_multiple_of(3) => format!("line {number}\r\n").into_bytes(),
            "text/plain" => format!("{number} ü").into_bytes(),
            _ => number.to_le_bytes()[..usize::try_from(1 + number % 4).expect("small")].to_vec(),
        }
    }
}

fn kind(index: usize) -> &'static str {
    [
        "application/octet-stream",
        "application/json",
        "text/plain",
        "application/octet-stream",
    ][index]
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    headers.insert(
        HeaderName::from_static(name),
        value.parse().expect("a value"),
    );
}

#[test]
fn an_honest_server_never_alarms() {
    let (mut appends, mut bytes) = (0, 0);
    let seeds = std::env::var("MILLRACE_SEEDS").ok();
    let seeds = seeds.map_or(SEEDS, |seeds| seeds.parse().expect("a number"));
    for seed in 0..seeds {
        let (found, counts) = Run::new(seed, Defect::None).go();
        assert_eq!(found, [], "seed {seed}");
        appends += counts.appends;
        bytes += counts.bytes;
    }
    // It had something to look at.
    assert!(
        appends > 30 * seeds && bytes > 1000 * seeds,
        "{appends} appends, {bytes} bytes"
    );
}

#[test]
fn every_defect_is_noticed() {
    for defect in [
        Defect::ForgetsLately,
        Defect::MovesPastBytes,
        Defect::ChangesBytes,
        Defect::ReusesGenerations,
        Defect::ForgetsClosure,
        Defect::RepeatsProducers,
        Defect::ForgetsNames,
    ] {
        let noticed = (0..BROKEN)
            .filter(|seed| !Run::new(*seed, defect).go().0.is_empty())
            .count() as u64;
        assert!(
            noticed > BROKEN / 2,
            "{defect:?} was noticed in {noticed} of {BROKEN} runs"
        );
    }
}
