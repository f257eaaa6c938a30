//! One request and its answer, while they are under way.

use super::{
    asking::{Asking, Fields},
    events::Events,
    life::Tick,
    token::Token,
};

/// BOUND: a longer body is not kept, and nothing is concluded from it.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A request and what has come of its answer.
#[derive(Debug)]
pub struct Exchange {
    pub(crate) number: u64,
    /// When the request was sent, or a moment before.
    pub(crate) sent: Tick,
    pub(crate) asking: Asking,
    pub(crate) request: Body,
    pub(crate) answer: Option<Answer>,
    pub(crate) is_over: bool,
}

impl Exchange {
    /// Whether its answer has begun to pass.
    pub fn has_answer(&self) -> bool {
        self.answer.is_some()
    }
}

/// A body.
#[derive(Debug, Default)]
pub(crate) enum Body {
    /// It has not all come.
    #[default]
    Unfinished,
    Whole(Vec<u8>),
    TooLong,
}

/// An answer's head, and what has come of its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) body: Coming,
}

/// What has come of an answer's body.
#[derive(Debug)]
pub(crate) enum Coming {
    Bytes(Vec<u8>),
    TooLong,
    Events {
        events: Events,
        /// Where the reader is; `None` where nobody knows.
        place: Option<Place>,
    },
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Start,
    At(Token),
}

impl Coming {
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        if let Self::Bytes(come) = self {
            come.extend_from_slice(bytes);
            if come.len() > BODY_BYTES_MAX {
                *self = Self::TooLong;
            }
        }
    }
}
