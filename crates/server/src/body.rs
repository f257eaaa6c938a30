//! Reads a request's body: whole or not at all, inside the memory budget, in time.
//!
//! BOUND: memory is taken from the engine's budget step by step, before what came is buffered: an
//! announced length costs nothing, so that who announces much and sends little holds little. Who sent
//! much and then stalls gives way, with 429, when somebody else needs the memory. What is announced to
//! be, or grows, past `--append-bytes-max` is refused. A body that breaks off, or comes too slowly, is as
//! if it had never come.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use millrace_core::Refusal;
use millrace_engine::{Engine, Growing, Permit};
use millrace_env::timeout;
use millrace_wire::{HttpFault, Problem};

use crate::config::Times;

/// The smallest step by which memory is taken for a body.
const STEP_BYTES_MIN: u64 = 4 << 10;

/// A request's body, and the memory it was granted.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) bytes: Bytes,
    pub(crate) permit: Option<Permit>,
}

/// Reads all of `body`.
pub(crate) async fn read<B>(engine: &Engine, times: &Times, body: B) -> Result<Intake, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    // Some clients of HTTP/2 announce an empty body and never end it.
    if body.is_end_stream() || body.size_hint().exact() == Some(0) {
        return Ok(Intake {
            bytes: Bytes::new(),
            permit: None,
        });
    }
    timeout(times.body, gather(engine, times.body_idle, body))
        .await
        .unwrap_or(Err(Problem::from(HttpFault::BodyTimeout)))
}

async fn gather<B>(engine: &Engine, idle: Duration, mut body: B) -> Result<Intake, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut room = Room::new(engine, body.size_hint().exact())?;
    let mut pieces = Pieces::default();
    loop {
        let frame = tokio::select! {
            biased;
            () = room.growing.gives_way() => return Err(Refusal::Overloaded.into()),
            frame = timeout(idle, body.frame()) => frame.ok_or(HttpFault::BodyTimeout)?,
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| HttpFault::BodyBroken)?;
        // Trailers are no part of the body, and nothing here reads them.
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        room.make(pieces.len() + piece.len() as u64).await?;
        pieces.push(piece, room.granted);
    }
    Ok(Intake {
        bytes: pieces.whole(),
        permit: room.growing.whole(),
    })
}

/// The memory that a body was granted.
struct Room<'a> {
    engine: &'a Engine,
    /// The most it can come to.
    bytes_max: u64,
    granted: u64,
    growing: Growing,
}

impl<'a> Room<'a> {
    fn new(engine: &'a Engine, announced: Option<u64>) -> Result<Self, Problem> {
        let bytes_max = engine.options().append_bytes_max;
        if announced.is_some_and(|bytes| bytes > bytes_max) {
            return Err(HttpFault::BodyTooLarge { bytes_max }.into());
        }
        Ok(Self {
            engine,
            bytes_max: announced.unwrap_or(bytes_max),
            granted: 0,
            growing: engine.begin_body(),
        })
    }

    /// Sees to it that `bytes` are granted.
    async fn make(&mut self, bytes: u64) -> Result<(), Problem> {
        let clock = &*self.engine.env().clock;
        self.growing.moved(clock.mono());
        if bytes <= self.granted {
            return Ok(());
        }
        if bytes > self.bytes_max {
            let bytes_max = self.engine.options().append_bytes_max;
            return Err(HttpFault::BodyTooLarge { bytes_max }.into());
        }
        let wanted = bytes
            .max(self.granted.saturating_mul(2))
            .max(STEP_BYTES_MIN)
            .min(self.bytes_max);
        self.growing.grow(wanted - self.granted, clock).await?;
        self.granted = wanted;
        Ok(())
    }
}

/// What came so far. A body that comes in one piece, as small ones do, is not copied.
#[derive(Default)]
struct Pieces {
    first: Bytes,
    rest: BytesMut,
}

impl Pieces {
    fn len(&self) -> u64 {
        (self.first.len() + self.rest.len()) as u64
    }

    /// Adds a piece; no more than `granted` is allocated for all of them.
    fn push(&mut self, piece: Bytes, granted: u64) {
        if self.first.is_empty() && self.rest.is_empty() {
            self.first = piece;
            return;
        }
        if self.rest.capacity() < self.rest.len() + self.first.len() + piece.len() {
            let room = usize::try_from(granted).expect("bounded by what an append may be");
            self.rest.reserve(room - self.rest.len());
        }
        let first = std::mem::take(&mut self.first);
        self.rest.extend_from_slice(&first);
        self.rest.extend_from_slice(&piece);
    }

    fn whole(self) -> Bytes {
        if self.rest.is_empty() {
            self.first
        } else {
            self.rest.freeze()
        }
    }
}
