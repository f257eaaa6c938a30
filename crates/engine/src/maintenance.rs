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
        // Old files stay until every view names the new ones.
        let hold = shared.segments.hold_removals();
        let compacted = tasks::blocking(move || {
            let options = CompactOptions::default();
            millrace_store::compact(&worker.env, &worker.segments, &worker.catalog, &options)
        });
        match compacted.await {
            Ok(compacted) => {
                for problem in &compacted.problems {
                    tracing::error!(%problem, "compaction left this where it is");
                }
                settle(&shared, compacted).await;
            }
            Err(error) => tracing::error!(%error, "compaction failed; it will be tried again"),
        }
        drop(hold);
    }
}

/// Tells every shard, and waits until all views name the new places.
async fn settle(shared: &Arc<Shared>, compacted: Compacted) {
    if compacted.moved.is_empty() {
        return;
    }
    let moved: Arc<Moves> = Arc::new(compacted.moved);
    for shard in &shared.shards {
        let (done, wait) = oneshot::channel();
        let message = Message::Moved {
            moved: Arc::clone(&moved),
            done,
        };
        if shard.inbox.send(message).await.is_ok() {
            // A shard that ended has no readers any more.
            let _ = wait.await;
        }
    }
}
