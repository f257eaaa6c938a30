//! The streams of a server, a clock, and what clients do to them.

use std::{collections::BTreeMap, time::Duration};

use millrace_core::{
    Append, Body, BodyFault, CreateSpec, ExpectedTail, Offset, ProducerClaim, Refusal, StreamName,
    Timestamp, stream::Outcome,
};

use crate::{
    read::{Content, Head},
    stream::{Closed, Stream},
};

/// What a client is answered.
pub type Reply = Result<Outcome, Refusal>;

/// All streams by name. A name has at most one stream: that of a deleted stream with forks is held.
/// Clone it to try what would have been, had an operation with an unknown outcome happened or not.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub(crate) streams: BTreeMap<StreamName, Stream>,
    pub(crate) now: u64,
    pub(crate) writers: u64,
}

impl Model {
    /// No streams, at the beginning of time.
    pub fn new() -> Self {
        Self::default()
    }

    /// No streams, at a moment.
    pub fn at(now: Timestamp) -> Self {
        Self {
            now: now.get(),
            ..Self::default()
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    /// Lets time pass. What expires by it is found by who touches it, or by [`Self::sweep`].
    pub fn advance(&mut self, by: Duration) {
        self.now += u64::try_from(by.as_millis()).expect("a test's time");
    }

    /// Carries out every expiry that is due.
    pub fn sweep(&mut self) {
        let names: Vec<StreamName> = self.streams.keys().cloned().collect();
        for name in names {
            self.settle(&name);
        }
    }

    /// A restart: every sliding life is renewed, and nobody reads live any more.
    pub fn reboot(&mut self) {
        let now = self.now;
        for stream in self.streams.values_mut() {
            stream.live_readers = 0;
            if !stream.soft_deleted {
                stream.renew(now);
            }
        }
    }

    /// PUT. A fork's source is looked up by its name.
    pub fn create(&mut self, name: &StreamName, spec: &CreateSpec, body: &Body) -> Reply {
        self.settle(name);
        match self.streams.get(name) {
            Some(stream) if stream.soft_deleted => Err(Refusal::NameHeld),
            Some(stream) => stream.found_by(spec),
            None => self.make(name, spec, body),
        }
    }

    /// POST.
    pub fn append(&mut self, name: &StreamName, append: &Append) -> Reply {
        let now = self.now;
        let stream = self.reach(name)?;
        if let Closed::Yes { by } = &stream.closed {
            let closing_again = by.is_some() && *by == append.producer;
            return match (&append.producer, append.close, &append.body) {
                (Some(claim), ..) if closing_again => Ok(stream.duplicate(claim.epoch, claim.seq)),
                (_, true, Body::Empty) => Ok(Outcome::AlreadyClosed(stream.summary())),
                _ => Err(Refusal::Closed {
                    tail: stream.tail(),
                }),
            };
        }
        if let Some(claim) = &append.producer
            && let Some(duplicate) = stream.judge_producer(claim, now)?
        {
            return Ok(duplicate);
        }
        let messages = match &append.body {
            Body::Empty => Vec::new(),
            _ if append.content_type.as_ref() != Some(&stream.content_type) => {
                return Err(Refusal::ContentType);
            }
            Body::Invalid(fault) => return Err(Refusal::Body(*fault)),
            Body::Framed(payload) => split(payload),
        };
        if let (Some(last), Some(seq)) = (&stream.last_seq, &append.seq)
            && seq.as_bytes() <= last.as_bytes()
        {
            return Err(Refusal::SeqRegression);
        }
        let tail = stream.tail();
        let as_expected = match append.expected {
            None => true,
            Some(ExpectedTail::Start) => tail.position.get() == 0,
            Some(ExpectedTail::At(offset)) => tail == offset,
        };
        if !as_expected {
            return Err(Refusal::ExpectedOffset { tail });
        }
        stream.write(messages);
        stream.renew(now);
        if append.seq.is_some() {
            stream.last_seq.clone_from(&append.seq);
        }
        if let Some(claim) = &append.producer {
            stream.remember(claim, now);
        }
        if append.close {
            stream.closed = Closed::Yes {
                by: append.producer.clone(),
            };
        }
        Ok(Outcome::Appended {
            summary: stream.summary(),
            producer: append.producer.as_ref().map(numbers),
        })
    }

    /// A trim up to an offset, which is one of this model's.
    pub fn trim(&mut self, name: &StreamName, to: Offset) -> Reply {
        let stream = self.reach(name)?;
        if !stream.owns(to) {
            return Err(Refusal::OffsetGone {
                earliest: stream.start(),
            });
        }
        let to_position = to.position.get();
        if to_position > stream.trimmed {
            if !stream.can_be_read_from(to) {
                return Err(Refusal::OffsetNotABoundary);
            }
            stream.trimmed = to_position;
        }
        Ok(Outcome::Done)
    }

    /// DELETE.
    pub fn delete(&mut self, name: &StreamName) -> Reply {
        self.reach(name)?;
        self.end(name);
        Ok(Outcome::Deleted)
    }

    /// GET of all there is; renews a sliding life.
    pub fn read(&mut self, name: &StreamName) -> Result<Content, Refusal> {
        let start = self.reach(name)?.start();
        self.read_from(name, start)
    }

    /// GET from an offset, which is one of this model's; renews a sliding life.
    pub fn read_from(&mut self, name: &StreamName, from: Offset) -> Result<Content, Refusal> {
        let now = self.now;
        let stream = self.reach(name)?;
        let content = stream.content_from(from)?;
        stream.renew(now);
        Ok(content)
    }

    /// HEAD.
    pub fn head(&mut self, name: &StreamName) -> Result<Head, Refusal> {
        Ok(self.reach(name)?.head())
    }

    /// A live read begins: it renews a sliding life, which does not end before the read does.
    pub fn begin_live(&mut self, name: &StreamName) -> Result<(), Refusal> {
        let now = self.now;
        let stream = self.reach(name)?;
        stream.live_readers += 1;
        stream.renew(now);
        Ok(())
    }

    /// A live read ends and renews a sliding life. Nothing happens if the stream is gone.
    pub fn end_live(&mut self, name: &StreamName) {
        let now = self.now;
        if let Some(stream) = self.streams.get_mut(name)
            && stream.live_readers > 0
        {
            stream.live_readers -= 1;
            if !stream.soft_deleted {
                stream.renew(now);
            }
        }
    }

    /// The names of streams that clients can reach, in byte order.
    pub fn list(&self, prefix: &str) -> Vec<StreamName> {
        let shows = |(name, stream): &(&StreamName, &Stream)| {
            name.as_str().starts_with(prefix) && !stream.soft_deleted && !stream.is_over(self.now)
        };
        let shown = self.streams.iter().filter(shows);
        shown.map(|(name, _)| name.clone()).collect()
    }

    /// Positions past the tail may have been seen and lost: what is written next is by another hand.
    pub fn raise(&mut self, name: &StreamName) {
        let writer = self.new_writer();
        if let Some(stream) = self.streams.get_mut(name) {
            stream.writer = writer;
        }
    }

    /// A stream as it stands, soft-deleted ones too. Settles and renews nothing.
    pub fn stream(&self, name: &StreamName) -> Option<&Stream> {
        self.streams.get(name)
    }

    /// Every name that is taken, soft-deleted ones too.
    pub fn names(&self) -> impl Iterator<Item = &StreamName> {
        self.streams.keys()
    }

    pub(crate) fn new_writer(&mut self) -> u64 {
        self.writers += 1;
        self.writers
    }

    /// The stream, if clients can reach it.
    fn reach(&mut self, name: &StreamName) -> Result<&mut Stream, Refusal> {
        self.settle(name);
        match self.streams.get_mut(name) {
            None => Err(Refusal::NotFound),
            Some(stream) if stream.soft_deleted => Err(Refusal::SoftDeleted),
            Some(stream) => Ok(stream),
        }
    }

    /// Carries out the expiry of one stream, if it is due.
    pub(crate) fn settle(&mut self, name: &StreamName) {
        let stream = self.streams.get(name);
        if stream.is_some_and(|stream| !stream.soft_deleted && stream.is_over(self.now)) {
            self.end(name);
        }
    }

    /// Deletes, or soft-deletes while there are forks; then the sources that only waited for this.
    fn end(&mut self, name: &StreamName) {
        if self.has_forks(name) {
            let stream = self.streams.get_mut(name).expect("is there");
            stream.soft_deleted = true;
            return;
        }
        let gone = self.streams.remove(name).expect("is there");
        let Some(branch) = gone.branch else { return };
        let source = self.streams.get(&branch.source).expect("held by its fork");
        if source.soft_deleted {
            self.end(&branch.source);
        }
    }

    fn has_forks(&self, name: &StreamName) -> bool {
        let of = |stream: &Stream| stream.branch.as_ref().map(|branch| branch.source.clone());
        self.streams
            .values()
            .any(|other| of(other).as_ref() == Some(name))
    }
}

/// The first content of a stream; `[]` is none.
pub(crate) fn first_messages(body: &Body) -> Result<Vec<Vec<u8>>, Refusal> {
    match body {
        Body::Empty | Body::Invalid(BodyFault::EmptyArray) => Ok(Vec::new()),
        Body::Invalid(fault) => Err(Refusal::Body(*fault)),
        Body::Framed(payload) => Ok(split(payload)),
    }
}

fn split(payload: &millrace_core::Payload) -> Vec<Vec<u8>> {
    let mut rest = payload.bytes().as_ref();
    let mut messages = Vec::new();
    for len in payload.lengths() {
        let (message, after) = rest.split_at(usize::try_from(len).expect("in memory"));
        messages.push(message.to_vec());
        rest = after;
    }
    messages
}

fn numbers(claim: &ProducerClaim) -> (u64, u64) {
    (claim.epoch, claim.seq)
}
