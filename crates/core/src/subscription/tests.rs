use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{Offset, StreamId, StreamName, Timestamp, slot::slot_of};

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn webhook() -> SubscriptionConfig {
    SubscriptionConfig {
        delivery: Delivery::Webhook {
            url: "https://a.example/".into(),
        },
        pattern: Some(Pattern::new("events/*").unwrap()),
        streams: vec![],
        lease_ttl_ms: 1000,
        description: None,
    }
}

fn pull() -> SubscriptionConfig {
    SubscriptionConfig {
        delivery: Delivery::PullWake {
            wake_stream: name("wake"),
        },
        ..webhook()
    }
}

fn made(config: SubscriptionConfig) -> Subscription {
    let event = SubscriptionEvent::Created {
        id: SubscriptionId::new("s").unwrap(),
        config,
        born: "b".into(),
        origin: String::new(),
        at: Timestamp(0),
    };
    let mut made = Subscription::created(&event).unwrap();
    made.apply(&SubscriptionEvent::Complete);
    made
}

fn wake(number: u64) -> WakeId {
    WakeId(format!("w{number}"))
}

fn stream(number: u64) -> StreamId {
    StreamId::new(slot_of(&number.to_string()), crate::Generation(number + 1))
}

fn offset(position: u64) -> Offset {
    Offset::from((1, position))
}

fn claimed(generation: u64, wake_id: &str) -> Claimed<'_> {
    Claimed {
        token_generation: generation,
        token_wake: wake_id,
        generation,
        wake_id,
    }
}

#[test]
fn equal_configurations_have_equal_bytes_and_others_have_not() {
    let base = SubscriptionConfig {
        streams: vec![name("b"), name("a"), name("b")],
        description: Some("d".into()),
        ..webhook()
    };
    let normal = base.clone().normalised().unwrap();
    let other_order = SubscriptionConfig {
        streams: vec![name("a"), name("b")],
        ..base.clone()
    };
    assert_eq!(
        other_order.normalised().unwrap().canonical(),
        normal.canonical()
    );
    for changed in [
        SubscriptionConfig {
            pattern: None,
            ..base.clone()
        },
        SubscriptionConfig {
            streams: vec![name("a")],
            ..base.clone()
        },
        SubscriptionConfig {
            streams: vec![name("ab")],
            ..base.clone()
        },
        SubscriptionConfig {
            lease_ttl_ms: 1001,
            ..base.clone()
        },
        SubscriptionConfig {
            description: None,
            ..base.clone()
        },
        SubscriptionConfig {
            delivery: pull().delivery,
            ..base.clone()
        },
    ] {
        let changed = changed.normalised().unwrap();
        assert_ne!(changed.canonical(), normal.canonical(), "{changed:?}");
    }
}

#[test]
fn configurations_have_bounds() {
    use config::ConfigFault as F;
    let none = SubscriptionConfig {
        pattern: None,
        ..webhook()
    };
    assert_eq!(none.normalised(), Err(F::NoStreams));
    for lease_ttl_ms in [0, 999, 600_001] {
        let config = SubscriptionConfig {
            lease_ttl_ms,
            ..webhook()
        };
        assert_eq!(config.normalised(), Err(F::Lease));
    }
    let description = Some("x".repeat(1025));
    let config = SubscriptionConfig {
        description,
        ..webhook()
    };
    assert_eq!(config.normalised(), Err(F::Description));
    for (text, fits) in [
        ("a", true),
        ("a b", true),
        ("", false),
        ("a/b", false),
        ("..", false),
        ("a\n", false),
    ] {
        assert_eq!(SubscriptionId::new(text).is_some(), fits, "{text:?}");
    }
}

#[test]
fn a_subscription_does_not_watch_its_own_wake_stream() {
    let config = SubscriptionConfig {
        pattern: Some(Pattern::new("**").unwrap()),
        ..pull()
    };
    assert!(config.globs(&Path::new("events/a")));
    assert!(!config.globs(&Path::new("wake")));
}

#[test]
fn a_webhook_wake_has_a_lease_from_its_start_and_ends_once() {
    let mut own = made(webhook());
    let woken = own.wake(wake(1), Timestamp(10)).unwrap();
    own.apply(&woken);
    assert_eq!((own.generation, own.due()), (1, Some(Timestamp(1010))));
    assert_eq!(own.wake(wake(2), Timestamp(11)), None, "one is in flight");
    let refused = own.claim("w", Some(wake(2)), Timestamp(11)).unwrap_err();
    assert_eq!(refused, SubscriptionRefusal::OtherDelivery);
    let done = vec![(stream(1), offset(5))];
    for event in own.delivered(&wake(1), Some(done.clone()), Timestamp(20)) {
        own.apply(&event);
    }
    assert!(own.is_idle());
    assert_eq!(own.cursors[&stream(1)], offset(5));
    assert!(
        own.delivered(&wake(1), Some(done), Timestamp(21))
            .is_empty()
    );
    assert_eq!(own.failed(&wake(1), Timestamp(21), 0), None);
}

