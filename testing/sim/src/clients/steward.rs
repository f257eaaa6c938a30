//! The keeper of streams that are more than appended to: batches that are all or nothing, trims,
//! retention, and compaction of keys. The only writer to them, so that it knows what must be there.
//!
//! What it keeps, in every life of the server and over any crash:
//! - two streams of a batch hold the same numbers, each once;
//! - a stream of keys says what was last said of each key, however often it was compacted, and its snapshot
//!   is whole;
//! - a trimmed stream begins where the last trim that was answered says, or later where one was not, and
//!   holds everything from there on;
//! - an offset before that is 410 with the offset where it begins.

use std::collections::BTreeMap;

use millrace_env::sleep;
use serde_json::{Value, json};

use super::Caller;
use crate::http::{Request, Response};

/// The streams of one batch: equal hash tags.
const PAIR: [&str; 2] = ["{sim-pair}/a", "{sim-pair}/b"];
const KEYS: &str = "sim-keys";
const LOG: &str = "sim-log";
const JSON: &str = "application/json";
/// How many keys there are.
const KEYS_MAX: usize = 7;
/// How many messages of the log its retention keeps.
const KEPT: usize = 6;

/// What must be there.
#[derive(Debug, Default)]
struct Steward {
    /// The batches that were answered; the next has this number.
    batches: u64,
    keys: BTreeMap<String, u64>,
    /// Whether the keys were ever compacted.
    is_compacted: bool,
    /// Requests to the stream of keys, by their producer.
    changes: u64,
    /// The numbers of the log that may be asked for, from the first that must be there on.
    log: Vec<u64>,
    /// The offset before each of them.
    offsets: Vec<String>,
    logged: u64,
    /// A trim was asked for up to here whose answer was lost.
    may_begin_at: usize,
}

/// Works until the run ends.
pub(crate) async fn work(mut caller: Caller) {
    let mut steward = Steward::default();
    for name in PAIR.iter().chain(&[KEYS, LOG]) {
        make(&mut caller, name).await;
    }
    let tail = head(&mut caller, LOG).await;
    steward.offsets.push(tail);
    while !caller.world.is_stopping() {
        match caller.chance.between(0, 100) {
            0..25 => steward.batch(&mut caller).await,
            25..55 => steward.change(&mut caller).await,
            55..63 => steward.compact(&mut caller).await,
            63..85 => steward.append(&mut caller).await,
            85..91 => steward.trim(&mut caller).await,
            91..94 => steward.retain(&mut caller).await,
            _ => steward.look(&mut caller).await,
        }
        let pause = caller.chance.millis(0, 60);
        sleep(pause).await;
    }
    steward.look(&mut caller).await;
}

async fn make(caller: &mut Caller, name: &str) {
    let request = Request::new("PUT", name, "").with("Content-Type", JSON);
    let (response, lost) = caller.insist(&request).await;
    expect(
        caller,
        "PUT",
        name,
        &response,
        if lost > 0 { &[200, 201] } else { &[201] },
    );
}

async fn head(caller: &mut Caller, name: &str) -> String {
    let (response, _) = caller.insist(&Request::new("HEAD", name, "")).await;
    response.head.next().unwrap_or_default().to_owned()
}

fn expect(caller: &Caller, what: &str, name: &str, response: &Response, wanted: &[u16]) -> bool {
    let is_fine = wanted.contains(&response.head.status);
    if !is_fine {
        caller.wrong(what, name, response);
    }
    is_fine
}

fn violation(caller: &Caller, what: String) {
    caller.world.monitor().violation(what);
}

/// All messages of a stream, and where it begins and ends.
async fn read(caller: &mut Caller, name: &str) -> Option<Vec<Value>> {
    let mut messages = Vec::new();
    let mut offset = "-1".to_owned();
    loop {
        let query = format!("?offset={offset}");
        let (response, _) = caller.insist(&Request::new("GET", name, &query)).await;
        if !expect(caller, "GET", name, &response, &[200]) {
            return None;
        }
        match serde_json::from_slice::<Vec<Value>>(&response.body) {
            Ok(page) => messages.extend(page),
            Err(error) => {
                violation(caller, format!("a page of {name} is no array: {error}"));
                return None;
            }
        }
        response
            .head
            .next()
            .unwrap_or_default()
            .clone_into(&mut offset);
        if response.head.header("stream-up-to-date") == Some("true") {
            return Some(messages);
        }
    }
}

