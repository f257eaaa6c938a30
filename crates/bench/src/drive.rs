//! The event loop: every connection of a run, on one thread.
//!
//! Open loop: request number n is due n/rate after the start and goes out on the first connection
//! that is free then; it is measured from when it was due, so a server that stalls is charged for
//! every request that had to wait. Closed loop: a connection sends its next request when the last
//! is answered, and it is due then.
//!
//! Connections below [`Shape::paced`] do that; those above are subscribers, which ask again as soon
//! as they are answered, and connect again when the server ends their connection.

use std::{io, time::Duration};

use millrace_env::{Clock as _, RealClock};
use mio::{Events, Poll, Token};

use crate::{
    BenchError, Target,
    connection::{Connection, Received},
    pace::Pacer,
    response::{Head, Piece},
    work::{Ended, Tally, Work},
};

/// Large enough that bulk reads cost few calls, small enough to stay in the cache.
const BUFFER_BYTES: usize = 256 << 10;
/// Of a refusal, so much is kept to be shown.
const REFUSAL_BYTES: usize = 1000;
/// What is under way when the observer stops it may take so long.
const HALT_WITHIN: Duration = Duration::from_secs(1);
/// What is under way when time is over must arrive within this.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);
/// How often the observer is told, at least.
const TELL_EVERY: Duration = Duration::from_millis(100);
const TIMER: Token = Token(usize::MAX);

/// How requests are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) paced: usize,
    pub(crate) subscribers: usize,
    pub(crate) rate: Option<f64>,
    pub(crate) warmup: Duration,
    /// None: until there is no work any more.
    pub(crate) duration: Option<Duration>,
    /// Answers have no body, as those to HEAD.
    pub(crate) is_bodyless: bool,
}

/// What the observer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Subscribers connect.
    Joining,
    /// Connections are there, subscribers listen.
    Ready,
    /// It runs, but is not measured yet.
    Warming,
    /// It is measured; the first time at the very start of it.
    Measuring,
    /// Time is over.
    Over,
    /// What was under way arrives.
    Settling,
}

/// What is seen of the loop now and then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) moment: Moment,
    pub(crate) tally: &'a Tally,
    /// Since the start.
    pub(crate) elapsed: Duration,
    /// How many streams there may be, where the work makes or deletes them.
    pub(crate) streams: Option<usize>,
}

/// Called now and then; an error ends the loop.
pub(crate) type Observe<'a> = dyn FnMut(Seen<'_>) -> Result<(), BenchError> + 'a;

/// Runs work to its end.
pub(crate) fn drive<W: Work>(
    target: &Target,
    shape: Shape,
    work: &mut W,
    observe: &mut Observe<'_>,
) -> Result<Tally, BenchError> {
    let mut drive = Drive::connect(target, shape, work)?;
    let done = drive.whole(observe);
    if matches!(done, Err(BenchError::Stopped)) {
        drive.halt(observe);
    }
    done?;
    Ok(drive.tally)
}

struct Drive<'a, W> {
    target: &'a Target,
    shape: Shape,
    work: &'a mut W,
    clock: RealClock,
    poll: Poll,
    pacer: Pacer,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    /// Paced connections without a request.
    idle: Vec<usize>,
    /// Paced connections with one.
    under_way: usize,
    /// No new requests of paced connections.
    is_over: bool,
    begun: Duration,
    /// How many requests were due and sent, in the open loop.
    sent: u64,
    refusal: Vec<u8>,
    tally: Tally,
}

