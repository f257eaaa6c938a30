//! Reads a request's body: whole or not at all, inside the memory budget, in time.
//!
//! BOUND: memory is taken from the engine's budget before a body is buffered: at once where its
//! length is announced, else step by step while it grows. What grows past `--append-bytes-max` is
//! refused while it is read. A body that breaks off, or comes too slowly, is as if it had never come.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use millrace_engine::{Engine, Permit};
use millrace_env::timeout;
use millrace_wire::{HttpFault, Problem};

use crate::config::Times;

/// The smallest step by which memory is taken for a body of unknown length.
const STEP_BYTES_MIN: u64 = 64 << 10;

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
    if body.is_end_stream() {
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
    let announced = body.size_hint().exact();
    let mut room = Room::new(engine, announced)?;
    let mut pieces = Pieces::default();
    while let Some(frame) = timeout(idle, body.frame())
        .await
        .ok_or(HttpFault::BodyTimeout)?
    {
        let frame = frame.map_err(|_| HttpFault::BodyBroken)?;
        // Trailers are no part of the body, and nothing here reads them.
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        room.make(pieces.len() + piece.len() as u64)?;
        pieces.push(piece, announced);
    }
    Ok(Intake {
        bytes: pieces.whole(),
        permit: room.permit,
    })
}

/// The memory that a body was granted.
struct Room<'a> {
    engine: &'a Engine,
    granted: u64,
    permit: Option<Permit>,
}

impl<'a> Room<'a> {
    fn new(engine: &'a Engine, announced: Option<u64>) -> Result<Self, Problem> {
        let mut room = Self {
            engine,
            granted: 0,
            permit: None,
        };
        if let Some(bytes) = announced {
            room.make(bytes)?;
        }
        Ok(room)
    }

    /// Sees to it that `bytes` are granted.
    fn make(&mut self, bytes: u64) -> Result<(), Problem> {
        let bytes_max = self.engine.options().append_bytes_max;
        if bytes > bytes_max {
            return Err(HttpFault::BodyTooLarge { bytes_max }.into());
        }
        if bytes <= self.granted {
            return Ok(());
        }
        let wanted = if self.permit.is_none() && self.granted == 0 {
            bytes
        } else {
            bytes.max(self.granted.saturating_mul(2))
        };
        let wanted = wanted.max(STEP_BYTES_MIN.min(bytes_max)).min(bytes_max);
        let more = self.engine.admit(wanted - self.granted)?;
        match &mut self.permit {
            None => self.permit = Some(more),
            Some(permit) => permit.join(more),
        }
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

    fn push(&mut self, piece: Bytes, announced: Option<u64>) {
        if self.first.is_empty() && self.rest.is_empty() {
            self.first = piece;
            return;
        }
        if self.rest.is_empty() {
            let whole = announced.and_then(|bytes| usize::try_from(bytes).ok());
            self.rest.reserve(whole.unwrap_or_default());
            self.rest
                .extend_from_slice(&std::mem::take(&mut self.first));
        }
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
