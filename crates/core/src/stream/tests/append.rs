//! The order of checks of an append (PROTOCOL 5.2 and 5.2.1): every row breaks its own rule and all
//! that come after it, so a row fails as soon as two checks change places.

use super::*;

/// What else is wrong with a request, from late checks to early ones.
fn elsewhere(mut command: Append) -> Append {
    command.expected = Some(ExpectedTail::At(at(1, 4)));
    command
}

fn old_seq(command: Append) -> Append {
    Append {
        seq: Some("a".into()),
        ..elsewhere(command)
    }
}

fn bad_json(mut command: Append) -> Append {
    command.body = Body::Invalid(BodyFault::Syntax(3));
    command
}

fn other_type(mut command: Append) -> Append {
    command.content_type = Some(content_type("application/json"));
    command
}

fn by(claim: ProducerClaim) -> impl Fn(Append) -> Append {
    move |mut command| {
        command.producer = Some(claim.clone());
        command
    }
}

/// A `text/plain` stream with 5 bytes, Stream-Seq "b", and producer "p" at epoch 3, sequence 1.
fn stream() -> Bench {
    let mut bench = Bench::of(plain());
    for (seq, text) in [(0, "a"), (1, "b")] {
        let mut first = append(bytes("xy"));
        first.seq = Some(text.into());
        first.producer = Some(claim("p", 3, seq));
        bench.append(&first).expect("is appended");
    }
    bench.append(&append(bytes("z"))).expect("is appended");
    bench
}

fn closed_by(producer: Option<ProducerClaim>) -> Bench {
    let mut bench = stream();
    let command = Append {
        producer,
        ..close()
    };
    bench.append(&command).expect("is closed");
    bench
}

/// Checks a reply, and that a request which fails moves nothing (T66).
fn refused(fact: &str, bench: &Bench, command: &Append, want: &Refusal) {
    let decision = bench.decide_append(command);
    assert_eq!(decision.reply.as_ref(), Err(want), "{fact}");
    assert!(decision.events.is_empty(), "{fact}: nothing changes");
}

fn found(fact: &str, bench: &Bench, command: &Append) -> Outcome {
    let decision = bench.decide_append(command);
    assert!(decision.events.is_empty(), "{fact}: nothing changes");
    decision.reply.expect(fact)
}

#[test]
fn t66_precedence_of_an_append_row_by_row() {
    let worst = || old_seq(bad_json(other_type(append(bytes("n")))));
    let unknown = claim("q", 0, 5);
    let rows: Vec<(&str, Append, Refusal)> = vec![
        (
            "a stale epoch comes before content type",
            by(claim("p", 2, 0))(worst()),
            Refusal::StaleEpoch { current: 3 },
        ),
        (
            "a new epoch not at zero comes before content type",
            by(claim("p", 4, 1))(worst()),
            Refusal::NewEpochNotAtZero,
        ),
        (
            "a gap comes before content type",
            by(claim("p", 3, 3))(worst()),
            Refusal::SeqGap {
                expected: 2,
                received: 3,
            },
        ),
        (
            "an unknown producer not at zero is a gap, before content type",
            by(unknown)(worst()),
            Refusal::SeqGap {
                expected: 0,
                received: 5,
            },
        ),
        (
            "content type comes before the body's fault, producer or not",
            by(claim("p", 3, 2))(worst()),
            Refusal::ContentType,
        ),
        (
            "content type comes first without a producer",
            worst(),
            Refusal::ContentType,
        ),
        (
            "a body needs a content type",
            Append {
                content_type: None,
                ..append(bytes("n"))
            },
            Refusal::ContentType,
        ),
        (
            "the body's fault comes before Stream-Seq",
            old_seq(bad_json(append(bytes("n")))),
            Refusal::Body(BodyFault::Syntax(3)),
        ),
        (
            "Stream-Seq comes before the expected offset",
            by(claim("p", 3, 2))(old_seq(append(bytes("n")))),
            Refusal::SeqRegression,
        ),
        (
            "the expected offset is checked last",
            by(claim("p", 3, 2))(elsewhere(append(bytes("n")))),
            Refusal::ExpectedOffset { tail: at(1, 5) },
        ),
    ];
    let bench = stream();
    for (fact, command, want) in rows {
        refused(fact, &bench, &command, &want);
    }
}

#[test]
fn a_missing_or_deleted_stream_comes_before_all_else() {
    let worst = by(claim("p", 2, 0))(old_seq(bad_json(other_type(append(bytes("n"))))));
    for command in [worst, close()] {
        refused("missing", &Bench::empty(), &command, &Refusal::NotFound);
        let mut deleted = closed_by(None);
        deleted
            .add_fork(StreamId::from_raw(99))
            .expect("is referred to");
        deleted.delete().expect("is deleted");
        refused("deleted", &deleted, &command, &Refusal::SoftDeleted);
    }
}

