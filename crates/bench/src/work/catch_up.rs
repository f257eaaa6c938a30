//! Reads of one stream from its start to its tail, again and again, page by page.

use std::time::Duration;

use super::{Ended, Tally, Work};
use crate::{BenchError, Plan, request::Requests, response::Head};

/// What a whole stream must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub(crate) bytes: u64,
    pub(crate) checksum: u32,
}

impl Content {
    /// With these bytes after it.
    pub(crate) fn and(self, bytes: &[u8]) -> Self {
        Self {
            bytes: self.bytes + bytes.len() as u64,
            checksum: crc32c::crc32c_append(self.checksum, bytes),
        }
    }
}

/// Reads a whole stream.
#[derive(Debug)]
pub(crate) struct CatchUp<'a> {
    plan: &'a Plan,
    requests: &'a Requests,
    wanted: Content,
    connections: Vec<Connection>,
}

#[derive(Clone, Debug, Default)]
struct Connection {
    got: Content,
    /// Where the next page begins; empty at the start.
    offset: Vec<u8>,
}

impl<'a> CatchUp<'a> {
    pub(crate) fn new(plan: &'a Plan, requests: &'a Requests, wanted: Content) -> Self {
        Self {
            plan,
            requests,
            wanted,
            connections: vec![Connection::default(); plan.connections],
        }
    }
}

impl Work for CatchUp<'_> {
    fn request(&mut self, connection: usize, _due: Duration, out: &mut Vec<u8>) -> bool {
        let offset = self.connections[connection].offset.as_slice();
        let offset = if offset.is_empty() { b"-1" } else { offset };
        let query = [b"?offset=", offset].concat();
        self.requests.bare(out, "GET", &self.plan.name(0), &query);
        true
    }

    fn body(
        &mut self,
        connection: usize,
        bytes: &[u8],
        now: Duration,
        tally: &mut Tally,
    ) -> Result<(), BenchError> {
        let got = &mut self.connections[connection].got;
        *got = got.and(bytes);
        tally.count_bytes(now, bytes.len());
        Ok(())
    }

    fn end(
        &mut self,
        connection: usize,
        head: &Head,
        _now: Duration,
        _tally: &mut Tally,
    ) -> Result<Ended, BenchError> {
        let connection = &mut self.connections[connection];
        if connection.got.bytes < self.wanted.bytes && !head.is_up_to_date {
            connection.offset.clone_from(&head.next_offset);
            return Ok(Ended::Part);
        }
        let got = std::mem::take(connection).got;
        if got != self.wanted {
            return Err(BenchError::Mismatch(format!(
                "a stream of {} bytes was read as {} bytes, checksum {:08x} for {:08x}",
                self.wanted.bytes, got.bytes, got.checksum, self.wanted.checksum
            )));
        }
        Ok(Ended::Whole(1))
    }
}
