//! PUT: creation, and the same request again (PROTOCOL 5.1).

use super::*;

fn differs(bench: &Bench, spec: CreateSpec) -> Option<&'static str> {
    let decision = bench.decide_create(&Bench::command(spec));
    assert!(
        decision.events.is_empty(),
        "a stream that is there stays as it is"
    );
    match decision.reply {
        Ok(Outcome::Exists(_)) => None,
        Err(Refusal::Config { differs }) => Some(differs),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_stream_has_what_was_asked_for() {
    let mut bench = Bench::empty();
    let mut command = Bench::command(with_lifetime(Lifetime::Ttl(60)));
    command.body = bytes("hello");
    let Ok(Outcome::Created(summary)) = bench.create_with(&command) else {
        panic!("is created");
    };
    assert_eq!((summary.tail, summary.closed), (at(1, 5), false));
    let state = bench.state();
    assert_eq!(state.id, StreamId::new(SLOT, Generation(1)));
    assert_eq!(state.start_offset(), at(1, 0));
    assert_eq!(state.deadline, Some(NOW.plus_millis(60_000)));
    assert_eq!(
        (state.closure.clone(), state.last_seq.clone()),
        (Closure::Open, None)
    );
}

#[test]
fn creation_and_its_body_are_one_event() {
    let mut command = Bench::command(plain());
    command.body = bytes("hello");
    assert_eq!(Bench::empty().decide_create(&command).events.len(), 1);
}

#[test]
fn a_stream_without_a_content_type_is_octets() {
    let spec = CreateSpec {
        content_type: None,
        ..plain()
    };
    let bench = Bench::of(spec);
    assert_eq!(bench.state().config.content_type, ContentType::default());
}

#[test]
fn an_empty_array_creates_an_empty_stream_and_other_faults_none() {
    let mut command = Bench::command(plain());
    command.body = Body::Invalid(BodyFault::EmptyArray);
    let mut bench = Bench::empty();
    bench.create_with(&command).expect("is created");
    assert_eq!(bench.state().tail, StreamPos::ZERO);
    for fault in [
        BodyFault::Syntax(1),
        BodyFault::Depth,
        BodyFault::Unicode(1),
    ] {
        command.body = Body::Invalid(fault);
        let decision = Bench::empty().decide_create(&command);
        assert_eq!(decision.reply, Err(Refusal::Body(fault)));
        assert!(decision.events.is_empty());
    }
}

#[test]
fn a_stream_created_closed_holds_its_body_and_takes_no_more() {
    let mut command = Bench::command(CreateSpec {
        closed: true,
        ..plain()
    });
    command.body = bytes("all");
    let mut bench = Bench::empty();
    let Ok(Outcome::Created(summary)) = bench.create_with(&command) else {
        panic!("is created");
    };
    assert_eq!((summary.tail, summary.closed), (at(1, 3), true));
    let refusal = Refusal::Closed { tail: at(1, 3) };
    assert_eq!(bench.append(&append(bytes("n"))), Err(refusal));
}

#[test]
fn names_of_sub_resources_are_reserved() {
    let mut command = Bench::command(plain());
    command.name = name("a/_details");
    let decision = Bench::empty().decide_create(&command);
    assert_eq!(decision.reply, Err(Refusal::ReservedName));
    assert!(decision.events.is_empty());
}

#[test]
fn an_expiry_that_is_not_in_the_future_is_refused() {
    for (millis, fine) in [
        (NOW.get() - 1, false),
        (NOW.get(), false),
        (NOW.get() + 1, true),
    ] {
        let spec = with_lifetime(Lifetime::Until(Timestamp(millis)));
        let reply = Bench::empty().create(spec);
        let want = if fine {
            None
        } else {
            Some(Refusal::ExpiresInThePast)
        };
        assert_eq!(reply.err(), want, "{millis}");
    }
}

#[test]
fn the_same_request_finds_its_stream_and_another_does_not() {
    type Change = fn(&mut CreateSpec);
    let typed = |text: &str| CreateSpec {
        content_type: Some(content_type(text)),
        ..plain()
    };
    let untyped = || CreateSpec {
        content_type: None,
        ..plain()
    };
    let until = |at| Lifetime::Until(Timestamp(at));
    let lives = |lifetime| with_lifetime(lifetime);
    let rows: [(&str, CreateSpec, CreateSpec, Option<&str>); 14] = [
        ("the same", plain(), plain(), None),
        (
            "t42",
            typed("text/plain"),
            typed("TEXT/plain;charset=utf-8"),
            None,
        ),
        (
            "type",
            typed("text/plain"),
            typed("text/html"),
            Some("content type"),
        ),
        (
            "no type is octets",
            typed("application/octet-stream"),
            untyped(),
            None,
        ),
        (
            "octets are no type",
            untyped(),
            typed("application/octet-stream"),
            None,
        ),
        (
            "no type is not text",
            typed("text/plain"),
            untyped(),
            Some("content type"),
        ),
        (
            "TTL",
            lives(Lifetime::Ttl(9)),
            lives(Lifetime::Ttl(9)),
            None,
        ),
        (
            "TTL",
            lives(Lifetime::Ttl(9)),
            lives(Lifetime::Ttl(8)),
            Some("lifetime"),
        ),
        ("TTL", lives(Lifetime::Ttl(9)), plain(), Some("lifetime")),
        ("TTL", plain(), lives(Lifetime::Ttl(9)), Some("lifetime")),
        (
            "expiry",
            lives(until(9_000_000)),
            lives(until(9_000_000)),
            None,
        ),
        (
            "expiry",
            lives(until(9_000_000)),
            lives(until(9_000_001)),
            Some("lifetime"),
        ),
        (
            "expiry",
            lives(until(9_000_000)),
            lives(Lifetime::Ttl(9)),
            Some("lifetime"),
        ),
        ("expiry", lives(until(9_000_000)), plain(), Some("lifetime")),
    ];
    for (fact, was, is, want) in rows {
        assert_eq!(differs(&Bench::of(was), is), want, "{fact}");
    }
    let closing: Change = |spec| spec.closed = true;
    let mut closed = plain();
    closing(&mut closed);
    assert_eq!(differs(&Bench::of(closed.clone()), closed.clone()), None);
    assert_eq!(
        differs(&Bench::of(closed.clone()), plain()),
        Some("closure")
    );
    assert_eq!(differs(&Bench::of(plain()), closed), Some("closure"));
}

#[test]
fn closure_is_compared_as_it_is_and_not_as_it_was_created() {
    let mut bench = Bench::of(plain());
    bench.append(&close()).expect("is closed");
    assert_eq!(differs(&bench, plain()), Some("closure"));
    let closed = CreateSpec {
        closed: true,
        ..plain()
    };
    assert_eq!(differs(&bench, closed), None);
}

#[test]
fn a_repeated_request_answers_with_the_present_tail_and_leaves_its_body_unread() {
    let mut bench = Bench::of(plain());
    bench.append(&append(bytes("more"))).expect("is appended");
    for body in [bytes("other"), Body::Invalid(BodyFault::Syntax(0))] {
        let mut command = Bench::command(plain());
        command.body = body;
        let decision = bench.decide_create(&command);
        assert!(decision.events.is_empty());
        let Ok(Outcome::Exists(summary)) = decision.reply else {
            panic!("is there");
        };
        assert_eq!(summary.tail, at(1, 4));
    }
}

#[test]
fn t41_a_name_used_again_is_another_stream() {
    let mut bench = Bench::of(plain());
    bench.append(&append(bytes("old"))).expect("is appended");
    let old = bench.state().clone();
    assert_eq!(bench.delete(), Ok(Outcome::Deleted));
    assert!(bench.state.is_none());
    bench.create(plain()).expect("is created");
    let new = bench.state();
    assert_ne!(new.id, old.id);
    assert!(!new.owns(old.tail_offset()) && !new.owns(old.start_offset()));
    assert_eq!(new.tail, StreamPos::ZERO);
}

#[test]
fn deleting_twice_is_not_found() {
    let mut bench = Bench::of(plain());
    assert_eq!(bench.delete(), Ok(Outcome::Deleted));
    assert_eq!(bench.delete(), Err(Refusal::NotFound));
}

#[test]
fn a_closed_stream_can_be_deleted() {
    let mut bench = Bench::of(plain());
    bench.append(&close()).expect("is closed");
    assert_eq!(bench.delete(), Ok(Outcome::Deleted));
}
