//! Frames read back from the log become state again, at a start.
//!
//! An event of a stream that is not in memory needs its row from the catalog. Looked up one by one,
//! those rows are most of a start after a kill: so frames gather first, and the rows of all of them
//! are read with one look, in the order in which they lie there.

use std::collections::BTreeSet;

use millrace_core::{Event, Lsn, StreamId, stream::StreamState};
use millrace_env::mutant::{self, Mutant};
use millrace_store::StoreError;

use super::{core::ShardCore, mutants, overlay::Overlay, publish::new_bytes};

/// So many rows are looked up at once. BOUND: a few hundred bytes of memory each. Few under test, so
/// that simulated starts look more than once.
const ROWS: usize = if cfg!(test) { 4 } else { 32 * 1024 };
/// So many bytes of events gather at most. BOUND: they are in memory again once they are replayed,
/// and counted there.
const GATHERED_BYTES: u64 = 16 << 20;

/// Frames that were read and are not replayed yet.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    frames: Vec<(Lsn, Vec<Event>)>,
    bytes: u64,
    /// Streams whose rows the frames need.
    rows: BTreeSet<StreamId>,
}

impl Gathered {
    /// Adds the next frame of the log.
    pub(crate) fn push(&mut self, core: &ShardCore, lsn: Lsn, events: Vec<Event>) {
        for event in &events {
            let stream = event.stream();
            self.bytes += event.payload().map_or(0, millrace_core::Payload::len);
            if core.needs_row(stream) {
                self.rows.insert(stream);
            }
        }
        self.frames.push((lsn, events));
    }

    /// Whether it is time to replay them.
    pub(crate) fn is_full(&self) -> bool {
        self.rows.len() >= ROWS || self.bytes >= GATHERED_BYTES
    }

    /// What gathered, with its rows in memory.
    pub(crate) fn take(
        &mut self,
        core: &mut ShardCore,
    ) -> Result<Vec<(Lsn, Vec<Event>)>, StoreError> {
        let Self { frames, rows, .. } = std::mem::take(self);
        let rows: Vec<StreamId> = rows.into_iter().collect();
        core.bring_in_all(&rows)?;
        Ok(frames)
    }
}

impl ShardCore {
    /// Whether what the catalog says of a stream is needed and not known.
    fn needs_row(&self, stream: StreamId) -> bool {
        // What is unheard of is created by a frame: a look-up would read a cold page to find nothing.
        !self.is_unheard_of(stream)
            && self.directory.by_id(stream).is_none()
            && !self.is_removed(stream)
    }

    /// Publishes a frame read back from the log. Refuses what does not follow from the state, which
    /// no log of this program holds.
    pub(crate) fn replay(&mut self, lsn: Lsn, events: Vec<Event>) -> Result<(), StoreError> {
        if mutant::is(Mutant::DropFramesAtReplay) && lsn.get().is_multiple_of(16) {
            return Ok(());
        }
        let mut overlay = Overlay::new();
        for event in mutants::replayed(events) {
            let stream = event.stream();
            let before = match overlay.streams.get(&stream) {
                Some(state) => state.clone(),
                // Its creation, then: a look-up would read a cold page to find nothing.
                None if self.is_unheard_of(stream) => None,
                None => self.find_id(stream)?.map(|live| live.view().state.clone()),
            };
            if let Event::Created(created) = &event {
                let own = created.generations.last().map(|start| start.generation);
                self.saw_generation(stream.slot(), own.unwrap_or_default());
            }
            if let Event::GenerationRaised { generation, .. } = &event {
                self.saw_generation(stream.slot(), *generation);
            }
            if let Some(what) = contradiction(before.as_ref(), &event) {
                return Err(StoreError::Corrupt {
                    what: format!("frame {lsn} of the log {what}"),
                });
            }
            overlay.push(before, event);
        }
        let events = std::mem::take(&mut overlay.events);
        let payloads = events.iter().map(|event| {
            let bytes = event
                .payload()
                .map(|payload| payload.bytes().clone())
                .unwrap_or_default();
            (event, self.budget.hold(bytes))
        });
        let bytes = new_bytes(payloads);
        self.publish(overlay, bytes);
        self.published = lsn;
        Ok(())
    }
}

/// What is wrong with an event after this state, if anything.
fn contradiction(before: Option<&StreamState>, event: &Event) -> Option<String> {
    let stream = event.stream();
    match (before, event) {
        (None, Event::Created(_)) => None,
        (Some(_), Event::Created(_)) => Some(format!("creates stream {stream} a second time")),
        (None, _) => Some(format!("speaks of stream {stream}, which does not exist")),
        (Some(state), Event::Appended(appended)) if appended.from != state.tail => Some(format!(
            "appends to stream {stream} at {}, whose tail is {}",
            appended.from, state.tail
        )),
        (Some(state), Event::Trimmed { to, .. }) if *to > state.tail => Some(format!(
            "trims stream {stream} to {to}, whose tail is {}",
            state.tail
        )),
        _ => None,
    }
}
