//! The turn, the spine of the engine: judge all that waits, write one frame, sync once, then publish
//! and reply.
//!
//! INVARIANT: every reply of a turn that logs waits for that turn's sync, refusals and duplicates
//! included, so that no client learns of state which a crash could take back. In a turn that fails
//! every reply is an error and the overlay is dropped; a turn that logs nothing has judged only
//! durable state and syncs nothing.
//!
//! Next on the append walk: `publish.rs`.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use millrace_core::{
    Append, Create, Event, Generation, ProducerId, Refusal, StreamId, StreamName, Timestamp,
    slot::{shard_of, slot_of},
    stream::{
        Decision, Judge, Outcome, ProducerState, Producers, StreamState,
        decide::{self},
    },
};
use millrace_env::mutant::{self, Mutant};
use millrace_store::{Frame, StoreError, Wal};

use super::{
    Command, Entry, Outgoing, Peer, Reply,
    core::{PendingFork, ShardCore},
    overlay::Overlay,
};
use crate::{budget::Permit, live::Live};

/// What a frame takes beside its records, generously.
const FRAME_OVERHEAD_BYTES: u64 = 4096;

/// A turn that is judged but not yet durable.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(super) overlay: Overlay,
    /// The log frame, when there is something to log.
    pub(crate) frame: Option<Frame>,
    /// Why there is no frame although there is something to log.
    failed: Option<StoreError>,
    pub(super) replies: Vec<(Reply, Result<Outcome, Refusal>)>,
    pub(super) outgoing: Vec<Outgoing>,
    /// Memory of the bodies, held until the replies are sent.
    pub(super) permits: Vec<Permit>,
}

/// What a turn leaves to its driver, once its replies are sent.
#[derive(Debug, Default)]
pub(crate) struct TurnEnd {
    /// Commands for other shards.
    pub(crate) outgoing: Vec<Outgoing>,
    /// Streams whose followers have to be woken.
    pub(crate) changed: Vec<Arc<Live>>,
}

impl ShardCore {
    /// Judges what waits. Nothing is changed yet.
    pub(crate) fn judge(&mut self, entries: Vec<Entry>) -> Turn {
        let now = self.now();
        let mut turn = Turn {
            overlay: Overlay::new(),
            frame: None,
            failed: None,
            replies: Vec::with_capacity(entries.len()),
            outgoing: Vec::new(),
            permits: Vec::new(),
        };
        let entries = self.make_room(entries, &mut turn.replies);
        let urgent = entries.iter().all(|entry| entry.command.is_urgent());
        for entry in entries {
            self.judge_entry(entry, now, &mut turn);
        }
        if let (false, Some(wal)) = (turn.overlay.events.is_empty(), &mut self.wal) {
            // The room made beforehand is a guess; where the events came out longer, make more.
            match wal.prepare(Wal::frame_bytes_max(&turn.overlay.events), urgent) {
                Ok(()) => turn.frame = Some(wal.encode(&turn.overlay.events)),
                Err(error) => turn.failed = Some(error),
            }
        }
        turn
    }

    /// Writes the frame; the sync is the driver's, who knows whether to wait for it elsewhere.
    pub(crate) fn write(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        if let Some(error) = turn.failed.take() {
            return Err(error);
        }
        let written = match (&turn.frame, &mut self.wal) {
            (Some(frame), Some(wal)) => wal.write(frame),
            (None, _) => Ok(()),
            (Some(_), None) => Err(StoreError::Missing {
                what: "the write-ahead log".into(),
            }),
        };
        if mutant::is(Mutant::PublishBeforeSync) && written.is_ok() {
            self.publish_early(turn);
        }
        written
    }

