//! The kinds of load, one file each. The event loop sends what a kind writes and hands it what
//! comes back.

mod appends;
mod catch_up;
mod each;
mod follow;
mod live;
mod poll;
mod reads;
mod sent;

use std::time::Duration;

pub use self::catch_up::Content;
pub(crate) use self::{
    appends::Appends,
    catch_up::CatchUp,
    each::Each,
    follow::{Follow, Wanted},
    live::Live,
    poll::Poll,
    reads::{Reads, Small},
    sent::{Sent, TEXT},
};
use crate::{BenchError, histogram::Histogram, response::Head};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is done, and carried so many messages.
    Whole(u64),
    /// Another request belongs to it.
    Part,
}

/// A kind of load.
pub(crate) trait Work {
    /// Writes the next request of a connection; false when it has none any more.
    fn request(&mut self, connection: usize, due: Duration, out: &mut Vec<u8>) -> bool;

    /// The head of a response that is no refusal.
    fn head(&mut self, _connection: usize, _head: &Head) -> Result<(), BenchError> {
        Ok(())
    }

    /// Bytes of its body.
    fn body(
        &mut self,
        _connection: usize,
        _bytes: &[u8],
        _now: Duration,
        _tally: &mut Tally,
    ) -> Result<(), BenchError> {
        Ok(())
    }

    /// Its end.
    fn end(
        &mut self,
        connection: usize,
        head: &Head,
        now: Duration,
        tally: &mut Tally,
    ) -> Result<Ended, BenchError>;

    /// Whether a refusal of this status is as good as success.
    fn accepts(&self, _status: u16) -> bool {
        false
    }

    /// How many streams there may be by now, where it makes or deletes them.
    fn streams(&self) -> Option<usize> {
        None
    }

    /// Whether everyone who is to listen does, so that time may begin.
    fn is_ready(&self) -> bool {
        true
    }

    /// Whether everything that is to arrive has.
    fn is_settled(&self) -> bool {
        true
    }
}

/// What is counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// What is measured lies from here...
    pub(crate) from: Duration,
    /// ...to here; nothing is measured while both are the same.
    pub(crate) until: Duration,
    /// Requests that were answered in that time.
    pub(crate) requests: u64,
    /// Messages that were acknowledged in it.
    pub(crate) messages: u64,
    /// Messages that reached subscribers in it.
    pub(crate) deliveries: u64,
    /// Bytes of messages, either way.
    pub(crate) bytes: u64,
    /// Requests that the server wanted sent again, at any time.
    pub(crate) refused: u64,
    /// Connections that ended and were made again, at any time.
    pub(crate) reconnects: u64,
    /// Requests that were due and never sent, because no connection was free for long.
    pub(crate) unsent: u64,
    /// Answers to requests that were due in that time.
    pub(crate) answers: Histogram,
    /// Arrivals of messages that were due in that time.
    pub(crate) arrivals: Histogram,
}

impl Tally {
    /// Whether what happens at this moment is measured.
    pub(crate) fn covers(&self, moment: Duration) -> bool {
        self.from <= moment && moment < self.until
    }

    /// A response's bytes.
    pub(crate) fn count_bytes(&mut self, now: Duration, bytes: usize) {
        if self.covers(now) {
            self.bytes += bytes as u64;
        }
    }

    /// A request that is done.
    pub(crate) fn answered(&mut self, due: Duration, now: Duration, messages: u64) {
        if self.covers(now) {
            self.requests += 1;
            self.messages += messages;
        }
        if self.covers(due) {
            self.answers.record(now.saturating_sub(due));
        }
    }

    /// A message that reached a subscriber.
    pub(crate) fn arrived(&mut self, due: Duration, now: Duration) {
        if self.covers(now) {
            self.deliveries += 1;
        }
        if self.covers(due) {
            self.arrivals.record(now.saturating_sub(due));
        }
    }
}
