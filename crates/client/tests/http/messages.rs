//! Reading by message, and trims.

use bytes::Bytes;
use millrace_client::{ContentType, Data, MessageReader, Offset, Place, Reader, Timestamp};
use millrace_wire::Code;

use crate::support::{TestServer, append, code};

async fn all(mut reader: Reader) -> (Vec<Bytes>, usize) {
    let (mut messages, mut pages) = (Vec::new(), 0);
    while let Some(page) = reader.next().await.unwrap() {
        messages.extend(page.messages());
        pages += 1;
    }
    (messages, pages)
}

async fn lines(mut reader: MessageReader) -> Vec<millrace_client::Message> {
    let mut messages = Vec::new();
    while let Some(page) = reader.next().await.unwrap() {
        messages.extend(page.messages);
    }
    messages
}

#[tokio::test]
async fn the_last_messages_and_what_follows_them() {
    let server = TestServer::start().await;
    let stream = server.json("a", &["1", "2", "[3,4]"]).await;
    let (messages, _) = all(stream.read(Place::Last(2))).await;
    assert_eq!(messages, ["3", "4"]);
    // Pages of one message go on where the last one ended.
    let (messages, pages) = all(stream.read(Place::Last(3)).limit(1)).await;
    assert_eq!((messages.len(), pages), (3, 3));
    let mut reader = stream.read(Place::Last(1));
    assert_eq!(reader.offset(), None);
    let page = reader.next().await.unwrap().unwrap();
    assert_eq!(reader.offset(), Some(&page.next));
    assert_ne!(page.from, page.next);
    let (again, _) = all(stream.read_from(page.from)).await;
    assert_eq!(again, ["4"]);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let server = TestServer::start().await;
    let stream = server.json("a", &["1"]).await;
    let none = stream.read(Place::Last(0)).next().await;
    assert_eq!(code(none), Some(Code::InvalidQuery));
    let none = stream.read(Place::Last(1)).limit(0).next().await;
    assert_eq!(code(none), Some(Code::InvalidQuery));
    let none = stream.messages(Place::Before(Offset::start()));
    assert_eq!(lines(none).await, []);
}

#[tokio::test]
async fn scrolling_up_reads_everything_backwards_once() {
    let server = TestServer::start().await;
    let stream = server.json("a", &["[1,2,3]", "[4,5]"]).await;
    let (mut before, mut seen) = (Offset::now(), Vec::new());
    loop {
        let mut reader = stream.read(Place::Before(before.clone())).limit(2);
        let page = reader.next().await.unwrap().unwrap();
        assert!(reader.next().await.unwrap().is_none(), "it is one page");
        if page.is_empty() {
            break;
        }
        let mut messages = page.messages();
        messages.extend(seen);
        seen = messages;
        before = page.from;
    }
    assert_eq!(seen, ["1", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn since_a_time_begins_with_what_was_appended_then() {
    let server = TestServer::start().await;
    let stream = server.json("a", &["1"]).await;
    let first = lines(stream.messages(Place::From(Offset::start()))).await;
    let at = first[0].time;
    while {
        append(&stream, "2").await;
        let last = lines(stream.messages(Place::Last(1))).await;
        last[0].time == at
    } {}
    let later = Timestamp(at.get() + 1);
    let (all_of_them, _) = all(stream.read(Place::Since(at))).await;
    let (rest, _) = all(stream.read(Place::Since(later))).await;
    assert_eq!(all_of_them[0], "1");
    assert!(!rest.is_empty() && rest.iter().all(|message| message == "2"));
}

#[tokio::test]
async fn messages_have_their_offsets_times_and_bytes() {
    let server = TestServer::start().await;
    let stream = server.json("a", &["1.0", "{\"b\":\n2}"]).await;
    let messages = lines(stream.messages(Place::From(Offset::start())).limit(1)).await;
    assert_eq!(messages[0].data, Data::Json("1.0".into()));
    assert_eq!(messages[1].data, Data::Json("{\"b\": 2}".into()));
    assert!(messages[0].time <= messages[1].time && messages[0].time > Timestamp(0));
    let (rest, _) = all(stream.read_from(messages[0].offset.clone())).await;
    assert_eq!(rest.len(), 1);
    for (name, content_type, want) in [
        ("t", "text/plain", Data::Json("\"a\\n\"".into())),
        ("b", "application/octet-stream", Data::Bytes("a\n".into())),
    ] {
        let stream = server.stream(name, content_type).await;
        let content_type = ContentType::new(content_type).unwrap();
        stream.append(&content_type, "a\n".into()).await.unwrap();
        let messages = lines(stream.messages(Place::Last(9))).await;
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].data, want, "{name}");
    }
}

#[tokio::test]
async fn a_trimmed_stream_begins_later() {
    let server = TestServer::start().await;
    let stream = server.json("a", &["1", "2", "3"]).await;
    assert_eq!(stream.head().await.unwrap().earliest_offset, None);
    let mut reader = stream.read_from(Offset::start()).limit(1);
    let first = reader.next().await.unwrap().unwrap();
    let trimmed = stream.trim(&first.next).await.unwrap();
    assert_eq!(trimmed.earliest_offset, first.next);
    let head = stream.head().await.unwrap();
    assert_eq!(head.earliest_offset.as_ref(), Some(&first.next));
    assert_eq!(head.next_offset, trimmed.next_offset);
    let (rest, _) = all(stream.read_from(Offset::start())).await;
    assert_eq!(rest, ["2", "3"]);
    // An earlier offset changes nothing, one that is none is refused.
    let again = stream.trim(&Offset::start()).await.unwrap();
    assert_eq!(again, trimmed);
    let nonsense = Offset::new("7").unwrap();
    let refused = stream.trim(&nonsense).await;
    assert_eq!(code(refused), Some(Code::InvalidOffset));
    let all_of_it = stream.trim(&Offset::now()).await.unwrap();
    assert_eq!(all_of_it.earliest_offset, all_of_it.next_offset);
    let gone = stream.read_from(first.next).next().await.unwrap_err();
    let gone = gone.refused().unwrap();
    assert_eq!(gone.code(), Some(Code::OffsetGone));
    assert_eq!(gone.earliest_offset, Some(all_of_it.earliest_offset));
}
