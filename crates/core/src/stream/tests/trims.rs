//! Trims: they only go forward, and forks begin where their source does.

use super::*;

/// A stream of five bytes.
fn five() -> Bench {
    let mut bench = Bench::of(plain());
    bench.append(&append(bytes("abcde"))).expect("is appended");
    bench
}

#[test]
fn a_trim_moves_the_start_forward_and_nothing_else() {
    let mut bench = five();
    let before = bench.state().clone();
    for (to, start) in [(2, 2), (1, 2), (2, 2), (5, 5), (0, 5)] {
        assert_eq!(bench.trim(at(1, to)), Ok(Outcome::Done));
        assert_eq!(bench.state().start_offset(), at(1, start), "after {to}");
    }
    let after = StreamState {
        trimmed: StreamPos::ZERO,
        ..bench.state().clone()
    };
    assert_eq!(after, before);
    let none = decide::trim(bench.state.as_ref(), at(1, 3), bench.judge());
    assert!(none.events.is_empty(), "what changes nothing is not logged");
    bench.append(&append(bytes("f"))).expect("is appended");
    assert_eq!(bench.state().tail_offset(), at(1, 6));
}

#[test]
fn only_an_offset_of_the_stream_is_trimmed_to() {
    let mut bench = five();
    bench.trim(at(1, 2)).expect("is trimmed");
    let refusal = Refusal::OffsetGone { earliest: at(1, 2) };
    for to in [at(1, 6), at(2, 5), at(0, 0)] {
        assert_eq!(bench.trim(to), Err(refusal.clone()), "{to:?}");
    }
    assert_eq!(Bench::empty().trim(at(1, 0)), Err(Refusal::NotFound));
    let mut closed = five();
    closed.append(&close()).expect("is closed");
    assert_eq!(closed.trim(at(1, 5)), Ok(Outcome::Done));
}

#[test]
fn a_fork_begins_where_its_source_does() {
    let mut source = five();
    source.trim(at(1, 2)).expect("is trimmed");
    let fork = forked(&source, 4);
    assert_eq!(fork.state().start_offset(), at(1, 2));
    assert_eq!(fork.state().tail, StreamPos(4));
    assert!(fork.state().reads_from(at(1, 2)));
    assert!(!fork.state().reads_from(at(1, 1)));
}

#[test]
fn a_reference_is_refused_when_what_it_inherits_was_trimmed_meanwhile() {
    let mut source = five();
    let fork = StreamId::from_raw(9);
    let asked = |source: &Bench| {
        let judge = source.judge();
        decide::add_fork(source.state.as_ref(), fork, StreamPos(1), judge).reply
    };
    source.trim(at(1, 1)).expect("is trimmed");
    assert_eq!(asked(&source), Ok(Outcome::Done));
    source.trim(at(1, 2)).expect("is trimmed");
    assert_eq!(asked(&source), Err(Refusal::Unavailable));
}

#[test]
fn what_forks_may_need_is_kept() {
    let mut source = five();
    source.trim(at(1, 3)).expect("is trimmed");
    assert_eq!(source.state().needed_from(), StreamPos(3));
    let fork = StreamId::from_raw(9);
    let judge = source.judge();
    let added = decide::add_fork(source.state.as_ref(), fork, StreamPos(3), judge);
    source.take(added).expect("refers");
    assert_eq!(source.state().needed_from(), StreamPos::ZERO);
    source.drop_fork(fork).expect("refers no longer");
    assert_eq!(source.state().needed_from(), StreamPos(3));
}