#[test]
fn closure_comes_before_all_but_a_close_and_the_closing_tuple() {
    let closing = claim("p", 3, 2);
    let bench = closed_by(Some(closing.clone()));
    let tail = bench.state().tail_offset();
    let refusal = Refusal::Closed { tail };
    let worst = || old_seq(bad_json(other_type(append(bytes("n")))));
    let rows: [(&str, Append); 7] = [
        ("an append", append(bytes("n"))),
        ("whatever else is wrong with it", worst()),
        (
            "invalid JSON: closure wins over its 400",
            bad_json(append(bytes("n"))),
        ),
        (
            "append and close without a producer",
            Append {
                close: true,
                ..append(bytes("n"))
            },
        ),
        ("a producer's later request", by(claim("p", 3, 3))(worst())),
        (
            "a producer's earlier request",
            by(claim("p", 3, 1))(append(bytes("n"))),
        ),
        ("a stale producer", by(claim("p", 2, 0))(worst())),
    ];
    for (fact, command) in rows {
        refused(fact, &bench, &command, &refusal);
    }
    for (fact, command) in [
        ("the closing tuple", by(closing.clone())(close())),
        ("whatever its body", by(closing.clone())(worst())),
        (
            "and without asking to close",
            by(closing)(append(bytes("n"))),
        ),
    ] {
        let Outcome::Duplicate { summary, producer } = found(fact, &bench, &command) else {
            panic!("{fact} is a duplicate");
        };
        assert_eq!(
            (summary.tail, summary.closed, producer),
            (tail, true, (3, 2))
        );
    }
    for (fact, command) in [
        ("closing again is fine", close()),
        ("whoever asks", by(claim("q", 0, 7))(close())),
        (
            "whatever content type or Stream-Seq",
            old_seq(other_type(close())),
        ),
    ] {
        let Outcome::AlreadyClosed(summary) = found(fact, &bench, &command) else {
            panic!("{fact}");
        };
        assert_eq!((summary.tail, summary.closed), (tail, true));
    }
}

#[test]
fn a_stream_closed_without_a_producer_has_no_closing_tuple() {
    let bench = closed_by(None);
    let tail = bench.state().tail_offset();
    let command = by(claim("p", 3, 1))(append(bytes("n")));
    refused(
        "its last request",
        &bench,
        &command,
        &Refusal::Closed { tail },
    );
    let made_closed = Bench::of(CreateSpec {
        closed: true,
        ..plain()
    });
    let tail = made_closed.state().tail_offset();
    refused(
        "made closed",
        &made_closed,
        &command,
        &Refusal::Closed { tail },
    );
    assert!(matches!(
        found("closing again", &made_closed, &close()),
        Outcome::AlreadyClosed(_)
    ));
}

#[test]
fn a_duplicate_comes_before_content_type_body_and_stream_seq() {
    let bench = stream();
    for seq in [0, 1] {
        let command = by(claim("p", 3, seq))(old_seq(bad_json(other_type(append(bytes("n"))))));
        let Outcome::Duplicate { summary, producer } = found("a duplicate", &bench, &command)
        else {
            panic!("{seq} is a duplicate");
        };
        assert_eq!(producer, (3, 1), "the highest accepted, not the one sent");
        assert_eq!((summary.tail, summary.closed), (at(1, 5), false));
    }
}

#[test]
fn a_duplicate_that_asks_to_close_does_not_close() {
    let mut bench = stream();
    let command = by(claim("p", 3, 1))(close());
    assert!(matches!(
        bench.append(&command),
        Ok(Outcome::Duplicate { .. })
    ));
    assert_eq!(bench.state().closure, Closure::Open);
}

#[test]
fn t67_a_close_without_a_body_ignores_content_type_and_counts_for_its_producer() {
    let mut bench = stream();
    let command = by(claim("p", 3, 2))(other_type(close()));
    let Ok(Outcome::Appended { summary, producer }) = bench.append(&command) else {
        panic!("is closed");
    };
    assert_eq!((summary.tail, summary.closed), (at(1, 5), true));
    assert_eq!(producer, Some((3, 2)));
    let closed_by = claim("p", 3, 2);
    assert_eq!(
        bench.state().closure,
        Closure::Closed(Some(Arc::new(closed_by)))
    );
}

