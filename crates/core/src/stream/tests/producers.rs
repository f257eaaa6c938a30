//! Idempotent producers (PROTOCOL 5.2.1) and the bound on how many a stream remembers.

use super::*;
use crate::limits::{
    PRODUCER_ID_BYTES_MAX, PRODUCER_IDLE_MILLIS_MIN, PRODUCER_NUMBER_MAX, PRODUCERS_PER_STREAM_MAX,
};

fn send(bench: &mut Bench, claim: ProducerClaim) -> Result<Outcome, Refusal> {
    let mut command = append(bytes("n"));
    command.producer = Some(claim);
    bench.append(&command)
}

fn accepted(bench: &mut Bench, claim: ProducerClaim) -> bool {
    matches!(send(bench, claim), Ok(Outcome::Appended { .. }))
}

#[test]
fn validation_follows_the_protocol() {
    enum Want {
        Accept,
        Duplicate(u64, u64),
        Refuse(Refusal),
    }
    use Want::{Accept, Duplicate, Refuse};
    let gap = |expected, received| Refuse(Refusal::SeqGap { expected, received });
    // Against a producer at epoch 5, sequence 2.
    let rows = [
        (5, 0, Duplicate(5, 2)),
        (5, 2, Duplicate(5, 2)),
        (5, 3, Accept),
        (5, 4, gap(3, 4)),
        (5, PRODUCER_NUMBER_MAX, gap(3, PRODUCER_NUMBER_MAX)),
        (6, 0, Accept),
        (PRODUCER_NUMBER_MAX, 0, Accept),
        (6, 1, Refuse(Refusal::NewEpochNotAtZero)),
        (4, 0, Refuse(Refusal::StaleEpoch { current: 5 })),
        (4, 3, Refuse(Refusal::StaleEpoch { current: 5 })),
        (0, 0, Refuse(Refusal::StaleEpoch { current: 5 })),
    ];
    for (epoch, seq, want) in rows {
        let mut bench = Bench::of(plain());
        for earlier in 0..3 {
            assert!(accepted(&mut bench, claim("p", 5, earlier)));
        }
        let reply = send(&mut bench, claim("p", epoch, seq));
        match (reply, want) {
            (Ok(Outcome::Appended { producer, .. }), Accept) => {
                assert_eq!(producer, Some((epoch, seq)));
            }
            (Ok(Outcome::Duplicate { producer, .. }), Duplicate(epoch, seq)) => {
                assert_eq!(producer, (epoch, seq));
            }
            (Err(refusal), Refuse(want)) => assert_eq!(refusal, want),
            (other, _) => panic!("({epoch}, {seq}): {other:?}"),
        }
    }
}

#[test]
fn an_unknown_producer_may_start_at_any_epoch_but_at_sequence_zero() {
    let mut bench = Bench::of(plain());
    let gap = Refusal::SeqGap {
        expected: 0,
        received: 1,
    };
    assert_eq!(send(&mut bench, claim("p", 0, 1)), Err(gap));
    assert!(accepted(&mut bench, claim("p", 7, 0)));
    assert!(accepted(&mut bench, claim("q", 0, 0)));
}

#[test]
fn producers_of_one_stream_do_not_see_each_other() {
    let mut bench = Bench::of(plain());
    for seq in 0..3 {
        assert!(accepted(&mut bench, claim("p", 0, seq)));
        assert!(accepted(&mut bench, claim("q", 1, seq)));
    }
    assert_eq!(bench.state().producer_count, 2);
}

#[test]
fn a_new_epoch_fences_the_old_one() {
    let mut bench = Bench::of(plain());
    assert!(accepted(&mut bench, claim("p", 0, 0)));
    assert!(accepted(&mut bench, claim("p", 1, 0)));
    let stale = Refusal::StaleEpoch { current: 1 };
    assert_eq!(send(&mut bench, claim("p", 0, 1)), Err(stale));
}

#[test]
fn t69_ids_have_bounds() {
    let longest = "x".repeat(PRODUCER_ID_BYTES_MAX);
    assert!(ProducerId::new("").is_none());
    assert!(ProducerId::new(&longest).is_some());
    assert!(ProducerId::new(&(longest + "x")).is_none());
}

/// A stream that remembers as many producers as it may; one of them was last used at `used_at`.
fn full(used_at: Timestamp) -> Bench {
    let mut bench = Bench::of(plain());
    assert!(accepted(&mut bench, claim("old", 0, 0)));
    let state = bench.state.as_mut().expect("is there");
    state.producer_count = PRODUCERS_PER_STREAM_MAX;
    let id = ProducerId::new("old").expect("an id");
    let old = bench.producers.known.get_mut(&id).expect("is known");
    old.used_at = used_at;
    bench
}

#[test]
fn t68_beyond_the_bound_a_long_idle_producer_is_forgotten() {
    let mut bench = full(Timestamp(0));
    bench.now = Timestamp(PRODUCER_IDLE_MILLIS_MIN + 1);
    assert!(accepted(&mut bench, claim("new", 0, 0)));
    assert_eq!(bench.state().producer_count, PRODUCERS_PER_STREAM_MAX);
    let gap = Refusal::SeqGap {
        expected: 0,
        received: 1,
    };
    assert_eq!(
        send(&mut bench, claim("old", 0, 1)),
        Err(gap),
        "is new again"
    );
}

#[test]
fn t68_beyond_the_bound_no_producer_idle_for_less_is_forgotten() {
    let mut bench = full(Timestamp(0));
    bench.now = Timestamp(PRODUCER_IDLE_MILLIS_MIN);
    let before = bench.state().clone();
    assert_eq!(
        send(&mut bench, claim("new", 0, 0)),
        Err(Refusal::TooManyProducers)
    );
    assert_eq!(bench.state(), &before);
    assert!(
        accepted(&mut bench, claim("old", 0, 1)),
        "those known go on"
    );
}

#[test]
fn below_the_bound_nobody_is_forgotten_or_looked_for() {
    let mut bench = full(Timestamp(0));
    bench.now = Timestamp(PRODUCER_IDLE_MILLIS_MIN * 2);
    bench.state.as_mut().expect("is there").producer_count = PRODUCERS_PER_STREAM_MAX - 1;
    assert!(accepted(&mut bench, claim("new", 0, 0)));
    assert_eq!(bench.state().producer_count, PRODUCERS_PER_STREAM_MAX);
    assert!(!bench.producers.asked_for_idle.get());
    assert_eq!(bench.producers.known.len(), 2);
}

#[test]
fn t65_producer_state_rides_in_the_event_that_carries_the_bytes() {
    let mut bench = Bench::of(plain());
    let mut command = append(bytes("n"));
    command.producer = Some(claim("p", 2, 0));
    command.seq = Some("a".into());
    command.close = true;
    let decision = bench.decide_append(&command);
    let [Event::Appended(event)] = &decision.events[..] else {
        panic!("one event");
    };
    assert_eq!(event.producer, command.producer);
    assert_eq!(event.seq, command.seq);
    assert!(event.introduces_producer && event.closes && event.payload.len() == 1);
    bench.take(decision).expect("is appended");
    assert_eq!(bench.state().producer_count, 1);
}
