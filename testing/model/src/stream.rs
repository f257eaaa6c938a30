//! One stream: a list of messages and what is known of its writers.

use std::{collections::BTreeMap, sync::Arc};

use millrace_core::{
    ContentType, CreateSpec, Generation, Lifetime, Offset, ProducerClaim, ProducerId, Refusal,
    StreamName, StreamPos,
    limits::{PRODUCER_IDLE_MILLIS_MIN, PRODUCERS_PER_STREAM_MAX},
    stream::{Outcome, decide::Summary},
};

/// One stream.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The request that created it.
    pub(crate) spec: CreateSpec,
    pub(crate) content_type: ContentType,
    pub(crate) lifetime: Lifetime,
    /// Where it was copied from.
    pub(crate) branch: Option<Branch>,
    pub(crate) messages: Vec<Message>,
    /// Whose token position 0 has, for good: nothing can be lost before it.
    pub(crate) starter: u64,
    /// Who writes what comes next.
    pub(crate) writer: u64,
    pub(crate) closed: Closed,
    pub(crate) last_seq: Option<Arc<str>>,
    pub(crate) producers: BTreeMap<ProducerId, Producer>,
    pub(crate) soft_deleted: bool,
    pub(crate) deadline: Option<u64>,
    pub(crate) live_readers: u64,
    /// The first position that can be read.
    pub(crate) trimmed: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub(crate) source: StreamName,
    /// Where it was asked to branch, before the sub-offset.
    pub(crate) anchor: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) writer: u64,
    pub(crate) starts_append: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Closed {
    No,
    Yes { by: Option<ProducerClaim> },
}

#[derive(Clone, Debug)]
pub(crate) struct Producer {
    epoch: u64,
    seq: u64,
    used_at: u64,
}

impl Stream {
    /// Whether it was deleted while forks need it: clients cannot reach it.
    pub fn is_soft_deleted(&self) -> bool {
        self.soft_deleted
    }

    /// Whether it takes no more appends.
    pub fn is_closed(&self) -> bool {
        matches!(self.closed, Closed::Yes { .. })
    }

    /// Its content type.
    pub fn content_type(&self) -> &ContentType {
        &self.content_type
    }

    /// All its bytes, inherited ones too.
    pub fn bytes(&self) -> Vec<u8> {
        let bytes = self.messages.iter().map(|message| message.bytes.as_slice());
        bytes.collect::<Vec<_>>().concat()
    }

    /// The positions at which its messages end, in order.
    pub fn ends(&self) -> Vec<u64> {
        let mut end = 0;
        let ends = self.messages.iter().map(|message| {
            end += message.bytes.len() as u64;
            end
        });
        ends.collect()
    }

    /// The position after the last byte.
    pub fn len(&self) -> u64 {
        self.ends().last().copied().unwrap_or(0)
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The offset after the last byte.
    pub fn tail(&self) -> Offset {
        self.offset_at(self.len())
    }

    /// The first offset.
    pub fn start(&self) -> Offset {
        self.offset_at(self.trimmed)
    }

    /// The offset of a position: with the writer of the byte before it, or who began the stream.
    ///
    /// # Panics
    /// When it lies past the tail.
    pub fn offset_at(&self, position: u64) -> Offset {
        let first_end = self.ends().into_iter().position(|end| end >= position);
        let writer = match first_end {
            _ if position == 0 => self.starter,
            Some(index) => self.messages[index].writer,
            None => panic!("{position} lies past the tail"),
        };
        Offset {
            generation: Generation(writer),
            position: StreamPos(position),
        }
    }

    /// Whether an offset of this model is one of this stream's.
    pub fn owns(&self, offset: Offset) -> bool {
        let position = offset.position.get();
        position <= self.len() && self.offset_at(position) == offset
    }

    /// When it will expire, if it is not used until then.
    pub fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Whether its life is over; a live reader holds up a sliding one, and no absolute one.
    pub(crate) fn is_over(&self, now: u64) -> bool {
        let held = self.live_readers > 0 && matches!(self.lifetime, Lifetime::Ttl(_));
        !held && self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// A use of the stream: a sliding life begins anew, and never gets shorter by it.
    pub(crate) fn renew(&mut self, now: u64) {
        if let Lifetime::Ttl(seconds) = self.lifetime {
            self.deadline = self.deadline.max(Some(now + seconds * 1000));
        }
    }

    pub(crate) fn write(&mut self, messages: Vec<Vec<u8>>) {
        let mut starts_append = true;
        for bytes in messages {
            self.messages.push(Message {
                bytes,
                writer: self.writer,
                starts_append,
            });
            starts_append = false;
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            tail: self.tail(),
            closed: self.is_closed(),
            content_type: self.content_type.clone(),
        }
    }

    pub(crate) fn duplicate(&self, epoch: u64, seq: u64) -> Outcome {
        Outcome::Duplicate {
            summary: self.summary(),
            producer: (epoch, seq),
        }
    }

    /// PROTOCOL 5.2.1, validation logic; `None` is "accept".
    pub(crate) fn judge_producer(
        &mut self,
        claim: &ProducerClaim,
        now: u64,
    ) -> Result<Option<Outcome>, Refusal> {
        let gap = |expected| {
            Err(Refusal::SeqGap {
                expected,
                received: claim.seq,
            })
        };
        let Some(state) = self.producers.get(&claim.id) else {
            if claim.seq != 0 {
                return gap(0);
            }
            return self.make_room(now).map(|()| None);
        };
        let (epoch, last_seq) = (state.epoch, state.seq);
        if claim.epoch < epoch {
            return Err(Refusal::StaleEpoch { current: epoch });
        }
        if claim.epoch > epoch {
            return match claim.seq {
                0 => Ok(None),
                _ => Err(Refusal::NewEpochNotAtZero),
            };
        }
        if claim.seq <= last_seq {
            return Ok(Some(self.duplicate(epoch, last_seq)));
        }
        if claim.seq == last_seq + 1 {
            return Ok(None);
        }
        gap(last_seq + 1)
    }

    /// Whether one more producer may be remembered. Who would be forgotten for it is so in
    /// [`Self::remember`], should the request be accepted.
    fn make_room(&self, now: u64) -> Result<(), Refusal> {
        let full = self.producers.len() >= PRODUCERS_PER_STREAM_MAX as usize;
        if full && self.forgettable(now).is_none() {
            return Err(Refusal::TooManyProducers);
        }
        Ok(())
    }

    fn forgettable(&self, now: u64) -> Option<ProducerId> {
        let idle = self
            .producers
            .iter()
            .min_by_key(|(_, producer)| producer.used_at);
        let (id, producer) = idle?;
        (now > producer.used_at + PRODUCER_IDLE_MILLIS_MIN).then(|| id.clone())
    }

    pub(crate) fn remember(&mut self, claim: &ProducerClaim, now: u64) {
        let full = self.producers.len() >= PRODUCERS_PER_STREAM_MAX as usize;
        if full && !self.producers.contains_key(&claim.id) {
            let id = self.forgettable(now).expect("judged before");
            self.producers.remove(&id);
        }
        let producer = Producer {
            epoch: claim.epoch,
            seq: claim.seq,
            used_at: now,
        };
        self.producers.insert(claim.id.clone(), producer);
    }
}
