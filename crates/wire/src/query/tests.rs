use http::HeaderValue;
use millrace_core::{Generation, Offset, StreamPos};
use proptest::prelude::*;

use http::HeaderMap;

use super::*;

const TOKEN: &str = "0000000000007-0000000000000042";

fn at() -> OffsetArg {
    OffsetArg::At(Offset {
        generation: Generation(7),
        position: StreamPos(42),
    })
}

fn read(query: &str) -> Result<ReadQuery, BadRequest> {
    ReadQuery::parse(Some(query), &HeaderMap::new())
}

fn resumed(query: &str, ids: &[&str]) -> Result<ReadQuery, BadRequest> {
    let mut headers = HeaderMap::new();
    for id in ids {
        headers.append(LAST_EVENT_ID, HeaderValue::from_str(id).unwrap());
    }
    ReadQuery::parse(Some(query), &headers)
}

#[test]
fn nothing_asked_is_a_read_from_the_start() {
    let want = ReadQuery {
        place: Place::From(OffsetArg::Start),
        limit: u64::MAX,
        format: Format::Content,
        live: Live::CatchUp,
        cursor: None,
        timeout: None,
        reconnects: false,
    };
    assert_eq!(ReadQuery::parse(None, &HeaderMap::new()), Ok(want));
    for query in ["", "&", "foo=bar&baz=qux", "x", "=", "%zz=1", "%ff"] {
        assert_eq!(read(query), Ok(want), "{query}");
    }
}

#[test]
fn offsets() {
    for (query, want) in [
        (format!("offset={TOKEN}"), Ok(at())),
        ("offset=-1".to_owned(), Ok(OffsetArg::Start)),
        ("offset=now".to_owned(), Ok(OffsetArg::Now)),
        ("off%73et=%6eow&foo=bar".to_owned(), Ok(OffsetArg::Now)),
        (
            "offset=0000000000000000_0000000000000000".to_owned(),
            Ok(OffsetArg::Start),
        ),
        ("offset".to_owned(), Err(BadRequest::Offset)),
        ("offset=".to_owned(), Err(BadRequest::Offset)),
        ("offset=0,1".to_owned(), Err(BadRequest::Offset)),
        ("offset=0%201".to_owned(), Err(BadRequest::Offset)),
        (format!("offset=+{TOKEN}"), Err(BadRequest::Offset)),
        (format!("offset={TOKEN}%00"), Err(BadRequest::Offset)),
        (
            "offset=%2".to_owned(),
            Err(BadRequest::ParameterEncoding("offset")),
        ),
        (
            "offset=%ff".to_owned(),
            Err(BadRequest::ParameterEncoding("offset")),
        ),
        (
            "offset=a&offset=b".to_owned(),
            Err(BadRequest::RepeatedParameter("offset")),
        ),
        (
            "offset=-1&x=1&%6fffset=-1".to_owned(),
            Err(BadRequest::RepeatedParameter("offset")),
        ),
    ] {
        assert_eq!(
            read(&query).map(|read| read.place),
            want.map(Place::From),
            "{query}"
        );
    }
}

#[test]
fn live_modes() {
    for (value, want) in [
        ("long-poll", Ok(Live::LongPoll)),
        ("true", Ok(Live::LongPoll)),
        ("1", Ok(Live::LongPoll)),
        ("sse", Ok(Live::Sse)),
        ("false", Ok(Live::CatchUp)),
        ("0", Ok(Live::CatchUp)),
        ("", Err(BadRequest::Live)),
        ("SSE", Err(BadRequest::Live)),
        ("longpoll", Err(BadRequest::Live)),
        ("yes", Err(BadRequest::Live)),
    ] {
        let query = format!("offset=-1&live={value}");
        assert_eq!(read(&query).map(|read| read.live), want, "{value}");
    }
    let twice = read("offset=-1&live=sse&live=sse");
    assert_eq!(twice, Err(BadRequest::RepeatedParameter("live")));
}

#[test]
fn a_live_read_needs_an_offset() {
    for live in ["long-poll", "true", "1", "sse"] {
        let query = format!("live={live}");
        assert_eq!(read(&query), Err(BadRequest::OffsetRequired), "{live}");
    }
    assert!(read("live=false").is_ok());
}

