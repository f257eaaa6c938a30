//! Long-polls: subscribers of one stream and its writer.

use std::time::Duration;

use super::{Ended, Sent, Tally, Work};
use crate::{BenchError, Plan, request::Requests, response::Head};

/// Follows one stream by asking again and again. Connection 0 is the writer.
#[derive(Debug)]
pub(crate) struct Poll<'a> {
    requests: &'a Requests,
    name: String,
    sent: Sent,
    subscribers: Vec<Subscriber>,
}

#[derive(Clone, Debug, Default)]
struct Subscriber {
    position: usize,
    offset: Vec<u8>,
}

impl<'a> Poll<'a> {
    pub(crate) fn new(plan: &Plan, requests: &'a Requests, start: &[u8]) -> Self {
        let subscriber = Subscriber {
            position: 0,
            offset: start.to_vec(),
        };
        Self {
            requests,
            name: plan.name(0),
            sent: Sent::new(plan),
            subscribers: vec![subscriber; plan.subscribers],
        }
    }
}

impl Work for Poll<'_> {
    fn request(&mut self, connection: usize, due: Duration, out: &mut Vec<u8>) -> bool {
        let Some(subscriber) = connection.checked_sub(1) else {
            self.sent.append(self.requests, &self.name, due, out);
            return true;
        };
        let offset = &self.subscribers[subscriber].offset;
        let query = [b"?offset=", offset.as_slice(), b"&live=long-poll"].concat();
        self.requests.bare(out, "GET", &self.name, &query);
        true
    }

    fn body(
        &mut self,
        connection: usize,
        bytes: &[u8],
        now: Duration,
        tally: &mut Tally,
    ) -> Result<(), BenchError> {
        if let Some(subscriber) = connection.checked_sub(1) {
            let position = &mut self.subscribers[subscriber].position;
            *position = self.sent.compare(*position, bytes, now, tally)?;
        }
        Ok(())
    }

    fn end(
        &mut self,
        connection: usize,
        head: &Head,
        _now: Duration,
        _tally: &mut Tally,
    ) -> Result<Ended, BenchError> {
        match connection.checked_sub(1) {
            None => self.sent.acknowledged(),
            Some(subscriber) if !head.next_offset.is_empty() => {
                let offset = &mut self.subscribers[subscriber].offset;
                offset.clone_from(&head.next_offset);
            }
            Some(_) => {}
        }
        Ok(Ended::Whole(1))
    }

    fn is_settled(&self) -> bool {
        let end = self.sent.len();
        self.subscribers
            .iter()
            .all(|subscriber| subscriber.position == end)
    }
}
