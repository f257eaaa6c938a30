//! What workers of subscriptions have in common, however they are woken: what a wake says, reading what
//! it tells of, acks, and whether everything is processed.
//!
//! That no generation is given out twice, that nobody who was fenced is let through, and that no cursor
//! goes back or is past its stream's end is the watcher's to notice. Here is what it cannot know: whether
//! anything is left that nobody was told of.

use serde_json::{Value, json};

use super::Caller;
use crate::http::{Request, Response};

pub(super) const JSON: &str = "application/json";
/// How many pages of a stream a worker reads for one wake, at most.
const PAGES_MAX: usize = 4;

/// The path of a subscription, or of something below it.
pub(super) fn path(id: &str, below: &str) -> String {
    format!("__ds/subscriptions/{id}{below}")
}

/// Makes a subscription.
pub(super) async fn subscribe(caller: &mut Caller, id: &str, config: &Value) {
    let request =
        Request::new("PUT", &path(id, ""), "").carrying(JSON, config.to_string().into_bytes());
    let (response, _) = caller.insist(&request).await;
    if !matches!(response.head.status, 200 | 201) {
        caller.wrong("PUT", id, &response);
    }
}

/// A wake, as a worker was told of it.
#[derive(Clone, Debug)]
pub(super) struct Wake {
    id: String,
    generation: u64,
    token: String,
    pub(super) streams: Vec<Told>,
}

/// A stream of a wake.
#[derive(Clone, Debug)]
pub(super) struct Told {
    path: String,
    acked: String,
    tail: String,
}

impl Wake {
    /// Reads the answer to a claim, or a delivery.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let wake: Value = serde_json::from_slice(body).ok()?;
        let text = |of: &Value, member: &str| Some(of[member].as_str()?.to_owned());
        let streams = wake["streams"].as_array()?.iter().map(|row| {
            Some(Told {
                path: text(row, "path")?,
                acked: text(row, "acked_offset")?,
                tail: text(row, "tail_offset")?,
            })
        });
        Some(Self {
            id: text(&wake, "wake_id")?,
            generation: wake["generation"].as_u64()?,
            token: text(&wake, "token").or_else(|| text(&wake, "callback_token"))?,
            streams: streams.collect::<Option<_>>()?,
        })
    }

    /// All that it tells of, unread.
    pub(super) fn tails(&self) -> Vec<Value> {
        let tails = self.streams.iter();
        let tails = tails.map(|told| json!({"stream": told.path, "offset": told.tail}));
        tails.collect()
    }

    pub(super) fn request(
        &self,
        id: &str,
        verb: &'static str,
        acks: &[Value],
        done: bool,
    ) -> Request {
        let body = json!({
            "wake_id": self.id, "generation": self.generation, "acks": acks, "done": done,
        });
        Request::new("POST", &path(id, verb), "")
            .with("Authorization", format!("Bearer {}", self.token))
            .carrying(JSON, body.to_string().into_bytes())
    }
}

/// What became of an ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acked {
    Yes,
    /// The wake is another's by now, or over.
    Fenced,
    /// Nobody knows, or one of the streams is not the one that was read.
    Unclear,
}

/// Tells of work that was done, once.
pub(super) async fn ack(caller: &mut Caller, request: &Request) -> Acked {
    let Some(response) = caller.once(request).await else {
        return Acked::Unclear;
    };
    match response.head.status {
        200 | 204 => {
            caller.world.count("acks");
            Acked::Yes
        }
        409 if code(&response) == "FENCED" => {
            caller.world.count("acks of who was fenced");
            Acked::Fenced
        }
        // A stream that was made anew has other offsets.
        400 => Acked::Unclear,
        _ => {
            caller.wrong("POST", &request.target, &response);
            Acked::Unclear
        }
    }
}

/// The code of a problem.
pub(super) fn code(response: &Response) -> String {
    let problem: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    problem["error"]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Reads what a stream of a wake has; up to where, or nothing where it is gone.
pub(super) async fn read(caller: &mut Caller, told: &Told) -> Option<Value> {
    let mut at = told.acked.clone();
    for _ in 0..PAGES_MAX {
        let query = format!("?offset={at}");
        let (response, _) = caller
            .insist(&Request::new("GET", &told.path, &query))
            .await;
        let head = &response.head;
        let next = match head.status {
            200 => head.next(),
            // It was trimmed meanwhile, or another has its name.
            410 => head.header("stream-earliest-offset"),
            404 => None,
            _ => {
                caller.wrong("GET of what a wake told of,", &told.path, &response);
                None
            }
        }?;
        if head.status == 200 && next == told.acked {
            caller.wrong("GET, where a wake told of more,", &told.path, &response);
        }
        next.clone_into(&mut at);
        if head.header("stream-up-to-date") == Some("true") {
            break;
        }
    }
    Some(json!({"stream": told.path, "offset": at}))
}

/// What of a subscription's streams is not processed; `expected` have to be among them while they live.
pub(crate) async fn unprocessed(caller: &mut Caller, id: &str, expected: &[String]) -> Vec<String> {
    let (response, _) = caller.insist(&Request::new("GET", &path(id, ""), "")).await;
    let told: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let Some(rows) = told["streams"]
        .as_array()
        .filter(|_| response.head.status == 200)
    else {
        caller.wrong("GET", id, &response);
        return Vec::new();
    };
    let mut left = Vec::new();
    for row in rows {
        let name = row["path"].as_str().unwrap_or_default();
        let acked = row["acked_offset"].as_str();
        let (response, _) = caller.insist(&Request::new("HEAD", name, "")).await;
        let is_gone = matches!(response.head.status, 404 | 410);
        if !is_gone && response.head.next() != acked {
            let tail = response.head.next().unwrap_or("nowhere");
            left.push(format!(
                "{name} ends at {tail}, and is processed to {acked:?}"
            ));
        }
    }
    let is_linked = |name: &&String| rows.iter().any(|row| row["path"] == **name);
    let unlinked = expected.iter().filter(|name| !is_linked(name));
    left.extend(unlinked.map(|name| format!("{name} is not linked")));
    left
}