#[test]
fn places_exclude_each_other_but_an_offset_beats_a_moment() {
    let since = Place::Since(Timestamp(1_700_000_000_123));
    for (query, want) in [
        ("last=5", Ok(Place::Last(5))),
        ("since=1700000000123", Ok(since)),
        ("since=2023-11-14T22:13:20.123Z", Ok(since)),
        ("since=2023-11-15T00:13:20.123%2B02:00", Ok(since)),
        ("since=x", Err(BadRequest::Since)),
        ("since=5&offset=now", Ok(Place::From(OffsetArg::Now))),
        ("since=x&offset=now", Err(BadRequest::Since)),
        ("before=now", Ok(Place::Before(OffsetArg::Now))),
        ("before=x", Err(BadRequest::Before)),
        ("before=now&offset=now", Err(BadRequest::TwoPlaces)),
        ("before=now&last=1", Err(BadRequest::TwoPlaces)),
        ("last=1&since=5", Err(BadRequest::TwoPlaces)),
        ("before=now&live=long-poll", Err(BadRequest::BeforeLive)),
        ("last=2&live=sse", Ok(Place::Last(2))),
        ("since=5&live=long-poll", Ok(Place::Since(Timestamp(5)))),
    ] {
        assert_eq!(read(query).map(|read| read.place), want, "{query}");
    }
    let resumed = resumed("last=2&live=sse", &[TOKEN]).unwrap();
    assert_eq!(
        (resumed.place, resumed.reconnects),
        (Place::From(at()), true)
    );
}

#[test]
fn limits_and_forms_are_for_pages() {
    for (query, want) in [
        ("", Ok((u64::MAX, Format::Content))),
        ("limit=1&format=messages", Ok((1, Format::Messages))),
        ("format=json", Ok((u64::MAX, Format::Content))),
        (
            "limit=99999999999999999999",
            Ok((u64::MAX, Format::Content)),
        ),
        ("limit=0", Err(BadRequest::Count("limit"))),
        ("last=0", Err(BadRequest::Count("last"))),
        ("last=+1", Err(BadRequest::Count("last"))),
        ("format=x", Err(BadRequest::Format)),
        (
            "offset=now&limit=1&live=long-poll",
            Ok((1, Format::Content)),
        ),
        ("offset=now&limit=1&live=sse", Err(BadRequest::PagesOnly)),
        (
            "offset=now&format=messages&live=sse",
            Err(BadRequest::PagesOnly),
        ),
    ] {
        let said = read(query).map(|read| (read.limit, read.format));
        assert_eq!(said, want, "{query}");
    }
}

#[test]
fn t55_a_cursor_that_is_none_is_absent() {
    for (query, want) in [
        ("cursor=1000", Some(1000)),
        ("cursor=", None),
        ("cursor=abc", None),
        ("cursor=%zz", None),
        ("cursor=18446744073709551616", None),
        ("cursor=7&cursor=9", Some(7)),
    ] {
        assert_eq!(read(query).map(|read| read.cursor), Ok(want), "{query}");
    }
}

#[test]
fn times_have_units_or_are_seconds() {
    for (query, want) in [
        ("timeout=20", Ok(20_000)),
        ("timeout=20s", Ok(20_000)),
        ("timeout=500ms", Ok(500)),
        ("timeout=1m", Ok(60_000)),
        ("timeout=0", Ok(0)),
        ("timeout=61", Ok(60_000)),
        ("timeout=2h", Ok(60_000)),
        ("timeout=1d", Ok(60_000)),
        ("timeout=99999999999999999999h", Ok(60_000)),
        ("timeout_ms=250", Ok(250)),
        ("timeout_ms=600000", Ok(60_000)),
        ("timeout=", Err(BadRequest::Timeout("timeout"))),
        ("timeout=-1", Err(BadRequest::Timeout("timeout"))),
        ("timeout=1.5s", Err(BadRequest::Timeout("timeout"))),
        ("timeout=s", Err(BadRequest::Timeout("timeout"))),
        ("timeout=1w", Err(BadRequest::Timeout("timeout"))),
        ("timeout_ms=1s", Err(BadRequest::Timeout("timeout_ms"))),
        ("timeout=1&timeout_ms=1", Err(BadRequest::TimeoutTwice)),
        (
            "timeout=1&timeout=1",
            Err(BadRequest::RepeatedParameter("timeout")),
        ),
    ] {
        let want = want.map(|millis| Some(Duration::from_millis(millis)));
        assert_eq!(read(query).map(|read| read.timeout), want, "{query}");
    }
}

