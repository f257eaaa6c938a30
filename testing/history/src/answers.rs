//! From the checker's words to HTTP and back.

use millrace_kill::http::{Head, Request, Response};

use crate::history::{Answer, Append, Item, Offset, Operation, Refusal, Verdict};

/// What a response says of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// What became of it.
    Told(Answer),
    /// Nothing for sure.
    Unknown,
    /// That nothing was done.
    NotDone,
}

const BYTES: &str = "application/octet-stream";

/// The request of an operation.
pub(crate) fn request(name: &str, operation: &Operation) -> Request {
    let bare = |method| Request::new(method, name, "");
    match operation {
        Operation::Create(None) => bare("PUT").with("Content-Type", BYTES),
        Operation::Create(Some(item)) => bare("PUT").carrying(BYTES, item.bytes()),
        Operation::Fork { source, at } => bare("PUT")
            .with("Stream-Forked-From", format!("/v1/stream/{source}"))
            .with("Stream-Fork-Offset", token(*at)),
        Operation::Append(append) => post(name, append),
        Operation::Read(None) => Request::new("GET", name, "?offset=-1"),
        Operation::Read(Some(from)) => {
            Request::new("GET", name, &format!("?offset={}", token(*from)))
        }
        Operation::Head => bare("HEAD"),
        Operation::Delete => bare("DELETE"),
        Operation::Lend { .. } => panic!("the checker's own"),
    }
}

fn post(name: &str, append: &Append) -> Request {
    let mut request = Request::new("POST", name, "");
    if let Some(item) = append.item {
        request = request.carrying(BYTES, item.bytes());
    }
    if let Some(seq) = append.seq {
        request = request.with("Stream-Seq", format!("{seq:08}"));
    }
    if let Some(claim) = append.producer {
        request = request
            .with("Producer-Id", format!("p{}", claim.id))
            .with("Producer-Epoch", claim.epoch)
            .with("Producer-Seq", claim.seq);
    }
    if let Some(tail) = append.expected {
        request = request.with("Stream-Expected-Offset", token(tail));
    }
    if append.close {
        request = request.with("Stream-Closed", "true");
    }
    request
}

/// What the response to an operation means; an error is a response that must not be.
pub(crate) fn meaning(operation: &Operation, response: &Response) -> Result<Meaning, String> {
    let head = &response.head;
    let verdict = match (head.status, operation) {
        (429, _) => return Ok(Meaning::NotDone),
        (503, _) => return Ok(Meaning::Unknown),
        (201, Operation::Create(_) | Operation::Fork { .. }) => Verdict::Created,
        (200, Operation::Create(_) | Operation::Fork { .. }) => Verdict::Exists,
        (200 | 204, Operation::Append(append)) => taken(head, append)?,
        (200, Operation::Read(_)) => Verdict::Content(content(response)?),
        (200, Operation::Head) => Verdict::Found,
        (204, Operation::Delete) => Verdict::Gone,
        (400..500, _) => Verdict::Refused(refusal(operation, response)?),
        _ => return Err(unexpected(response)),
    };
    Ok(Meaning::Told(told(head, verdict)?))
}

/// Tail and closure, where the answer tells them.
fn told(head: &Head, verdict: Verdict) -> Result<Answer, String> {
    let silent = match &verdict {
        Verdict::Gone => true,
        Verdict::Refused(refusal) => !matches!(refusal, Refusal::Closed | Refusal::ExpectedOffset),
        _ => false,
    };
    if silent {
        return Ok(Answer {
            verdict,
            tail: None,
            closed: None,
        });
    }
    let next = head.next().ok_or("an answer without an offset")?;
    Ok(Answer {
        verdict,
        tail: Some(offset(next).ok_or_else(|| format!("{next:?} is no offset"))?),
        closed: Some(head.closed()),
    })
}

fn taken(head: &Head, append: &Append) -> Result<Verdict, String> {
    match (head.status, append.item, append.producer) {
        (200, Some(_), Some(_)) | (204, Some(_), None) => Ok(Verdict::Appended),
        (204, Some(_), Some(_)) => Ok(Verdict::Duplicate {
            highest: number(head, "producer-seq")?,
        }),
        (204, None, _) => Ok(Verdict::Done),
        (status, ..) => Err(format!("{status} to {append}")),
    }
}

/// What a read brought. It need not say that it is up to date: what is appended between the moment that the
/// page is cut and the moment that the answer is made makes it one that stops before the tail. Then the order
/// has to have it before that append, and a page that is short for no such reason finds no place in any.
fn content(response: &Response) -> Result<Vec<Item>, String> {
    let text = String::from_utf8_lossy(&response.body);
    Item::cut(&text).ok_or_else(|| format!("nobody sent {text:?}"))
}

fn refusal(operation: &Operation, response: &Response) -> Result<Refusal, String> {
    let head = &response.head;
    if matches!(operation, Operation::Head) {
        return match head.status {
            404 => Ok(Refusal::NotFound),
            410 => Ok(Refusal::Deleted),
            _ => Err(unexpected(response)),
        };
    }
    let problem: serde_json::Value =
        serde_json::from_slice(&response.body).map_err(|error| format!("a problem: {error}"))?;
    Ok(match problem["error"]["code"].as_str() {
        Some("not-found") => Refusal::NotFound,
        Some("deleted") => Refusal::Deleted,
        Some("offset-gone") => Refusal::OffsetGone,
        Some("name-held") => Refusal::NameHeld,
        Some("config-mismatch") => Refusal::Mismatch,
        Some("closed") => Refusal::Closed,
        Some("seq-regression") => Refusal::SeqRegression,
        Some("expected-offset") => Refusal::ExpectedOffset,
        Some("producer-seq-gap") => Refusal::SeqGap {
            expected: number(head, "producer-expected-seq")?,
        },
        Some("stale-epoch") => Refusal::StaleEpoch {
            current: number(head, "producer-epoch")?,
        },
        Some("new-epoch-not-at-zero") => Refusal::NewEpochNotAtZero,
        Some("source-not-found") => Refusal::SourceNotFound,
        Some("source-deleted") => Refusal::SourceDeleted,
        Some("fork-position") => Refusal::ForkPosition,
        _ => return Err(unexpected(response)),
    })
}

fn unexpected(response: &Response) -> String {
    let body = String::from_utf8_lossy(&response.body);
    format!("{} {body}", response.head.status)
}

fn number(head: &Head, name: &str) -> Result<u64, String> {
    let value = head.header(name).and_then(|value| value.parse().ok());
    value.ok_or_else(|| format!("{} without {name}", head.status))
}

fn token(offset: Offset) -> String {
    format!("{:013}-{:016}", offset.generation, offset.position)
}

fn offset(token: &str) -> Option<Offset> {
    let (generation, position) = token.split_once('-')?;
    Some(Offset {
        generation: generation.parse().ok()?,
        position: position.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_tokens() {
        let at = Offset {
            generation: 17,
            position: 40,
        };
        assert_eq!(token(at), "0000000000017-0000000000000040");
        assert_eq!(offset(&token(at)), Some(at));
    }
}
