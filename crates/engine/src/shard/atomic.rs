//! Several appends that are one: all of them are carried out, or none.
//!
//! They are judged one after the other on the turn's overlay, each seeing those before it. When one is
//! refused, the overlay is put back to how it was, and the others are told that they were not alone.
//! What is left of an accepted batch is events of one turn, and so of one frame of the log, which is
//! durable as a whole or not at all.
//!
//! Not here: that the streams belong together, which whoever sends the batch has seen to.

use std::panic::{AssertUnwindSafe, catch_unwind};

use millrace_core::{Refusal, Timestamp, stream::Outcome};

use super::{
    Command, Entry, Reply,
    core::ShardCore,
    turn::{Judged, Turn},
};

impl ShardCore {
    pub(super) fn judge_atomic(&mut self, entries: Vec<Entry>, now: Timestamp, turn: &mut Turn) {
        let outgoing = turn.outgoing.len();
        turn.overlay.begin_attempt();
        let mut replies = Vec::with_capacity(entries.len());
        let mut outcomes = Vec::with_capacity(entries.len());
        for entry in entries {
            let Entry {
                command,
                reply,
                permit,
            } = entry;
            replies.push(reply);
            turn.permits.extend(permit);
            let is_lost = matches!(outcomes.last(), Some(Err(_)));
            if !is_lost {
                outcomes.push(self.judge_one(command, now, turn));
            }
        }
        if let Some(Err(refusal)) = outcomes.last() {
            turn.overlay.drop_attempt();
            turn.outgoing.truncate(outgoing);
            let (refusal, refused) = (refusal.clone(), outcomes.len() - 1);
            let told = |(place, reply): (usize, Reply)| {
                let why = if place == refused {
                    refusal.clone()
                } else {
                    Refusal::NotAlone
                };
                (reply, Err(why))
            };
            let told = replies.into_iter().enumerate().map(told);
            turn.replies.extend(told);
        } else {
            turn.overlay.keep_attempt();
            turn.replies.extend(replies.into_iter().zip(outcomes));
        }
    }

    fn judge_one(
        &mut self,
        command: Command,
        now: Timestamp,
        turn: &mut Turn,
    ) -> Result<Outcome, Refusal> {
        let Command::Append { name, append } = command else {
            return Err(Refusal::Internal);
        };
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let seen = self.named(&name, &turn.overlay)?;
            self.judge_append(seen, &append, now, &turn.overlay)
        }));
        match judged {
            Ok(Ok(Judged::Now { decision, before })) => {
                self.take_up(decision.events, before, turn);
                decision.reply
            }
            Ok(Ok(Judged::NeedsReference { .. })) | Err(_) => Err(Refusal::Internal),
            Ok(Err(error)) => {
                tracing::error!(%error, "a stream cannot be loaded");
                Err(Refusal::Corrupt)
            }
        }
    }
}
