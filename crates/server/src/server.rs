//! A server with its threads. What it does apart from them is in `running.rs`.
//!
//! The port listens at once. Recovery runs on a thread of its own; until it is done requests for
//! streams are answered 503 and `/ready` says so.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
};

use millrace_engine::{Engine, OpenError, Options, Shard};
use millrace_env::{Env, tasks};
use millrace_subscribe::{Driver, Webhooks};
use tokio::{net::TcpSocket, sync::oneshot};

use crate::{
    app::App,
    config::Config,
    core::{self, Signals},
    front::{self, Inlet, Outlet},
    refusals::Refusals,
    running::{Running, Stopped, open},
};

/// What a server is made from.
#[derive(Debug)]
pub struct Setup {
    /// Where it listens.
    pub socket: TcpListener,
    /// The outside world, the data directory included.
    pub env: Env,
    /// The engine's configuration; its number of shards is the number of cores.
    pub engine: Options,
    /// The server's.
    pub config: Config,
}

/// The most connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// Binds a socket for [`Setup::socket`], with room for many connections at once. Call it inside a
/// tokio runtime.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A restart must not wait for the connections of the last run to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// A running server. Dropping it without [`Self::stop`] leaves its threads running.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    running: Running,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts one. It listens when this returns; [`Self::opened`] tells when it is ready.
    pub fn start(setup: Setup) -> io::Result<Self> {
        let Setup {
            socket,
            env,
            engine,
            config,
        } = setup;
        let address = socket.local_addr()?;
        let (running, signals, tell) = Running::new(config, env.clone());
        let app = Arc::clone(running.app());
        let mut threads = Vec::new();
        let mut cores = Vec::new();
        let mut shards = Vec::new();
        for number in 0..engine.shards {
            let (outlet, inlet) = front::way();
            let (shard, its_shard) = oneshot::channel();
            threads.push(core_thread(number, inlet, its_shard, &app, &signals)?);
            cores.push(outlet);
            shards.push(shard);
        }
        threads.push(front_thread(socket, cores, &app, signals)?);
        let (driver, its_driver) = oneshot::channel();
        threads.push(driver_thread(its_driver)?);
        let opening = Arc::clone(&app);
        threads.push(tasks::thread("millrace-open", move || {
            // Whoever started the server may not care.
            let deliver = Arc::new(Webhooks::default());
            let _ = tell.send(open(&opening, env, engine, shards, driver, deliver));
        })?);
        Ok(Self {
            address,
            running,
            threads,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The engine, once it is open.
    pub fn engine(&self) -> Option<Engine> {
        self.running.engine()
    }

    /// How often clients were refused, by reason.
    pub fn refusals(&self) -> &Refusals {
        &self.running.app().refusals
    }

    /// Waits until recovery is done, or has failed. Waits for ever when asked again.
    pub async fn opened(&mut self) -> Result<(), OpenError> {
        self.running.opened().await
    }

    /// Waits until a shard takes no more writes; says why.
    pub async fn poisoned(&self) -> Vec<String> {
        self.running.poisoned().await
    }

    /// Ends it: accepts no more, ends live reads with an offset to go on from, finishes what is
    /// under way or cuts it after [`crate::config::Times::drain`], flushes.
    pub async fn stop(mut self) -> Stopped {
        let stopped = self.running.stop().await;
        if stopped == Stopped::Clean {
            let threads = std::mem::take(&mut self.threads);
            tasks::blocking(move || {
                for thread in threads {
                    // A panic of a thread was told by the panic hook.
                    let _ = thread.join();
                }
            })
            .await;
        }
        stopped
    }
}

fn core_thread(
    number: u16,
    inlet: Inlet,
    shard: oneshot::Receiver<Shard>,
    app: &Arc<App>,
    signals: &Signals,
) -> io::Result<JoinHandle<()>> {
    let (app, signals) = (Arc::clone(app), signals.clone());
    tasks::thread(&format!("millrace-{number}"), move || {
        runs(core::on_this_thread(core::run(inlet, shard, app, signals)));
    })
}

fn front_thread(
    socket: TcpListener,
    cores: Vec<Outlet>,
    app: &Arc<App>,
    signals: Signals,
) -> io::Result<JoinHandle<()>> {
    let app = Arc::clone(app);
    tasks::thread("millrace-front", move || {
        runs(core::on_this_thread(front::run(
            socket, cores, app, signals,
        )));
    })
}

/// What subscriptions do by themselves is kept off the threads of shards: a pattern that is looked for in
/// many names, a signature, a handshake.
fn driver_thread(driver: oneshot::Receiver<Driver>) -> io::Result<JoinHandle<()>> {
    tasks::thread("millrace-wakes", move || {
        runs(core::on_this_thread(async move {
            // Without recovery there is none.
            if let Ok(driver) = driver.await {
                millrace_subscribe::run(driver).await;
            }
        }));
    })
}

/// A thread without an event loop does nothing, and has to say so.
fn runs(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "an event loop cannot be started; out of descriptors or memory");
    }
}