impl Steward {
    /// One more number in both streams or in neither; by a producer, so that it can be sent again.
    async fn batch(&mut self, caller: &mut Caller) {
        let number = self.batches;
        let line = |name: &str| {
            let producer = json!({"id": "steward", "epoch": 0, "seq": number});
            json!({"stream": name, "messages": [number], "producer": producer}).to_string()
        };
        let body = PAIR.map(line).join("\n");
        let mut request = Request::new("POST", "", "");
        "/v1/streams/_append?atomic=true".clone_into(&mut request.target);
        let request = request.carrying("application/x-ndjson", body.into_bytes());
        loop {
            let (response, lost) = caller.insist(&request).await;
            if !expect(caller, "POST", "_append", &response, &[200]) {
                return;
            }
            let text = String::from_utf8_lossy(&response.body).into_owned();
            let statuses: Vec<u64> = text
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .filter_map(|line| line["status"].as_u64())
                .collect();
            match statuses[..] {
                [200, 200] => break,
                [204, 204] if lost > 0 => break,
                // Not now: each says so in its place.
                [one, two] if one == two && matches!(one, 429 | 503 | 507) => {}
                [500, 500] if caller.world.excuses_failures() => {}
                _ => return violation(caller, format!("an atomic batch was answered {text}")),
            }
            caller.lost().await;
            caller.quiet().await;
        }
        self.batches += 1;
        caller.world.count("atomic batches");
    }

    /// A key gets another value, or goes.
    async fn change(&mut self, caller: &mut Caller) {
        let key = format!("k{}", caller.chance.index(KEYS_MAX));
        let seq = self.changes;
        self.changes += 1;
        let message = if caller.chance.percent(25) {
            self.keys.remove(&key);
            json!({"type": "row", "key": key, "headers": {"operation": "delete"}})
        } else {
            self.keys.insert(key.clone(), seq);
            json!({"type": "row", "key": key, "value": seq, "headers": {"operation": "upsert"}})
        };
        let request = Request::new("POST", KEYS, "")
            .with("Producer-Id", "steward")
            .with("Producer-Epoch", 0)
            .with("Producer-Seq", seq)
            .carrying(JSON, message.to_string().into_bytes());
        let (response, _) = caller.insist(&request).await;
        expect(caller, "POST", KEYS, &response, &[200, 204]);
    }

    async fn compact(&mut self, caller: &mut Caller) {
        let request = Request::new("POST", &format!("{KEYS}/_compact"), "");
        let (response, _) = caller.insist(&request).await;
        if !expect(caller, "POST", "_compact", &response, &[200]) {
            return;
        }
        let told: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        if told["keys"].as_u64() != Some(self.keys.len() as u64) {
            let what = format!("{} keys were compacted: {told}", self.keys.len());
            violation(caller, what);
        }
        self.is_compacted = true;
        caller.world.count("compactions of keys");
    }

    /// One more number in the log, alone in its request.
    async fn append(&mut self, caller: &mut Caller) {
        let number = self.logged;
        let request = Request::new("POST", LOG, "")
            .with("Producer-Id", "steward")
            .with("Producer-Epoch", 0)
            .with("Producer-Seq", number)
            .carrying(JSON, number.to_string().into_bytes());
        let (response, _) = caller.insist(&request).await;
        if expect(caller, "POST", LOG, &response, &[200, 204]) {
            self.logged += 1;
            self.log.push(number);
            self.offsets
                .push(response.head.next().unwrap_or_default().to_owned());
        }
    }

    /// Lets go of some of the log's beginning.
    async fn trim(&mut self, caller: &mut Caller) {
        let count = caller.chance.index(self.log.len() + 1);
        let body = json!({"offset": self.offsets[count]}).to_string();
        let request =
            Request::new("POST", &format!("{LOG}/_trim"), "").carrying(JSON, body.into_bytes());
        let (response, _) = caller.insist(&request).await;
        // Beyond it by now, where a pass of retention was carried out whose answer was lost.
        let is_fine = expect(caller, "POST", "_trim", &response, &[204, 410]);
        if is_fine && response.head.status == 204 {
            self.begins_at(count);
            caller.world.count("trims");
        }
    }

