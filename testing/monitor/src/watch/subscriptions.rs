//! What is said of subscriptions: who holds a wake, and up to where streams are processed.
//!
//! - A generation is given out once, and later ones are greater.
//! - Who holds an older one, or one that is done or given back, moves nothing any more.
//! - Up to where a stream is processed never goes back, and is never past its end.
//!
//! Not here: whether a wake is lost, which only who knows all streams can say.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Told, Watcher,
    asking::Verb,
    exchange::{Answer, Body, Coming, Exchange},
    life::Tick,
    token::Token,
};

/// BOUND: generations of one subscription that are remembered; of older ones nothing is said any more.
const GENERATIONS_MAX: usize = 1024;

/// What a request asks of a subscription.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    pub(crate) id: String,
    pub(crate) wants: Wants,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// To know how it stands, or that it is made.
    State,
    Deletion,
    Claim,
    /// An ack or a callback.
    Ack,
    Release,
    Other,
}

impl Control {
    /// Reads what comes after `__ds/`.
    pub(crate) fn new(method: &str, path: &str) -> Self {
        let path = path.strip_prefix("subscriptions/").unwrap_or_default();
        let (id, rest) = path.split_once('/').unwrap_or((path, ""));
        let wants = match (method, rest) {
            _ if id.is_empty() => Wants::Other,
            ("GET" | "PUT", "") => Wants::State,
            ("DELETE", "") => Wants::Deletion,
            ("POST", "claim") => Wants::Claim,
            ("POST", "ack" | "callback") => Wants::Ack,
            ("POST", "release") => Wants::Release,
            _ => Wants::Other,
        };
        Self {
            id: id.to_owned(),
            wants,
        }
    }
}

/// A subscription.
#[derive(Debug, Default)]
pub(crate) struct Subscription {
    /// Deletions that were sent and not answered: whatever is said may be of another one with its id.
    deletions: u64,
    /// When the last of those that were answered was.
    deleted: Tick,
    generations: BTreeMap<u64, Generation>,
    /// By stream: the farthest that was told.
    processed: BTreeMap<String, Place>,
}

/// A wake.
#[derive(Clone, Copy, Debug, Default)]
struct Generation {
    /// When somebody was told of it, and by which exchange.
    given: Option<(Tick, u64)>,
    /// When it was known to be over, and by which exchange.
    over: Option<(Tick, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    at: Token,
    since: Tick,
    by: u64,
}

impl Subscription {
    /// Something of a wake is noted.
    fn generation(&mut self, generation: u64) -> &mut Generation {
        if self.generations.len() > GENERATIONS_MAX {
            self.generations.pop_first();
        }
        self.generations.entry(generation).or_default()
    }

    /// By whom a wake after this one was given out, before that moment.
    fn later(&self, generation: u64, moment: Tick) -> Option<(u64, u64)> {
        let later = self.generations.range(generation + 1..);
        let mut given = later.filter_map(|(later, known)| Some((*later, known.given?)));
        let found = given.find(|(_, (since, _))| *since < moment);
        found.map(|(later, (_, by))| (later, by))
    }

    fn is_certain(&self, sent: Tick) -> bool {
        self.deletions == 0 && self.deleted < sent
    }
}

impl Watcher {
    /// A request to a subscription is on its way.
    pub(super) fn controlling(&mut self, control: &Control) {
        if control.wants == Wants::Deletion {
            let own = self.subscriptions.entry(control.id.clone()).or_default();
            own.deletions += 1;
        }
    }

    /// The answer to a request to a subscription.
    pub(super) fn controlled(&mut self, exchange: &Exchange, answer: &Answer, now: Tick) {
        let Verb::Control(Control { id, wants }) = &exchange.asking.verb else {
            return;
        };
        let line = format!("{} → {}", exchange.asking, answer.status);
        self.remember(exchange.number, line);
        let own = self.subscriptions.entry(id.clone()).or_default();
        if *wants == Wants::Deletion {
            // After a failure it may still be carried out.
            if answer.status < 500 {
                own.deletions -= 1;
                *own = Subscription {
                    deletions: own.deletions,
                    deleted: now,
                    ..Subscription::default()
                };
            }
            return;
        }
        if !(200..300).contains(&answer.status) || !own.is_certain(exchange.sent) {
            return;
        }
        let told = Told {
            name: &format!("subscription {id}"),
            sent: exchange.sent,
            now,
            by: exchange.number,
            answer,
        };
        match wants {
            Wants::State => self.processed_to(&told, id, &document(answer)),
            Wants::Claim => {
                let wake = document(answer);
                self.given(&told, id, &wake);
                self.processed_to(&told, id, &wake);
            }
            Wants::Ack | Wants::Release => {
                if let Body::Whole(body) = &exchange.request {
                    let request = serde_json::from_slice(body).unwrap_or_default();
                    self.worked(&told, id, &request, *wants == Wants::Release);
                }
            }
            Wants::Deletion | Wants::Other => {}
        }
    }

