//! Bodies without a known end: the events of one stream, or of many.

use bytes::Bytes;

use super::{
    Broken,
    events::StreamEvents,
    many::ManyEvents,
    pulled::{Pulled, Source},
};

/// A body of events.
pub(crate) type EventBody = Pulled<Events>;

/// What makes the events.
pub(crate) enum Events {
    /// One stream, as the protocol has it.
    One(Box<StreamEvents>),
    /// Many streams on one connection.
    Many(Box<ManyEvents>),
}

impl Events {
    pub(super) fn body(self) -> EventBody {
        Pulled::new(self, None)
    }
}

impl Source for Events {
    async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        match self {
            Self::One(events) => events.next().await,
            Self::Many(events) => events.next().await,
        }
    }
}
