//! The watcher: it sees requests and answers pass, and says what cannot be.
//!
//! It needs no help of the clients, and knows nothing but what passed. From that it learns what each
//! offset means (`prefixes`), what lives each name has had (`name`, `life`), and how much was sent
//! to them. Whatever contradicts what was learned before is a violation.
//!
//! INVARIANT: no false alarm. Requests are under way at once, answers get lost, servers are killed,
//! streams expire: what is not certain is not said. That is why every exchange has two moments, one
//! before the server can have had the request and one after it sent the answer, and only what was
//! answered before a request was sent binds its answer. Where something passes that cannot be read,
//! [`Watcher::blind`] says so, and what rests on knowing all requests is said no more.
//!
//! Not here: how it gets to see them (`tee`), and clients that know what they wrote (`judge`).

mod asking;
mod content;
mod events;
mod exchange;
mod life;
mod name;
mod prefixes;
mod reads;
mod spans;
mod subscriptions;
mod sum;
mod token;
mod writes;

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
};

pub use asking::Fields;
pub use exchange::Exchange;
pub use token::Token;

use asking::{Asking, Verb};
use content::Kind;
use events::Events;
use exchange::{Answer, Body, Coming};
use life::{Fault, Sight, Tick};
use name::{Name, Sure};
use prefixes::{Contradiction, Prefixes};
use subscriptions::Subscription;

/// BOUND: exchanges whose first lines are remembered, to be named in violations.
const LINES_MAX: usize = 1 << 14;
/// BOUND: violations that are kept; what follows is only counted.
const VIOLATIONS_MAX: usize = 50;

/// Everything that passed.
#[derive(Debug, Default)]
pub struct Watcher {
    clock: Tick,
    exchanges: u64,
    names: HashMap<String, Name>,
    prefixes: Prefixes,
    /// How the bytes of a generation are framed.
    kinds: HashMap<u64, Kind>,
    lines: VecDeque<(u64, String)>,
    is_blind: bool,
    /// Names of streams that may be trimmed: they are not known to begin at their first byte.
    trimmed: HashSet<String>,
    /// Names of streams that may be forks.
    copies: HashSet<String>,
    /// By id.
    subscriptions: HashMap<String, Subscription>,
    violations: Vec<Violation>,
    counts: Counts,
}

/// Something that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The stream.
    pub stream: String,
    /// What is wrong, in a sentence.
    pub what: String,
    /// The answers that contradict each other, as far as they are known.
    pub seen: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stream, self.what)?;
        self.seen
            .iter()
            .try_for_each(|seen| write!(f, "\n    {seen}"))
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests for streams.
    pub asked: u64,
    /// Of these, those whose whole answer passed.
    pub answered: u64,
    /// Server-sent events that passed.
    pub events: u64,
    /// Bytes of streams that were compared.
    pub bytes: u64,
    /// Appends that were acknowledged.
    pub appends: u64,
    /// Violations, those that were not kept among them.
    pub violations: u64,
    /// Connections that could not be read to their end.
    pub unwatched: u64,
}

impl Watcher {
    /// A request's head passes on its way to the server, which has not got it yet.
    pub fn ask(&mut self, method: &str, target: &str, fields: &Fields) -> Exchange {
        let asking = Asking::new(method, target, fields);
        // What is appended is not all seen to be sent from here on.
        if let Verb::Control(control) = &asking.verb {
            self.is_blind = true;
            self.controlling(control);
        }
        self.exchanges += 1;
        let number = self.exchanges;
        if let Some(name) = &asking.name {
            if asking.may_trim(!self.trimmed.is_empty()) {
                self.trimmed.insert(name.clone());
            }
            self.counts.asked += 1;
            let name = self.names.entry(name.clone()).or_default();
            match &asking.verb {
                Verb::Delete => name.deleting(),
                Verb::Create(create) => {
                    name.may_close |= create.closes;
                    if create.fork.is_some() {
                        self.copies.extend(asking.name.clone());
                    }
                }
                Verb::Append(append) => name.may_close |= append.closes,
                _ => {}
            }
        }
        Exchange {
            number,
            sent: self.tick(),
            asking,
            request: Body::Unfinished,
            answer: None,
            is_over: false,
        }
    }