    /// Ends a turn whose frame is durable, or is not: publishes and replies, or drops it all.
    pub(crate) fn finish(&mut self, mut turn: Turn, written: Result<(), StoreError>) -> TurnEnd {
        let mut end = TurnEnd::default();
        if mutant::is(Mutant::AnswerBeforePublish) && written.is_ok() {
            Self::answer_early(&mut turn, &mut end);
        }
        let refusal = match written {
            Ok(()) => None,
            Err(StoreError::Full) => Some(Refusal::StorageFull),
            Err(error) => Some(self.log_failed(&error)),
        };
        let Turn {
            overlay,
            frame,
            replies,
            outgoing,
            failed: _,
            permits,
        } = turn;
        match &refusal {
            None => {
                end.outgoing = outgoing;
                if let Some(frame) = frame {
                    self.publish_turn(overlay, &frame, &mut end);
                }
            }
            Some(failure) => {
                // Forks whose reference was about to be asked for: their clients are told.
                for refused in &outgoing {
                    self.fail_pending(refused, failure, &mut end);
                }
            }
        }
        for (reply, result) in replies {
            let result = match &refusal {
                Some(refusal) => Err(refusal.clone()),
                None => result,
            };
            Self::answer(reply, result, &mut end);
        }
        drop(permits);
        end
    }

