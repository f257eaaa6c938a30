//! One stream, as far as the logs are read.

use millrace_core::{
    Event, Generation, StreamPos,
    stream::{StreamState, apply},
};

use super::Reading;
use crate::{StoreError, segment::Chunk};

/// A stream that the logs speak of.
#[derive(Debug, Default)]
pub(in crate::repair) struct Folded {
    /// `None`: gone, or never heard of.
    pub(in crate::repair) state: Option<StreamState>,
    /// Whether the catalog has it.
    pub(in crate::repair) stored: bool,
    /// What follows the bytes that the catalog knows, in order.
    pub(in crate::repair) pieces: Vec<Piece>,
    /// Deleted by the log; it stays while a fork needs it.
    pub(super) deleted: bool,
}

/// A run of a stream's positions.
#[derive(Debug)]
pub(in crate::repair) enum Piece {
    /// Bytes.
    Bytes(Chunk),
    /// Positions whose bytes are lost, and the log that had them.
    Lost { from: StreamPos, until: StreamPos },
}

impl Folded {
    /// Whether nothing is known of it but its identity.
    pub(super) fn is_unheard_of(&self) -> bool {
        self.state.is_none() && !self.stored && self.pieces.is_empty()
    }

    /// Whether it is deleted, and no fork needs it.
    pub(super) fn is_gone(&self) -> bool {
        let state = self.state.as_ref();
        state.is_none_or(|state| (self.deleted || state.soft_deleted) && state.forks.is_empty())
    }

    pub(super) fn push(&mut self, chunk: Chunk) {
        if !chunk.payload.is_empty() {
            self.pieces.push(Piece::Bytes(chunk));
        }
    }

    /// The next event of the stream is at `from`: what lies between is lost.
    pub(super) fn skip_to(&mut self, from: StreamPos, reading: &Reading) -> Result<(), StoreError> {
        let tail = self
            .state
            .as_ref()
            .map(|state| state.tail)
            .unwrap_or_default();
        if from < tail || (from > tail && !reading.gapped) {
            let stream = self.state.as_ref().map(|state| state.id.to_string());
            let stream = stream.unwrap_or_default();
            return Err(reading.contradiction(format!(
                "appends to stream {stream} at {from}, whose tail is {tail}"
            )));
        }
        self.lose_up_to(from);
        Ok(())
    }

    pub(super) fn lose_up_to(&mut self, until: StreamPos) {
        let Some(state) = &mut self.state else { return };
        let from = state.tail;
        if from < until {
            state.tail = until;
            self.pieces.push(Piece::Lost { from, until });
        }
    }

    pub(super) fn raise(
        &mut self,
        event: &Event,
        generation: Generation,
        reading: &Reading,
    ) -> Result<(), StoreError> {
        let current = self.state.as_ref().map(|state| state.generations.current());
        if current.is_some_and(|current| generation <= current) {
            let stream = event.stream();
            return Err(reading.contradiction(format!(
                "raises the generation of stream {stream} to {generation}, which is not above its own"
            )));
        }
        self.state = apply(self.state.take(), event);
        Ok(())
    }
}
