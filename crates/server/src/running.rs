//! What a running server is apart from its threads: recovery, readiness, draining.

use std::{convert::Infallible, sync::Arc, time::Duration};

use millrace_engine::{Engine, OpenError, Opened, Options, Shard};
use millrace_env::{Env, Switch, sleep};
use millrace_subscribe::{Deliver, Driver, Rules, SubscriptionOptions, Subscriptions};
use millrace_wire::state::Latest;
use tokio::sync::{mpsc, oneshot};

use crate::{app::App, config::Config, core::Signals};

/// How often [`Running::poisoned`] looks.
const POISON_LOOK: Duration = Duration::from_millis(250);

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Everything that was under way is done, flushed and marked as such.
    Clean,
    /// Recovery was still running: nothing was served yet, and nothing is lost.
    DuringRecovery,
    /// Recovery failed.
    NeverOpened,
}

/// Tells how recovery ended.
pub(crate) type TellOpened = oneshot::Sender<Result<(), OpenError>>;

/// A server that runs, wherever its cores do.
#[derive(Debug)]
pub(crate) struct Running {
    app: Arc<App>,
    draining: Switch,
    drained: mpsc::Receiver<Infallible>,
    opened: Option<oneshot::Receiver<Result<(), OpenError>>>,
}

impl Running {
    /// A server, what its cores have to be given, and who has to be told of recovery's end.
    pub(crate) fn new(config: Config, env: Env) -> (Self, Signals, TellOpened) {
        let draining = Switch::new();
        let (alive, drained) = mpsc::channel(1);
        let signals = Signals {
            draining: draining.watcher(),
            drained: alive,
        };
        let (tell, opened) = oneshot::channel();
        let running = Self {
            app: Arc::new(App::new(config, env)),
            draining,
            drained,
            opened: Some(opened),
        };
        (running, signals, tell)
    }

    /// What all requests share.
    pub(crate) fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// See [`crate::Server::engine`].
    pub(crate) fn engine(&self) -> Option<Engine> {
        self.app.opened().cloned()
    }

    /// See [`crate::Server::opened`].
    pub(crate) async fn opened(&mut self) -> Result<(), OpenError> {
        let Some(opened) = &mut self.opened else {
            return std::future::pending().await;
        };
        let result = opened.await;
        self.opened = None;
        if let Some(subscriptions) = self.app.opened_subscriptions() {
            subscriptions.read_all().await;
        }
        result.unwrap_or_else(|_| {
            let what = "recovery panicked; this is a defect".to_owned();
            Err(OpenError::Store(millrace_store::StoreError::Corrupt {
                what,
            }))
        })
    }

    /// See [`crate::Server::poisoned`].
    pub(crate) async fn poisoned(&self) -> Vec<String> {
        loop {
            if let Some(engine) = self.engine() {
                let status = engine.status();
                if !status.ready {
                    return status.problems;
                }
            }
            sleep(POISON_LOOK).await;
        }
    }

    /// Ends it, all but the threads.
    pub(crate) async fn stop(&mut self) -> Stopped {
        self.draining.on();
        let Some(engine) = self.engine() else {
            let failed = self.opened.is_none();
            return if failed {
                Stopped::NeverOpened
            } else {
                Stopped::DuringRecovery
            };
        };
        engine.stop_readers();
        // Nobody sends; the end of the last sender is the news.
        while self.drained.recv().await.is_some() {}
        if let Some(subscriptions) = self.app.opened_subscriptions() {
            subscriptions.stop().await;
        }
        engine.shutdown().await;
        Stopped::Clean
    }
}

/// Recovers, then gives every core its shard and lets requests through.
pub(crate) fn open(
    app: &App,
    env: Env,
    mut options: Options,
    cores: Vec<oneshot::Sender<Shard>>,
    driver: oneshot::Sender<Driver>,
    deliver: Arc<dyn Deliver>,
) -> Result<(), OpenError> {
    options.fold.get_or_insert(Latest::fold);
    let Opened { engine, shards } = millrace_engine::open(env, options)?;
    for (core, shard) in cores.into_iter().zip(shards) {
        // A core ends early only when the server drains; then nobody will ask this shard.
        let _ = core.send(shard);
    }
    let (subscriptions, its_driver) = subscriptions(app, &engine, deliver);
    app.open(engine, subscriptions);
    // As with cores.
    let _ = driver.send(its_driver);
    Ok(())
}

/// The subscriptions of an engine, and what has to be run for them.
pub(crate) fn subscriptions(
    app: &App,
    engine: &Engine,
    deliver: Arc<dyn Deliver>,
) -> (Subscriptions, Driver) {
    let options = SubscriptionOptions {
        public_url: app.config.public_url.clone(),
        rules: Rules {
            allow_local: app.config.allow_local_webhooks,
        },
        deliver,
        key_age_max: app.config.webhook_key_age,
    };
    Subscriptions::new(engine.clone(), options)
}
