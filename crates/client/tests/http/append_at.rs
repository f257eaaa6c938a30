//! Appends at the tail that their writer saw, and nowhere else.

use millrace_client::{ContentType, Offset};
use millrace_wire::Code;

use crate::support::{TestServer, append, code};

const NOTHING_YET: &str = "0000000000000000_0000000000000000";

#[tokio::test]
async fn of_two_writers_that_saw_the_same_tail_one_appends_and_one_is_told_the_tail() {
    let server = TestServer::start().await;
    let stream = server.json("a", &[]).await;
    let json = ContentType::new("application/json").unwrap();
    let nothing_yet = Offset::new(NOTHING_YET).unwrap();
    let first = stream.append_at(&nothing_yet, &json, "1".into()).await;
    let seen = first.unwrap().next_offset;
    let one = stream.append_at(&seen, &json, "2".into()).await.unwrap();
    let two = stream.append_at(&seen, &json, "3".into()).await;
    let two = two.unwrap_err();
    assert!(two.changed_nothing() && !two.is_retryable());
    let two = two.refused().unwrap();
    assert_eq!(two.code(), Some(Code::ExpectedOffset));
    assert_eq!(two.next_offset, Some(one.next_offset.clone()));
    assert!(!two.closed);
    // It reads what it did not know, and decides again.
    let mut reader = stream.read_from(seen);
    let page = reader.next().await.unwrap().unwrap();
    assert_eq!(page.messages(), ["2"]);
    let again = stream.append_at(&page.next, &json, "3".into()).await;
    assert_ne!(again.unwrap().next_offset, one.next_offset);
}

#[tokio::test]
async fn a_stream_is_closed_where_its_writer_saw_it_end() {
    let server = TestServer::start().await;
    let stream = server.json("a", &["1"]).await;
    let seen = stream.head().await.unwrap().next_offset;
    let tail = append(&stream, "2").await;
    let refused = code(stream.close_at(&seen).await);
    assert_eq!(refused, Some(Code::ExpectedOffset));
    assert!(stream.close_at(&tail).await.unwrap().closed);
    assert!(stream.close_at(&seen).await.unwrap().closed, "it is closed");
}

#[tokio::test]
async fn no_tail_is_expected_where_none_can_be() {
    let server = TestServer::start().await;
    let stream = server.json("a", &["1"]).await;
    let json = ContentType::new("application/json").unwrap();
    for offset in [Offset::start(), Offset::now()] {
        let refused = code(stream.append_at(&offset, &json, "2".into()).await);
        assert_eq!(refused, Some(Code::InvalidExpectedOffset), "{offset}");
    }
    let tail = append(&stream, "2").await;
    assert_eq!(stream.head().await.unwrap().next_offset, tail);
}
