//! Power loss at every I/O of the catalog's creation and of a commit.

use std::sync::Arc;

use millrace_core::stream::StreamState;
use millrace_env::{FaultError, FaultOp, Rng, SimDisk};

use super::{Catalog, Commit};
use crate::{
    StoreError,
    testkit::{created, sim_env, touched},
};

const CACHE: usize = 1 << 20;

fn open(disk: &Arc<SimDisk>) -> Result<Catalog, StoreError> {
    Catalog::open(&sim_env(disk, 1), CACHE)
}

/// Opens with the power failing now and then, until it does not.
fn open_at_last(mut disk: Arc<SimDisk>, rng: &Rng) -> (Arc<SimDisk>, Catalog) {
    for _ in 0..3 {
        disk.crash_after(rng.below(12) + 1);
        let opened = open(&disk);
        if let Err(error) = &opened {
            assert!(disk.is_down(), "only a lost disk fails an opening: {error}");
        }
        drop(opened);
        disk = disk.crash();
    }
    let catalog = open(&disk).expect("the disk is well");
    (disk, catalog)
}

#[test]
fn t15_power_loss_anywhere_in_its_creation_leaves_no_catalog_or_a_whole_one() {
    let mut whole = false;
    for n in 1.. {
        let disk = SimDisk::new(n);
        disk.crash_after(n);
        let opened = open(&disk);
        if !disk.is_down() {
            whole = opened.is_ok();
            break;
        }
        drop(opened);
        let (_, catalog) = open_at_last(disk.crash(), &Rng::from_seed(n));
        assert_eq!(catalog.stream_count().unwrap(), 0);
        catalog.verify().unwrap();
    }
    assert!(whole, "without power loss it is made");
}

/// What a commit changes: some rows anew, some changed, some gone.
struct Step {
    before: Vec<StreamState>,
    after: Vec<StreamState>,
    commit: Commit,
}

fn step(before: &[StreamState], round: u64, rng: &Rng) -> Step {
    let mut commit = Commit::default();
    let mut after = Vec::new();
    for state in before {
        match rng.below(5) {
            0 => commit.removed.push(state.id),
            1 => {
                let state = touched(state.clone(), rng.below(1 << 40));
                commit.upserts.push(state.clone());
                after.push(state);
            }
            _ => after.push(state.clone()),
        }
    }
    for n in 0..rng.below(300) {
        let state = created(&format!("{round}/{n}"), round * 1000 + n + 1);
        commit.upserts.push(state.clone());
        after.push(state);
    }
    after.sort_by_key(|state| state.id);
    Step {
        before: before.to_vec(),
        after,
        commit,
    }
}

/// The streams of a catalog; every index must agree with them.
fn content(catalog: &Catalog) -> Vec<StreamState> {
    let streams = catalog.streams(None, usize::MAX).unwrap();
    for state in &streams {
        let named = catalog
            .row_by_name(state.config.name.as_str())
            .unwrap()
            .map(|row| row.state);
        assert_eq!(named.as_ref(), Some(state));
    }
    let names = catalog.names("", None, usize::MAX).unwrap();
    assert_eq!(names.len(), streams.len());
    let due = catalog
        .due(millrace_core::Timestamp(u64::MAX), None, usize::MAX)
        .unwrap();
    let expiring = streams.iter().filter(|state| state.deadline.is_some());
    assert_eq!(due.len(), expiring.count());
    streams
}

#[test]
fn power_loss_anywhere_leaves_the_catalog_before_or_after_a_commit() {
    let (mut befores, mut afters) = (0, 0);
    for seed in 0..6 {
        let rng = Rng::from_seed(seed);
        let disk = SimDisk::new(seed);
        let catalog = open(&disk).unwrap();
        let mut streams = Vec::new();
        for round in 0..4 {
            let step = step(&streams, round, &rng);
            catalog.commit(&step.commit).unwrap();
            streams = step.after;
        }
        drop(catalog);
        let step = step(&streams, 9, &rng);
        for n in 1.. {
            let disk = disk.copy(seed * 1000 + n);
            let catalog = open(&disk).unwrap();
            disk.crash_after(n);
            let committed = catalog.commit(&step.commit);
            if !disk.is_down() {
                committed.unwrap();
                break;
            }
            drop(catalog);
            let (_, catalog) = open_at_last(disk.crash(), &rng);
            let found = content(&catalog);
            let (before, after) = (found == step.before, found == step.after);
            assert!(
                before || after,
                "seed {seed}, I/O {n}: neither before nor after"
            );
            assert!(
                after || committed.is_err(),
                "seed {seed}, I/O {n}: acknowledged and lost"
            );
            befores += u32::from(before);
            afters += u32::from(after);
        }
    }
    assert!(
        befores > 20 && afters > 0,
        "{befores} before, {afters} after"
    );
}

