//! The two directions of a connection, with TCP's promises and no others: bytes arrive in order, late,
//! in other pieces than they were sent, or the connection breaks.

use std::{collections::VecDeque, io, task::Waker, time::Duration};

use bytes::Bytes;
use millrace_kill::schedule::Chance;
use tokio::time::Instant;

/// The longest time that bytes are held up, in milliseconds; less than [`super::UNDER_WAY_MAX`].
const HELD_UP_MILLIS: u64 = 1200;

/// How a connection behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    /// The longest time that bytes are under way, in milliseconds.
    delay_millis: u64,
    /// How many of 100 sends are held up for much longer, as one is that has to be sent again.
    held_up: u64,
    /// The most bytes that leave at a time.
    piece_bytes: u64,
    /// How many bytes may be under way in one direction.
    window_bytes: usize,
    /// After how many bytes it breaks, both directions together.
    bytes_until_break: u64,
}

impl Manners {
    /// Draws them; `rough` of 100 connections are bad.
    pub(super) fn draw(chance: &mut Chance, rough: u64) -> Self {
        if !chance.percent(rough) {
            return Self {
                delay_millis: chance.between(0, 3),
                held_up: 0,
                piece_bytes: 64 << 10,
                window_bytes: 256 << 10,
                bytes_until_break: u64::MAX,
            };
        }
        let breaks = chance.percent(40);
        Self {
            delay_millis: chance.between(0, 120),
            held_up: [0, 8][chance.index(2)],
            piece_bytes: chance.between(1, 2000),
            window_bytes: chance.index(8000) + 200,
            bytes_until_break: if breaks {
                chance.between(1, 20_000)
            } else {
                u64::MAX
            },
        }
    }
}

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// One direction.
#[derive(Debug)]
struct Pipe {
    /// Bytes under way, each with the moment of its arrival.
    under_way: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    /// Nothing that is sent later arrives before this.
    last_arrival: Instant,
    /// The sender has ended; seen once all before it is read.
    is_ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn new(now: Instant) -> Self {
        Self {
            under_way: VecDeque::new(),
            bytes: 0,
            last_arrival: now,
            is_ended: false,
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        for waker in self.reader.take().into_iter().chain(self.writer.take()) {
            waker.wake();
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    manners: Manners,
    to_server: Pipe,
    to_client: Pipe,
    is_broken: bool,
    client_left: bool,
    server_left: bool,
}

/// What became of bytes that were to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// How many of them are under way.
    pub(super) bytes: usize,
    /// They arrive later than now.
    pub(super) is_late: bool,
    /// The connection broke, and they never arrive.
    pub(super) is_last: bool,
}

/// What there is to read.
pub(super) enum Arrived {
    Bytes(Bytes),
    End,
    /// Not before then.
    Later(Instant),
    Nothing,
}

impl Link {
    pub(super) fn new(manners: Manners) -> Self {
        let now = Instant::now();
        Self {
            manners,
            to_server: Pipe::new(now),
            to_client: Pipe::new(now),
            is_broken: false,
            client_left: false,
            server_left: false,
        }
    }

    fn to(&mut self, side: Side) -> &mut Pipe {
        match side {
            Side::Client => &mut self.to_client,
            Side::Server => &mut self.to_server,
        }
    }

    fn has_left(&self, side: Side) -> bool {
        match side {
            Side::Client => self.client_left,
            Side::Server => self.server_left,
        }
    }

    /// Takes up to `len` bytes, or says when there will be some.
    pub(super) fn read(&mut self, side: Side, len: usize, waker: &Waker) -> io::Result<Arrived> {
        if self.is_broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let pipe = self.to(side);
        let Some((at, bytes)) = pipe.under_way.front_mut() else {
            if pipe.is_ended {
                return Ok(Arrived::End);
            }
            pipe.reader = Some(waker.clone());
            return Ok(Arrived::Nothing);
        };
        if *at > Instant::now() {
            pipe.reader = Some(waker.clone());
            return Ok(Arrived::Later(*at));
        }
        let taken = bytes.split_to(len.min(bytes.len()));
        if bytes.is_empty() {
            pipe.under_way.pop_front();
        }
        pipe.bytes -= taken.len();
        if let Some(writer) = pipe.writer.take() {
            writer.wake();
        }
        Ok(Arrived::Bytes(taken))
    }

    /// Sends a first part of `buf`, to arrive not before `held_until`. `None`: not now.
    pub(super) fn write(
        &mut self,
        side: Side,
        buf: &[u8],
        held_until: Instant,
        chance: &mut Chance,
        waker: &Waker,
    ) -> io::Result<Option<Sent>> {
        let other = side.other();
        if self.is_broken || self.has_left(other) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let Manners {
            delay_millis,
            held_up,
            piece_bytes,
            window_bytes,
            bytes_until_break,
        } = self.manners;
        let pipe = self.to(other);
        let room = window_bytes.saturating_sub(pipe.bytes);
        if room == 0 {
            pipe.writer = Some(waker.clone());
            return Ok(None);
        }
        let piece = chance.between(piece_bytes / 2 + 1, piece_bytes + 2);
        let sent = buf.len().min(room);
        let sent = sent.min(usize::try_from(piece).unwrap_or(usize::MAX));
        let longest = if chance.percent(held_up) {
            HELD_UP_MILLIS
        } else {
            delay_millis
        };
        let arrives = Instant::now() + Duration::from_millis(chance.between(0, longest + 1));
        let arrives = arrives.max(held_until).max(pipe.last_arrival);
        pipe.last_arrival = arrives;
        pipe.bytes += sent;
        let bytes = Bytes::copy_from_slice(&buf[..sent]);
        pipe.under_way.push_back((arrives, bytes));
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        let left = bytes_until_break.saturating_sub(sent as u64);
        if bytes_until_break != u64::MAX {
            self.manners.bytes_until_break = left;
        }
        if left == 0 {
            self.break_now();
        }
        Ok(Some(Sent {
            bytes: sent,
            is_late: arrives > Instant::now(),
            is_last: left == 0,
        }))
    }

    /// Whether bytes that `side` sent have not arrived yet, and still may.
    pub(super) fn has_under_way(&mut self, side: Side) -> bool {
        let now = Instant::now();
        let last = self.to(side.other()).under_way.back();
        last.is_some_and(|(at, _)| *at > now)
    }

    /// `side` sends no more.
    pub(super) fn end(&mut self, side: Side) {
        let pipe = self.to(side.other());
        pipe.is_ended = true;
        pipe.wake();
    }

    /// `side` closes its socket. One with unread bytes sends a reset, as systems do.
    pub(super) fn leave(&mut self, side: Side) {
        match side {
            Side::Client => self.client_left = true,
            Side::Server => self.server_left = true,
        }
        let now = Instant::now();
        let unread = self.to(side).under_way.front();
        if unread.is_some_and(|(at, _)| *at <= now) {
            let _ = self.break_now();
        } else {
            self.to(side).wake();
            self.end(side);
        }
    }

    /// The server died, and nobody hears of it: what is under way to it is lost.
    pub(super) fn fall_silent(&mut self) {
        self.to_server.under_way.clear();
    }

    /// Both ends hear of it at once, and what was under way is lost; says whether that was anything.
    pub(super) fn break_now(&mut self) -> bool {
        self.is_broken = true;
        let mut is_lost = false;
        for pipe in [&mut self.to_server, &mut self.to_client] {
            is_lost |= !pipe.under_way.is_empty();
            pipe.under_way.clear();
            pipe.wake();
        }
        is_lost
    }
}