    /// Allocates log space before anything is decided, so that a full disk shows here, where nothing
    /// has happened yet. On a full disk only what frees space goes on.
    fn make_room(
        &mut self,
        entries: Vec<Entry>,
        replies: &mut Vec<(Reply, Result<Outcome, Refusal>)>,
    ) -> Vec<Entry> {
        let mut refuse = |entries: Vec<Entry>, refusal: &Refusal| {
            replies.extend(
                entries
                    .into_iter()
                    .map(|entry| (entry.reply, Err(refusal.clone()))),
            );
        };
        if self.poisoned.is_some() {
            refuse(entries, &Refusal::Poisoned);
            return Vec::new();
        }
        let Some(wal) = &mut self.wal else {
            refuse(entries, &Refusal::Unavailable);
            return Vec::new();
        };
        match wal.prepare(log_bytes_max(&entries), false) {
            Ok(()) => return entries,
            Err(StoreError::Full) => {}
            Err(error) => {
                let refusal = self.log_failed(&error);
                refuse(entries, &refusal);
                return Vec::new();
            }
        }
        let (urgent, others): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|entry| entry.command.is_urgent());
        refuse(others, &Refusal::StorageFull);
        if urgent.is_empty() {
            return urgent;
        }
        if wal.prepare(log_bytes_max(&urgent), true).is_ok() {
            return urgent;
        }
        refuse(urgent, &Refusal::StorageFull);
        Vec::new()
    }

    /// What a failure of the log means: the end of writes, unless the log says that it goes on (a
    /// spare segment could not be made for want of descriptors).
    fn log_failed(&mut self, error: &StoreError) -> Refusal {
        if self.wal.as_ref().is_some_and(|wal| !wal.is_poisoned()) {
            tracing::warn!(shard = %self.config.shard, %error, "the log cannot be extended");
            return Refusal::Unavailable;
        }
        self.poison(format!("its log failed: {error}"));
        Refusal::Poisoned
    }

    fn judge_entry(&mut self, entry: Entry, now: Timestamp, turn: &mut Turn) {
        let Entry {
            command,
            reply,
            permit,
        } = entry;
        let judged = catch_unwind(AssertUnwindSafe(|| self.judge_command(command, now, turn)));
        let judged = match judged {
            Ok(Ok(judged)) => judged,
            Ok(Err(error)) => {
                tracing::error!(%error, "a stream cannot be loaded");
                Judged::refused(Refusal::Corrupt)
            }
            // One command's panic is one command's error: what it decided is not in the overlay.
            Err(_) => Judged::refused(Refusal::Internal),
        };
        match judged {
            Judged::Now { decision, before } => {
                self.take_up(decision.events, before, turn);
                turn.replies.push((reply, decision.reply));
                turn.permits.extend(permit);
            }
            Judged::NeedsReference {
                create,
                fork,
                source,
            } => {
                let to = shard_of(source.slot(), self.config.shards);
                let from = self.config.shard;
                let trimmed = create.source.as_ref().map(|source| source.trimmed);
                let trimmed = trimmed.unwrap_or_default();
                self.pending_forks.insert(
                    fork,
                    PendingFork {
                        create,
                        reply,
                        permit,
                    },
                );
                turn.outgoing.push(Outgoing {
                    to,
                    peer: Peer::AddFork {
                        source,
                        fork,
                        trimmed,
                        from,
                    },
                });
            }
        }
    }

    /// Puts a decision's events on the overlay. `before` is the state that the first of them follows
    /// from, where it is at hand.
    pub(super) fn take_up(
        &mut self,
        events: Vec<Event>,
        mut before: Option<StreamState>,
        turn: &mut Turn,
    ) {
        for event in events {
            let stream = event.stream();
            let before = match before.take() {
                Some(state) if state.id == stream => Some(state),
                _ => self.state(stream, &turn.overlay),
            };
            let origin = before.as_ref().and_then(|state| state.config.origin);
            if let Event::Created(created) = &event {
                let own = created.generations.last().map(|start| start.generation);
                self.saw_generation(stream.slot(), own.unwrap_or_default());
            }
            let is_there = turn.overlay.push(before, event);
            if let (false, Some(origin)) = (is_there, origin) {
                turn.outgoing
                    .push(self.drop_reference(origin.source, stream));
            }
        }
    }

    fn judge_command(
        &mut self,
        command: Command,
        now: Timestamp,
        turn: &mut Turn,
    ) -> Result<Judged, StoreError> {
        let overlay = &turn.overlay;
        let decision = match command {
            Command::Append { name, append } => {
                let seen = self.named(&name, overlay)?;
                return self.judge_append(seen, &append, now, overlay);
            }
            Command::Atomic(entries) => {
                self.judge_atomic(entries, now, turn);
                return Ok(Judged::now(Decision {
                    events: Vec::new(),
                    reply: Ok(Outcome::Done),
                }));
            }
            Command::Create(create) => return self.judge_create(create, now, overlay),
            Command::CreateFork {
                create,
                fork,
                referenced,
            } => {
                return self.judge_fork(&create, fork, referenced, now, turn);
            }
            Command::Delete { name } => {
                let seen = self.named(&name, overlay)?;
                decide::delete(Seen::state(seen.as_ref()), Seen::judge(seen.as_ref(), now))
            }
            Command::Trim { name, to } => {
                let seen = self.named(&name, overlay)?;
                let judge = Seen::judge(seen.as_ref(), now);
                decide::trim(Seen::state(seen.as_ref()), to, judge)
            }
            Command::Condense { name, fold, tail } => {
                let seen = self.named(&name, overlay)?;
                let judge = Seen::judge(seen.as_ref(), now);
                let (state, raised) = self.raised(seen.map(|seen| seen.state));
                let decision = decide::condense(state.as_ref(), &fold, tail, judge);
                return Ok(Judged::after(raised, decision, state));
            }
            Command::Retain {
                stream,
                to,
                revision,
            } => {
                let seen = self.identified(stream, overlay)?;
                let judge = Seen::judge(seen.as_ref(), now);
                decide::retain(Seen::state(seen.as_ref()), to, revision, judge)
            }
            Command::Configure { name, change } => {
                let seen = self.named(&name, overlay)?;
                let judge = Seen::judge(seen.as_ref(), now);
                decide::configure(Seen::state(seen.as_ref()), &*change, judge)
            }
            Command::Expire { stream } => {
                let seen = self.identified(stream, overlay)?;
                decide::expire(Seen::state(seen.as_ref()), Seen::judge(seen.as_ref(), now))
            }
            Command::Touch { stream, deadline } => {
                let seen = self.identified(stream, overlay)?;
                decide::touch(Seen::state(seen.as_ref()), deadline)
            }
            Command::AddFork {
                source,
                fork,
                trimmed,
            } => {
                let seen = self.identified(source, overlay)?;
                decide::add_fork(
                    Seen::state(seen.as_ref()),
                    fork,
                    trimmed,
                    Seen::judge(seen.as_ref(), now),
                )
            }
            Command::DropFork { source, fork } => {
                let seen = self.identified(source, overlay)?;
                decide::drop_fork(Seen::state(seen.as_ref()), fork)
            }
            #[cfg(test)]
            Command::Panic => panic!("a defect"),
        };
        Ok(Judged::now(decision))
    }

    fn judge_create(
        &mut self,
        create: Box<Create>,
        now: Timestamp,
        overlay: &Overlay,
    ) -> Result<Judged, StoreError> {
        let seen = self.named(&create.name, overlay)?;
        let judge = Seen::judge(seen.as_ref(), now);
        let slot = slot_of(create.name.as_str());
        let absent = seen.is_none() || judge.expired;
        if absent && create.spec.fork.is_some() && create.source.is_none() {
            // The target was there when the request looked, and is gone by now.
            return Ok(Judged::refused(Refusal::Unavailable));
        }
        let inherited = create
            .source
            .as_ref()
            .map(|source| source.generations.current());
        let floor = inherited
            .unwrap_or_default()
            .max(self.config.generation_floor);
        let generation = if absent {
            self.take_generation(slot, floor)
        } else {
            Generation::ZERO
        };
        let decision = decide::create(Seen::state(seen.as_ref()), &create, slot, generation, judge);
        let source = create.source.as_ref().map(|source| source.stream);
        match (&decision.reply, source) {
            (Ok(Outcome::Created(_)), Some(source)) => {
                let fork = StreamId::new(slot, generation);
                Ok(Judged::NeedsReference {
                    create,
                    fork,
                    source,
                })
            }
            _ => Ok(Judged::now(decision)),
        }
    }

    /// The second half of a fork's creation, when its source's shard has answered.
    fn judge_fork(
        &mut self,
        create: &Create,
        fork: StreamId,
        referenced: Result<(), Refusal>,
        now: Timestamp,
        turn: &mut Turn,
    ) -> Result<Judged, StoreError> {
        if let Err(refusal) = referenced {
            return Ok(Judged::refused(refusal));
        }
        let seen = self.named(&create.name, &turn.overlay)?;
        let judge = Seen::judge(seen.as_ref(), now);
        let state = Seen::state(seen.as_ref());
        let decision = decide::create(state, create, fork.slot(), fork.birth(), judge);
        if let (false, Some(source)) = (
            matches!(decision.reply, Ok(Outcome::Created(_))),
            &create.source,
        ) {
            turn.outgoing.push(self.drop_reference(source.stream, fork));
        }
        Ok(Judged::now(decision))
    }

    pub(super) fn judge_append(
        &mut self,
        seen: Option<Seen>,
        append: &Append,
        now: Timestamp,
        overlay: &Overlay,
    ) -> Result<Judged, StoreError> {
        let judge = Seen::judge(seen.as_ref(), now);
        let state = seen.map(|seen| seen.state);
        let (state, raised) = if append.is_close_only() {
            (state, None)
        } else {
            self.raised(state)
        };
        let view = ProducerView::new(self, state.as_ref(), append, overlay)?;
        let decision = decide::append(state.as_ref(), &view, append, judge);
        Ok(Judged::after(raised, decision, state))
    }

    /// A stream that is about to be appended to, in a generation of its own where it may have lost a tail;
    /// and the event that makes it so.
    fn raised(&mut self, state: Option<StreamState>) -> (Option<StreamState>, Option<Event>) {
        let known = state.as_ref();
        let known = known.filter(|known| self.needs_generation(known.generations.current()));
        let Some(stream) = known.map(|known| known.id) else {
            return (state, None);
        };
        let generation = self.take_generation(stream.slot(), self.config.generation_floor);
        let event = Event::GenerationRaised { stream, generation };
        let state = millrace_core::stream::apply(state, &event);
        (state, Some(event))
    }

    /// The stream with this name as the turn sees it.
    pub(super) fn named(
        &mut self,
        name: &StreamName,
        overlay: &Overlay,
    ) -> Result<Option<Seen>, StoreError> {
        match overlay.names.get(name) {
            Some(None) => Ok(None),
            Some(Some(stream)) => Ok(self.seen(*stream, overlay)),
            None => Ok(self.find(name)?.and_then(|live| Seen::new(live, overlay))),
        }
    }

    fn identified(
        &mut self,
        stream: StreamId,
        overlay: &Overlay,
    ) -> Result<Option<Seen>, StoreError> {
        if !overlay.streams.contains_key(&stream) {
            self.find_id(stream)?;
        }
        Ok(self.seen(stream, overlay))
    }

    /// A stream that is in memory, or was made in this turn.
    fn seen(&self, stream: StreamId, overlay: &Overlay) -> Option<Seen> {
        match self.directory.by_id(stream) {
            Some(live) => Seen::new(live, overlay),
            None => Some(Seen {
                state: overlay.streams.get(&stream)?.clone()?,
                live: None,
            }),
        }
    }

    /// The state of a stream that is in memory, as the turn sees it.
    fn state(&self, stream: StreamId, overlay: &Overlay) -> Option<StreamState> {
        match overlay.streams.get(&stream) {
            Some(state) => state.clone(),
            None => self
                .directory
                .by_id(stream)
                .map(|live| live.view().state.clone()),
        }
    }

    fn drop_reference(&self, source: StreamId, fork: StreamId) -> Outgoing {
        let to = shard_of(source.slot(), self.config.shards);
        Outgoing {
            to,
            peer: Peer::DropFork { source, fork },
        }
    }

    /// A turn that failed was about to ask for a fork's reference: its client gets the error.
    fn fail_pending(&mut self, refused: &Outgoing, refusal: &Refusal, end: &mut TurnEnd) {
        let Peer::AddFork { fork, .. } = refused.peer else {
            return;
        };
        if let Some(pending) = self.pending_forks.remove(&fork) {
            Self::answer(pending.reply, Err(refusal.clone()), end);
        }
    }

    pub(super) fn answer(reply: Reply, result: Result<Outcome, Refusal>, end: &mut TurnEnd) {
        match reply {
            Reply::Nobody => {}
            Reply::Client(client) => {
                // A client that left does not change what was done.
                let _ = client.send(result);
            }
            Reply::Fork(to, fork) => {
                let answer = result.map(drop);
                end.outgoing.push(Outgoing {
                    to,
                    peer: Peer::Referenced { fork, answer },
                });
            }
        }
    }

    /// What a peer's message asks of this shard; `None` when nobody waits for it any more.
    pub(crate) fn entry_of(&mut self, peer: Peer) -> Option<Entry> {
        match peer {
            Peer::AddFork {
                source,
                fork,
                trimmed,
                from,
            } => Some(Entry {
                command: Command::AddFork {
                    source,
                    fork,
                    trimmed,
                },
                reply: Reply::Fork(from, fork),
                permit: None,
            }),
            Peer::DropFork { source, fork } => Some(Entry {
                command: Command::DropFork { source, fork },
                reply: Reply::Nobody,
                permit: None,
            }),
            Peer::Referenced { fork, answer } => {
                let PendingFork {
                    create,
                    reply,
                    permit,
                } = self.pending_forks.remove(&fork)?;
                let command = Command::CreateFork {
                    create,
                    fork,
                    referenced: answer,
                };
                Some(Entry {
                    command,
                    reply,
                    permit,
                })
            }
        }
    }
}

