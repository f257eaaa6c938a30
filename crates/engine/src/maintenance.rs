//! Compaction beside the shards: bytes move to new segments, views follow, old files go last.

use std::{sync::Arc, time::Duration};

use millrace_env::{sleep, tasks};
use millrace_store::{CompactOptions, Compacted, StoreError};
use tokio::sync::oneshot;

use crate::{
    engine::Shared,
    shard::{Message, Moves},
};

/// Between two passes of compaction that had something to do.
const PAUSE_BETWEEN_PASSES: Duration = Duration::from_millis(200);

/// Compacts now and then until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let stopping = shared.stopping();
    let mut more = false;
    loop {
        // One pass is bounded; while there is more to do, the next follows soon.
        let pause = if more {
            PAUSE_BETWEEN_PASSES
        } else {
            shared.options.compaction_interval
        };
        tokio::select! {
            biased;
            () = stopping.wait() => return,
            () = sleep(pause) => {}
        }
        more = false;
        let worker = Arc::clone(&shared);
        // Old files stay until every view names the new ones.
        let hold = shared.segments.hold_removals();
        let compacted = tasks::blocking(move || compact(&worker));
        match compacted.await {
            Ok(compacted) => {
                for problem in &compacted.problems {
                    tracing::error!(%problem, "compaction left this where it is");
                }
                more = compacted.did_something();
                settle(&shared, compacted).await;
            }
            Err(StoreError::Full) => tracing::warn!("no space to compact; free some"),
            Err(error) => {
                tracing::error!(%error, "compaction failed; it will be tried again");
                // Whether it was committed is not known: old files stay until the next start.
                std::mem::forget(hold);
                continue;
            }
        }
        drop(hold);
    }
}

/// One pass, and its figures. Blocking.
fn compact(shared: &Shared) -> Result<Compacted, StoreError> {
    let begun = shared.env.clock.mono();
    let options = CompactOptions::default();
    let done = millrace_store::compact(&shared.env, &shared.segments, &shared.catalog, &options);
    let took = shared.env.clock.mono().saturating_sub(begun);
    let figures = &shared.metrics.compactions;
    match &done {
        Ok(compacted) if compacted.did_something() => {
            figures.done(took, compacted.bytes);
            shared.metrics.measure(&shared.catalog);
        }
        Ok(_) => {}
        Err(_) => figures.failed.increment(),
    }
    done
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
