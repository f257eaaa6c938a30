//! The clients of a run: who works against the server, each one request at a time.

mod caller;
mod expiry;
mod guest;
pub(crate) mod hook;
mod life;
mod owner;
mod pen;
mod reader;
mod steward;
pub(crate) mod wake;
pub(crate) mod worker;

use std::rc::Rc;

use millrace_kill::schedule::Chance;
use tokio::task::JoinSet;

pub(crate) use self::caller::Caller;
use self::{
    owner::Owner,
    reader::Mode,
    worker::{BY_NAME, BY_PATTERN},
};
use crate::world::World;

const READERS: [Mode; 4] = [Mode::Sse, Mode::LongPoll, Mode::CatchUp, Mode::Sse];

/// The number of the last client; they count from 1.
pub(crate) const CLIENTS: u32 = 14;

/// The clients of a run.
pub(crate) struct Clients {
    /// They end when the run stops.
    pub(crate) others: JoinSet<()>,
    /// They end when the run is settled, and all that was appended is processed.
    pub(crate) subscribers: JoinSet<()>,
}

/// Starts all clients inside a `LocalSet`.
pub(crate) fn start(world: &Rc<World>, seed: u64) -> Clients {
    let mut clients = JoinSet::new();
    let mut subscribers = JoinSet::new();
    let mut last = 0;
    let mut caller = || {
        last += 1;
        Caller::new(world, last, Chance::new(seed, u64::from(last)))
    };
    for _ in 0..2 {
        clients.spawn_local(Owner::new(caller()).work());
    }
    clients.spawn_local(guest::work(caller()));
    clients.spawn_local(guest::work(caller()));
    for mode in READERS {
        clients.spawn_local(reader::work(caller(), mode));
    }
    clients.spawn_local(expiry::work(caller()));
    clients.spawn_local(steward::work(caller()));
    for of in [BY_PATTERN, BY_PATTERN, BY_NAME] {
        subscribers.spawn_local(worker::work(caller(), of));
    }
    subscribers.spawn_local(hook::work(caller()));
    assert_eq!(last, CLIENTS, "every client has a number");
    Clients {
        others: clients,
        subscribers,
    }
}
