//! Power loss at every I/O of a repair: a start in between refuses or is right, and the repair can be
//! run again.

use std::{collections::BTreeMap, sync::Arc};

use millrace_core::StreamId;
use millrace_env::SimDisk;

use super::{
    Plan, apply, plan,
    tests::support::{Model, assert_honest, repaired, shop, start},
};
use crate::{
    check::Lock,
    testkit::{LOG, sim_env},
};

type Damage<'d> = &'d dyn Fn(&SimDisk);

#[test]
fn power_loss_anywhere_in_a_repair_leaves_what_can_be_repaired_or_started() {
    let (disk, models) = shop(1).stop();
    let log = LOG.dir();
    let env = sim_env(&disk, 1);
    let segments = env.disk.list(&log).unwrap();
    let middle = log.join(&segments[segments.len() - 2].name);
    let damages: [Damage<'_>; 4] = [
        &|disk| disk.lose("segments/0000000000000000.seg"),
        &|disk| disk.flip_bit("segments/0000000000000001.seg", 100, 1),
        &|disk| disk.flip_bit(&middle, 6000, 1),
        &|disk| {
            disk.flip_bit("segments/0000000000000000.seg", 100, 1);
            disk.lose(&log);
        },
    ];
    let (mut refused, mut started) = (0, 0);
    for (number, damage) in damages.iter().enumerate() {
        let disk = disk.copy(number as u64);
        damage(&disk);
        let planned = plan(&sim_env(&disk, 1), Lock::Held).unwrap();
        assert!(!planned.is_empty());
        let mut n = 0;
        loop {
            n += 1;
            let disk = disk.copy(n * 10 + number as u64);
            disk.crash_after(n);
            let done = apply(&sim_env(&disk, n), Lock::Held, &planned);
            if !disk.is_down() {
                done.unwrap();
                break;
            }
            if looked_at(&disk.crash(), &models, &planned, n) {
                started += 1;
            } else {
                refused += 1;
            }
        }
        assert!(n > 20, "{n} I/Os");
    }
    assert!(
        refused > 20 && started > 10,
        "{refused} refused, {started} started"
    );
}

/// What a start and another repair make of an interrupted one; whether a start goes through.
fn looked_at(
    disk: &Arc<SimDisk>,
    models: &BTreeMap<StreamId, Model>,
    planned: &Plan,
    n: u64,
) -> bool {
    // Started at once, on a copy.
    let at_once = start(&disk.copy(n));
    let starts = at_once.is_ok();
    if let Ok(found) = at_once {
        assert_honest(&found, models, planned);
    }
    if n.is_multiple_of(2) {
        return starts;
    }
    // Repaired again, with another loss of power on the way.
    let again = disk.copy(n + 1);
    let env = sim_env(&again, n + 1);
    let replanned = plan(&env, Lock::Held).unwrap();
    assert_eq!(
        replanned.lost.is_empty(),
        starts || planned.lost.is_empty(),
        "what is lost is the same until it is done"
    );
    again.crash_after(n % 40 + 1);
    let _ = apply(&env, Lock::Held, &replanned);
    let again = again.crash();
    if starts {
        assert_honest(&start(&again).unwrap(), models, planned);
    } else {
        let rest = plan(&sim_env(&again, n), Lock::Held).unwrap();
        if rest.is_empty() {
            assert_honest(&start(&again).unwrap(), models, planned);
        } else {
            repaired(&again, models);
        }
    }
    starts
}

#[test]
fn a_full_disk_anywhere_in_a_repair_leaves_it_to_be_run_again() {
    use millrace_env::{FaultError, FaultOp};
    let (disk, models) = shop(2).stop();
    disk.flip_bit("segments/0000000000000000.seg", 100, 1);
    disk.lose(LOG.dir());
    let planned = plan(&sim_env(&disk, 1), Lock::Held).unwrap();
    let mut failed = 0;
    for n in 0..40 {
        let disk = disk.copy(n);
        disk.fail_next(FaultOp::Write, FaultError::NoSpace, n);
        let done = apply(&sim_env(&disk, n), Lock::Held, &planned);
        disk.heal();
        if done.is_ok() {
            // The catalog bears with it, or there were fewer writes.
            assert_honest(&start(&disk).unwrap(), &models, &planned);
            continue;
        }
        failed += 1;
        let (again, _) = repaired(&disk, &models);
        assert_eq!(again.lost, planned.lost, "nothing was done before");
    }
    assert!(failed > 10, "{failed}");
}