impl<'a, W: Work> Drive<'a, W> {
    fn connect(target: &'a Target, shape: Shape, work: &'a mut W) -> Result<Self, BenchError> {
        let failed = BenchError::system("no event loop");
        let poll = Poll::new().map_err(&failed)?;
        let pacer = Pacer::new(poll.registry(), TIMER).map_err(&failed)?;
        let all = 0..shape.paced + shape.subscribers;
        let open = |at| Connection::open(target, poll.registry(), Token(at), shape.is_bodyless);
        let connections = all.map(open).collect::<Result<_, _>>()?;
        Ok(Self {
            target,
            shape,
            work,
            clock: RealClock::new(),
            poll,
            pacer,
            connections,
            buffer: vec![0; BUFFER_BYTES],
            idle: (0..shape.paced).rev().collect(),
            under_way: 0,
            is_over: false,
            begun: Duration::ZERO,
            sent: 0,
            refusal: Vec::new(),
            tally: Tally::default(),
        })
    }

    fn whole(&mut self, observe: &mut Observe<'_>) -> Result<(), BenchError> {
        if self.shape.duration.is_none() {
            // Subscribers of what is there already are served from their first request on.
            self.begin();
        }
        self.subscribe(observe)?;
        self.tell(observe, Moment::Ready, Duration::ZERO)?;
        if self.shape.duration.is_some() {
            self.begin();
        }
        self.run(observe)?;
        self.settle(observe)
    }

    fn tell(
        &self,
        observe: &mut Observe<'_>,
        moment: Moment,
        elapsed: Duration,
    ) -> Result<(), BenchError> {
        observe(Seen {
            moment,
            tally: &self.tally,
            elapsed,
            streams: self.work.streams(),
        })
    }

    fn elapsed(&self) -> Duration {
        self.clock.mono().saturating_sub(self.begun)
    }

    /// Lets subscribers ask, and waits until they listen.
    fn subscribe(&mut self, observe: &mut Observe<'_>) -> Result<(), BenchError> {
        for at in self.shape.paced..self.connections.len() {
            self.send(at, Duration::ZERO)?;
        }
        let deadline = self.clock.mono() + SETTLE_WITHIN;
        while !self.work.is_ready() {
            self.turn(TELL_EVERY)?;
            self.tell(observe, Moment::Joining, Duration::ZERO)?;
            self.before(deadline, "not every subscriber was answered")?;
        }
        Ok(())
    }

    fn before(&self, deadline: Duration, what: &str) -> Result<(), BenchError> {
        if self.clock.mono() < deadline {
            return Ok(());
        }
        let within = SETTLE_WITHIN.as_secs();
        Err(BenchError::Late(format!("{what} within {within} s")))
    }

    /// Time begins.
    fn begin(&mut self) {
        self.begun = self.clock.mono();
        self.tally.from = self.begun + self.shape.warmup;
        self.tally.until = match self.shape.duration {
            Some(duration) => self.tally.from + duration,
            None => Duration::MAX,
        };
    }

    fn run(&mut self, observe: &mut Observe<'_>) -> Result<(), BenchError> {
        let mut told = self.begun;
        let mut moment = Moment::Warming;
        loop {
            let now = self.clock.mono();
            if now >= self.tally.until {
                break;
            }
            if moment == Moment::Warming && now >= self.tally.from {
                moment = Moment::Measuring;
                told = Duration::ZERO;
            }
            if now >= told + TELL_EVERY {
                self.tell(observe, moment, now.saturating_sub(self.begun))?;
                told = now;
            }
            self.pump(now)?;
            if self.is_done() {
                self.tally.until = self.clock.mono();
                break;
            }
            self.turn(TELL_EVERY.min(self.tally.until.saturating_sub(now)))?;
        }
        self.tell(observe, Moment::Over, self.elapsed())?;
        self.backlog(observe)
    }

    /// What was due in time is sent although time is over: a server that fell behind is charged for
    /// it. What is not sent in as much time again is counted, and said.
    fn backlog(&mut self, observe: &mut Observe<'_>) -> Result<(), BenchError> {
        let (Some(rate), Some(duration)) = (self.shape.rate, self.shape.duration) else {
            return Ok(());
        };
        let deadline = self.tally.until + duration;
        while self.next_due(rate) < self.tally.until && self.clock.mono() < deadline {
            self.pump(self.clock.mono())?;
            self.turn(TELL_EVERY)?;
            self.tell(observe, Moment::Settling, self.elapsed())?;
        }
        let since = self.tally.until.saturating_sub(self.begun).as_secs_f64();
        self.tally.unsent = whole((since * rate).ceil()).saturating_sub(self.sent);
        Ok(())
    }

