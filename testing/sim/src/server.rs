//! The server, life after life on one disk.
//!
//! A life is a `LocalSet` of its own. It ends when that is dropped: whatever its tasks were waiting for,
//! they wait for ever. From the moment of its death on, its disk and its network are dead as well.

use std::{
    cell::Cell,
    future::{Future as _, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use millrace_engine::{OpenError, Options};
use millrace_env::{Env, Rng, SimDisk, sleep, timeout};
use millrace_kill::schedule::Chance;
use millrace_server::{Config, Stopped, one_thread::OneThread};
use millrace_subscribe::Deliver;
use tokio::{sync::Notify, task::LocalSet, time::Instant};

use crate::{
    clock::LoopClock,
    medium::{Medium, Temper},
    mishap::Mishap,
    net::SimListener,
    plan::{LifePlan, Start},
    power::{Death, Power, Stage},
    rot, saboteur,
    trace::Trace,
    world::World,
};

/// Nothing takes so many rounds of the event loop without a wait.
const ROUNDS_MAX: u32 = 300_000;

/// The server and what outlives it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) world: Rc<World>,
    pub(crate) clock: Arc<LoopClock>,
    pub(crate) trace: Trace,
    pub(crate) temper: Arc<Temper>,
    /// As the next life finds it.
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) options: Options,
    pub(crate) config: Config,
    pub(crate) seed: u64,
    pub(crate) chance: Chance,
    /// How many there were.
    pub(crate) lives: u64,
}

/// How a life ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was killed.
    Died,
    /// It did not open its data directory.
    NotOpened(OpenError),
    /// A shard took no more writes.
    Poisoned,
    /// It was asked to end, and did.
    Stopped(Stopped),
}

impl Server {
    /// One life. It is asked to end after the time that its plan says, or when `stop` says so.
    pub(crate) async fn live(&mut self, plan: LifePlan, stop: &Rc<Notify>) -> Ended {
        self.lives += 1;
        self.trace
            .note(format_args!("life {}: {plan:?}", self.lives));
        self.world.server_begins(&self.disk, plan.start);
        if plan.start == Start::Spoiled {
            saboteur::spoil_start(&self.world, &mut self.chance);
        }
        if plan.flips {
            rot::flip(&self.world, &mut self.chance);
        }
        let power = Power::on(Arc::clone(&self.disk), self.trace.clone(), plan.death);
        let listeners = self.world.net.listen(plan.shards, &power);
        let ended = Rc::new(Cell::new(None));
        let local = LocalSet::new();
        let life = Life {
            disk: Arc::clone(&self.disk),
            plan,
            stop: Rc::clone(stop),
            options: Options {
                shards: plan.shards,
                ..self.options.clone()
            },
            config: self.config.clone(),
            env: self.env(&power),
            deliver: Arc::clone(&self.world.inbox) as _,
            power: power.clone(),
        };
        let tell = Rc::clone(&ended);
        local.spawn_local(async move { tell.set(Some(life.run(listeners).await)) });
        let rounds = rounds(local, &power, &ended);
        match plan.death {
            Death::AtTime(time) => {
                if timeout(time, rounds).await.is_none() {
                    power.cut(Mishap::KilledAtTime);
                }
            }
            _ => rounds.await,
        }
        let has_died = power.is_off();
        power.end();
        self.world.net.unplug();
        self.disk = self.next_disk(plan);
        let ended = ended.take().filter(|_| !has_died);
        let ended = ended.unwrap_or(Ended::Died);
        self.trace
            .note(format_args!("life {} ended: {ended:?}", self.lives));
        ended
    }

    /// The disk as the next life may find it: what was to fail still is to.
    fn next_disk(&self, plan: LifePlan) -> Arc<SimDisk> {
        let planned = self.disk.planned();
        let disk = if plan.loses_power {
            self.trace.count(Mishap::PowerLost);
            self.disk.crash()
        } else {
            self.disk.kill()
        };
        for fault in planned {
            disk.fail(fault);
        }
        disk
    }

    fn env(&self, power: &Power) -> Env {
        let medium = Medium::new(
            Arc::clone(&self.disk),
            power.clone(),
            Arc::clone(&self.clock),
            self.trace.clone(),
            Arc::clone(&self.temper),
        );
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(self.lives);
        Env {
            disk: Arc::new(medium),
            clock: Arc::clone(&self.clock) as _,
            rng: Arc::new(Rng::from_seed(seed)),
        }
    }
}

/// Goes round in `local` until the life is over, one way or another.
async fn rounds(mut local: LocalSet, power: &Power, ended: &Cell<Option<Ended>>) {
    let (mut moment, mut rounds) = (Instant::now(), 0);
    poll_fn(|cx| {
        if std::mem::replace(&mut moment, Instant::now()) != moment {
            rounds = 0;
        }
        rounds += 1;
        assert!(rounds < ROUNDS_MAX, "no end of work at one moment");
        let polled = Pin::new(&mut local).poll(cx);
        power.went_round();
        let end = ended.take();
        let is_over = end.is_some() || polled.is_ready() || power.is_off();
        ended.set(end);
        if is_over {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// What runs inside a life.
struct Life {
    disk: Arc<SimDisk>,
    plan: LifePlan,
    stop: Rc<Notify>,
    options: Options,
    config: Config,
    env: Env,
    deliver: Arc<dyn Deliver>,
    power: Power,
}

impl Life {
    async fn run(self, listeners: Vec<SimListener>) -> Ended {
        let mut server =
            OneThread::start(listeners, self.env, self.options, self.config, self.deliver);
        if let Err(error) = server.opened().await {
            return Ended::NotOpened(error);
        }
        self.power.reached(Stage::Serving);
        tokio::select! {
            biased;
            _ = server.poisoned() => return Ended::Poisoned,
            () = self.stop.notified() => {}
            () = sleep(self.plan.stop_at) => {}
        }
        self.power.reached(Stage::Ending);
        if let Some(io) = self.plan.death_amid_stop {
            self.disk.crash_after(io);
        }
        Ended::Stopped(server.stop().await)
    }
}