#[test]
fn many_generations_of_commits_and_power_losses_lose_nothing_acknowledged() {
    for seed in 0..25 {
        let rng = Rng::from_seed(seed);
        let mut disk = SimDisk::new(seed);
        disk.set_short_writes(0.1);
        let mut streams: Vec<StreamState> = Vec::new();
        let mut catalog = open(&disk).unwrap();
        for round in 0..12 {
            let step = step(&streams, round, &rng);
            disk.crash_after(rng.below(60) + 1);
            let committed = catalog.commit(&step.commit);
            disk = if rng.below(3) == 0 {
                disk.kill()
            } else {
                disk.crash()
            };
            drop(catalog);
            (disk, catalog) = open_at_last(disk, &rng);
            let found = content(&catalog);
            assert!(
                found == step.after || (committed.is_err() && found == step.before),
                "seed {seed}, round {round}"
            );
            catalog.verify().unwrap();
            streams = found;
        }
    }
}

/// Lets the `n`-th call of a kind fail inside a commit, for every `n` there is, and says what `check`
/// has to say each time.
fn every_failing(
    op: FaultOp,
    error: FaultError,
    check: impl Fn(&Arc<SimDisk>, &Catalog, Result<(), StoreError>, &Step),
) -> u64 {
    let rng = Rng::from_seed(7);
    let disk = SimDisk::new(7);
    let catalog = open(&disk).unwrap();
    let mut streams = Vec::new();
    for round in 0..5 {
        let step = step(&streams, round, &rng);
        catalog.commit(&step.commit).unwrap();
        streams = step.after;
    }
    drop(catalog);
    let step = step(&streams, 9, &rng);
    for n in 0.. {
        let disk = disk.copy(n);
        // Without a cache, so that the commit reads.
        let catalog = Catalog::open(&sim_env(&disk, 1), 0).unwrap();
        disk.fail_next(op, error, n);
        let committed = catalog.commit(&step.commit);
        if committed.is_ok() && !matches!(op, FaultOp::Read) {
            return n;
        }
        if n > 400 {
            return n;
        }
        disk.heal();
        check(&disk, &catalog, committed.map(drop), &step);
    }
    unreachable!("the counting ends")
}

#[test]
fn t24_after_no_space_anywhere_nothing_of_a_commit_is_there_and_it_can_be_repeated() {
    for op in [FaultOp::Write, FaultOp::SetLen] {
        let tried = every_failing(op, FaultError::NoSpace, |_, catalog, committed, step| {
            assert!(matches!(committed, Err(StoreError::Full)), "{committed:?}");
            assert!(content(catalog) == step.before);
            catalog.commit(&step.commit).unwrap();
            assert!(content(catalog) == step.after);
        });
        assert!(
            tried > 0 || op == FaultOp::SetLen,
            "{op:?} was met {tried} times"
        );
    }
}

#[test]
fn t06_after_a_failed_write_or_sync_anywhere_the_catalog_stops_and_can_be_read() {
    for op in [FaultOp::Write, FaultOp::Sync, FaultOp::SetLen] {
        every_failing(op, FaultError::Io, |disk, catalog, committed, step| {
            assert!(
                matches!(committed, Err(StoreError::Poisoned { .. })),
                "{committed:?}"
            );
            let found = content(catalog);
            assert!(found == step.before || found == step.after);
            assert!(matches!(
                catalog.commit(&step.commit),
                Err(StoreError::Poisoned { .. })
            ));
            let (_, catalog) = open_at_last(disk.crash(), &Rng::from_seed(1));
            let found = content(&catalog);
            assert!(found == step.before || found == step.after);
        });
    }
}

#[test]
fn a_read_that_fails_in_a_commit_leaves_it_done_or_not_as_the_answer_says() {
    every_failing(
        FaultOp::Read,
        FaultError::Io,
        |_, catalog, committed, step| {
            let want = if committed.is_ok() {
                &step.after
            } else {
                &step.before
            };
            assert!(content(catalog) == *want, "{committed:?}");
            if committed.is_err() {
                catalog.commit(&step.commit).unwrap();
            }
            assert!(content(catalog) == step.after);
        },
    );
}
