//! Forks (PROTOCOL 4.2): what a fork takes over, how its source is held, and the same PUT again.

use super::*;
use crate::{limits::FORK_DEPTH_MAX, stream::Ancestor};

const FORK: StreamId = StreamId::from_raw(77);
const OTHER: StreamId = StreamId::from_raw(78);

/// A `text/plain` stream `s` of 10 bytes.
fn source() -> Bench {
    source_with(plain())
}

fn source_with(spec: CreateSpec) -> Bench {
    let mut bench = Bench::of(spec);
    bench
        .append(&append(bytes("0123456789")))
        .expect("is appended");
    bench
}

fn refusal(command: &Create) -> Option<Refusal> {
    let mut bench = Bench::empty();
    bench.generation = 9;
    let decision = bench.decide_create(command);
    assert_eq!(decision.events.is_empty(), decision.reply.is_err());
    decision.reply.err()
}

#[test]
fn a_fork_begins_where_it_branched() {
    let source = source();
    let mut fork = forked(&source, 4);
    assert_eq!(
        (fork.state().tail, fork.state().own_from()),
        (StreamPos(4), StreamPos(4))
    );
    assert_eq!(
        fork.state().tail_offset(),
        source.state().generations.offset_at(StreamPos(4))
    );
    fork.append(&append(bytes("xy"))).expect("is appended");
    assert_eq!(
        fork.state().tail_offset(),
        at(2, 6),
        "under its own generation"
    );
    assert_eq!(source.state().tail, StreamPos(10));
}

#[test]
fn a_body_follows_what_is_inherited() {
    let mut command = fork_of(&source(), 4);
    command.body = bytes("abc");
    let mut fork = Bench::empty();
    fork.generation = 2;
    fork.create_with(&command).expect("is created");
    assert_eq!(fork.state().tail_offset(), at(2, 7));
}

#[test]
fn a_fork_is_open_and_takes_over_no_writer_state() {
    let mut source = source();
    let mut command = append(bytes("end"));
    command.producer = Some(claim("p", 3, 0));
    command.seq = Some("z".into());
    command.close = true;
    source.append(&command).expect("is closed");
    let fork = forked(&source, 13);
    let state = fork.state();
    assert_eq!(state.closure, Closure::Open);
    assert_eq!((state.last_seq.clone(), state.producer_count), (None, 0));
}

#[test]
fn t74_an_omitted_content_type_is_inherited() {
    let fork = forked(&source(), 4);
    assert_eq!(fork.state().config.content_type, content_type("text/plain"));
}

#[test]
fn t73_a_content_type_that_is_not_the_sources_is_refused() {
    let mut command = fork_of(&source(), 4);
    command.spec.content_type = Some(content_type("application/json"));
    assert_eq!(refusal(&command), Some(Refusal::ForkContentType));
    command.spec.content_type = Some(content_type("TEXT/plain; charset=utf-8"));
    assert_eq!(refusal(&command), None);
}

#[test]
fn lifetimes_are_inherited_by_the_protocols_table() {
    let (ttl, other_ttl) = (Lifetime::Ttl(60), Lifetime::Ttl(7));
    let until = Lifetime::Until(NOW.plus_millis(5000));
    let other_until = Lifetime::Until(NOW.plus_millis(9000));
    let none = Lifetime::Unlimited;
    let rows = [
        (none, none, none),
        (none, ttl, ttl),
        (none, until, until),
        (ttl, none, ttl),
        (ttl, other_ttl, other_ttl),
        (ttl, until, until),
        (until, none, until),
        (until, ttl, ttl),
        (until, other_until, other_until),
    ];
    for (source, asked, want) in rows {
        let mut command = fork_of(&source_with(with_lifetime(source)), 4);
        command.spec.lifetime = asked;
        let mut fork = Bench::empty();
        fork.generation = 2;
        fork.create_with(&command).expect("is created");
        let state = fork.state();
        assert_eq!(state.config.lifetime, want, "{source:?} {asked:?}");
        assert_eq!(state.deadline, want.deadline(NOW), "{source:?} {asked:?}");
    }
}

#[test]
fn a_chain_as_long_as_may_be_is_not_made_longer() {
    let mut command = fork_of(&source(), 4);
    let chain = |len: usize| {
        let ancestor = |n: usize| Ancestor {
            stream: StreamId::from_raw(n as u64),
            until: StreamPos(n as u64 + 1),
        };
        (0..len).map(ancestor).collect()
    };
    let source = command.source.as_mut().expect("a fork");
    source.at = StreamPos(FORK_DEPTH_MAX as u64);
    source.lineage = chain(FORK_DEPTH_MAX);
    assert_eq!(refusal(&command), None);
    let source = command.source.as_mut().expect("a fork");
    source.lineage = chain(FORK_DEPTH_MAX + 1);
    assert_eq!(refusal(&command), Some(Refusal::ForkDepth));
}

