//! A core: one thread, one event loop, one shard, and the connections it was given.
//!
//! The loop reads everything that is readable; then the shard takes its turn (see the engine's
//! `shard/task.rs`). An append for the own shard crosses no thread.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use millrace_engine::Shard;
use millrace_env::{Listener, Watcher, sleep, timeout};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinSet, LocalSet},
};

use crate::{
    app::App,
    conn::Protocol,
    lane::{Lane, Served},
    metrics::Connected,
    refusals::{Peer, Refused},
    router::Router,
};

/// How long to wait when connections cannot be accepted: out of descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a core needs to know of the others.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    /// From here on no connection is accepted, and those that are open end.
    pub(crate) draining: Watcher,
    /// Dropped when this core has no connection left.
    pub(crate) drained: mpsc::Sender<std::convert::Infallible>,
}

/// Runs `work` on this thread until it is done, as the owner of a runtime.
pub(crate) fn on_this_thread<F: Future<Output = ()>>(work: F) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, work);
    Ok(())
}

/// Serves connections until the server drains, and the shard, when recovery has made it, to its end.
pub(crate) async fn run<L: Listener>(
    listener: L,
    shard: oneshot::Receiver<Shard>,
    app: Arc<App>,
    signals: Signals,
) {
    let shard = tokio::task::spawn_local(async move {
        // Without recovery there is no shard, and the server is about to end.
        if let Ok(shard) = shard.await {
            shard.run().await;
        }
    });
    serve(listener, app, signals).await;
    // A panic in the shard's loop was told by the panic hook; its stream owners are told too.
    let _ = shard.await;
}

/// Serves connections until the server drains.
pub(crate) async fn serve<L: Listener>(listener: L, app: Arc<App>, signals: Signals) {
    let Signals { draining, drained } = signals;
    let protocol = Rc::new(Protocol::new(&app.config));
    let router = Router::new(Arc::clone(&app));
    let metrics = Arc::clone(router.metrics());
    let lane = app.config.short_way.then(|| Lane::new(Rc::clone(&router)));
    let conns = RefCell::new(JoinSet::new());
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((conn, peer)) => {
                    let peer = Peer::new(peer, Arc::clone(&app.refusals));
                    let (protocol, router) = (Rc::clone(&protocol), Rc::clone(&router));
                    let draining = draining.clone();
                    let lane = lane.clone();
                    let connected = Connected::new(&metrics);
                    let serve = async move {
                        match lane {
                            None => protocol.serve(conn, peer, router, draining).await,
                            Some(lane) => {
                                let served = lane.serve(conn, peer.clone(), draining.clone());
                                // Boxed: each needs more than the one after it.
                                let served = Box::pin(served).await;
                                match served {
                                    Served::Ended => {}
                                    Served::Rest(conn) => {
                                        let rest = protocol.serve(conn, peer, router, draining);
                                        Box::pin(rest).await;
                                    }
                                    Served::Following(follower) => {
                                        Box::pin(follower.run()).await;
                                    }
                                }
                            }
                        }
                        drop(connected);
                    };
                    let mut conns = conns.borrow_mut();
                    conns.spawn_local(serve);
                    // What ended meanwhile is let go of.
                    while conns.try_join_next().is_some() {}
                }
                Err(error) => {
                    app.refusals.add(Refused::NotAccepted);
                    tracing::warn!(%error, "a connection cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    let stop = draining.clone();
    tokio::select! {
        biased;
        // A server that is gone stops too.
        () = stop.wait() => {}
        () = accept => {}
    }
    drop(listener);
    let mut conns = conns.into_inner();
    let all = async { while conns.join_next().await.is_some() {} };
    if timeout(app.config.times.drain, all).await.is_none() {
        tracing::warn!(open = conns.len(), "connections are cut");
        (0..conns.len()).for_each(|_| app.refusals.add(Refused::Drained));
        conns.shutdown().await;
    }
    drop(drained);
}
