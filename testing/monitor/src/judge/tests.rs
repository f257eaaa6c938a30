//! The judge must be able to condemn: every fault it is there to find, fed to it.

use super::*;
use crate::message::{Found, encode};

const KIND: Kind = Kind::Json;

fn key(seq: u64) -> Key {
    Key {
        by: 1,
        epoch: 0,
        seq,
    }
}

/// The wire bytes of append `seq`, of two messages.
fn wire(id: Id, seq: u64) -> Vec<u8> {
    (0..2)
        .flat_map(|index| {
            let found = Found {
                incarnation: id.0,
                key: key(seq),
                index,
                of: 2,
            };
            encode(KIND, found, 20)
        })
        .collect()
}

fn token(position: usize) -> String {
    format!("0000000001-{position:016}")
}

fn whole(parts: &[Vec<u8>]) -> Whole {
    let bytes = parts.concat();
    Whole {
        tail: token(bytes.len()),
        bytes,
        closed: false,
    }
}

/// A stream of `count` acknowledged appends.
fn acknowledged(count: u64) -> (Judge, Id) {
    let mut judge = Judge::default();
    let id = judge.open("s".into(), KIND);
    let mut end = 0;
    for seq in 0..count {
        let bytes = wire(id, seq);
        end += bytes.len();
        judge.sending(id, key(seq), 2, &bytes);
        judge.settle(id, key(seq), Settled::Acked, Some(&token(end)));
    }
    (judge, id)
}

/// What the judge says of a stream of three appends that reads as `parts`.
fn verdict(parts: impl FnOnce(Id) -> Vec<Vec<u8>>) -> Vec<String> {
    let (mut judge, id) = acknowledged(3);
    let asof = judge.now();
    judge.verify(id, &whole(&parts(id)), asof);
    judge.violations().to_vec()
}

fn condemned(violations: &[String], word: &str) {
    assert!(
        violations.iter().any(|what| what.contains(word)),
        "{word:?} is not in {violations:?}"
    );
}

#[test]
fn what_was_acknowledged_and_is_there_is_fine() {
    let violations = verdict(|id| vec![wire(id, 0), wire(id, 1), wire(id, 2)]);
    assert_eq!(violations, Vec::<String>::new());
}

#[test]
fn a_lost_append_is_found() {
    condemned(&verdict(|id| vec![wire(id, 0), wire(id, 1)]), "missing");
    condemned(&verdict(|id| vec![wire(id, 0), wire(id, 2)]), "missing");
    condemned(&verdict(|_| vec![]), "3 acknowledged appends are missing");
}

#[test]
fn a_repeated_append_is_found() {
    let parts = |id| vec![wire(id, 0), wire(id, 1), wire(id, 1), wire(id, 2)];
    condemned(&verdict(parts), "twice");
}

#[test]
fn appends_in_another_order_are_found() {
    let parts = |id| vec![wire(id, 1), wire(id, 0), wire(id, 2)];
    condemned(&verdict(parts), "stands after");
    condemned(&verdict(parts), "was acknowledged before");
}

#[test]
fn a_changed_message_is_found() {
    let parts = |id| {
        let mut changed = wire(id, 1);
        changed[12] ^= 1;
        vec![wire(id, 0), changed, wire(id, 2)]
    };
    condemned(&verdict(parts), "no whole message");
    // Whole messages, but not those that were sent.
    let parts = |id: Id| {
        let found = |index| Found {
            incarnation: id.0,
            key: key(1),
            index,
            of: 2,
        };
        let other: Vec<u8> = [encode(KIND, found(0), 3), encode(KIND, found(1), 3)].concat();
        vec![wire(id, 0), other, wire(id, 2)]
    };
    condemned(&verdict(parts), "not what was sent");
}

#[test]
fn half_an_append_is_found() {
    let parts = |id| {
        let half = wire(id, 2);
        vec![wire(id, 0), wire(id, 1), half[..half.len() / 2].to_vec()]
    };
    condemned(&verdict(parts), "not what was sent");
}

#[test]
fn what_was_never_sent_or_was_refused_is_found() {
    condemned(
        &verdict(|id| vec![wire(id, 0), wire(id, 1), wire(id, 2), wire(id, 3)]),
        "never sent",
    );
    let (mut judge, id) = acknowledged(1);
    judge.sending(id, key(1), 2, &wire(id, 1));
    judge.settle(id, key(1), Settled::Refused, None);
    let asof = judge.now();
    judge.verify(id, &whole(&[wire(id, 0), wire(id, 1)]), asof);
    condemned(judge.violations(), "was refused");
}

