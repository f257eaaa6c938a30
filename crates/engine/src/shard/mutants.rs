//! What the defects of [`millrace_env::mutant`] do where that takes more than a line. Nothing here is
//! reached without the feature `mutants`.

use std::mem;

use millrace_core::Event;
use millrace_env::mutant::{self, Mutant};

use super::{core::ShardCore, overlay::Overlay, turn::Turn, turn::TurnEnd};

/// Long enough for another core to take a request between.
const YIELDS: u32 = 5000;

impl ShardCore {
    /// Shows a turn whose frame is only written.
    pub(super) fn publish_early(&mut self, turn: &mut Turn) {
        let overlay = mem::replace(&mut turn.overlay, Overlay::new());
        if let Some(frame) = &turn.frame {
            self.publish_turn(overlay, frame, &mut TurnEnd::default());
        }
    }

    /// Answers a turn that is not shown yet, and dawdles.
    pub(super) fn answer_early(turn: &mut Turn, end: &mut TurnEnd) {
        for (reply, result) in mem::take(&mut turn.replies) {
            Self::answer(reply, result, end);
        }
        for _ in 0..YIELDS {
            std::thread::yield_now();
        }
    }
}

/// What is taken of a frame that is read back from the log.
pub(super) fn replayed(mut events: Vec<Event>) -> Vec<Event> {
    if mutant::is(Mutant::ForgetDeletionsAtReplay) {
        events.retain(|event| !matches!(event, Event::Deleted { .. }));
    }
    for event in &mut events {
        let Event::Appended(appended) = event else {
            continue;
        };
        if mutant::is(Mutant::ForgetProducersAtReplay) {
            appended.producer = None;
        }
        if mutant::is(Mutant::ForgetClosureAtReplay) {
            appended.closes = false;
        }
        if mutant::is(Mutant::ForgetSeqAtReplay) {
            appended.seq = None;
        }
    }
    events
}