    /// The last of a request passes on its way to the server. `None`: its body was too long to keep.
    pub fn sent(&mut self, exchange: &mut Exchange, body: Option<Vec<u8>>) {
        if exchange.is_over {
            return;
        }
        exchange.request = body.map_or(Body::TooLong, Body::Whole);
        self.appending(exchange);
    }

    /// An answer's head passes on its way to the client, which has not got it yet.
    pub fn answer(&mut self, exchange: &mut Exchange, status: u16, fields: Fields) {
        let is_events = fields
            .get("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"));
        let body = match &exchange.asking.verb {
            Verb::Read(from) if is_events && status == 200 => Coming::Events {
                events: Events::default(),
                place: reads::place(
                    self.reads_from(exchange.asking.name.as_deref().unwrap_or_default(), *from),
                ),
            },
            _ => Coming::Bytes(Vec::new()),
        };
        exchange.answer = Some(Answer {
            status,
            fields,
            body,
        });
    }

    /// A part of its body passes.
    pub fn carry(&mut self, exchange: &mut Exchange, bytes: &[u8]) {
        let Some(answer) = &mut exchange.answer else {
            return;
        };
        answer.body.keep(bytes);
        if let Coming::Events { events, .. } = &mut answer.body {
            let found = events.take(bytes);
            for event in found {
                self.event(exchange, &event);
            }
        }
    }

    /// The whole answer has passed.
    pub fn end(&mut self, exchange: &mut Exchange) {
        let Some(answer) = exchange.answer.take() else {
            return;
        };
        exchange.is_over = true;
        let (Some(name), now) = (exchange.asking.name.clone(), self.tick()) else {
            let now = self.clock;
            self.controlled(exchange, &answer, now);
            if matches!(exchange.asking.verb, Verb::Unclear) && answer.status < 400 {
                self.blind();
            }
            return;
        };
        self.counts.answered += 1;
        let line = format!("{} → {}{}", exchange.asking, answer.status, told(&answer));
        self.remember(exchange.number, line);
        let told = Told {
            name: &name,
            sent: exchange.sent,
            now,
            by: exchange.number,
            answer: &answer,
        };
        match &exchange.asking.verb {
            Verb::Create(create) => self.created(&told, create, &exchange.request),
            Verb::Append(append) => self.appended(&told, append, &exchange.request),
            Verb::Delete => self.deleted(&told),
            Verb::Head => self.looked(&told),
            Verb::Read(from) => self.read(&told, self.reads_from(&name, *from)),
            Verb::Unclear if answer.status < 400 => self.blind(),
            Verb::Trim | Verb::Control(_) | Verb::Other | Verb::Unclear => {}
        }
    }

    /// Something passes that cannot be read, on a connection of its own or amid one that was read.
    pub fn blind(&mut self) {
        self.is_blind = true;
        self.counts.unwatched += 1;
    }

    /// What cannot be.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn reads_from(&self, name: &str, from: asking::From) -> asking::From {
        match from {
            asking::From::Start if self.trimmed.contains(name) => asking::From::Unclear,
            from => from,
        }
    }

    fn tick(&mut self) -> Tick {
        self.clock += 1;
        self.clock
    }

    fn sure(&self) -> Sure {
        if self.is_blind { Sure::No } else { Sure::Yes }
    }

    /// A stream's offset was told: by it, and by others of the same answer, its life is found. Gives the
    /// life's own generation.
    fn see(&mut self, told: &Told<'_>, from: Option<Token>, sight: Sight) -> Option<u64> {
        let sure = self.sure();
        let name = self.names.entry(told.name.to_owned()).or_default();
        let shown = [Some(sight.at), from];
        let shown = shown.into_iter().flatten().map(|token| token.generation);
        let own = shown
            .clone()
            .find(|generation| name.life(*generation).is_some());
        let own = own.or_else(|| name.certain(sight.sent, sure))?;
        for generation in shown {
            // What it inherited is older than its own.
            if generation > own || name.life(generation).is_some() {
                name.same(own, generation);
            }
        }
        let mut faults: Vec<Fault> = Vec::new();
        let may_close = name.may_close || sure == Sure::No;
        let life = name.life(own)?;
        let closes_itself = sight.closed && !may_close && life.born.is_some();
        if closes_itself {
            faults.push(("it is closed, and nobody closed it".into(), 0));
        }
        if let Some(from) = from {
            let begins = Sight {
                at: from,
                is_tail: false,
                closed: false,
                ..sight
            };
            faults.extend(life.see(begins).err());
        }
        faults.extend(life.see(sight).err());
        if sure == Sure::Yes {
            faults.extend(name.accounts(own, sight).err());
        }
        for fault in faults {
            self.fault(told, fault);
        }
        Some(own)
    }

    /// Bytes went from one offset to another.
    fn carried(&mut self, told: &Told<'_>, from: Token, to: Token, bytes: &[u8]) {
        self.counts.bytes += bytes.len() as u64;
        let joined = self.prefixes.carried(from, to, bytes, told.by);
        self.joined(told, &joined);
    }

    fn joined(&mut self, told: &Told<'_>, joined: &Result<(), Contradiction>) {
        if let Err(Contradiction { at, by }) = joined {
            let what = format!("the bytes before {at} are not those that were told before");
            self.fault(told, (what, *by));
        }
    }

    fn fault(&mut self, told: &Told<'_>, (what, by): Fault) {
        self.counts.violations += 1;
        if self.violations.len() >= VIOLATIONS_MAX {
            return;
        }
        let seen = [by, told.by].into_iter().filter(|number| *number > 0);
        let seen = seen.map(|number| format!("#{number} {}", self.line(number)));
        self.violations.push(Violation {
            stream: told.name.to_owned(),
            what,
            seen: seen.collect(),
        });
    }

    fn remember(&mut self, number: u64, line: String) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back((number, line));
    }

    fn line(&self, number: u64) -> &str {
        let found = self.lines.iter().rev().find(|(known, _)| *known == number);
        found.map_or("(long ago)", |(_, line)| line)
    }
}