#[test]
fn failures_wait_longer_each_time_until_one_is_taken() {
    let mut own = made(webhook());
    let mut now = Timestamp(0);
    for (failures, delay) in [(1, 1000), (2, 2000), (3, 4000)] {
        let woken = own.wake(wake(failures), now).unwrap();
        own.apply(&woken);
        let failed = own.failed(&wake(failures), now, 2000).unwrap();
        own.apply(&failed);
        let next = now.plus_millis(delay);
        let next_attempt_at = next;
        assert_eq!(
            own.retry,
            Some(Retry {
                failures: failures.try_into().unwrap(),
                next_attempt_at
            })
        );
        assert_eq!(own.due(), Some(next));
        assert_eq!(own.wake(wake(9), Timestamp(next.0 - 1)), None, "too early");
        now = next;
    }
    let woken = own.wake(wake(4), now).unwrap();
    own.apply(&woken);
    assert!(own.retry.is_some(), "not before it was taken");
    for event in own.delivered(&wake(4), None, now) {
        own.apply(&event);
    }
    assert_eq!(own.retry, None);
    assert!(!own.is_idle(), "the lease goes on");
}

#[test]
fn a_claim_takes_the_wake_and_others_are_told_who_has_it() {
    let mut own = made(pull());
    let refused = own.claim("a", None, Timestamp(0)).unwrap_err();
    assert_eq!(refused, SubscriptionRefusal::NoPendingWork);
    let woken = own.wake(wake(1), Timestamp(0)).unwrap();
    own.apply(&woken);
    assert_eq!(own.due(), None, "a wake that nobody claimed has no lease");
    for event in own.claim("a", Some(wake(2)), Timestamp(0)).unwrap() {
        own.apply(&event);
    }
    assert_eq!((own.generation, own.wake_id()), (1, Some(&wake(1))));
    let refused = own.claim("b", Some(wake(2)), Timestamp(999)).unwrap_err();
    let holder = "a".to_owned();
    assert_eq!(
        refused,
        SubscriptionRefusal::AlreadyClaimed {
            holder,
            generation: 1
        }
    );
    // A lease that ran out ends with the claim of the next.
    for event in own.claim("b", Some(wake(2)), Timestamp(1000)).unwrap() {
        own.apply(&event);
    }
    assert_eq!((own.generation, own.wake_id()), (2, Some(&wake(2))));
}

#[test]
fn whoever_does_not_hold_the_current_wake_is_fenced() {
    let mut own = made(pull());
    for event in own.claim("a", Some(wake(1)), Timestamp(0)).unwrap() {
        own.apply(&event);
    }
    let ack = || Ack {
        cursors: vec![],
        done: true,
    };
    let good = claimed(1, "w1");
    for stale in [
        Claimed {
            token_generation: 0,
            ..good
        },
        Claimed {
            generation: 2,
            ..good
        },
        Claimed {
            wake_id: "w0",
            ..good
        },
        Claimed {
            token_wake: "w0",
            ..good
        },
    ] {
        let fenced = SubscriptionRefusal::Fenced;
        assert_eq!(own.ack(stale, ack(), Timestamp(1)), Err(fenced.clone()));
        assert_eq!(own.release(stale, Timestamp(1)), Err(fenced));
    }
    assert_eq!(
        own.release(good, Timestamp(1000)),
        Err(SubscriptionRefusal::Fenced),
        "too late"
    );
    let beat = own
        .ack(
            good,
            Ack {
                cursors: vec![],
                done: false,
            },
            Timestamp(900),
        )
        .unwrap();
    own.apply(&beat);
    assert_eq!(
        own.due(),
        Some(Timestamp(1900)),
        "a heartbeat extends the lease"
    );
    let released = own.release(good, Timestamp(1800)).unwrap();
    own.apply(&released);
    assert_eq!(
        own.ack(good, ack(), Timestamp(1801)),
        Err(SubscriptionRefusal::Fenced)
    );
}

