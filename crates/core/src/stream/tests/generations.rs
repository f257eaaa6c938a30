//! Generations and offsets: a position has exactly one token, and no other stream's is mistaken for
//! it.

use super::*;
use crate::stream::{GenerationStart, Generations};

fn list(starts: &[(u64, u64)]) -> Vec<GenerationStart> {
    let start = |(generation, from): &(u64, u64)| GenerationStart {
        generation: Generation(*generation),
        from: StreamPos(*from),
    };
    starts.iter().map(start).collect()
}

fn generations(starts: &[(u64, u64)]) -> Generations {
    Generations::new(list(starts).into())
}

#[test]
fn lists_start_at_zero_and_grow_in_both_numbers() {
    let rows: [(&[(u64, u64)], bool); 9] = [
        (&[(1, 0)], true),
        (&[(0, 0), (5, 1), (6, 9)], true),
        (&[], false),
        (&[(1, 1)], false),
        (&[(1, 0), (1, 5)], false),
        (&[(2, 0), (1, 5)], false),
        (&[(1, 0), (2, 0)], true),
        (&[(1, 0), (2, 0), (3, 0)], false),
        (&[(1, 0), (2, 5), (3, 4)], false),
    ];
    for (starts, valid) in rows {
        assert_eq!(Generations::is_valid(&list(starts)), valid, "{starts:?}");
    }
}

#[test]
fn a_position_carries_the_generation_of_the_byte_before_it() {
    let generations = generations(&[(3, 0), (5, 10), (9, 20)]);
    let rows = [(0, 3), (1, 3), (10, 3), (11, 5), (20, 5), (21, 9), (999, 9)];
    for (position, want) in rows {
        assert_eq!(
            generations.offset_at(StreamPos(position)),
            at(want, position)
        );
    }
    assert_eq!(generations.current(), Generation(9));
}

#[test]
fn offsets_sort_as_their_positions_do() {
    let generations = generations(&[(3, 0), (5, 10), (9, 20)]);
    let offsets: Vec<Offset> = (0..30)
        .map(|n| generations.offset_at(StreamPos(n)))
        .collect();
    assert!(offsets.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_fork_takes_over_the_list_up_to_its_branch() {
    let rows: [(u64, &[(u64, u64)]); 6] = [
        (0, &[(50, 0)]),
        (1, &[(3, 0), (50, 1)]),
        (10, &[(3, 0), (50, 10)]),
        (11, &[(3, 0), (5, 10), (50, 11)]),
        (20, &[(3, 0), (5, 10), (50, 20)]),
        (25, &[(3, 0), (5, 10), (9, 20), (50, 25)]),
    ];
    let source = generations(&[(3, 0), (5, 10), (9, 20)]);
    for (position, want) in rows {
        let fork = source.forked(StreamPos(position), Generation(50));
        assert_eq!(*fork, *list(want), "{position}");
        let fork = Generations::new(fork);
        for inherited in 1..=position {
            let inherited = StreamPos(inherited);
            assert_eq!(fork.offset_at(inherited), source.offset_at(inherited));
        }
    }
}

#[test]
fn a_raise_starts_at_the_tail_and_replaces_what_wrote_nothing() {
    let check = |before: &[(u64, u64)], tail, want: &[(u64, u64)]| {
        let raised = generations(before).raised(StreamPos(tail), Generation(7));
        assert_eq!(raised.as_slice(), list(want), "{before:?}");
    };
    check(&[(1, 0)], 5, &[(1, 0), (7, 5)]);
    check(&[(1, 0), (3, 5)], 5, &[(1, 0), (7, 5)]);
    check(&[(1, 0), (3, 0)], 5, &[(1, 0), (3, 0), (7, 5)]);
}

#[test]
fn a_raise_before_the_first_byte_keeps_the_token_of_the_start() {
    let raised = generations(&[(1, 0)]).raised(StreamPos(0), Generation(3));
    assert_eq!(raised.as_slice(), list(&[(1, 0), (3, 0)]));
    let again = raised.raised(StreamPos(0), Generation(7));
    assert_eq!(again.as_slice(), list(&[(1, 0), (7, 0)]));
    assert_eq!(again.offset_at(StreamPos(0)), at(1, 0));
    assert_eq!(again.offset_at(StreamPos(1)), at(7, 1));
    assert_eq!(again.current(), Generation(7));
}

#[test]
#[should_panic(expected = "generations are in order")]
fn a_raise_to_an_old_generation_is_a_defect() {
    let _ = generations(&[(3, 0)]).raised(StreamPos(5), Generation(3));
}

#[test]
fn a_raise_tells_lost_positions_from_those_written_again() {
    let mut bench = Bench::of(plain());
    bench.append(&append(bytes("0123"))).expect("is appended");
    let kept = bench.state().tail_offset();
    // A tail that readers saw under generation 1 was lost: the stream is back at 4 bytes.
    let lost = at(1, 6);
    let raised = Event::GenerationRaised {
        stream: bench.state().id,
        generation: Generation(2),
    };
    bench.state = apply(bench.state.take(), &raised);
    assert_eq!(bench.state().tail_offset(), kept);
    assert!(!bench.state().owns(lost), "lies past the tail");
    bench.append(&append(bytes("other"))).expect("is appended");
    let state = bench.state();
    assert!(state.owns(kept) && state.owns(at(2, 6)) && state.owns(at(2, 9)));
    assert!(!state.owns(lost), "was written again by another generation");
}

#[test]
fn t64a_only_the_one_token_of_a_position_is_owned() {
    let mut bench = Bench::of(plain());
    bench.append(&append(bytes("0123"))).expect("is appended");
    let rows = [
        (at(1, 0), true),
        (at(1, 4), true),
        (at(1, 5), false),
        (at(0, 2), false),
        (at(2, 2), false),
        (at(2, 4), false),
        (at(u64::MAX, u64::MAX), false),
    ];
    for (offset, owned) in rows {
        assert_eq!(bench.state().owns(offset), owned, "{offset:?}");
    }
}

#[test]
fn a_fork_owns_what_it_inherited_and_not_what_its_source_wrote_later() {
    let mut source = Bench::of(plain());
    source.append(&append(bytes("0123"))).expect("is appended");
    let mut fork = forked(&source, 3);
    fork.append(&append(bytes("xyz"))).expect("is appended");
    for position in 1..=3 {
        assert!(fork.state().owns(at(1, position)), "{position}");
    }
    assert!(!fork.state().owns(at(1, 4)));
    assert!(fork.state().owns(at(2, 4)));
    assert!(!source.state().owns(at(2, 4)));
}

#[test]
#[should_panic(expected = "an append begins at the tail")]
fn an_append_that_does_not_begin_at_the_tail_is_a_defect() {
    let mut bench = Bench::of(plain());
    let decision = bench.decide_append(&append(bytes("0123")));
    bench.append(&append(bytes("x"))).expect("is appended");
    drop(bench.take(decision));
}

#[test]
#[should_panic(expected = "without its stream")]
fn an_event_without_its_stream_is_a_defect() {
    let stream = StreamId::from_raw(1);
    let reason = DeleteReason::Request;
    drop(apply(None, &Event::Deleted { stream, reason }));
}

#[test]
#[should_panic(expected = "is created twice")]
fn a_stream_created_twice_is_a_defect() {
    let decision = Bench::empty().decide_create(&Bench::command(plain()));
    let state = apply(None, &decision.events[0]);
    drop(apply(state, &decision.events[0]));
}