    /// Whether no work is left.
    fn is_done(&self) -> bool {
        let all_idle = self.under_way == 0 && self.idle.is_empty();
        all_idle && self.work.is_settled()
    }

    /// When the next request is due, in the open loop.
    fn next_due(&self, rate: f64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "2^53 requests are never sent")]
        let since = self.sent as f64 / rate;
        self.begun + Duration::from_secs_f64(since)
    }

    /// Sends what is due on connections that are free.
    fn pump(&mut self, now: Duration) -> Result<(), BenchError> {
        let Some(rate) = self.shape.rate else {
            while let Some(at) = self.idle.pop() {
                self.send(at, now)?;
            }
            return Ok(());
        };
        while let Some(at) = self.idle.last().copied() {
            let due = self.next_due(rate);
            if due >= self.tally.until {
                return Ok(());
            }
            let now = self.clock.mono();
            if due > now {
                return self
                    .pacer
                    .wake_after(due.saturating_sub(now))
                    .map_err(BenchError::system("no timer"));
            }
            self.idle.pop();
            self.sent += 1;
            self.send(at, due)?;
        }
        Ok(())
    }

    /// Lets a connection send its next request, if it has one.
    fn send(&mut self, at: usize, due: Duration) -> Result<(), BenchError> {
        let connection = &mut self.connections[at];
        if !self.work.request(at, due, &mut connection.out) {
            return Ok(());
        }
        connection.due = Some(due);
        if at < self.shape.paced {
            self.under_way += 1;
        }
        let sent = connection.send(self.poll.registry(), Token(at));
        sent.map_err(|error| BenchError::Broken(error.to_string()))
    }

    /// One turn of the loop: waits, then takes all that there is.
    fn turn(&mut self, wait: Duration) -> Result<(), BenchError> {
        let wait = self.pacer.sleep_at_most().map_or(wait, |own| own.min(wait));
        let mut events = Events::with_capacity(1024);
        match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(BenchError::system("no events")(error));
            }
            _ => {}
        }
        for event in &events {
            let token = event.token();
            if token == TIMER {
                continue;
            }
            if event.is_writable() {
                let sent = self.connections[token.0].send(self.poll.registry(), token);
                sent.map_err(|error| BenchError::Broken(error.to_string()))?;
            }
            if event.is_readable() || event.is_read_closed() {
                self.receive(token.0)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, at: usize) -> Result<(), BenchError> {
        loop {
            let received = self.connections[at].receive(&mut self.buffer);
            let (bytes, is_last) = match received {
                Ok(Received::Some(bytes)) => (bytes, false),
                Ok(Received::Last(bytes)) => (bytes, true),
                Ok(Received::End) => return self.ended(at),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return self.ended(at);
                }
                Err(error) => return Err(BenchError::Broken(error.to_string())),
            };
            let now = self.clock.mono();
            if let Some(outcome) = self.feed(at, bytes, now)? {
                self.answered(at, outcome, now)?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Hands bytes to the work; what came of the request, if that is known with them.
    fn feed(
        &mut self,
        at: usize,
        bytes: usize,
        now: Duration,
    ) -> Result<Option<Outcome>, BenchError> {
        let Self {
            work,
            tally,
            refusal,
            connections,
            buffer,
            ..
        } = self;
        let mut outcome = None;
        let mut status = connections[at].responses.head().status;
        connections[at].responses.feed(&buffer[..bytes], |piece| {
            match piece {
                Piece::Head(head) => {
                    status = head.status;
                    refusal.clear();
                    if status < 400 {
                        work.head(at, head)?;
                    }
                }
                Piece::Body(bytes) if status < 400 => work.body(at, bytes, now, tally)?,
                Piece::Body(bytes) => {
                    let room = REFUSAL_BYTES.saturating_sub(refusal.len());
                    refusal.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                Piece::End(head) => {
                    let ended = match status {
                        429 | 503 => None,
                        400.. if !work.accepts(status) => return Err(refused(head, refusal)),
                        _ => Some(work.end(at, head, now, tally)?),
                    };
                    let closes = head.closes;
                    outcome = Some(Outcome { ended, closes });
                }
            }
            Ok(())
        })?;
        Ok(outcome)
    }

    /// A request is answered: counts it, and lets the connection go on.
    fn answered(&mut self, at: usize, outcome: Outcome, now: Duration) -> Result<(), BenchError> {
        let due = self.connections[at].due.take().unwrap_or(now);
        let is_paced = at < self.shape.paced;
        if is_paced {
            self.under_way -= 1;
        }
        if outcome.closes {
            self.reopen(at)?;
        }
        match outcome.ended {
            None => {
                self.tally.refused += 1;
                self.send(at, due)
            }
            Some(Ended::Part) => self.send(at, due),
            Some(Ended::Whole(messages)) if is_paced => {
                self.tally.answered(due, now, messages);
                if self.is_over {
                    Ok(())
                } else if self.shape.rate.is_some() {
                    self.idle.push(at);
                    self.pump(now)
                } else {
                    self.send(at, now)
                }
            }
            Some(Ended::Whole(_)) => self.send(at, now),
        }
    }

    /// The server ended a connection.
    fn ended(&mut self, at: usize) -> Result<(), BenchError> {
        let is_paced = at < self.shape.paced;
        let connection = &self.connections[at];
        let is_amid = connection.responses.is_amid() && !connection.responses.is_to_the_end();
        if is_paced && (connection.due.is_some() || is_amid) {
            return Err(BenchError::Broken("the server ended it".to_owned()));
        }
        self.reopen(at)?;
        if is_paced {
            return Ok(());
        }
        self.send(at, self.clock.mono())
    }

    fn reopen(&mut self, at: usize) -> Result<(), BenchError> {
        let registry = self.poll.registry();
        let is_bodyless = self.shape.is_bodyless;
        self.connections[at] = Connection::open(self.target, registry, Token(at), is_bodyless)?;
        self.tally.reconnects += 1;
        Ok(())
    }

    /// Waits for what is under way.
    fn settle(&mut self, observe: &mut Observe<'_>) -> Result<(), BenchError> {
        self.is_over = true;
        let deadline = self.clock.mono() + SETTLE_WITHIN;
        while self.under_way > 0 || !self.work.is_settled() {
            self.turn(TELL_EVERY)?;
            self.tell(observe, Moment::Settling, self.elapsed())?;
            self.before(deadline, "what was under way at the end did not arrive")?;
        }
        Ok(())
    }

    /// Sends no more, and waits a little for what is under way: a stream that the server still makes
    /// would be there after it was deleted.
    fn halt(&mut self, observe: &mut Observe<'_>) {
        self.is_over = true;
        let elapsed = self.elapsed();
        let deadline = self.clock.mono() + HALT_WITHIN;
        while self.under_way > 0 && self.clock.mono() < deadline {
            if self.turn(TELL_EVERY).is_err() {
                break;
            }
        }
        // That it is stopped is known.
        let _ = self.tell(observe, Moment::Settling, elapsed);
    }
}

/// What came of a request.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    /// None: the server wants it sent again.
    ended: Option<Ended>,
    closes: bool,
}

fn refused(head: &Head, text: &[u8]) -> BenchError {
    BenchError::Refused {
        status: head.status,
        what: "a request",
        text: String::from_utf8_lossy(text).into_owned(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of requests, never negative"
)]
fn whole(number: f64) -> u64 {
    number as u64
}
