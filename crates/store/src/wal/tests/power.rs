//! Power loss, kills and failing calls at every I/O, over many starts.
//!
//! The check: what was acknowledged is replayed exactly once, in order, and beside it nothing but
//! a beginning of what was written since the last sync, wholly or not at all.

use millrace_env::{
    Rng,
    sim::{FaultError, FaultOp},
};

use super::*;
use crate::codec::samples;

/// What a log must hold.
struct World {
    disk: Arc<SimDisk>,
    rng: Rng,
    options: WalOptions,
    /// Whether every turn is synced before the next.
    syncs: bool,
    /// Up to where a catalog has it.
    flushed: Lsn,
    /// All that was acknowledged, or shown by a start, from frame 1 on.
    acked: Frames,
    /// Written since, or failed as the last thing before the log stopped.
    pending: Frames,
}

impl World {
    fn new(seed: u64) -> Self {
        let rng = Rng::from_seed(seed);
        Self {
            disk: SimDisk::new(seed),
            options: WalOptions {
                segment_bytes: 4096 + 512 * (2 + rng.below(16)),
                reserve: rng.below(2) == 0,
            },
            syncs: rng.below(4) != 0,
            rng,
            flushed: Lsn(0),
            acked: Frames::new(),
            pending: Frames::new(),
        }
    }

    fn env(&self) -> Env {
        env_on(&self.disk, self.rng.next())
    }

    /// Opens, and compares with what must be there.
    fn start(&mut self, whole: bool) -> Result<Wal, StoreError> {
        let env = self.env();
        if self.acked.is_empty() && self.pending.is_empty() {
            return Wal::create(&env, LOG, 1, self.options);
        }
        let kept = usize::try_from(self.flushed.get()).unwrap();
        let mut shown = Frames::new();
        let result = Wal::open(
            &env,
            LOG,
            1,
            self.flushed,
            self.options,
            &mut |lsn, events| {
                shown.push((lsn, events));
                Ok(())
            },
        );
        let Ok((wal, recovery)) = result else {
            return result.map(|(wal, _)| wal);
        };
        let (sure, unsure) = shown
            .split_at_checked(self.acked.len() - kept)
            .expect("all acked");
        assert!(sure == &self.acked[kept..], "acknowledged frames come back");
        assert!(
            self.pending.starts_with(unsure),
            "and nothing but a beginning of the rest"
        );
        assert!(
            !whole || unsure.len() == self.pending.len(),
            "a kill loses nothing"
        );
        assert_eq!(
            recovery.last.get(),
            (self.acked.len() + unsure.len()) as u64
        );
        self.pending.truncate(unsure.len());
        self.acked.append(&mut self.pending);
        Ok(wal)
    }

    fn events(&self) -> Vec<Event> {
        let large = if self.rng.below(20) == 0 { 20_000 } else { 400 };
        let count = 1 + self.rng.below(3);
        (0..count)
            .map(|_| samples::event(&self.rng, large))
            .collect()
    }

    /// One step of a shard. An error ends the boot, unless the log says that it can go on.
    fn step(&mut self, wal: &mut Wal) -> Result<(), StoreError> {
        match self.rng.below(12) {
            0 => {
                // A flush takes what is durable only.
                wal.sync()?;
                self.acked.append(&mut self.pending);
                let len = self.acked.len() as u64;
                self.flushed = Lsn(self.flushed.get().max(self.rng.below(len + 1)));
                wal.recycle(self.flushed)
            }
            1 => {
                if let Some(job) = wal.spare_job() {
                    let made = job.run();
                    wal.add_spare(made);
                }
                Ok(())
            }
            2 => {
                self.plan_a_fault();
                Ok(())
            }
            _ => self.turn(wal),
        }
    }

    fn plan_a_fault(&self) {
        let ops = [
            FaultOp::Write,
            FaultOp::Sync,
            FaultOp::Rename,
            FaultOp::Create,
        ];
        let op = ops[usize::try_from(self.rng.below(4)).unwrap()];
        let error = if self.rng.below(4) == 0 {
            FaultError::Io
        } else {
            FaultError::NoSpace
        };
        self.disk.fail_next(op, error, self.rng.below(6));
        self.disk
            .set_short_writes([0.0, 0.5, 1.0][usize::try_from(self.rng.below(3)).unwrap()]);
    }

