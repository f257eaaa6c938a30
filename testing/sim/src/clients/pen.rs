//! One append, from the first sending until it is known what became of it.

use millrace_kill::schedule::Chance;

use super::Caller;
use crate::{
    http::{Head, Request, Response},
    witness::{Closing, Found, Key, Kind, Settled, encode},
    world::Live,
};

/// Writers without a producer are counted apart, under this plus their own number.
const PLAIN: u32 = 10_000;
/// Bytes of filling that make a body larger than a flush threshold.
const LARGE: u64 = 30_000;

/// How an append is made safe to send again, if it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// With the headers of a producer.
    Producer,
    /// Not at all: it is sent once.
    Plain,
    /// With a `Stream-Seq` above the last one; only the stream's owner sends those.
    Seq,
}

/// What to send.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// Close the stream with it.
    pub(crate) close: bool,
    pub(crate) how: How,
    /// The filling of each message; none closes only.
    pub(crate) messages: Vec<usize>,
}

/// The sender's place in one stream.
#[derive(Clone, Debug)]
pub(crate) struct Pen {
    /// Who writes; the producer's name is made of it.
    by: u32,
    /// The producer's epoch.
    pub(crate) epoch: u64,
    /// Its next sequence number.
    pub(crate) seq: u64,
    /// The next number of an append without a producer.
    plain_seq: u64,
    /// The last `Stream-Seq` that the stream is known to have.
    pub(crate) stream_seq: Option<String>,
}

/// What an append came to.
struct Answer {
    response: Response,
    /// How many answers were lost before it.
    lost: u32,
}

/// A few messages of a few bytes, and sometimes one that is large.
pub(crate) fn messages(chance: &mut Chance) -> Vec<usize> {
    let size = |bytes: u64| usize::try_from(bytes).expect("a small number");
    if chance.percent(3) {
        return vec![size(chance.between(1000, LARGE))];
    }
    let count = chance.between(1, 5);
    (0..count).map(|_| size(chance.between(0, 400))).collect()
}

impl Pen {
    /// At the start of a stream.
    pub(crate) fn new(by: u32) -> Self {
        Self {
            by,
            epoch: 0,
            seq: 0,
            plain_seq: 0,
            stream_seq: None,
        }
    }

    pub(crate) fn producer(&self) -> String {
        format!("p{}", self.by)
    }

    /// Sends, until it is known what became of it, and tells the judge.
    pub(crate) async fn append(&mut self, caller: &mut Caller, live: &Live, sent: &Sent) {
        let key = self.take_key(sent.how);
        let parts = parts(live, key, &sent.messages);
        let count = u32::try_from(parts.len()).expect("a few messages");
        {
            let mut monitor = caller.world.monitor();
            if count > 0 {
                monitor.sending(live.id, key, count, &parts.concat());
            }
            if sent.close {
                monitor.closing(live.id);
            }
        }
        let request = self.request(live, key, sent, &parts);
        let only_once = sent.how == How::Plain && count > 0;
        let answer = if only_once {
            caller.quiet().await;
            let response = caller.once(&request).await;
            response.map(|response| Answer { response, lost: 0 })
        } else {
            let (response, lost) = caller.insist(&request).await;
            Some(Answer { response, lost })
        };
        if let Some(answer) = &answer {
            let is_there = matches!(answer.response.head.status, 200 | 204);
            let seq = (sent.how == How::Seq && is_there).then(|| stream_seq(key));
            self.stream_seq = seq.or(self.stream_seq.take());
        }
        tell(caller, live, key, sent, answer.as_ref());
    }

    fn take_key(&mut self, how: How) -> Key {
        let (by, epoch, next) = match how {
            How::Producer => (self.by, self.epoch, &mut self.seq),
            How::Plain | How::Seq => (self.by + PLAIN, 0, &mut self.plain_seq),
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
        request = match sent.how {
            How::Producer => request
                .with("Producer-Id", self.producer())
                .with("Producer-Epoch", key.epoch)
                .with("Producer-Seq", key.seq),
            How::Seq => request.with("Stream-Seq", stream_seq(key)),
            How::Plain => request,
        };
        if sent.close {
            request = request.with("Stream-Closed", "true");
        }
        request
    }
}

/// The number of an append as text, of which a later one comes later.
fn stream_seq(key: Key) -> String {
    format!("{:010}", key.seq)
}

/// Tells the judge what became of an append.
fn tell(caller: &Caller, live: &Live, key: Key, sent: &Sent, answer: Option<&Answer>) {
    let closing = {
        let monitor = caller.world.monitor();
        let found = monitor.get(live.id);
        found.map_or(Closing::Asked, |found| found.closing)
    };
    let verdict = match answer {
        None => Ok(Settled::Unknown),
        Some(answer) => verdict(answer, sent.how, closing),
    };
    let head = answer.map(|answer| &answer.response.head);
    let mut monitor = caller.world.monitor();
    let settled = verdict.unwrap_or_else(|what| {
        monitor.violation(format!("POST {} {key:?} {:?}: {what}", live.name, sent.how));
        Settled::Unknown
    });
    if !sent.messages.is_empty() {
        let own = settled == Settled::Acked;
        let end = head.filter(|_| own).and_then(Head::next);
        if own && end.is_none() {
            monitor.violation(format!("POST {} {key:?} has no offset", live.name));
        }
        monitor.settle(live.id, key, settled, end);
    }
    if head.is_some_and(Head::closed) {
        monitor.closed(live.id);
    } else if sent.close && matches!(settled, Settled::Acked | Settled::Duplicate) {
        monitor.violation(format!("POST {} closed it without saying so", live.name));
    }
}

/// What an answer means; an error is an answer that must not be.
fn verdict(answer: &Answer, how: How, closing: Closing) -> Result<Settled, String> {
    let Answer { response, lost } = answer;
    let head = &response.head;
    let refused = if *lost > 0 {
        Settled::Unknown
    } else {
        Settled::Refused
    };
    match (head.status, how) {
        (200, How::Producer) | (204, How::Plain | How::Seq) => Ok(Settled::Acked),
        // A close without a body is answered 204 the first time, too.
        (204, How::Producer) if *lost > 0 || head.closed() => Ok(Settled::Duplicate),
        (204, How::Producer) => Err("it was taken for a duplicate, and was sent once".into()),
        (409, _) if head.closed() && closing != Closing::Open => Ok(refused),
        // An earlier sending took the number.
        (409, How::Seq) if *lost > 0 && !head.closed() => Ok(Settled::Duplicate),
        (status, _) => Err(format!(
            "{status} after {lost} lost answers: {} {:?} {:?}",
            String::from_utf8_lossy(&response.body),
            head.header("producer-expected-seq"),
            head.header("producer-epoch"),
        )),
    }
}

fn parts(live: &Live, key: Key, messages: &[usize]) -> Vec<Vec<u8>> {
    let of = u32::try_from(messages.len()).expect("a few messages");
    let part = |(index, pad): (u32, &usize)| {
        let found = Found {
            incarnation: live.id.0,
            key,
            index,
            of,
        };
        encode(live.kind, found, *pad)
    };
    (0..of).zip(messages).map(part).collect()
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

/// The key, the wire bytes and the body of a stream's first content.
pub(crate) fn first_content(live: &Live, by: u32, pad: usize) -> (Key, Vec<u8>, Vec<u8>) {
    let key = Key {
        by: by + 2 * PLAIN,
        epoch: 0,
        seq: 0,
    };
    let parts = parts(live, key, &[pad]);
    let body = body(live, &parts);
    (key, parts.concat(), body)
}
