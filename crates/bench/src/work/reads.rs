//! Small reads of streams that stand still: their last message, their tail, HEAD.

use std::time::Duration;

use super::{Ended, Tally, Work};
use crate::{BenchError, Plan, request::Requests, response::Head};

/// A stream, and what a read of it must bring.
#[derive(Clone, Debug)]
pub(crate) struct Small {
    /// The query, `?` included; empty for HEAD.
    pub(crate) query: Vec<u8>,
    /// The checksum of the body; none: it is not looked at.
    pub(crate) checksum: Option<u32>,
}

/// Reads streams in turn.
#[derive(Debug)]
pub(crate) struct Reads<'a> {
    plan: &'a Plan,
    requests: &'a Requests,
    method: &'static str,
    streams: Vec<Small>,
    connections: Vec<(usize, u32)>,
    next: usize,
}

impl<'a> Reads<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        requests: &'a Requests,
        method: &'static str,
        streams: Vec<Small>,
    ) -> Self {
        Self {
            plan,
            requests,
            method,
            streams,
            connections: vec![(0, 0); plan.connections],
            next: 0,
        }
    }
}

impl Work for Reads<'_> {
    fn request(&mut self, connection: usize, _due: Duration, out: &mut Vec<u8>) -> bool {
        let stream = self.next;
        self.next = (self.next + 1) % self.streams.len();
        self.connections[connection] = (stream, 0);
        let query = &self.streams[stream].query;
        self.requests
            .bare(out, self.method, &self.plan.name(stream), query);
        true
    }

    fn body(
        &mut self,
        connection: usize,
        bytes: &[u8],
        now: Duration,
        tally: &mut Tally,
    ) -> Result<(), BenchError> {
        let checksum = &mut self.connections[connection].1;
        *checksum = crc32c::crc32c_append(*checksum, bytes);
        tally.count_bytes(now, bytes.len());
        Ok(())
    }

    fn end(
        &mut self,
        connection: usize,
        _head: &Head,
        _now: Duration,
        _tally: &mut Tally,
    ) -> Result<Ended, BenchError> {
        let (stream, checksum) = self.connections[connection];
        match self.streams[stream].checksum {
            Some(wanted) if wanted != checksum => Err(BenchError::Mismatch(format!(
                "a read of stream {} brought other bytes than were appended",
                self.plan.name(stream)
            ))),
            _ => Ok(Ended::Whole(1)),
        }
    }
}
