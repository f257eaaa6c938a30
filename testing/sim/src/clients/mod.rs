//! The clients of a run: who works against the server, each one request at a time.

mod caller;
mod expiry;
mod guest;
mod life;
mod owner;
mod pen;
mod reader;
mod steward;

use std::rc::Rc;

use millrace_kill::schedule::Chance;
use tokio::task::JoinSet;

pub(crate) use self::caller::Caller;
use self::{owner::Owner, reader::Mode};
use crate::world::World;

const READERS: [Mode; 4] = [Mode::Sse, Mode::LongPoll, Mode::CatchUp, Mode::Sse];

/// The number of the last client; they count from 1.
pub(crate) const CLIENTS: u32 = 10;

/// Starts all clients inside a `LocalSet`; each ends some time after the run does.
pub(crate) fn start(world: &Rc<World>, seed: u64) -> JoinSet<()> {
    let mut clients = JoinSet::new();
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
    assert_eq!(last, CLIENTS, "every client has a number");
    clients
}
