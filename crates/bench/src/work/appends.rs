//! Appends, each connection to streams of its own where there are enough, with chains that are
//! verified at the end.

use std::time::Duration;

use super::{Ended, Tally, Work};
use crate::{
    BenchError, Kind, Plan,
    chain::{Chain, Messages},
    request::Requests,
    response::Head,
};

/// Appends.
#[derive(Debug)]
pub(crate) struct Appends<'a> {
    plan: &'a Plan,
    requests: &'a Requests,
    messages: &'a Messages,
    connections: Vec<Connection>,
    body: Vec<u8>,
}

/// What one connection appends to.
#[derive(Debug)]
struct Connection {
    number: u32,
    /// Which of its streams is next.
    turn: usize,
    /// What is acknowledged of each of its streams.
    chains: Vec<Chain>,
    /// Where the chain will be when the request under way is acknowledged.
    next: Chain,
}

impl<'a> Appends<'a> {
    pub(crate) fn new(plan: &'a Plan, requests: &'a Requests, messages: &'a Messages) -> Self {
        let connection = |number| Connection {
            number: u32::try_from(number).expect("connections fit"),
            turn: 0,
            chains: vec![Chain::default(); streams_of(plan, number)],
            next: Chain::default(),
        };
        Self {
            plan,
            requests,
            messages,
            connections: (0..plan.connections).map(connection).collect(),
            body: Vec::new(),
        }
    }

    /// What was acknowledged of a stream: connections and their chains.
    pub(crate) fn acknowledged(&self, stream: usize) -> Vec<(u32, Chain)> {
        let connections = self.connections.iter().enumerate();
        let of_stream = connections.filter_map(|(number, connection)| {
            let turn = (0..connection.chains.len())
                .find(|turn| stream_of(self.plan, number, *turn) == stream)?;
            Some((connection.number, connection.chains[turn]))
        });
        of_stream.filter(|(_, chain)| chain.length > 0).collect()
    }
}

/// How many streams a connection has.
fn streams_of(plan: &Plan, connection: usize) -> usize {
    if plan.streams <= plan.connections {
        1
    } else {
        (plan.streams - connection).div_ceil(plan.connections)
    }
}

fn stream_of(plan: &Plan, connection: usize, turn: usize) -> usize {
    (connection + turn * plan.connections) % plan.streams
}

impl Work for Appends<'_> {
    fn request(&mut self, number: usize, due: Duration, out: &mut Vec<u8>) -> bool {
        let connection = &mut self.connections[number];
        let due = u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
        let mut chain = connection.chains[connection.turn];
        let (batch, content_type) = match self.plan.kind {
            Kind::Json => (self.plan.batch, "application/json"),
            _ => (1, "application/octet-stream"),
        };
        self.body.clear();
        for message in 0..batch {
            if batch > 1 {
                self.body.push(if message == 0 { b'[' } else { b',' });
            }
            chain = chain.next(connection.number, due);
            self.messages
                .push(&mut self.body, chain, connection.number, due);
        }
        if batch > 1 {
            self.body.push(b']');
        }
        connection.next = chain;
        let name = self
            .plan
            .name(stream_of(self.plan, number, connection.turn));
        self.requests
            .with_body(out, "POST", &name, content_type, self.body.len());
        out.extend_from_slice(&self.body);
        true
    }

    fn end(
        &mut self,
        number: usize,
        _head: &Head,
        now: Duration,
        tally: &mut Tally,
    ) -> Result<Ended, BenchError> {
        let connection = &mut self.connections[number];
        let chain = &mut connection.chains[connection.turn];
        let messages = connection.next.length - chain.length;
        *chain = connection.next;
        connection.turn = (connection.turn + 1) % connection.chains.len();
        tally.count_bytes(now, messages as usize * self.plan.size);
        Ok(Ended::Whole(u64::from(messages)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_stream_is_appended_to_by_as_few_connections_as_can_be() {
        for (connections, streams) in [(1, 1), (4, 1), (4, 4), (3, 10), (10, 3), (4, 1000)] {
            let mut plan = Plan::new(Kind::Append, 1);
            (plan.connections, plan.streams) = (connections, streams);
            let mut pairs = BTreeSet::new();
            for connection in 0..connections {
                for turn in 0..streams_of(&plan, connection) {
                    assert!(pairs.insert((stream_of(&plan, connection, turn), connection)));
                }
            }
            let covered: BTreeSet<usize> = pairs.iter().map(|(stream, _)| *stream).collect();
            assert_eq!(
                covered.len(),
                streams.min(streams),
                "{connections} {streams}"
            );
            assert_eq!(pairs.len(), connections.max(streams));
        }
    }
}
