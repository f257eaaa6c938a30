//! What events behind a lost frame prove, and what they do not.

use std::{collections::BTreeMap, sync::Arc};

use millrace_core::{
    Appended, DeleteReason, Event, ProducerClaim, ProducerId, StreamId, StreamPos,
};
use millrace_env::{Rng, SimDisk};

use super::support::{Model, Shop, files, repaired};
use crate::{
    Catalog,
    repair::Lost,
    testkit::{LOG, payload, sim_env},
};

/// A stream whose appends lie before, in and behind a frame that is lost.
fn around_a_loss(inside: impl FnOnce(&mut Shop, StreamId) -> Vec<Event>) -> (Shop, StreamId, u64) {
    let rng = Rng::from_seed(20);
    let mut shop = Shop::new(20);
    let id = shop.create("a", &payload(&rng, &[100]));
    shop.append(id, &payload(&rng, &[50]));
    let events = inside(&mut shop, id);
    let path = files(&shop.disk, &LOG.dir().display().to_string(), ".wal").remove(0);
    let content = shop.disk.content(&path);
    let at = content.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    let at = at.next_multiple_of(8);
    shop.turn(&events);
    (shop, id, at + 60)
}

fn damaged_at(shop: Shop, at: u64) -> (Arc<SimDisk>, BTreeMap<StreamId, Model>) {
    let (disk, models) = shop.stop();
    let path = files(&disk, &LOG.dir().display().to_string(), ".wal").remove(0);
    disk.flip_bit(path, at, 1);
    (disk, models)
}

#[test]
fn an_append_behind_a_loss_leaves_a_hole_before_it() {
    let rng = Rng::from_seed(21);
    let (mut shop, id, at) = around_a_loss(|shop, id| {
        vec![Event::Appended(
            shop.addition(id, &payload(&Rng::from_seed(1), &[30, 40])),
        )]
    });
    shop.append(id, &payload(&rng, &[25]));
    let (disk, models) = damaged_at(shop, at);
    let (plan, found) = repaired(&disk, &models);
    assert_eq!(found[&id].lost, vec![150..220]);
    assert_eq!(found[&id].state.as_ref().unwrap().tail, StreamPos(245));
    assert_eq!(plan.lost_bytes(), 70);
    assert!(found[&id].raised);
}

#[test]
fn what_a_lost_frame_closed_or_deleted_is_open_and_there_and_a_later_one_is_kept() {
    let rng = Rng::from_seed(22);
    let (mut shop, a, at) = around_a_loss(|shop, id| {
        let closing = Appended {
            closes: true,
            ..shop.addition(id, &payload(&Rng::from_seed(1), &[30]))
        };
        vec![Event::Appended(closing)]
    });
    let b = shop.create("b", &payload(&rng, &[10]));
    let closing = Appended {
        closes: true,
        ..shop.addition(b, &payload(&rng, &[10]))
    };
    shop.turn(&[Event::Appended(closing)]);
    let c = shop.create("c", &payload(&rng, &[10]));
    shop.delete(c);
    let (disk, models) = damaged_at(shop, at);
    let (_, found) = repaired(&disk, &models);
    let is_closed = |id: StreamId| found[&id].state.as_ref().unwrap().is_closed();
    assert!(!is_closed(a) && is_closed(b));
    assert!(!found.contains_key(&c));
}

#[test]
fn a_stream_whose_creation_is_lost_is_told_and_its_name_is_free() {
    let rng = Rng::from_seed(23);
    let mut lost = None;
    let (mut shop, _, at) = around_a_loss(|shop, _| {
        let (id, event) = shop.creation("b", &payload(&Rng::from_seed(1), &[30]));
        lost = Some(id);
        vec![event]
    });
    let lost = lost.unwrap();
    shop.append(lost, &payload(&rng, &[40]));
    let (disk, models) = damaged_at(shop, at);
    let (plan, found) = repaired(&disk, &models);
    assert!(!found.contains_key(&lost));
    let told = |one: &Lost| matches!(one, Lost::Stream { stream, .. } if *stream == lost);
    assert!(plan.lost.iter().any(told), "{plan:?}");
    let catalog = Catalog::open_read_only(&sim_env(&disk, 1), 1 << 20).unwrap();
    let used = catalog.slot_generations().unwrap()[usize::from(lost.slot().get())];
    assert!(used > lost.birth(), "its identity is never given out again");
}