    fn begins_at(&mut self, count: usize) {
        self.log.drain(..count);
        self.offsets.drain(..count);
        self.may_begin_at = self.may_begin_at.saturating_sub(count);
    }

    /// The log gets a policy, a pass is made, and the policy goes.
    async fn retain(&mut self, caller: &mut Caller) {
        let kept = self.log.len().saturating_sub(KEPT);
        self.may_begin_at = self.may_begin_at.max(kept);
        for value in [KEPT.to_string(), "none".to_owned()] {
            let request =
                Request::new("PATCH", LOG, "").with("Stream-Retention-Max-Messages", &value);
            let (response, _) = caller.insist(&request).await;
            if !expect(caller, "PATCH", LOG, &response, &[204]) {
                return;
            }
            if value == "none" {
                break;
            }
            let mut request = Request::new("POST", "", "");
            "/v1/server/_retention".clone_into(&mut request.target);
            let (response, _) = caller.insist(&request).await;
            if !expect(caller, "POST", "_retention", &response, &[200]) {
                return;
            }
            let told: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            if told["failed"] == 0 {
                self.begins_at(kept);
                caller.world.count("passes of retention");
            }
        }
    }

    /// Everything is as it must be.
    async fn look(&mut self, caller: &mut Caller) {
        self.look_at_pair(caller).await;
        self.look_at_keys(caller).await;
        self.look_at_log(caller).await;
    }

    async fn look_at_pair(&self, caller: &mut Caller) {
        let want: Vec<Value> = (0..self.batches).map(Value::from).collect();
        for name in PAIR {
            let Some(found) = read(caller, name).await else {
                return;
            };
            if found != want {
                violation(
                    caller,
                    format!("{name} holds {found:?} after {} batches", self.batches),
                );
            }
        }
    }

    async fn look_at_keys(&self, caller: &mut Caller) {
        let Some(messages) = read(caller, KEYS).await else {
            return;
        };
        let mut found = BTreeMap::new();
        let mut in_snapshot = false;
        let mut marks = 0;
        for message in &messages {
            match message["headers"]["control"].as_str() {
                Some("snapshot-start") if found.is_empty() && marks == 0 => in_snapshot = true,
                Some("snapshot-end") if in_snapshot => in_snapshot = false,
                Some(other) => {
                    return violation(caller, format!("{other} stands amid {messages:?}"));
                }
                None => {
                    let key = message["key"].as_str().unwrap_or_default().to_owned();
                    match message["value"].as_u64() {
                        Some(value) => found.insert(key, value),
                        None => found.remove(&key),
                    };
                    continue;
                }
            }
            marks += 1;
        }
        let is_told_anew = marks == 2 || !self.is_compacted;
        if found != self.keys || in_snapshot || !is_told_anew {
            let what = format!(
                "{KEYS} says {found:?}, where {:?} was said: {messages:?}",
                self.keys
            );
            violation(caller, what);
        }
    }

    async fn look_at_log(&mut self, caller: &mut Caller) {
        let Some(found) = read(caller, LOG).await else {
            return;
        };
        let found: Vec<u64> = found.iter().filter_map(Value::as_u64).collect();
        let Some(missing) = self.log.len().checked_sub(found.len()) else {
            return violation(caller, format!("{LOG} holds {found:?} for {:?}", self.log));
        };
        if found != self.log[missing..] || missing > self.may_begin_at {
            let most = self.may_begin_at;
            let what = format!(
                "{LOG} holds {found:?} for {:?}, of which {most} may be gone",
                self.log
            );
            return violation(caller, what);
        }
        self.begins_at(missing);
        let query = format!("?offset={}", self.offsets[0]);
        let (response, _) = caller.insist(&Request::new("GET", LOG, &query)).await;
        expect(caller, "GET of its start,", LOG, &response, &[200]);
    }
}