    fn turn(&mut self, wal: &mut Wal) -> Result<(), StoreError> {
        let events = self.events();
        wal.prepare(Wal::frame_bytes_max(&events), self.rng.below(8) == 0)?;
        let frame = wal.encode(&events);
        let result = wal.write(&frame);
        if matches!(result, Err(StoreError::Full)) {
            return result;
        }
        self.pending.push((frame.lsn, events));
        result?;
        if self.syncs || self.rng.below(10) == 0 {
            if self.rng.below(2) == 0 {
                let result = wal.sync_handle().run();
                wal.mark_synced(&result);
                result?;
            } else {
                wal.sync()?;
            }
            self.acked.append(&mut self.pending);
        }
        Ok(())
    }

    /// A boot of at most `steps` steps; whether the log was ever opened.
    fn boot(&mut self, steps: u64, whole: bool) {
        let mut wal = match self.start(whole) {
            Ok(wal) => wal,
            Err(error) => {
                assert!(
                    self.disk.is_down(),
                    "a start fails with the power alone: {error}"
                );
                return;
            }
        };
        for _ in 0..steps {
            match self.step(&mut wal) {
                Ok(()) => assert!(!wal.is_poisoned()),
                Err(StoreError::Full) => assert!(!wal.is_poisoned(), "full is no reason to stop"),
                Err(_) if wal.is_poisoned() || self.disk.is_down() => break,
                // A spare that could not be made changes nothing.
                Err(_) => {}
            }
        }
        let unsynced = !self.pending.is_empty();
        if !wal.is_poisoned() && self.rng.below(8) == 0 && wal.close().is_ok() && unsynced {
            self.acked.append(&mut self.pending);
        }
    }

    /// The end of a boot; whether all that was written is still shown.
    fn end_boot(&mut self) -> bool {
        let whole = self.rng.below(3) == 0 && !self.disk.is_down();
        self.disk = if whole {
            self.disk.kill()
        } else {
            self.disk.crash()
        };
        whole
    }
}

#[test]
fn every_synced_frame_is_replayed_once_in_order_after_power_loss_anywhere() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        let mut shows_all = false;
        for _ in 0..12 {
            if world.rng.below(4) != 0 {
                world.disk.crash_after(1 + world.rng.below(60));
            }
            let poisoned_before = world.pending.len();
            world.boot(world.rng.below(50), shows_all && poisoned_before == 0);
            shows_all = world.end_boot();
        }
        world.boot(0, false);
    }
}

/// A history, cut at each of its I/Os; then each start after it, cut at each of its I/Os; and a
/// start after that.
#[test]
fn t16_power_loss_inside_recovery_is_harmless() {
    let cuts: u64 = (1..=3).map(cut_everywhere).sum();
    assert!(cuts > 1000, "only {cuts} moments were tried");
}

fn cut_everywhere(seed: u64) -> u64 {
    let mut cuts = 0;
    for n in 1.. {
        let mut world = World::new(seed);
        world.disk.crash_after(n);
        world.boot(40, false);
        let ended = !world.disk.is_down();
        world.end_boot();
        cuts += cut_start_everywhere(&world, n);
        if ended {
            break;
        }
    }
    cuts
}

fn cut_start_everywhere(world: &World, n: u64) -> u64 {
    for m in 1.. {
        let disk = world.disk.copy(n * 1000 + m);
        disk.crash_after(m);
        let mut again = World {
            disk: Arc::clone(&disk),
            rng: Rng::from_seed(m),
            options: world.options,
            syncs: true,
            flushed: world.flushed,
            acked: world.acked.clone(),
            pending: world.pending.clone(),
        };
        let opened = again.start(false).is_ok();
        again.disk = disk.crash();
        again
            .start(false)
            .expect("a start after the power came back");
        if opened {
            return m;
        }
    }
    0
}
