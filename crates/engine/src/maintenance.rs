//! Compaction beside the shards: bytes move to new segments, views follow, old files go last.

use std::sync::Arc;

use millrace_env::{sleep, tasks};
use millrace_store::{CompactOptions, Compacted};
use tokio::sync::oneshot;

use crate::{
    engine::Shared,
    shard::{Message, Moves},
};

/// Compacts now and then until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut stopping = shared.stopping();
    loop {
        tokio::select! {
            biased;
            () = stopping.wait() => return,
            () = sleep(shared.options.compaction_interval) => {}
        }
        let worker = Arc::clone(&shared);
        let compacted = tasks::blocking(move || {
            let options = CompactOptions::default();
            millrace_store::compact(&worker.env, &worker.segments, &worker.catalog, &options)
        });
        match compacted.await {
            Ok(compacted) => settle(&shared, compacted).await,
            Err(error) => tracing::error!(%error, "compaction failed; it will be tried again"),
        }
    }
}

/// Tells every shard, and removes the old files once every view names the new ones.
async fn settle(shared: &Arc<Shared>, compacted: Compacted) {
    let Compacted { moved, doomed } = compacted;
    if moved.is_empty() && doomed.is_empty() {
        return;
    }
    let moved: Arc<Moves> = Arc::new(moved);
    for shard in &shared.shards {
        let (done, wait) = oneshot::channel();
        let message = Message::Moved {
            moved: Arc::clone(&moved),
            done,
        };
        if shard.inbox.send(message).await.is_err() || wait.await.is_err() {
            // A shard has ended: the files are given back at the next start.
            return;
        }
    }
    for segment in doomed {
        shared.segments.remove(segment);
    }
}