/// What judging one command came to.
pub(super) enum Judged {
    /// A decision.
    Now {
        decision: Decision,
        /// The state from which its first event follows, where it is at hand.
        before: Option<StreamState>,
    },
    /// A fork that may be created once its source's shard holds a reference to it.
    NeedsReference {
        create: Box<Create>,
        fork: StreamId,
        source: StreamId,
    },
}

impl Judged {
    fn now(decision: Decision) -> Self {
        Self::Now {
            decision,
            before: None,
        }
    }

    /// A decision on a stream that was `raised` first, where it is: that is an event only together with an
    /// append.
    fn after(raised: Option<Event>, mut decision: Decision, state: Option<StreamState>) -> Self {
        let mut events = decision.events.iter();
        let appends = events.any(|event| matches!(event, Event::Appended(_)));
        match raised {
            Some(event) if appends => {
                decision.events.insert(0, event);
                Self::now(decision)
            }
            _ => Self::Now {
                decision,
                before: state,
            },
        }
    }

    fn refused(refusal: Refusal) -> Self {
        Self::now(Decision {
            events: Vec::new(),
            reply: Err(refusal),
        })
    }
}

/// A stream as the turn sees it.
pub(super) struct Seen {
    state: StreamState,
    /// What readers have of it; nothing yet when it was made in this turn.
    live: Option<Arc<Live>>,
}

