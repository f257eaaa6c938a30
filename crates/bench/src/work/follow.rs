//! Server-sent events: subscribers of one stream and its writer, or subscribers that read what is
//! there from the start.

use std::time::Duration;

use super::{Ended, Sent, Tally, Work, catch_up::Content};
use crate::{
    BenchError, Plan,
    events::{self, Events, Part},
    request::Requests,
    response::Head,
};

/// What subscribers must get.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// What the writer, which is connection 0, appends meanwhile.
    Live(Box<Sent>),
    /// What is there already.
    There(Content),
}

/// Follows one stream.
#[derive(Debug)]
pub(crate) struct Follow<'a> {
    requests: &'a Requests,
    name: String,
    wanted: Wanted,
    /// How many connections stand before the first subscriber.
    writers: usize,
    subscribers: Vec<Subscriber>,
    /// How many have been answered at least once.
    answered: usize,
}

#[derive(Debug, Default)]
struct Subscriber {
    events: Events,
    position: usize,
    got: Content,
    is_answered: bool,
    /// What the last control event named, and what had come by then.
    offset: Vec<u8>,
    safe: (usize, Content),
}

impl<'a> Follow<'a> {
    pub(crate) fn new(plan: &Plan, requests: &'a Requests, wanted: Wanted) -> Self {
        Self {
            requests,
            name: plan.name(0),
            writers: usize::from(matches!(wanted, Wanted::Live(_))),
            wanted,
            subscribers: (0..plan.subscribers)
                .map(|_| Subscriber::default())
                .collect(),
            answered: 0,
        }
    }
}

impl Work for Follow<'_> {
    fn request(&mut self, connection: usize, due: Duration, out: &mut Vec<u8>) -> bool {
        if connection < self.writers {
            if let Wanted::Live(sent) = &mut self.wanted {
                sent.append(self.requests, &self.name, due, out);
            }
            return true;
        }
        let subscriber = &mut self.subscribers[connection - self.writers];
        // A connection that is made again goes on after the last offset it was told.
        subscriber.events = Events::default();
        (subscriber.position, subscriber.got) = subscriber.safe;
        let offset: &[u8] = match subscriber.offset.as_slice() {
            [] => b"-1",
            offset => offset,
        };
        let query = [b"?offset=", offset, b"&live=sse"].concat();
        self.requests.bare(out, "GET", &self.name, &query);
        true
    }

    fn head(&mut self, connection: usize, _head: &Head) -> Result<(), BenchError> {
        if connection >= self.writers {
            let subscriber = &mut self.subscribers[connection - self.writers];
            if !std::mem::replace(&mut subscriber.is_answered, true) {
                self.answered += 1;
            }
        }
        Ok(())
    }

    fn body(
        &mut self,
        connection: usize,
        bytes: &[u8],
        now: Duration,
        tally: &mut Tally,
    ) -> Result<(), BenchError> {
        if connection < self.writers {
            return Ok(());
        }
        let wanted = &self.wanted;
        let Subscriber {
            events,
            position,
            got,
            offset,
            safe,
            ..
        } = &mut self.subscribers[connection - self.writers];
        events.feed(bytes, |part| {
            match part {
                Part::Data(data) => match wanted {
                    Wanted::Live(sent) => *position = sent.compare(*position, data, now, tally)?,
                    Wanted::There(_) => {
                        *got = got.and(data);
                        tally.count_bytes(now, data.len());
                    }
                },
                Part::DataEnd => {}
                Part::Control(control) => {
                    if let Some(next) = events::next_offset(control) {
                        offset.clear();
                        offset.extend_from_slice(next);
                        *safe = (*position, *got);
                    }
                }
            }
            Ok(())
        })
    }

    fn end(
        &mut self,
        connection: usize,
        _head: &Head,
        now: Duration,
        tally: &mut Tally,
    ) -> Result<Ended, BenchError> {
        if connection < self.writers
            && let Wanted::Live(sent) = &mut self.wanted
        {
            sent.acknowledged();
        }
        let _ = (now, tally);
        Ok(Ended::Whole(1))
    }

    fn is_ready(&self) -> bool {
        self.answered == self.subscribers.len()
    }

    fn is_settled(&self) -> bool {
        self.subscribers
            .iter()
            .all(|subscriber| match &self.wanted {
                Wanted::Live(sent) => subscriber.position == sent.len(),
                Wanted::There(content) => subscriber.got == *content,
            })
    }
}
