//! Whoever makes things go wrong while the server lives: the disk fails, fills, slows down; clients are
//! parted from the server; the wall clock is set.

use std::{rc::Rc, sync::Arc, time::Duration};

use millrace_env::{Fault, FaultError, FaultOp, sleep};
use millrace_kill::schedule::Chance;

use crate::{clients::CLIENTS, medium::Temper, plan::Faults, world::World};

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
const JUMP_MILLIS_MAX: i64 = 600_000;

/// Makes things go wrong until the run ends.
pub(crate) async fn work(world: Rc<World>, faults: Faults, temper: Arc<Temper>, mut chance: Chance) {
    world.net.set_rough(faults.rough_net);
    while !world.is_stopping() {
        sleep(chance.millis(20, 900)).await;
        match chance.between(0, 7) {
            0 if faults.disk_errors => plan_error(&world, &mut chance),
            1 if faults.full_disk => fill(&world, &mut chance).await,
            2 if faults.slow_disk => {
                let longest = chance.millis(1, 40);
                world.count("faults: slow disk");
                temper.set_slow(longest);
                sleep(chance.millis(100, 2000)).await;
                temper.set_slow(Duration::ZERO);
            }
            3 if faults.short_writes => {
                world.count("faults: short writes");
                world.failing_disk().set_short_writes(0.3);
            }
            4 if faults.partitions => {
                let who = u32::try_from(chance.between(1, u64::from(CLIENTS) + 1));
                world.count("faults: partitions");
                world.net.part(who.expect("a few clients"), chance.millis(50, 1500));
            }
            5 if faults.no_descriptors => {
                world.count("faults: no descriptors");
                world.net.set_out_of_descriptors(50);
                sleep(chance.millis(50, 700)).await;
                world.net.set_out_of_descriptors(0);
            }
            6 if faults.clock_jumps => {
                let far = u64::try_from(JUMP_MILLIS_MAX).expect("positive");
                let by = chance.between(0, 2 * far).cast_signed() - JUMP_MILLIS_MAX;
                world.count("faults: clock jumps");
                world.jump(by);
            }
            _ => {}
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

/// The disk is nearly full for a while.
async fn fill(world: &World, chance: &mut Chance) {
    world.count("faults: full disk");
    world.limit_disk(Some(chance.between(0, 40_000)));
    sleep(chance.millis(100, 2500)).await;
    world.limit_disk(None);
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
