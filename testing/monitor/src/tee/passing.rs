//! What passes on one connection, told to the watcher.

use std::{collections::VecDeque, mem};

use super::{
    Shared,
    http::{Extent, Head, Messages, Part, Unreadable},
};
use crate::watch::Exchange;

/// BOUND: of a request's body, no more is kept.
const BODY_BYTES_MAX: usize = 64 << 20;

/// One connection between a client and a server.
#[derive(Debug)]
pub struct Passing {
    watcher: Shared,
    requests: Messages,
    answers: Messages,
    /// Requests whose answers have not all passed, in order.
    flights: VecDeque<Flight>,
    /// The body of the request that is passing.
    body: Vec<u8>,
    /// How many requests have passed, and how many answers.
    asked: u64,
    answered: u64,
    is_given_up: bool,
}

#[derive(Debug)]
struct Flight {
    exchange: Exchange,
    method: String,
}

impl Passing {
    /// One that the watcher is told of.
    pub fn new(watcher: Shared) -> Self {
        Self {
            watcher,
            requests: Messages::new(true),
            answers: Messages::new(false),
            flights: VecDeque::new(),
            body: Vec::new(),
            asked: 0,
            answered: 0,
            is_given_up: false,
        }
    }

    /// Bytes come from the client, and the server has not got them yet.
    pub fn request(&mut self, mut bytes: &[u8]) {
        if self.is_given_up {
            return;
        }
        loop {
            match self.requests.take(&mut bytes) {
                Ok(None) => return,
                Ok(Some(Part::Head(head))) => {
                    if self.asks(head).is_err() {
                        return self.give_up();
                    }
                }
                Ok(Some(Part::Body(part))) => {
                    if self.body.len() <= BODY_BYTES_MAX {
                        self.body.extend_from_slice(part);
                    }
                }
                Ok(Some(Part::End)) => self.has_asked(),
                Err(Unreadable) => return self.give_up(),
            }
        }
    }

    fn asks(&mut self, head: Head) -> Result<(), Unreadable> {
        let extent = head.extent()?.unwrap_or(Extent::Sized(0));
        let exchange = self
            .watcher
            .lock()
            .ask(&head.method, &head.target, &head.fields);
        self.flights.push_back(Flight {
            exchange,
            method: head.method,
        });
        self.requests.follows(extent);
        Ok(())
    }

    fn has_asked(&mut self) {
        self.asked += 1;
        let body = mem::take(&mut self.body);
        let body = (body.len() <= BODY_BYTES_MAX).then_some(body);
        // It may have been answered before it was whole.
        if self.asked > self.answered
            && let Some(flight) = self.flights.back_mut()
        {
            self.watcher.lock().sent(&mut flight.exchange, body);
        }
    }

    /// Bytes come from the server, and the client has not got them yet.
    pub fn answer(&mut self, mut bytes: &[u8]) {
        if self.is_given_up {
            return;
        }
        loop {
            match self.answers.take(&mut bytes) {
                Ok(None) => return,
                Ok(Some(Part::Head(head))) => {
                    if self.answers(head).is_err() {
                        return self.give_up();
                    }
                    if self.is_given_up {
                        return;
                    }
                }
                Ok(Some(Part::Body(part))) => {
                    if let Some(flight) = self.flights.front_mut() {
                        self.watcher.lock().carry(&mut flight.exchange, part);
                    }
                }
                Ok(Some(Part::End)) => self.has_answered(),
                Err(Unreadable) => return self.give_up(),
            }
        }
    }

    fn answers(&mut self, head: Head) -> Result<(), Unreadable> {
        if (100..200).contains(&head.status) && head.status != 101 {
            self.answers.follows(Extent::Sized(0));
            return Ok(());
        }
        let Some(flight) = self.flights.front_mut() else {
            return self.unasked(&head);
        };
        let is_bodiless = flight.method == "HEAD" || matches!(head.status, 204 | 304);
        let extent = if is_bodiless {
            Extent::Sized(0)
        } else {
            head.extent()?.unwrap_or(Extent::Open)
        };
        if head.status == 101 || flight.method == "CONNECT" {
            return Err(Unreadable);
        }
        self.watcher
            .lock()
            .answer(&mut flight.exchange, head.status, head.fields);
        self.answers.follows(extent);
        Ok(())
    }

    /// An answer to a request that never became whole: it was too slow, or no HTTP. A server that
    /// refuses it and goes has done nothing.
    fn unasked(&mut self, head: &Head) -> Result<(), Unreadable> {
        let is_refused = (400..500).contains(&head.status);
        let closes = head
            .fields
            .get("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if !(is_refused && closes) {
            return Err(Unreadable);
        }
        self.is_given_up = true;
        Ok(())
    }

    fn has_answered(&mut self) {
        // After an interim answer nothing has been answered yet.
        if self
            .flights
            .front()
            .is_some_and(|flight| flight.exchange.has_answer())
            && let Some(mut flight) = self.flights.pop_front()
        {
            self.answered += 1;
            self.watcher.lock().end(&mut flight.exchange);
        }
    }

    /// The server has no more to say.
    pub fn server_ended(&mut self) {
        if !self.is_given_up && self.answers.is_open() {
            self.has_answered();
        }
    }

    /// What passes cannot be read any more.
    fn give_up(&mut self) {
        self.is_given_up = true;
        self.flights.clear();
        self.watcher.lock().blind();
    }
}