#[test]
fn a_name_that_is_created_again_behind_a_loss_was_deleted_in_it() {
    let rng = Rng::from_seed(24);
    let (mut shop, a, at) = around_a_loss(|_, id| {
        vec![
            Event::Deleted {
                stream: id,
                reason: DeleteReason::Request,
            };
            3
        ][..1]
            .to_vec()
    });
    let again = shop.create("a", &payload(&rng, &[10]));
    let (disk, models) = damaged_at(shop, at - 40);
    let (_, found) = repaired(&disk, &models);
    assert!(!found.contains_key(&a) && found.contains_key(&again));
}

#[test]
fn a_fork_keeps_the_source_that_was_deleted_behind_a_lost_reference() {
    let rng = Rng::from_seed(25);
    let mut shop = Shop::new(25);
    let source = shop.create("source", &payload(&rng, &[100]));
    let path = files(&shop.disk, &LOG.dir().display().to_string(), ".wal").remove(0);
    let content = shop.disk.content(&path);
    let at = content.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    let fork = shop.fork("fork", source);
    shop.append(fork, &payload(&rng, &[10]));
    shop.delete(source);
    // The frame with the reference.
    let (disk, mut models) = damaged_at(shop, at.next_multiple_of(8) + 50);
    models.get_mut(&source).unwrap().gone = false;
    let (_, found) = repaired(&disk, &models);
    let state = found[&source].state.as_ref().unwrap();
    assert!(state.soft_deleted && state.forks.contains(&fork));
    assert_eq!(found[&source].runs.len(), 1);
}

#[test]
fn a_fork_of_bytes_that_are_lost_never_gets_others() {
    let rng = Rng::from_seed(26);
    let (mut shop, source, at) = around_a_loss(|shop, id| {
        vec![Event::Appended(
            shop.addition(id, &payload(&Rng::from_seed(1), &[30])),
        )]
    });
    let fork = shop.fork("fork", source);
    shop.append(fork, &payload(&rng, &[10]));
    let (disk, models) = damaged_at(shop, at);
    let (_, found) = repaired(&disk, &models);
    assert_eq!(
        found[&source].lost,
        vec![150..180],
        "the fork proves their place"
    );
    assert_eq!(found[&source].state.as_ref().unwrap().tail, StreamPos(180));
}

#[test]
fn a_fork_whose_source_is_lost_keeps_its_own_bytes() {
    let rng = Rng::from_seed(27);
    let mut lost = None;
    let (mut shop, _, at) = around_a_loss(|shop, _| {
        let (id, event) = shop.creation("b", &payload(&Rng::from_seed(1), &[30]));
        lost = Some(id);
        vec![event]
    });
    let lost = lost.unwrap();
    let fork = shop.fork("fork", lost);
    shop.append(fork, &payload(&rng, &[10]));
    let (disk, models) = damaged_at(shop, at);
    let (plan, found) = repaired(&disk, &models);
    assert_eq!(found[&fork].runs[0].0, 30..40);
    assert_eq!(found[&lost].lost, vec![0..30]);
    let stand_in = found[&lost].state.as_ref().unwrap();
    assert!(stand_in.soft_deleted && stand_in.forks.contains(&fork));
    assert_eq!(plan.lost_bytes(), 30);
}

#[test]
fn producers_behind_a_loss_are_remembered_and_counted() {
    let claim = |seq| ProducerClaim {
        id: ProducerId::new("p").unwrap(),
        epoch: 1,
        seq,
    };
    let (mut shop, id, at) = around_a_loss(|shop, id| {
        let first = Appended {
            producer: Some(claim(0)),
            introduces_producer: true,
            ..shop.addition(id, &payload(&Rng::from_seed(1), &[30]))
        };
        vec![Event::Appended(first)]
    });
    let second = Appended {
        producer: Some(claim(1)),
        ..shop.addition(id, &payload(&Rng::from_seed(2), &[30]))
    };
    shop.turn(&[Event::Appended(second)]);
    let (disk, models) = damaged_at(shop, at);
    let (_, found) = repaired(&disk, &models);
    assert_eq!(found[&id].state.as_ref().unwrap().producer_count, 1);
    let catalog = Catalog::open_read_only(&sim_env(&disk, 1), 1 << 20).unwrap();
    let producer = catalog.producer(id, "p").unwrap().unwrap();
    assert_eq!((producer.epoch, producer.seq), (1, 1));
}