#[test]
fn a_close_is_refused_as_any_append_of_its_producer_is() {
    let bench = stream();
    let stale = Refusal::StaleEpoch { current: 3 };
    refused("stale", &bench, &by(claim("p", 2, 0))(close()), &stale);
    refused(
        "old Stream-Seq",
        &bench,
        &old_seq(close()),
        &Refusal::SeqRegression,
    );
}

#[test]
fn append_and_close_is_one_step() {
    let mut bench = stream();
    let command = Append {
        close: true,
        ..append(bytes("end"))
    };
    let decision = bench.decide_append(&command);
    assert_eq!(decision.events.len(), 1, "one event, so one record");
    assert!(matches!(bench.take(decision), Ok(Outcome::Appended { .. })));
    assert_eq!(bench.state().tail, StreamPos(8));
    assert!(bench.state().is_closed());
}

#[test]
fn stream_seq_is_compared_byte_by_byte() {
    let rows: [(&str, &str, bool); 8] = [
        ("2", "10", false),
        ("09", "10", true),
        ("a", "B", false),
        ("B", "a", true),
        ("a", "a", false),
        ("a", "aa", true),
        ("", "", false),
        ("z", "é", true),
    ];
    for (last, next, accepted) in rows {
        let mut bench = Bench::of(plain());
        let with = |seq: &str| Append {
            seq: Some(seq.into()),
            ..append(bytes("n"))
        };
        bench.append(&with(last)).expect("the first is free");
        assert_eq!(
            bench.append(&with(next)).is_ok(),
            accepted,
            "{last:?} {next:?}"
        );
    }
}

#[test]
fn an_append_without_stream_seq_leaves_the_last_one_standing() {
    let mut bench = stream();
    bench.append(&append(bytes("n"))).expect("is appended");
    refused(
        "old",
        &bench,
        &old_seq(append(bytes("n"))),
        &Refusal::SeqRegression,
    );
}

#[test]
fn t42_parameters_of_the_content_type_do_not_matter() {
    let mut bench = stream();
    let mut command = append(bytes("n"));
    command.content_type = Some(content_type("Text/Plain; charset=utf-8"));
    let Ok(Outcome::Appended { summary, .. }) = bench.append(&command) else {
        panic!("is appended");
    };
    assert_eq!(
        summary.content_type.as_str(),
        "text/plain",
        "the stream's own"
    );
}

#[test]
fn t66_a_request_that_failed_is_judged_afresh_when_it_comes_again() {
    let mut bench = stream();
    let attempt = by(claim("p", 3, 2));
    let bad = attempt(bad_json(append(bytes("n"))));
    refused(
        "its body is bad",
        &bench,
        &bad,
        &Refusal::Body(BodyFault::Syntax(3)),
    );
    let good = bench.append(&attempt(append(bytes("n"))));
    assert!(
        matches!(good, Ok(Outcome::Appended { .. })),
        "the same tuple, mended"
    );
}

#[test]
fn an_append_that_expects_the_tail_is_carried_out_there_and_nowhere_else() {
    let expecting = |tail| Append {
        expected: Some(tail),
        ..append(bytes("n"))
    };
    let rows = [
        ("the tail", ExpectedTail::At(at(1, 5)), true),
        ("an earlier offset", ExpectedTail::At(at(1, 0)), false),
        ("an offset past the tail", ExpectedTail::At(at(1, 6)), false),
        (
            "the tail of another incarnation",
            ExpectedTail::At(at(2, 5)),
            false,
        ),
        ("an empty stream", ExpectedTail::Start, false),
    ];
    for (fact, tail, accepted) in rows {
        let mut bench = stream();
        if accepted {
            bench.append(&expecting(tail)).expect(fact);
        } else {
            let refusal = Refusal::ExpectedOffset { tail: at(1, 5) };
            refused(fact, &bench, &expecting(tail), &refusal);
        }
    }
    let mut empty = Bench::of(plain());
    empty
        .append(&expecting(ExpectedTail::Start))
        .expect("is empty");
}

#[test]
fn what_was_carried_out_before_is_found_before_the_tail_is_looked_at() {
    let mut bench = stream();
    let first = by(claim("p", 3, 2))(Append {
        expected: Some(ExpectedTail::At(at(1, 5))),
        ..append(bytes("n"))
    });
    bench.append(&first).expect("is appended");
    let again = found("the same request again", &bench, &first);
    assert!(matches!(again, Outcome::Duplicate { .. }), "{again:?}");
    let closed = closed_by(None);
    let again = found("closing again", &closed, &elsewhere(close()));
    assert!(matches!(again, Outcome::AlreadyClosed(_)), "{again:?}");
    let bench = stream();
    let refusal = Refusal::ExpectedOffset { tail: at(1, 5) };
    refused("a close", &bench, &elsewhere(close()), &refusal);
}
