//! A server on one event loop, for a simulation: its cores share the current thread and `LocalSet`,
//! and recovery is blocking work of `millrace_env::tasks`, which a simulation carries out itself.
//!
//! The same cores, connections, handlers and shards as [`crate::Server`]'s. Not here: the front, which
//! hands sockets of the system from thread to thread. Each core accepts from a listener of its own.

use std::sync::Arc;

use millrace_engine::{OpenError, Options};
use millrace_env::{Env, Listener, tasks};
use millrace_subscribe::Deliver;
use tokio::{
    sync::oneshot,
    task::{JoinSet, spawn_local},
};

use crate::{
    config::Config,
    core,
    running::{Running, Stopped, open},
};

/// A running server. Dropping it without [`Self::stop`] ends its cores where they stand.
#[derive(Debug)]
pub struct OneThread {
    running: Running,
    cores: JoinSet<()>,
}

impl OneThread {
    /// Starts one inside a `LocalSet`: a core for each listener, which are as many as the engine's
    /// shards. `deliver` takes the place of the sockets that webhooks are reached by.
    pub fn start<L: Listener>(
        listeners: Vec<L>,
        env: Env,
        engine: Options,
        config: Config,
        deliver: Arc<dyn Deliver>,
    ) -> Self {
        let (running, signals, tell) = Running::new(config, env.clone());
        let mut cores = JoinSet::new();
        let mut shards = Vec::new();
        for listener in listeners {
            let (shard, its_shard) = oneshot::channel();
            let app = Arc::clone(running.app());
            cores.spawn_local(core::run(listener, its_shard, app, signals.clone()));
            shards.push(shard);
        }
        let app = Arc::clone(running.app());
        let (driver, its_driver) = oneshot::channel();
        cores.spawn_local(async move {
            if let Ok(driver) = its_driver.await {
                millrace_subscribe::run(driver).await;
            }
        });
        spawn_local(async move {
            let open = move || open(&app, env, engine, shards, driver, deliver);
            let opened = tasks::blocking(open).await;
            // Whoever started the server may not care.
            let _ = tell.send(opened);
        });
        Self { running, cores }
    }

    /// See [`crate::Server::opened`].
    pub async fn opened(&mut self) -> Result<(), OpenError> {
        self.running.opened().await
    }

    /// See [`crate::Server::poisoned`].
    pub async fn poisoned(&self) -> Vec<String> {
        self.running.poisoned().await
    }

    /// See [`crate::Server::stop`].
    pub async fn stop(mut self) -> Stopped {
        let stopped = self.running.stop().await;
        if stopped == Stopped::Clean {
            while self.cores.join_next().await.is_some() {}
        }
        stopped
    }
}
