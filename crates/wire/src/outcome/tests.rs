use millrace_core::{Generation, SlotId, StreamId, StreamPos};

use super::*;
use crate::etag::PageEnd;

fn offset(position: u64) -> Offset {
    Offset {
        generation: Generation(1),
        position: StreamPos(position),
    }
}

fn summary(closed: bool) -> Summary {
    Summary {
        tail: offset(9),
        closed,
        content_type: ContentType::new("text/plain; charset=utf-8").unwrap(),
    }
}

fn listed(reply: &Reply) -> Vec<(&str, &str)> {
    let mut list: Vec<_> = reply
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    list.sort_unstable();
    list
}

const TAIL: (&str, &str) = ("stream-next-offset", "0000000000001-0000000000000009");
const CLOSED: (&str, &str) = ("stream-closed", "true");
const TYPE: (&str, &str) = ("content-type", "text/plain; charset=utf-8");

#[test]
fn put_answers() {
    let name = StreamName::new("a b/c").unwrap();
    let created = put(
        &Outcome::Created(summary(false)),
        "http://localhost:4437",
        &name,
    );
    assert_eq!(created.status, 201);
    let location = ("location", "http://localhost:4437/v1/stream/a%20b/c");
    assert_eq!(listed(&created), [TYPE, location, TAIL]);

    let exists = put(&Outcome::Exists(summary(true)), "http://x", &name);
    assert_eq!(exists.status, 200);
    assert_eq!(listed(&exists), [TYPE, CLOSED, TAIL]);
}

#[test]
fn post_answers() {
    let epoch = ("producer-epoch", "2");
    let seq = ("producer-seq", "5");
    let appended = |closed, producer| Outcome::Appended {
        summary: summary(closed),
        producer,
    };
    let duplicate = Outcome::Duplicate {
        summary: summary(false),
        producer: (2, 5),
    };
    for (outcome, brought_bytes, status, headers) in [
        (appended(false, None), true, 204, vec![TAIL]),
        (appended(true, None), true, 204, vec![CLOSED, TAIL]),
        (appended(true, None), false, 204, vec![CLOSED, TAIL]),
        (
            appended(false, Some((2, 5))),
            true,
            200,
            vec![epoch, seq, TAIL],
        ),
        (
            appended(true, Some((2, 5))),
            true,
            200,
            vec![epoch, seq, CLOSED, TAIL],
        ),
        (
            appended(true, Some((2, 5))),
            false,
            204,
            vec![epoch, seq, CLOSED, TAIL],
        ),
        (duplicate, true, 204, vec![epoch, seq, TAIL]),
        (
            Outcome::AlreadyClosed(summary(true)),
            false,
            204,
            vec![CLOSED, TAIL],
        ),
    ] {
        let reply = post(&outcome, brought_bytes);
        assert_eq!(reply.status, status, "{outcome:?}");
        assert_eq!(listed(&reply), headers, "{outcome:?}");
    }
}

#[test]
fn delete_answers() {
    let reply = delete(&Outcome::Deleted);
    assert_eq!(reply.status, 204);
    assert!(reply.headers.is_empty());
}

#[test]
fn head_answers() {
    let cache = ("cache-control", "no-store");
    let at = Timestamp(1_896_091_200_123);
    let end_of_time = Timestamp(253_402_387_139_000);
    let expires = |text| ("stream-expires-at", text);
    for (lifetime, closed, headers) in [
        (Lifetime::Unlimited, false, vec![cache, TYPE, TAIL]),
        (Lifetime::Unlimited, true, vec![cache, TYPE, CLOSED, TAIL]),
        (
            Lifetime::Ttl(3600),
            false,
            vec![cache, TYPE, TAIL, ("stream-ttl", "3600")],
        ),
        (
            Lifetime::Until(at),
            false,
            vec![cache, TYPE, expires("2030-01-31T12:00:00.123Z"), TAIL],
        ),
        (
            Lifetime::Until(end_of_time),
            false,
            vec![cache, TYPE, expires("9999-12-31T23:59:59.999Z"), TAIL],
        ),
    ] {
        let reply = head(&HeadFacts {
            settings: None,
            earliest: None,
            content_type: summary(false).content_type,
            tail: offset(9),
            closed,
            lifetime,
        });
        assert_eq!(reply.status, 200);
        assert_eq!(listed(&reply), headers);
    }
}

#[test]
fn read_answers() {
    let content_type = summary(false).content_type;
    let tag = ETag::new(
        StreamId::new(SlotId(3), Generation(1)),
        offset(0),
        offset(9),
        PageEnd::Tail,
        Format::Content,
    );
    let facts = ReadFacts {
        end: ReadEnd::Page,
        content_type,
        start: None,
        format: Format::Content,
        next: offset(9),
        up_to_date: true,
        closed: false,
        cursor: Some(1000),
        etag: Some(tag),
        cache_control: NO_CACHE,
    };
    let etag = ("etag", str::from_utf8(tag.as_bytes()).unwrap());
    let cache = ("cache-control", "no-cache");
    let (cursor, up_to_date) = (("stream-cursor", "1000"), ("stream-up-to-date", "true"));

    let page = read(&facts);
    assert_eq!(page.status, 200);
    assert_eq!(listed(&page), [cache, TYPE, etag, cursor, TAIL, up_to_date]);

    let same = read(&ReadFacts {
        end: ReadEnd::NotModified,
        ..facts.clone()
    });
    assert_eq!(same.status, 304);
    assert_eq!(listed(&same), [cache, etag, cursor, TAIL, up_to_date]);

    let nothing = ReadFacts {
        end: ReadEnd::Nothing,
        closed: true,
        cursor: None,
        etag: None,
        cache_control: NO_STORE,
        ..facts.clone()
    };
    let nothing = read(&nothing);
    assert_eq!(nothing.status, 204);
    assert_eq!(
        listed(&nothing),
        [("cache-control", "no-store"), CLOSED, TAIL, up_to_date]
    );
}

#[test]
fn closure_shows_only_at_the_end() {
    let short = read(&ReadFacts {
        end: ReadEnd::Page,
        content_type: summary(false).content_type,
        start: None,
        format: Format::Content,
        next: offset(9),
        up_to_date: false,
        closed: true,
        cursor: None,
        etag: None,
        cache_control: NO_CACHE,
    });
    assert_eq!(listed(&short), [("cache-control", "no-cache"), TYPE, TAIL]);
}

#[test]
fn event_streams_say_how_their_data_is_encoded() {
    for (kind, encoding) in [
        (ContentKind::Json, None),
        (ContentKind::Text, None),
        (ContentKind::Binary, Some("base64")),
    ] {
        let reply = sse(kind);
        assert_eq!(reply.headers[header::CONTENT_TYPE], "text/event-stream");
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-cache");
        let said = reply.headers.get(STREAM_SSE_DATA_ENCODING);
        assert_eq!(said.map(|value| value.to_str().unwrap()), encoding);
    }
}