impl Seen {
    /// A stream of the directory; `None` when the turn has ended it.
    fn new(live: Arc<Live>, overlay: &Overlay) -> Option<Self> {
        let state = match overlay.streams.get(&live.id) {
            Some(state) if !mutant::is(Mutant::ReuseOffset) => state.clone()?,
            _ => live.view().state.clone(),
        };
        Some(Self {
            state,
            live: Some(live),
        })
    }

    fn state(seen: Option<&Self>) -> Option<&StreamState> {
        seen.map(|seen| &seen.state)
    }

    fn judge(seen: Option<&Self>, now: Timestamp) -> Judge {
        let expired = seen.is_some_and(|seen| match &seen.live {
            Some(live) => live.is_expired(&seen.state, now),
            None => seen.state.deadline.is_some_and(|deadline| deadline <= now),
        });
        Judge { now, expired }
    }
}

/// A stream's producers as the turn sees them. The one that is asked for is looked up beforehand,
/// because a look-up can fail and judging cannot.
struct ProducerView<'a> {
    core: &'a ShardCore,
    stream: Option<StreamId>,
    claimed: Option<ProducerState>,
}

impl<'a> ProducerView<'a> {
    fn new(
        core: &'a ShardCore,
        state: Option<&StreamState>,
        append: &Append,
        overlay: &Overlay,
    ) -> Result<Self, StoreError> {
        let stream = state.map(|state| state.id);
        let claimed = match (stream, &append.producer) {
            (Some(stream), Some(claim)) => {
                match overlay.producers.get(&(stream, claim.id.clone())) {
                    Some(known) => *known,
                    None => core.producer(stream, &claim.id)?,
                }
            }
            _ => None,
        };
        Ok(Self {
            core,
            stream,
            claimed,
        })
    }
}

impl Producers for ProducerView<'_> {
    fn get(&self, _claimed: &ProducerId) -> Option<ProducerState> {
        self.claimed
    }

    fn longest_idle(&self) -> Option<(ProducerId, ProducerState)> {
        let found = self.core.longest_idle_producer(self.stream?);
        found.unwrap_or_else(|error| {
            tracing::error!(%error, "a stream's producers cannot be read");
            None
        })
    }
}

/// The most log bytes that these commands can come to.
fn log_bytes_max(entries: &[Entry]) -> u64 {
    entries
        .iter()
        .map(|entry| entry.command.log_bytes_max())
        .sum::<u64>()
        + FRAME_OVERHEAD_BYTES
}