#[test]
fn lineage_names_who_holds_each_inherited_byte() {
    let mut first = source();
    first.generation = 2;
    let mut second = forked(&first, 6);
    second.append(&append(bytes("abcd"))).expect("is appended");
    second.generation = 3;
    let mut third = forked(&second, 8);
    third.append(&append(bytes("xy"))).expect("is appended");
    let ids = [first.state().id, second.state().id, third.state().id];
    let rows: [(u64, &[(usize, u64)]); 8] = [
        (0, &[]),
        (1, &[(0, 1)]),
        (6, &[(0, 6)]),
        (7, &[(0, 6), (1, 7)]),
        (8, &[(0, 6), (1, 8)]),
        (9, &[(0, 6), (1, 8), (2, 9)]),
        (10, &[(0, 6), (1, 8), (2, 10)]),
        (5, &[(0, 5)]),
    ];
    for (position, want) in rows {
        let want: Vec<Ancestor> = want
            .iter()
            .map(|(holder, until)| Ancestor {
                stream: ids[*holder],
                until: StreamPos(*until),
            })
            .collect();
        let lineage = third.state().lineage_until(StreamPos(position));
        assert_eq!(*lineage, *want, "{position}");
    }
}

#[test]
fn a_fork_at_the_start_inherits_nothing() {
    let fork = forked(&source(), 0);
    let state = fork.state();
    assert!(state.config.lineage.is_empty());
    assert_eq!(
        (state.own_from(), state.tail_offset()),
        (StreamPos::ZERO, at(2, 0))
    );
}

#[test]
#[should_panic(expected = "a fork branches at or before its source's tail")]
fn no_fork_branches_past_the_tail() {
    source().state().lineage_until(StreamPos(11));
}

#[test]
fn a_reference_makes_a_deletion_soft() {
    let mut source = source();
    assert_eq!(source.add_fork(FORK), Ok(Outcome::Done));
    assert_eq!(source.delete(), Ok(Outcome::Deleted));
    assert!(source.state().soft_deleted);
    assert_eq!(
        source.delete(),
        Err(Refusal::SoftDeleted),
        "t43: again is 410"
    );
    assert_eq!(
        source.append(&append(bytes("n"))),
        Err(Refusal::SoftDeleted)
    );
    assert_eq!(source.create(plain()), Err(Refusal::NameHeld));
    assert_eq!(source.add_fork(OTHER), Err(Refusal::SourceSoftDeleted));
}

#[test]
fn a_fork_after_the_deletion_finds_no_source() {
    assert_eq!(Bench::empty().add_fork(FORK), Err(Refusal::SourceNotFound));
}

#[test]
fn t77_the_last_reference_takes_a_deleted_source_with_it() {
    let mut source = source();
    for fork in [FORK, OTHER] {
        source.add_fork(fork).expect("is referred to");
    }
    source.delete().expect("is deleted");
    source.drop_fork(FORK).expect("is dropped");
    assert!(source.state().soft_deleted);
    source.drop_fork(OTHER).expect("is dropped");
    assert!(source.state.is_none());
}

#[test]
fn a_source_that_was_not_deleted_outlives_its_forks() {
    let mut source = source();
    source.add_fork(FORK).expect("is referred to");
    source.drop_fork(FORK).expect("is dropped");
    assert_eq!(source.delete(), Ok(Outcome::Deleted));
    assert!(source.state.is_none(), "t72: nothing pins it");
}

#[test]
fn references_are_a_set_so_that_repeating_a_step_is_harmless() {
    let mut source = source();
    for _ in 0..2 {
        source.add_fork(FORK).expect("is referred to");
    }
    assert_eq!(source.state().forks.len(), 1);
    for _ in 0..2 {
        assert_eq!(source.drop_fork(FORK), Ok(Outcome::Done));
    }
    assert!(source.state().forks.is_empty());
    let nothing = decide::drop_fork(source.state.as_ref(), FORK);
    assert!(nothing.events.is_empty());
    let gone = decide::drop_fork(None, FORK);
    assert_eq!((gone.events.len(), gone.reply), (0, Ok(Outcome::Done)));
}

#[test]
fn t78_a_closed_stream_can_be_forked() {
    let mut source = source();
    source.append(&close()).expect("is closed");
    assert_eq!(source.add_fork(FORK), Ok(Outcome::Done));
    assert_eq!(forked(&source, 10).state().closure, Closure::Open);
}

fn again(fork: &Bench, change: impl Fn(&mut CreateSpec, &mut ForkRequest)) -> Option<&'static str> {
    let mut spec = fork.state().config.spec.clone();
    let mut request = spec.fork.take().expect("a fork");
    change(&mut spec, &mut request);
    spec.fork = Some(request);
    // The target is looked at before the source, so a repeated request has none.
    let decision = fork.decide_create(&Bench::command(spec));
    assert!(decision.events.is_empty());
    match decision.reply {
        Ok(Outcome::Exists(_)) => None,
        Err(Refusal::Config { differs }) => Some(differs),
        other => panic!("{other:?}"),
    }
}