#[test]
fn cursors_never_go_back_and_tell_what_is_pending() {
    let mut own = made(webhook());
    let (start, tail) = (offset(0), offset(9));
    assert!(own.is_pending(stream(1), start, tail));
    assert!(!own.is_pending(stream(1), start, start), "an empty stream");
    let ended = |position| SubscriptionEvent::Ended {
        cursors: vec![(stream(1), offset(position))],
        how: Ending::Done,
    };
    own.apply(&ended(9));
    own.apply(&ended(4));
    assert!(!own.is_pending(stream(1), start, tail));
    assert!(own.is_pending(stream(1), start, offset(10)));
    // Bytes that were written anew after a loss are pending, wherever they end.
    assert!(own.is_pending(stream(1), start, Offset::from((2, 5))));
}

#[test]
fn a_lease_of_a_clock_that_was_ahead_ends_in_time() {
    let mut own = made(webhook());
    let woken = own.wake(wake(1), Timestamp(1_000_000)).unwrap();
    own.apply(&woken);
    own.clamp_lease(Timestamp(10));
    assert_eq!(own.due(), Some(Timestamp(1010)));
}

/// What may happen to a subscription.
#[derive(Clone, Debug)]
enum Step {
    Wake,
    Claim,
    Ack { of: u64, position: u64, done: bool },
    Release { of: u64 },
    Fail { of: u64 },
    Deliver { of: u64, done: bool },
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Wake),
        3 => Just(Step::Claim),
        3 => (0..4u64, 0..50u64, any::<bool>()).prop_map(|(of, position, done)| Step::Ack { of, position, done }),
        1 => (0..4u64).prop_map(|of| Step::Release { of }),
        2 => (0..4u64).prop_map(|of| Step::Fail { of }),
        2 => (0..4u64, any::<bool>()).prop_map(|(of, done)| Step::Deliver { of, done }),
        2 => (1..1500u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    /// Generations grow by one, cursors only move forward and only by who holds the current wake, and
    /// the events alone make up the state.
    #[test]
    fn a_wake_is_held_by_one_at_a_time(is_webhook in any::<bool>(), steps in steps()) {
        let mut own = made(if is_webhook { webhook() } else { pull() });
        let first = own.clone();
        let mut log = Vec::new();
        let mut now = Timestamp(1);
        let mut fresh = 0;
        let mut names: BTreeMap<u64, WakeId> = BTreeMap::new();
        for step in steps {
            fresh += 1;
            let before = own.clone();
            let held = |of: u64| own.generation.checked_sub(of).and_then(|g| Some((g, names.get(&g)?.clone())));
            let mut may_move = false;
            let events: Vec<SubscriptionEvent> = match step {
                Step::Wake => own.wake(wake(fresh), now).into_iter().collect(),
                Step::Claim => own.claim("w", Some(wake(fresh)), now).unwrap_or_default(),
                Step::Ack { of, position, done } => held(of).map(|(generation, id)| {
                    let ack = Ack { cursors: vec![(stream(1), offset(position))], done };
                    let judged = own.ack(claimed(generation, &id.0), ack, now);
                    may_move = of == 0 && judged.is_ok();
                    prop_assert!(of == 0 || judged.is_err(), "a stale generation");
                    Ok(judged.into_iter().collect())
                }).transpose()?.unwrap_or_default(),
                Step::Release { of } => held(of).and_then(|(generation, id)| own.release(claimed(generation, &id.0), now).ok()).into_iter().collect(),
                Step::Fail { of } => held(of).and_then(|(_, id)| own.failed(&id, now, 7)).into_iter().collect(),
                Step::Deliver { of, done } => held(of).map(|(_, id)| {
                    may_move = of == 0;
                    own.delivered(&id, done.then(|| vec![(stream(1), offset(60))]), now)
                }).unwrap_or_default(),
                Step::Pass(millis) => {
                    now = now.plus_millis(millis);
                    own.expire(now).into_iter().collect()
                }
            };
            for event in events {
                own.apply(&event);
                if let SubscriptionEvent::Woken { generation, wake_id, .. } = &event {
                    prop_assert_eq!(*generation, before.generation + 1);
                    prop_assert!(names.insert(*generation, wake_id.clone()).is_none());
                }
                log.push(event);
            }
            prop_assert!(own.generation == before.generation || own.generation == before.generation + 1);
            let (was, is) = (before.cursors.get(&stream(1)), own.cursors.get(&stream(1)));
            prop_assert!(was <= is);
            prop_assert!(was == is || may_move);
        }
        let mut again = first;
        for event in &log {
            again.apply(event);
        }
        prop_assert_eq!(again, own);
    }
}