    /// A webhook is told of a wake: at this moment, and to nobody before it.
    pub fn delivered(&mut self, notification: &[u8]) {
        let wake: Value = serde_json::from_slice(notification).unwrap_or_default();
        let Some(id) = wake["subscription_id"].as_str() else {
            return;
        };
        self.exchanges += 1;
        let number = self.exchanges;
        let generation = &wake["generation"];
        self.remember(number, format!("delivery {generation} of {id}"));
        let now = self.tick();
        let answer = Answer {
            status: 200,
            fields: super::Fields::default(),
            body: Coming::Bytes(Vec::new()),
        };
        let told = Told {
            name: &format!("subscription {id}"),
            sent: now,
            now,
            by: number,
            answer: &answer,
        };
        let own = self.subscriptions.entry(id.to_owned()).or_default();
        if own.is_certain(now) {
            self.given(&told, id, &wake);
            self.processed_to(&told, id, &wake);
        }
    }

    /// A wake is somebody's.
    fn given(&mut self, told: &Told<'_>, id: &str, wake: &Value) {
        let Some(generation) = wake["generation"].as_u64() else {
            return;
        };
        let own = self.subscriptions.entry(id.to_owned()).or_default();
        let later = own.later(generation, told.sent);
        let known = own.generation(generation);
        let twice = known.given.replace((told.now, told.by));
        if let Some((_, by)) = twice {
            let what = format!("generation {generation} was given out twice");
            self.fault(told, (what, by));
        }
        if let Some((later, by)) = later {
            let what = format!("generation {generation} comes after {later}");
            self.fault(told, (what, by));
        }
    }

    /// A worker was told that its request of a wake was carried out.
    fn worked(&mut self, told: &Told<'_>, id: &str, request: &Value, gives_back: bool) {
        let Some(generation) = request["generation"].as_u64() else {
            return;
        };
        let own = self.subscriptions.entry(id.to_owned()).or_default();
        let later = own.later(generation, told.sent);
        let known = own.generation(generation);
        let over = known.over.filter(|(since, _)| *since < told.sent);
        if gives_back || request["done"] == true {
            known.over.get_or_insert((told.now, told.by));
        }
        if let Some((later, by)) = later {
            let what = format!("generation {generation} was let through after {later}");
            self.fault(told, (what, by));
        }
        if let Some((_, by)) = over {
            let what = format!("generation {generation} was let through after its end");
            self.fault(told, (what, by));
        }
        if gives_back {
            return;
        }
        for ack in request["acks"].as_array().into_iter().flatten() {
            let offset = ack["offset"].as_str().and_then(Token::parse);
            let (Some(name), Some(at)) = (ack["stream"].as_str(), offset) else {
                continue;
            };
            self.advanced(told, id, name.trim_start_matches('/'), at);
        }
    }

    /// A stream of a subscription is processed up to here.
    fn advanced(&mut self, told: &Told<'_>, id: &str, name: &str, at: Token) {
        let own = self.subscriptions.entry(id.to_owned()).or_default();
        let place = Place {
            at,
            since: told.now,
            by: told.by,
        };
        let known = own.processed.entry(name.to_owned()).or_insert(place);
        if known.at < at {
            *known = place;
        }
    }

    /// Streams of a subscription, and up to where they are processed.
    fn processed_to(&mut self, told: &Told<'_>, id: &str, document: &Value) {
        for row in document["streams"].as_array().into_iter().flatten() {
            let Some(name) = row["path"].as_str() else {
                continue;
            };
            let acked = row["acked_offset"].as_str().and_then(Token::parse);
            let tail = row["tail_offset"].as_str().and_then(Token::parse);
            if let Some(acked) = acked {
                self.stands(told, id, name, acked);
                if let Some(tail) = tail.filter(|tail| *tail < acked) {
                    let what = format!("{name} is processed to {acked}, past its end {tail}");
                    self.fault(told, (what, 0));
                }
            }
            let of_stream = Told { name, ..*told };
            for at in [acked, tail].into_iter().flatten() {
                // Where nothing is before, a stream may say so in the name of what it is a copy of.
                if at.position > 0 {
                    self.see(&of_stream, None, told.sight(at));
                }
            }
        }
    }

    fn stands(&mut self, told: &Told<'_>, id: &str, name: &str, acked: Token) {
        let may_be_a_copy = self.copies.contains(name);
        let own = self.subscriptions.entry(id.to_owned()).or_default();
        let known = own.processed.get(name).copied();
        let before = known.filter(|known| known.since < told.sent && acked < known.at);
        // Another copy of something older may have its name by now.
        let before =
            before.filter(|known| known.at.generation <= acked.generation || !may_be_a_copy);
        if let Some(Place { at, by, .. }) = before {
            let what = format!("{name} was processed to {at}, and is to {acked}");
            self.fault(told, (what, by));
        }
        self.advanced(told, id, name, acked);
    }
}

fn document(answer: &Answer) -> Value {
    match &answer.body {
        Coming::Bytes(body) => serde_json::from_slice(body).unwrap_or_default(),
        Coming::TooLong | Coming::Events { .. } => Value::Null,
    }
}