#[test]
fn an_event_id_beats_the_offset_for_server_sent_events_only() {
    let sse = resumed("offset=-1&live=sse", &[TOKEN]).unwrap();
    assert_eq!((sse.place, sse.reconnects), (Place::From(at()), true));
    let without_offset = resumed("live=sse", &[TOKEN]).unwrap();
    assert_eq!(without_offset.place, Place::From(at()));
    for query in ["offset=-1&live=long-poll", "offset=-1", ""] {
        let read = resumed(query, &[TOKEN]).unwrap();
        assert_eq!(
            (read.place, read.reconnects),
            (Place::From(OffsetArg::Start), false),
            "{query}"
        );
    }
}

#[test]
fn an_empty_event_id_is_none_and_a_malformed_one_is_refused() {
    let empty = resumed("offset=now&live=sse", &[""]).unwrap();
    assert_eq!(
        (empty.place, empty.reconnects),
        (Place::From(OffsetArg::Now), false)
    );
    assert_eq!(resumed("live=sse", &[""]), Err(BadRequest::OffsetRequired));
    for id in ["0", "18446744073709551615", "x"] {
        let read = resumed("offset=-1&live=sse", &[id]);
        assert_eq!(read, Err(BadRequest::LastEventId), "{id}");
    }
    assert_eq!(
        resumed("offset=-1&live=sse", &[TOKEN, TOKEN]),
        Err(BadRequest::RepeatedHeader("Last-Event-ID"))
    );
}

#[test]
fn listings() {
    let list = |query: &str| ListQuery::parse(Some(query));
    let of = |prefix: &str, after: Option<&str>, limit| {
        Ok(ListQuery {
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            limit,
        })
    };
    assert_eq!(ListQuery::parse(None), of("", None, 100));
    assert_eq!(
        list("prefix=a%2Fb&after=a/b/c&limit=7&x=y"),
        of("a/b", Some("a/b/c"), 7)
    );
    assert_eq!(list("prefix=a+b%2Bc"), of("a b+c", None, 100));
    assert_eq!(list("prefix=&after="), of("", None, 100));
    assert_eq!(list("limit=1"), of("", None, 1));
    assert_eq!(list("limit=1000"), of("", None, 1000));
    for limit in ["", "0", "1001", "-1", "1e2", "99999999999999999999", "ten"] {
        let query = format!("limit={limit}");
        assert_eq!(list(&query), Err(BadRequest::Limit), "{limit}");
    }
    assert_eq!(
        list("prefix=%ff"),
        Err(BadRequest::ParameterEncoding("prefix"))
    );
    assert_eq!(
        list("after=a&after=b"),
        Err(BadRequest::RepeatedParameter("after"))
    );
}

proptest! {
    #[test]
    fn values_are_read_as_libraries_write_them(prefix in "\\PC{0,20}", after in "\\PC{1,20}") {
        let mut query = String::from("prefix=");
        form_encode(&prefix, &mut query);
        query.push_str("&after=");
        form_encode(&after, &mut query);
        let list = ListQuery::parse(Some(&query)).unwrap();
        prop_assert_eq!((list.prefix, list.after), (prefix, Some(after)));
    }

    #[test]
    fn no_query_makes_it_panic(query in "(offset|live|cursor|timeout|timeout_ms|limit|after|last|since|before|format|[=&%+a-f0-9-]){0,20}") {
        let _ = read(&query);
        let _ = ListQuery::parse(Some(&query));
    }
}

/// As `URLSearchParams` does it.
fn form_encode(text: &str, out: &mut String) {
    use std::fmt::Write as _;
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => {
                out.push(char::from(byte));
            }
            _ => write!(out, "%{byte:02X}").unwrap(),
        }
    }
}
