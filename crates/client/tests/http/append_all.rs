//! Appends to many streams in one request.

use bytes::Bytes;
use millrace_client::{
    AppendContent, AppendLine, LineAnswer, LineOutcome, Offset, Refused, Together,
};
use millrace_wire::Code;

use crate::support::{TestServer, code, name};

fn messages(stream: &str, array: &str) -> AppendLine {
    let array = AppendContent::Messages(array.to_owned().into());
    AppendLine::new(name(stream), array)
}

fn of_producer(seq: u64, line: AppendLine) -> AppendLine {
    AppendLine {
        producer: Some(("p".to_owned(), 3, seq)),
        ..line
    }
}

fn refused(answer: &LineAnswer) -> &Refused {
    match &answer.outcome {
        LineOutcome::Refused(refused) => refused,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_line_is_answered_on_its_own() {
    let server = TestServer::start().await;
    let a = server.json("a", &[]).await;
    let t = server.stream("t", "text/plain").await;
    let bytes = AppendContent::Bytes(Bytes::from_static(b"b\0"));
    let lines = [
        messages("a", "[1,\n2]"),
        messages("nope", "[1]"),
        AppendLine {
            close: true,
            ..AppendLine::new(name("t"), bytes)
        },
        messages("a", "[3]"),
        AppendLine {
            expected_offset: Some(a.head().await.unwrap().next_offset),
            ..messages("a", "[4]")
        },
    ];
    let answers = server.client.append_all(&lines, Together::Each).await;
    let answers = answers.unwrap();
    let streams = answers.iter().map(|answer| answer.stream.as_deref());
    let streams: Vec<_> = streams.map(Option::unwrap).collect();
    assert_eq!(streams, ["a", "nope", "t", "a", "a"]);
    assert_eq!(refused(&answers[1]).code(), Some(Code::NotFound));
    let LineOutcome::Appended(closed) = &answers[2].outcome else {
        panic!("{:?}", answers[2]);
    };
    assert!(closed.closed);
    assert!(t.head().await.unwrap().closed);
    let elsewhere = refused(&answers[4]);
    assert_eq!(elsewhere.code(), Some(Code::ExpectedOffset));
    let head = a.head().await.unwrap();
    assert_eq!(elsewhere.next_offset, Some(head.next_offset));
    let page = a.read_from(Offset::start()).next().await.unwrap().unwrap();
    assert_eq!(page.messages(), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_producers_line_counts_once_and_says_what_is_expected() {
    let server = TestServer::start().await;
    let a = server.json("a", &[]).await;
    let ask = async |line| {
        let lines = [line];
        let answers = server.client.append_all(&lines, Together::Each).await;
        answers.unwrap().remove(0)
    };
    let line = of_producer(0, messages("a", "[1]"));
    let first = ask(line.clone()).await;
    let LineOutcome::Appended(appended) = first.outcome else {
        panic!("{first:?}");
    };
    assert_eq!(appended.producer_seq, Some(0));
    let again = ask(line).await;
    let LineOutcome::Duplicate(duplicate) = again.outcome else {
        panic!("{again:?}");
    };
    assert_eq!(duplicate.next_offset, appended.next_offset);
    let gap = ask(of_producer(5, messages("a", "[2]"))).await;
    let gap = refused(&gap);
    assert_eq!(gap.code(), Some(Code::SeqGap));
    assert_eq!((gap.expected_seq, gap.received_seq), (Some(1), Some(5)));
    let stale = AppendLine {
        producer: Some(("p".to_owned(), 2, 0)),
        ..messages("a", "[2]")
    };
    let stale = ask(stale).await;
    assert_eq!(refused(&stale).code(), Some(Code::StaleEpoch));
    assert_eq!(refused(&stale).epoch, Some(3));
    // Closing brings no bytes: it is no duplicate.
    let close = AppendLine {
        close: true,
        ..of_producer(1, AppendLine::new(name("a"), AppendContent::Nothing))
    };
    let closed = ask(close).await;
    assert!(
        matches!(closed.outcome, LineOutcome::Appended(_)),
        "{closed:?}"
    );
    let late = ask(messages("a", "[2]")).await;
    assert_eq!(refused(&late).code(), Some(Code::Closed));
    assert!(refused(&late).closed);
    assert_eq!(a.head().await.unwrap().next_offset, appended.next_offset);
}

#[tokio::test]
async fn all_or_nothing_is_nothing_when_one_is_refused() {
    let server = TestServer::start().await;
    let a = server.json("{x}/a", &[]).await;
    let start = a.head().await.unwrap().next_offset;
    let good = messages("{x}/a", "[1]");
    let lines = [good.clone(), messages("{x}/nope", "[1]")];
    let all = Together::AllOrNothing;
    let answers = server.client.append_all(&lines, all).await.unwrap();
    assert_eq!(refused(&answers[0]).code(), Some(Code::BatchRefused));
    assert_eq!(refused(&answers[1]).code(), Some(Code::NotFound));
    assert_eq!(a.head().await.unwrap().next_offset, start);
    let answers = server.client.append_all(&[good], all).await.unwrap();
    assert!(matches!(answers[0].outcome, LineOutcome::Appended(_)));
    let apart = [messages("{x}/a", "[1]"), messages("{y}/a", "[1]")];
    let refused = server.client.append_all(&apart, all).await;
    assert_eq!(code(refused), Some(Code::HashTags));
}

#[tokio::test]
async fn lines_as_they_are_sent_may_be_wrong_one_by_one() {
    let server = TestServer::start().await;
    server.json("a", &[]).await;
    let lines =
        "{\"stream\":\"a\",\"messages\":[1]}\n\n  \nnonsense\n{\"stream\":\"a\",\"text\":\"2\"}";
    let answers = server.client.append_lines(lines.into(), Together::Each);
    let answers = answers.await.unwrap();
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[1].stream, None);
    assert_eq!(refused(&answers[1]).status, 400);
    assert!(matches!(answers[2].outcome, LineOutcome::Appended(_)));
    let none = server
        .client
        .append_lines("\n".into(), Together::Each)
        .await;
    assert_eq!(code(none), Some(Code::EmptyBody));
}
