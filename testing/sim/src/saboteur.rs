//! Whoever makes things go wrong while the server lives: the disk fails, fills, slows down; clients are
//! parted from the server; the wall clock is set.

use std::{rc::Rc, sync::Arc, time::Duration};

use millrace_env::{Fault, FaultError, FaultOp, sleep};
use millrace_kill::schedule::Chance;

use crate::{
    clients::CLIENTS,
    medium::Temper,
    plan::{FaultKind, Faults},
    world::World,
};

/// What can fail, and how.
const ERRORS: [(FaultOp, FaultError); 11] = [
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
];
/// How far the wall clock is set, either way, at most.
const JUMP_MILLIS_MAX: u64 = 600_000;

/// Makes things go wrong until the run ends.
pub(crate) async fn work(
    world: Rc<World>,
    faults: Faults,
    temper: Arc<Temper>,
    mut chance: Chance,
) {
    let Faults { kinds, rough_net } = faults;
    world.net.set_rough(rough_net);
    while !kinds.is_empty() {
        sleep(chance.millis(20, 500)).await;
        let kind = kinds[chance.index(kinds.len())];
        happen(kind, &world, &temper, &mut chance).await;
    }
}

async fn happen(kind: FaultKind, world: &World, temper: &Temper, chance: &mut Chance) {
    match kind {
        FaultKind::DiskError => plan_error(world, chance),
        FaultKind::FullDisk => {
            world.count("faults: full disk");
            world.limit_disk(Some(chance.between(0, 40_000)));
            sleep(chance.millis(100, 2500)).await;
            world.limit_disk(None);
        }
        FaultKind::SlowDisk => {
            world.count("faults: slow disk");
            temper.set_slow(chance.millis(1, 40));
            sleep(chance.millis(100, 2000)).await;
            temper.set_slow(Duration::ZERO);
        }
        FaultKind::ShortWrites => {
            world.count("faults: short writes");
            world.failing_disk().set_short_writes(0.3);
        }
        FaultKind::Partition => {
            world.count("faults: partitions");
            let who = u32::try_from(chance.between(1, u64::from(CLIENTS) + 1));
            let time = chance.millis(50, 1500);
            world.net.part(who.expect("a few clients"), time);
        }
        FaultKind::NoDescriptors => {
            world.count("faults: no descriptors");
            world.net.set_out_of_descriptors(50);
            sleep(chance.millis(50, 700)).await;
            world.net.set_out_of_descriptors(0);
        }
        FaultKind::ClockJump => {
            world.count("faults: clock jumps");
            let far = chance.between(0, 2 * JUMP_MILLIS_MAX).cast_signed();
            world.jump(far - JUMP_MILLIS_MAX.cast_signed());
        }
    }
}

/// Lets a call fail, soon and once.
pub(crate) fn plan_error(world: &World, chance: &mut Chance) {
    let (op, error) = ERRORS[chance.index(ERRORS.len())];
    world.count("faults: disk errors planned");
    let fault = Fault::new(op, error).after(chance.between(0, 12));
    world.failing_disk().fail(fault);
}

/// Everything works from here on.
pub(crate) fn calm(world: &World, temper: &Temper) {
    world.net.set_rough(0);
    world.net.set_out_of_descriptors(0);
    temper.set_slow(Duration::ZERO);
    temper.set_lies(false);
    world.failing_disk().heal();
    world.limit_disk(None);
}