#[test]
fn t75_the_same_fork_request_finds_its_fork() {
    let fork = forked(&source(), 4);
    let branch = Some("fork source or offset");
    assert_eq!(again(&fork, |_, _| {}), None);
    assert_eq!(
        again(&fork, |_, fork| fork.anchor = ForkAnchor::Tail),
        None,
        "omitted"
    );
    assert_eq!(
        again(&fork, |_, fork| fork.anchor = ForkAnchor::Start),
        branch
    );
    assert_eq!(
        again(&fork, |_, fork| fork.anchor = ForkAnchor::At(at(1, 5))),
        branch
    );
    assert_eq!(
        again(&fork, |_, fork| fork.anchor = ForkAnchor::At(at(9, 4))),
        branch
    );
    assert_eq!(again(&fork, |_, fork| fork.sub_offset = 1), branch);
    assert_eq!(again(&fork, |_, fork| fork.source = name("t")), branch);
    assert_eq!(again(&fork, |spec, _| spec.closed = true), Some("closure"));
    let typed = |text| {
        let sent = Some(content_type(text));
        again(&fork, |spec, _| spec.content_type.clone_from(&sent))
    };
    assert_eq!(typed("text/plain"), None);
    assert_eq!(typed("text/html"), Some("content type"));
}

#[test]
fn t75_sub_offsets_are_compared_as_asked_with_the_anchor_before_them() {
    let mut command = fork_of(&source(), 4);
    let request = command.spec.fork.as_mut().expect("a fork");
    request.sub_offset = 2;
    command.source.as_mut().expect("a fork").at = StreamPos(6);
    command.source.as_mut().expect("a fork").lineage = source().state().lineage_until(StreamPos(6));
    let mut fork = Bench::empty();
    fork.generation = 2;
    fork.create_with(&command).expect("is created");
    assert_eq!(again(&fork, |_, _| {}), None);
    let branch = Some("fork source or offset");
    let elsewhere = |fork: &mut ForkRequest| {
        fork.anchor = ForkAnchor::At(at(1, 6));
        fork.sub_offset = 0;
    };
    assert_eq!(
        again(&fork, |_, fork| elsewhere(fork)),
        branch,
        "the same bytes, asked otherwise"
    );
    assert_eq!(again(&fork, |_, fork| fork.sub_offset = 3), branch);
}

#[test]
fn t38_between_anchor_and_branch_offsets_are_still_the_sources() {
    let mut command = fork_of(&source(), 4);
    command.source.as_mut().expect("a fork").at = StreamPos(6);
    command.source.as_mut().expect("a fork").lineage = source().state().lineage_until(StreamPos(6));
    command.body = bytes("x");
    let mut fork = Bench::empty();
    fork.generation = 2;
    fork.create_with(&command).expect("is created");
    let rows = [(4, 1), (5, 1), (6, 1), (7, 2)];
    for (position, generation) in rows {
        assert!(fork.state().owns(at(generation, position)), "{position}");
    }
}

#[test]
fn a_fork_at_the_start_is_found_by_every_way_to_say_start() {
    let fork = forked(&source(), 0);
    assert_eq!(
        again(&fork, |_, fork| fork.anchor = ForkAnchor::Start),
        None
    );
    assert_eq!(
        again(&fork, |_, fork| fork.anchor = ForkAnchor::At(at(1, 0))),
        None
    );
}

#[test]
fn a_fork_is_found_by_the_lifetime_it_was_asked_for_or_inherited() {
    let ttl = Lifetime::Ttl(60);
    let inherits = forked(&source_with(with_lifetime(ttl)), 4);
    assert_eq!(again(&inherits, |_, _| {}), None);
    assert_eq!(again(&inherits, |spec, _| spec.lifetime = ttl), None);
    let other = |spec: &mut CreateSpec| spec.lifetime = Lifetime::Ttl(61);
    assert_eq!(again(&inherits, |spec, _| other(spec)), Some("lifetime"));

    let mut command = fork_of(&source(), 4);
    command.spec.lifetime = ttl;
    let mut own = Bench::empty();
    own.generation = 2;
    own.create_with(&command).expect("is created");
    assert_eq!(again(&own, |_, _| {}), None);
    let none = |spec: &mut CreateSpec| spec.lifetime = Lifetime::Unlimited;
    assert_eq!(again(&own, |spec, _| none(spec)), Some("lifetime"));
}

#[test]
fn plain_and_fork_requests_do_not_find_each_other() {
    let branch = Err(Refusal::Config {
        differs: "fork source or offset",
    });
    let mut fork = forked(&source(), 4);
    assert_eq!(fork.create(plain()), branch);
    let mut made = source();
    let request = fork_of(&source(), 4);
    assert_eq!(made.create_with(&request), branch);
}
