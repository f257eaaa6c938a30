//! TTL and absolute expiry: the rules' part of it. When a deadline has passed is the caller's to say,
//! because reads move it in memory.

use super::*;

const SECOND: u64 = 1000;

fn expired(spec: CreateSpec) -> Bench {
    let mut bench = Bench::of(spec);
    bench.expired = Some(true);
    bench
}

fn expiry_of(bench: &Bench) -> Event {
    Event::Deleted {
        stream: bench.state().id,
        reason: DeleteReason::Expiry,
    }
}

#[test]
fn deadlines_follow_from_lifetime_and_use() {
    let rows = [
        (Lifetime::Unlimited, None),
        (Lifetime::Ttl(0), Some(NOW)),
        (Lifetime::Ttl(2), Some(NOW.plus_millis(2 * SECOND))),
        (Lifetime::Ttl(u64::MAX), Some(Timestamp(u64::MAX))),
        (Lifetime::Until(Timestamp(5)), Some(Timestamp(5))),
    ];
    for (lifetime, want) in rows {
        assert_eq!(lifetime.deadline(NOW), want, "{lifetime:?}");
    }
}

#[test]
fn a_ttl_of_zero_expires_at_once() {
    let bench = Bench::of(with_lifetime(Lifetime::Ttl(0)));
    assert!(bench.judge().expired);
}

#[test]
fn t45_an_append_renews_a_ttl_and_moves_no_absolute_expiry() {
    let end = NOW.plus_millis(9 * SECOND);
    for (lifetime, want) in [
        (Lifetime::Ttl(2), NOW.plus_millis(3 * SECOND)),
        (Lifetime::Until(end), end),
    ] {
        for command in [append(bytes("n")), close()] {
            let mut bench = Bench::of(with_lifetime(lifetime));
            bench.now = NOW.plus_millis(SECOND);
            bench.append(&command).expect("is appended");
            assert_eq!(bench.state().deadline, Some(want), "{lifetime:?}");
        }
    }
}

#[test]
fn a_clock_that_went_back_never_shortens_a_life() {
    let mut bench = Bench::of(with_lifetime(Lifetime::Ttl(2)));
    let deadline = bench.state().deadline;
    bench.now = Timestamp(NOW.get() - 10 * SECOND);
    bench.append(&append(bytes("n"))).expect("is appended");
    assert_eq!(bench.state().deadline, deadline);
    assert_eq!(bench.state().written_at, NOW);
}

#[test]
fn whoever_first_sees_an_expiry_logs_it_and_finds_nothing() {
    let bench = expired(with_lifetime(Lifetime::Ttl(2)));
    let append = bench.decide_append(&append(bytes("n")));
    let close = bench.decide_append(&close());
    let delete = decide::delete(bench.state.as_ref(), bench.judge());
    for decision in [append, close, delete] {
        assert_eq!(decision.reply, Err(Refusal::NotFound));
        assert_eq!(decision.events, [expiry_of(&bench)]);
    }
    let fork = decide::add_fork(
        bench.state.as_ref(),
        StreamId::from_raw(9),
        StreamPos::ZERO,
        bench.judge(),
    );
    assert_eq!(fork.reply, Err(Refusal::SourceNotFound));
    assert_eq!(fork.events, [expiry_of(&bench)]);
}

#[test]
fn put_on_an_expired_name_logs_expiry_and_creation_together() {
    let mut bench = expired(with_lifetime(Lifetime::Ttl(2)));
    let old = bench.state().id;
    let decision = bench.decide_create(&Bench::command(plain()));
    let [first, Event::Created(created)] = &decision.events[..] else {
        panic!("expiry, then creation: {:?}", decision.events);
    };
    assert_eq!(first, &expiry_of(&bench));
    assert_ne!(created.stream, old);
    bench.take(decision).expect("is created");
    assert_eq!(bench.state().config.lifetime, Lifetime::Unlimited);
}