#[test]
fn what_nobody_knows_of_may_be_there_once_or_not_at_all() {
    for parts in [vec![0], vec![0, 1]] {
        let (mut judge, id) = acknowledged(1);
        judge.sending(id, key(1), 2, &wire(id, 1));
        judge.settle(id, key(1), Settled::Unknown, None);
        let read: Vec<_> = parts.iter().map(|seq| wire(id, *seq)).collect();
        let asof = judge.now();
        judge.verify(id, &whole(&read), asof);
        assert_eq!(judge.violations(), Vec::<String>::new());
    }
}

#[test]
fn a_tail_that_is_not_the_end_is_found() {
    let (mut judge, id) = acknowledged(1);
    let mut read = whole(&[wire(id, 0)]);
    read.tail = token(read.bytes.len() + 1);
    let asof = judge.now();
    judge.verify(id, &read, asof);
    condemned(judge.violations(), "up to the tail");
}

#[test]
fn t47_a_response_that_moves_past_what_it_carried_is_found() {
    let (mut judge, id) = acknowledged(2);
    let first = wire(id, 0);
    let place = judge
        .delivered(id, &Mark::start(), &first, &token(first.len()))
        .unwrap();
    assert_eq!(judge.violations(), Vec::<String>::new());
    let skipped = token(first.len() * 2);
    assert_eq!(judge.delivered(id, &place, b"", &skipped), None);
    condemned(judge.violations(), "moved the reader");
}

#[test]
fn readers_that_saw_different_bytes_are_found() {
    let (mut judge, id) = acknowledged(2);
    let (one, two) = (wire(id, 0), wire(id, 1));
    let end = token(one.len());
    judge.delivered(id, &Mark::start(), &one, &end);
    judge.delivered(id, &Mark::start(), &two[..one.len()], &end);
    condemned(judge.violations(), "different bytes");
}

#[test]
fn one_position_with_two_tokens_is_found() {
    let (mut judge, id) = acknowledged(1);
    let one = wire(id, 0);
    judge.delivered(id, &Mark::start(), &one, &token(one.len()));
    let other = token(one.len()).replace("0000000001-", "0000000002-");
    judge.delivered(id, &Mark::start(), &one, &other);
    condemned(judge.violations(), "two tokens");
}

#[test]
fn t35_a_restart_that_takes_back_what_a_reader_saw_is_found() {
    let mut judge = Judge::default();
    let id = judge.open("s".into(), KIND);
    let bytes = wire(id, 0);
    judge.sending(id, key(0), 2, &bytes);
    judge.delivered(id, &Mark::start(), &bytes, &token(bytes.len()));
    let asof = judge.now();
    // Nothing was acknowledged, so nothing is missing; but it was seen.
    judge.verify(id, &whole(&[]), asof);
    condemned(judge.violations(), "a reader was at");
}

#[test]
fn a_closed_stream_that_is_open_again_is_found() {
    let (mut judge, id) = acknowledged(1);
    judge.closing(id);
    judge.closed(id);
    let asof = judge.now();
    judge.verify(id, &whole(&[wire(id, 0)]), asof);
    condemned(judge.violations(), "was closed, and is open");
}

#[test]
fn a_stream_that_closed_by_itself_is_found() {
    let (mut judge, id) = acknowledged(1);
    judge.closed(id);
    condemned(judge.violations(), "nobody closed it");
}

#[test]
fn a_fork_that_lost_what_it_inherited_is_found() {
    let (mut judge, source) = acknowledged(1);
    let inherited = wire(source, 0);
    let mark = judge
        .delivered(source, &Mark::start(), &inherited, &token(inherited.len()))
        .unwrap();
    let fork = judge.open("f".into(), KIND);
    judge.inherits(fork, &mark);
    let asof = judge.now();
    judge.verify(fork, &whole(std::slice::from_ref(&inherited)), asof);
    assert_eq!(judge.violations(), Vec::<String>::new());
    judge.verify(fork, &whole(&[]), asof);
    condemned(judge.violations(), "a reader was at");
}
