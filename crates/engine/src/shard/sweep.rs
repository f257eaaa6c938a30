//! Ends streams whose life is over, without their being touched, and lets idle ones leave memory.

use std::time::Duration;

use millrace_core::{Lifetime, StreamId, Timestamp, slot::shard_of};
use millrace_store::StoreError;

use super::{Command, core::ShardCore};
use crate::{directory::fit, live::Live};

/// The most streams one sweep looks at, of each kind: a sweep is a small part of a turn.
const SWEEP_MAX: usize = 1024;
/// The most streams one sweep considers for leaving memory.
const EVICT_MAX: usize = 16 * 1024;
/// What a stream in memory takes, roughly, in bytes.
const RESIDENT_BYTES: u64 = 1024;
/// Streams in memory may take this part of the budget before idle ones have to leave early.
const RESIDENT_SHARE: u64 = 8;
/// A renewed deadline is logged when it moved by more than this, or an eighth of the lifetime if
/// that is more.
const TOUCH_MILLIS_MIN: u64 = 10_000;

impl ShardCore {
    /// What time has brought: streams to end and deadlines to log.
    pub(crate) fn sweep(&mut self, now: Timestamp) -> Result<Vec<Command>, StoreError> {
        if self.poisoned.is_some() {
            return Ok(Vec::new());
        }
        self.bring_in_due(now)?;
        let mut commands = Vec::new();
        for _ in 0..SWEEP_MAX {
            let Some((_, stream)) = self.timers.first().copied().filter(|(at, _)| *at <= now)
            else {
                break;
            };
            self.disarm(stream);
            commands.extend(self.timer(stream, now));
        }
        Ok(commands)
    }

    /// A stream's deadline, as it was when the timer was set, has passed.
    fn timer(&mut self, stream: StreamId, now: Timestamp) -> Option<Command> {
        let live = self.directory.by_id(stream)?;
        let (state, deadline) = {
            let view = live.view();
            if view.state.soft_deleted {
                return None;
            }
            (view.state.clone(), live.deadline(&view.state))
        };
        let deadline = deadline?;
        if live.is_expired(&state, now) {
            // Looked at again in case this command is refused (a full disk).
            self.arm(stream, Some(now.plus_millis(1000)));
            return Some(Command::Expire { stream });
        }
        if deadline <= now {
            // Held by a live reader, whose end renews it.
            self.arm(stream, Some(now.plus_millis(1000)));
            return None;
        }
        self.arm(stream, Some(deadline));
        renewal(stream, deadline, &state)
    }

    /// Streams outside memory whose stored deadline has passed: brought in, they are looked at like
    /// any other, after what a restart grants them.
    fn bring_in_due(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let due = self.catalog.due(now, self.sweep_cursor, SWEEP_MAX)?;
        self.sweep_cursor = if due.len() < SWEEP_MAX {
            None
        } else {
            due.last().copied()
        };
        for (_, stream) in due {
            let own = shard_of(stream.slot(), self.config.shards) == self.config.shard;
            if own && self.directory.by_id(stream).is_none() {
                self.find_id(stream)?;
            }
        }
        Ok(())
    }

    /// Lets streams leave memory that nobody has used for a while and that are in the catalog as
    /// they are. A deadline that only memory knows is logged first, so that leaving never shortens a
    /// life.
    pub(crate) fn evict(&mut self, now: Timestamp) -> Vec<Command> {
        let idle = u64::try_from(self.idle_after().as_millis()).unwrap_or(u64::MAX);
        let mut renewals = Vec::new();
        let mut left = false;
        for _ in 0..EVICT_MAX {
            let rested = |since: Timestamp| now.get().saturating_sub(since.get()) >= idle;
            match self.clean_queue.front() {
                Some((since, _)) if rested(*since) => {}
                _ => break,
            }
            let Some((_, stream)) = self.clean_queue.pop_front() else {
                break;
            };
            let Some(live) = self.directory.by_id(stream) else {
                continue;
            };
            let used = live.last_read_at().max(live.view().state.written_at);
            if !self.is_clean(stream) {
                continue;
            }
            if !rested(used) || live.is_followed() {
                self.clean_queue.push_back((now, stream));
                continue;
            }
            if let Some(deadline) = renewed(&live) {
                renewals.push(Command::Touch { stream, deadline });
                continue;
            }
            drop(live);
            if self.directory.evict(stream, may_leave) {
                self.producers.remove(&stream);
                self.disarm(stream);
                left = true;
            } else {
                self.clean_queue.push_back((now, stream));
            }
        }
        if left {
            self.fit();
        }
        renewals
    }

    /// Gives back the room of streams that left memory.
    fn fit(&mut self) {
        self.directory.fit();
        fit(&mut self.producers);
        fit(&mut self.armed);
        if self.clean_queue.len() < self.clean_queue.capacity() / 8 {
            self.clean_queue.shrink_to(2 * self.clean_queue.len());
        }
    }

    /// How long a stream has to rest before it leaves: next to nothing when there are more in memory
    /// than the budget has room for.
    fn idle_after(&self) -> Duration {
        let options = &self.config.options;
        let share = options.memory_max / RESIDENT_SHARE / u64::from(self.config.shards);
        let crowded = self.directory.len() as u64 * RESIDENT_BYTES > share;
        if crowded {
            options.idle_after.min(Duration::from_secs(1))
        } else {
            options.idle_after
        }
    }

    /// Whether the catalog has the stream as it is; if not, the flush that changes that queues it.
    fn is_clean(&self, stream: StreamId) -> bool {
        let flushing = self.flushing.as_ref();
        !self.dirty.streams.contains(&stream)
            && !flushing.is_some_and(|flushing| flushing.dirty.streams.contains(&stream))
    }
}

fn may_leave(live: &Live) -> bool {
    live.view().hot.from().is_none() && !live.is_followed() && renewed(live).is_none()
}

/// A sliding deadline that is later than the logged one.
fn renewed(live: &Live) -> Option<Timestamp> {
    let view = live.view();
    let deadline = live.deadline(&view.state);
    deadline.filter(|_| deadline > view.state.deadline)
}

/// The command that logs a deadline which reads moved far enough.
fn renewal(
    stream: StreamId,
    deadline: Timestamp,
    state: &millrace_core::stream::StreamState,
) -> Option<Command> {
    let Lifetime::Ttl(seconds) = state.config.lifetime else {
        return None;
    };
    let logged = state.deadline?;
    let moved = deadline.get().saturating_sub(logged.get());
    let enough = TOUCH_MILLIS_MIN.max(seconds.saturating_mul(1000) / 8);
    (moved > enough).then_some(Command::Touch { stream, deadline })
}
