//! One append, from the first sending until it is known what became of it.

use millrace_monitor::{
    judge::{Closing, Settled},
    message::{Found, Key, Kind, encode},
};

use crate::{
    http::{Head, Request, Response},
    schedule::Chance,
    world::{Abandoned, Caller, Live},
};

/// The sender's place in one stream: its producer's epoch and sequence number.
#[derive(Clone, Debug)]
pub struct Pen {
    /// Who writes; the producer's name is made of it.
    pub by: u32,
    /// The producer's epoch.
    pub epoch: u64,
    /// The producer's next sequence number.
    pub seq: u64,
    /// The next number of an append without a producer.
    plain_seq: u64,
}

/// Writers without producer headers are counted apart, under this plus their own number.
const PLAIN: u32 = 10_000;
/// Bytes of filling that make a body larger than a flush threshold.
const LARGE: u64 = 90_000;

/// What to send.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Close the stream with it.
    pub close: bool,
    /// Without producer headers: not sent again when its answer is lost.
    pub plain: bool,
    /// The filling of each message; none closes only.
    pub messages: Vec<usize>,
}

/// A few messages of a few bytes, and sometimes one that is large.
pub(super) fn messages(chance: &mut Chance) -> Vec<usize> {
    let size = |bytes: u64| usize::try_from(bytes).expect("a small number");
    if chance.percent(2) {
        return vec![size(chance.between(1000, LARGE))];
    }
    let count = chance.between(1, 5);
    (0..count).map(|_| size(chance.between(0, 400))).collect()
}

impl Pen {
    /// At the start of a stream.
    pub fn new(by: u32) -> Self {
        Self {
            by,
            epoch: 0,
            seq: 0,
            plain_seq: 0,
        }
    }

    /// The producer's name.
    pub fn producer(&self) -> String {
        format!("p{}", self.by)
    }

    /// Sends, until it is known what became of it, and tells the judge.
    pub fn append(
        &mut self,
        caller: &mut Caller<'_>,
        live: &Live,
        sent: &Sent,
    ) -> Result<(), Abandoned> {
        let key = self.take_key(sent.plain);
        let parts = parts(live, key, &sent.messages);
        let count = u32::try_from(parts.len()).expect("a few messages");
        {
            let mut judge = caller.world.judge();
            if count > 0 {
                judge.sending(live.id, key, count, &parts.concat());
            }
            if sent.close {
                judge.closing(live.id);
            }
        }
        let request = self.request(live, key, sent, &parts);
        let answer = if sent.plain && count > 0 {
            caller.once(&request)?.map(|response| (response, 0))
        } else {
            Some(caller.insist(&request)?)
        };
        tell(caller, live, key, sent, answer.as_ref());
        Ok(())
    }

    fn take_key(&mut self, plain: bool) -> Key {
        let (by, epoch, next) = if plain {
            (self.by + PLAIN, 0, &mut self.plain_seq)
        } else {
            (self.by, self.epoch, &mut self.seq)
        };
        let seq = *next;
        *next += 1;
        Key { by, epoch, seq }
    }

    fn request(&self, live: &Live, key: Key, sent: &Sent, parts: &[Vec<u8>]) -> Request {
        let mut request = Request::new("POST", &live.name, "");
        if !parts.is_empty() {
            let body = body(live, parts);
            request = request.carrying(live.kind.content_type(), body);
        }
        if !sent.plain {
            request = request
                .with("Producer-Id", self.producer())
                .with("Producer-Epoch", key.epoch)
                .with("Producer-Seq", key.seq);
        }
        if sent.close {
            request = request.with("Stream-Closed", "true");
        }
        request
    }
}

/// Tells the judge what became of an append.
fn tell(caller: &Caller<'_>, live: &Live, key: Key, sent: &Sent, answer: Option<&(Response, u32)>) {
    let mut judge = caller.world.judge();
    let verdict = match answer {
        None => Ok(Settled::Unknown),
        Some((response, lost)) => {
            let closing = judge
                .get(live.id)
                .map_or(Closing::Asked, |found| found.closing);
            verdict(response, *lost, sent.plain, closing)
        }
    };
    let head = answer.map(|(response, _)| &response.head);
    let settled = verdict.unwrap_or_else(|what| {
        judge.violation(format!("POST {} {key:?}: {what}", live.name));
        Settled::Unknown
    });
    if !sent.messages.is_empty() {
        let own = settled == Settled::Acked;
        let end = head.filter(|_| own).and_then(Head::next);
        if own && end.is_none() {
            judge.violation(format!("POST {} {key:?} has no offset", live.name));
        }
        judge.settle(live.id, key, settled, end);
    }
    if head.is_some_and(Head::closed) {
        judge.closed(live.id);
    } else if sent.close && matches!(settled, Settled::Acked | Settled::Duplicate) {
        judge.violation(format!("POST {} closed it without saying so", live.name));
    }
}

/// What an answer means; an error is an answer that must not be.
fn verdict(
    response: &Response,
    lost: u32,
    plain: bool,
    closing: Closing,
) -> Result<Settled, String> {
    let head = &response.head;
    match head.status {
        200 if !plain => Ok(Settled::Acked),
        204 if plain => Ok(Settled::Acked),
        // A close without a body is answered 204 the first time, too.
        204 if lost > 0 || head.closed() => Ok(Settled::Duplicate),
        204 => Err("it was taken for a duplicate, and was sent once".into()),
        409 if head.closed() && closing != Closing::Open => Ok(if lost > 0 {
            Settled::Unknown
        } else {
            Settled::Refused
        }),
        status => Err(format!(
            "{status} after {lost} lost answers: {} {:?} {:?}",
            String::from_utf8_lossy(&response.body),
            head.header("producer-expected-seq"),
            head.header("producer-epoch"),
        )),
    }
}

fn parts(live: &Live, key: Key, messages: &[usize]) -> Vec<Vec<u8>> {
    let of = u32::try_from(messages.len()).expect("a few messages");
    (0..of)
        .zip(messages)
        .map(|(index, pad)| {
            let found = Found {
                incarnation: live.id.0,
                key,
                index,
                of,
            };
            encode(live.kind, found, *pad)
        })
        .collect()
}

/// The request body of some messages. A single JSON message goes out bare or in an array, with blanks
/// that the stream does not keep.
fn body(live: &Live, parts: &[Vec<u8>]) -> Vec<u8> {
    let whole = parts.concat();
    match live.kind {
        Kind::Bytes => whole,
        Kind::Json => {
            let messages = &whole[..whole.len() - 1];
            if parts.len() == 1 && messages.len() % 2 == 0 {
                messages.to_vec()
            } else {
                [b"[\n ", messages, b" ]"].concat()
            }
        }
    }
}

/// The wire bytes and the body of a stream's first content.
pub(super) fn first_content(live: &Live, by: u32, pad: usize) -> (Key, Vec<u8>, Vec<u8>) {
    let key = Key {
        by: by + 2 * PLAIN,
        epoch: 0,
        seq: 0,
    };
    let parts = parts(live, key, &[pad]);
    let body = body(live, &parts);
    (key, parts.concat(), body)
}
