//! Whoever makes things go wrong while the server lives: the disk fails, fills, slows down, flips bits;
//! clients are parted from the server; the wall clock is set.

use std::{ops::Range, rc::Rc, sync::Arc, time::Duration};

use millrace_env::{Fault, FaultError, FaultOp, sleep};
use millrace_kill::schedule::Chance;
use tokio::task::JoinSet;

use crate::{
    clients::CLIENTS,
    medium::Temper,
    mishap::Mishap,
    plan::{FaultKind, Faults},
    rot,
    world::World,
};

/// What can fail, and how.
const ERRORS: [(FaultOp, FaultError); 17] = [
    (FaultOp::Read, FaultError::Io),
    (FaultOp::Write, FaultError::Io),
    (FaultOp::Write, FaultError::NoSpace),
    (FaultOp::Sync, FaultError::Io),
    (FaultOp::Sync, FaultError::NoSpace),
    (FaultOp::SyncDir, FaultError::Io),
    (FaultOp::Open, FaultError::TooManyFiles),
    (FaultOp::Create, FaultError::TooManyFiles),
    (FaultOp::Create, FaultError::NoSpace),
    (FaultOp::Rename, FaultError::Io),
    (FaultOp::SetLen, FaultError::NoSpace),
    (FaultOp::Remove, FaultError::Io),
    (FaultOp::CreateDir, FaultError::NoSpace),
    (FaultOp::RemoveDir, FaultError::Io),
    (FaultOp::List, FaultError::Io),
    (FaultOp::List, FaultError::TooManyFiles),
    (FaultOp::Len, FaultError::Io),
];
/// Rare calls that everything rests on.
const STEPS: [(FaultOp, FaultError); 3] = [
    (FaultOp::Sync, FaultError::Io),
    (FaultOp::SyncDir, FaultError::Io),
    (FaultOp::Rename, FaultError::Io),
];
/// How far the wall clock is set, either way, at most.
const JUMP_MILLIS_MAX: u64 = 600_000;

/// Makes things go wrong, on the disk and elsewhere, until what is returned is dropped.
pub(crate) fn start(
    world: &Rc<World>,
    faults: Faults,
    temper: &Arc<Temper>,
    seed: u64,
) -> JoinSet<()> {
    let Faults {
        kinds,
        rough_net,
        slow_disk,
        pause_millis,
    } = faults;
    world.net.set_rough(rough_net);
    if let Some(times) = &slow_disk {
        world.trace.count(Mishap::SlowRun);
        temper.set_slow(times.clone());
    }
    let usual = slow_disk.unwrap_or_default();
    let (of_disk, others) = kinds.into_iter().partition(|kind| kind.is_of_disk());
    let mut saboteurs = JoinSet::new();
    for (number, kinds) in [(1004, of_disk), (1007, others)] {
        let (world, temper) = (Rc::clone(world), Arc::clone(temper));
        let chance = Chance::new(seed, number);
        let sabotage = Sabotage {
            world,
            kinds,
            pause_millis,
            usual: usual.clone(),
            temper,
            chance,
        };
        saboteurs.spawn_local(sabotage.work());
    }
    saboteurs
}

/// Whoever makes things go wrong of some kinds, one after the other.
struct Sabotage {
    world: Rc<World>,
    kinds: Vec<FaultKind>,
    pause_millis: u64,
    /// How long syncs take that are not slow for a while.
    usual: Range<Duration>,
    temper: Arc<Temper>,
    chance: Chance,
}

impl Sabotage {
    async fn work(mut self) {
        while !self.kinds.is_empty() {
            sleep(self.chance.millis(20, self.pause_millis)).await;
            let kind = self.kinds[self.chance.index(self.kinds.len())];
            self.happen(kind).await;
        }
    }

    async fn happen(&mut self, kind: FaultKind) {
        let Self {
            world,
            temper,
            chance,
            ..
        } = self;
        match kind {
            FaultKind::DiskError => plan_errors(world, chance),
            FaultKind::FullDisk => {
                world.trace.count(Mishap::FullDisk);
                world.limit_disk(Some(chance.between(0, 40_000)));
                sleep(chance.millis(100, 2500)).await;
                world.limit_disk(None);
            }
            FaultKind::SlowDisk => {
                temper.set_slow(Duration::ZERO..chance.millis(1, 40));
                sleep(chance.millis(100, 2000)).await;
                temper.set_slow(self.usual.clone());
            }
            FaultKind::ShortWrites => world.failing_disk().set_short_writes(0.3),
            FaultKind::BitFlip => {
                rot::flip(world, chance);
                sleep(chance.millis(100, 2500)).await;
                world.mend();
            }
            FaultKind::Partition => {
                let who = u32::try_from(chance.between(1, u64::from(CLIENTS) + 1));
                let time = chance.millis(50, 1500);
                world.net.part(who.expect("a few clients"), time);
            }
            FaultKind::NoDescriptors => {
                world.net.set_out_of_descriptors(50);
                sleep(chance.millis(50, 700)).await;
                world.net.set_out_of_descriptors(0);
            }
            FaultKind::ClockJump => {
                let far = chance.between(0, 2 * JUMP_MILLIS_MAX).cast_signed();
                world.jump(far - JUMP_MILLIS_MAX.cast_signed());
            }
        }
    }
}

/// A call that fails: after fewer of its kind than one of `calls`.
fn error(chance: &mut Chance, calls: [u64; 3]) -> Fault {
    let (op, error) = if chance.percent(30) {
        STEPS[chance.index(STEPS.len())]
    } else {
        ERRORS[chance.index(ERRORS.len())]
    };
    let calls = calls[chance.index(calls.len())];
    Fault::new(op, error).after(chance.between(0, calls))
}

/// Lets some calls fail, soon and once each.
fn plan_errors(world: &World, chance: &mut Chance) {
    for _ in 0..chance.between(2, 8) {
        let fault = error(chance, [1, 4, 12]);
        world.failing_disk().fail(fault);
    }
}

/// The server is about to begin on a disk that fails: in a few calls or in all of a kind, and writes may
/// come out short. What fails then, it cannot blame on a client.
pub(crate) fn spoil_start(world: &World, chance: &mut Chance) {
    let disk = world.failing_disk();
    for _ in 0..chance.between(0, 4) {
        let fault = error(chance, [3, 20, 100]);
        disk.fail(if chance.percent(15) {
            fault.lasting()
        } else {
            fault
        });
    }
    if chance.percent(40) {
        disk.set_short_writes([0.3, 0.9][chance.index(2)]);
    }
}

/// Everything works from here on.
pub(crate) fn calm(world: &World, temper: &Temper) {
    world.net.set_rough(0);
    world.net.set_out_of_descriptors(0);
    temper.set_slow(Duration::ZERO..Duration::ZERO);
    temper.set_lies(false);
    temper.set_forgets_names(false);
    world.mend();
    world.failing_disk().heal();
    world.limit_disk(None);
}
