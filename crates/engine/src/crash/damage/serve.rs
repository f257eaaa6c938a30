//! The engine as it is shipped, on a simulated disk: its own start, loops and end.

use std::{future::Future, sync::Arc};

use millrace_env::{Env, Rng, SimDisk};

use super::specimen::{SHARDS, clock, options};
use crate::{Engine, OpenError, Opened, open};

/// The outside world of a process on `disk`.
pub(super) fn env(disk: &Arc<SimDisk>) -> Env {
    Env {
        disk: Arc::clone(disk) as _,
        clock: clock(),
        rng: Arc::new(Rng::from_seed(7)),
    }
}

/// Starts, lets `work` happen, and ends in order.
pub(super) fn start<F: Future>(
    disk: &Arc<SimDisk>,
    work: impl FnOnce(Engine) -> F,
) -> Result<F::Output, OpenError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let Opened { engine, shards } = open(env(disk), options(SHARDS))?;
        for shard in shards {
            tokio::task::spawn_local(shard.run());
        }
        let done = work(engine.clone()).await;
        engine.shutdown().await;
        Ok(done)
    })
}