/// An answer to a request for a stream.
struct Told<'a> {
    name: &'a str,
    sent: Tick,
    now: Tick,
    by: u64,
    answer: &'a Answer,
}

impl Told<'_> {
    /// An offset that it shows, no more.
    fn sight(&self, at: Token) -> Sight {
        Sight {
            sent: self.sent,
            now: self.now,
            by: self.by,
            at,
            is_tail: false,
            closed: false,
        }
    }

    /// The tail that it shows, and whether it is closed.
    fn tail(&self) -> Option<Sight> {
        let at = self.answer.fields.token("stream-next-offset")?;
        Some(Sight {
            is_tail: true,
            closed: self.answer.fields.says("stream-closed"),
            ..self.sight(at)
        })
    }
}

/// What of an answer's head says something of a stream.
fn told(answer: &Answer) -> String {
    let fields = [
        "stream-next-offset",
        "stream-up-to-date",
        "stream-closed",
        "stream-earliest-offset",
    ];
    let found = fields.iter().filter_map(|name| {
        let value = answer.fields.get(name)?;
        Some(format!(", {name}: {value}"))
    });
    let carried = match &answer.body {
        Coming::Bytes(bytes) if !bytes.is_empty() => format!(", {} bytes", bytes.len()),
        _ => String::new(),
    };
    found.collect::<String>() + &carried
}