#[test]
fn a_refused_put_on_an_expired_name_logs_the_expiry_alone() {
    let bench = expired(with_lifetime(Lifetime::Ttl(2)));
    let mut command = Bench::command(plain());
    command.body = Body::Invalid(BodyFault::Depth);
    let decision = bench.decide_create(&command);
    assert_eq!(decision.reply, Err(Refusal::Body(BodyFault::Depth)));
    assert_eq!(decision.events, [expiry_of(&bench)]);
}

#[test]
fn an_expired_stream_with_forks_is_soft_deleted_and_holds_its_name() {
    let make = || {
        let mut bench = Bench::of(with_lifetime(Lifetime::Ttl(2)));
        bench
            .add_fork(StreamId::from_raw(9))
            .expect("is referred to");
        bench.expired = Some(true);
        bench
    };
    let mut bench = make();
    assert_eq!(bench.append(&append(bytes("n"))), Err(Refusal::SoftDeleted));
    assert!(bench.state().soft_deleted);
    let mut bench = make();
    assert_eq!(bench.create(plain()), Err(Refusal::NameHeld));
    assert!(bench.state().soft_deleted);
    let again = bench.decide_create(&Bench::command(plain()));
    assert_eq!(again.reply, Err(Refusal::NameHeld), "and again");
    assert!(again.events.is_empty(), "it ends once");
    let mut bench = make();
    let again = StreamId::from_raw(10);
    assert_eq!(bench.add_fork(again), Err(Refusal::SourceSoftDeleted));
    assert!(bench.state().soft_deleted);
}

#[test]
fn t44_expire_ends_what_is_over_and_nothing_else() {
    let run = |bench: &Bench| decide::expire(bench.state.as_ref(), bench.judge());
    let over = expired(with_lifetime(Lifetime::Ttl(2)));
    assert_eq!(run(&over).events, [expiry_of(&over)]);
    let alive = Bench::of(with_lifetime(Lifetime::Ttl(2)));
    let mut soft = Bench::of(with_lifetime(Lifetime::Ttl(2)));
    soft.add_fork(StreamId::from_raw(9))
        .expect("is referred to");
    soft.delete().expect("is deleted");
    soft.expired = Some(true);
    for bench in [alive, soft, Bench::empty()] {
        let decision = run(&bench);
        assert_eq!(decision.reply, Ok(Outcome::Done));
        assert!(decision.events.is_empty());
    }
}

#[test]
fn t45_a_live_reader_keeps_a_stream_past_its_deadline() {
    let mut bench = Bench::of(with_lifetime(Lifetime::Ttl(2)));
    bench.now = NOW.plus_millis(99 * SECOND);
    bench.expired = Some(false);
    assert!(matches!(
        bench.append(&append(bytes("n"))),
        Ok(Outcome::Appended { .. })
    ));
}

#[test]
fn t46_a_touch_moves_a_sliding_deadline_forward_only() {
    let rows = [
        (Lifetime::Ttl(2), 3, true),
        (Lifetime::Ttl(2), 2, false),
        (Lifetime::Ttl(2), 1, false),
        (Lifetime::Unlimited, 3, false),
        (Lifetime::Until(NOW.plus_millis(2 * SECOND)), 3, false),
    ];
    for (lifetime, seconds, moves) in rows {
        let mut bench = Bench::of(with_lifetime(lifetime));
        let before = bench.state().clone();
        let deadline = NOW.plus_millis(seconds * SECOND);
        let decision = decide::touch(bench.state.as_ref(), deadline);
        bench.take(decision).expect("never refused");
        let mut want = before;
        if moves {
            want.deadline = Some(deadline);
        }
        assert_eq!(bench.state(), &want, "{lifetime:?} {seconds}");
    }
    let none = decide::touch(None, NOW);
    assert_eq!((none.events.len(), none.reply), (0, Ok(Outcome::Done)));
}
