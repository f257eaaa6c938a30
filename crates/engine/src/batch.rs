//! Many appends in one request: handed to each shard at once, so that those of one shard are one turn,
//! one frame and one sync.

use std::collections::BTreeMap;

use millrace_core::{Append, Refusal, ShardId, StreamName, slot::hash_tag, stream::Outcome};
use tokio::sync::oneshot;

use crate::{
    engine::Shared,
    shard::{Command, Entry, Message, Reply},
};

type Answer = oneshot::Receiver<Result<Outcome, Refusal>>;

pub(crate) async fn append_all(
    shared: &Shared,
    appends: Vec<(StreamName, Append)>,
    atomic: bool,
) -> Result<Vec<Result<Outcome, Refusal>>, Refusal> {
    if atomic && !are_together(&appends) {
        return Err(Refusal::HashTags);
    }
    let mut waiting: Vec<Result<Answer, Refusal>> = Vec::with_capacity(appends.len());
    let mut shards: BTreeMap<ShardId, (Vec<Entry>, Vec<usize>)> = BTreeMap::new();
    for (place, (name, append)) in appends.into_iter().enumerate() {
        let shard = shared.shard_of_name(&name);
        let (reply, answer) = oneshot::channel();
        let entry = Entry {
            command: Command::Append { name, append },
            reply: Reply::Client(reply),
            permit: None,
        };
        let (entries, places) = shards.entry(shard).or_default();
        entries.push(entry);
        places.push(place);
        waiting.push(Ok(answer));
    }
    for (shard, (entries, places)) in shards {
        let message = if atomic {
            Message::Command(Entry {
                command: Command::Atomic(entries),
                reply: Reply::Nobody,
                permit: None,
            })
        } else {
            Message::Commands(entries)
        };
        if let Err(refusal) = shared.send(shard, message) {
            for place in places {
                waiting[place] = Err(refusal.clone());
            }
        }
    }
    let mut answers = Vec::with_capacity(waiting.len());
    for answer in waiting {
        answers.push(match answer {
            Ok(answer) => answer.await.unwrap_or(Err(Refusal::Unavailable)),
            Err(refusal) => Err(refusal),
        });
    }
    Ok(answers)
}

/// Whether they can be one: only equal hash tags are promised to share a log, whatever shares one now.
fn are_together(appends: &[(StreamName, Append)]) -> bool {
    let tags = appends.iter().map(|(name, _)| hash_tag(name.as_str()));
    tags.clone()
        .zip(tags.skip(1))
        .all(|(one, next)| one == next)
}
