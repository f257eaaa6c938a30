use http::HeaderValue;
use millrace_core::{BodyFault, Generation, NameFault, Offset, Payload, StreamPos};
use proptest::prelude::*;

use super::*;

fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(*name, value);
    }
    headers
}

fn create(list: &[(&'static str, &str)]) -> Result<CreateSpec, BadRequest> {
    CreateHead::parse(&headers(list)).map(|head| head.spec)
}

fn append(list: &[(&'static str, &str)], body: &'static str) -> Result<Append, BadRequest> {
    AppendHead::parse(&headers(list))?.with_body(Bytes::from_static(body.as_bytes()))
}

const TEXT: (&str, &str) = ("content-type", "text/plain");

#[test]
fn a_plain_put_asks_for_nothing() {
    let spec = CreateSpec {
        content_type: None,
        lifetime: Lifetime::Unlimited,
        closed: false,
        fork: None,
    };
    assert_eq!(create(&[]), Ok(spec));
}

#[test]
fn a_ttl_is_canonical_decimal() {
    let ttl = |text| create(&[("stream-ttl", text)]).map(|spec| spec.lifetime);
    for (text, want) in [
        ("3600", Ok(Lifetime::Ttl(3600))),
        ("0", Ok(Lifetime::Ttl(0))),
        (" 5 ", Ok(Lifetime::Ttl(5))),
        ("1000000000000", Ok(Lifetime::Ttl(1_000_000_000_000))),
        ("1000000000001", Err(BadRequest::TtlTooLong)),
        ("99999999999999999999999", Err(BadRequest::TtlTooLong)),
        ("", Err(BadRequest::Ttl)),
        ("03600", Err(BadRequest::Ttl)),
        ("00", Err(BadRequest::Ttl)),
        ("+3600", Err(BadRequest::Ttl)),
        ("-1", Err(BadRequest::Ttl)),
        ("3600.0", Err(BadRequest::Ttl)),
        ("3.6e3", Err(BadRequest::Ttl)),
        ("abc", Err(BadRequest::Ttl)),
        ("1, 2", Err(BadRequest::Ttl)),
    ] {
        assert_eq!(ttl(text), want, "{text}");
    }
}

#[test]
fn an_expiry_is_an_rfc_3339_time() {
    let expiry = |text| create(&[("stream-expires-at", text)]).map(|spec| spec.lifetime);
    let until = |millis| Ok(Lifetime::Until(Timestamp(millis)));
    for (text, want) in [
        ("2030-01-31T12:00:00Z", until(1_896_091_200_000)),
        ("2030-01-31T12:00:00.123Z", until(1_896_091_200_123)),
        ("2030-01-31T12:00:00.123999Z", until(1_896_091_200_123)),
        ("2030-01-31T12:00:00.000+00:00", until(1_896_091_200_000)),
        ("2030-01-31T14:30:00+02:30", until(1_896_091_200_000)),
        ("1969-12-31T23:59:59Z", until(0)),
        ("0001-01-01T00:00:00+23:59", until(0)),
        ("9999-12-31T23:59:59-23:59", until(253_402_387_139_000)),
        ("not-a-timestamp", Err(BadRequest::ExpiresAt)),
        ("", Err(BadRequest::ExpiresAt)),
        ("1896091200", Err(BadRequest::ExpiresAt)),
        ("2030-01-31", Err(BadRequest::ExpiresAt)),
        ("2030-01-31T12:00:00", Err(BadRequest::ExpiresAt)),
        ("2030-02-30T12:00:00Z", Err(BadRequest::ExpiresAt)),
        ("2030-01-31T25:00:00Z", Err(BadRequest::ExpiresAt)),
    ] {
        assert_eq!(expiry(text), want, "{text}");
    }
}

#[test]
fn two_lifetimes_are_refused_even_if_malformed() {
    let both = |ttl, at| create(&[("stream-ttl", ttl), ("stream-expires-at", at)]);
    for (ttl, at) in [("1", "2030-01-31T12:00:00Z"), ("x", "y")] {
        assert_eq!(both(ttl, at), Err(BadRequest::TtlAndExpiresAt));
    }
}

#[test]
fn only_true_closes() {
    for (text, want) in [
        ("true", true),
        ("TRUE", true),
        ("True", true),
        ("false", false),
        ("yes", false),
        ("1", false),
        ("", false),
        ("true, true", false),
        ("truee", false),
    ] {
        let spec = create(&[("stream-closed", text)]).unwrap();
        assert_eq!(spec.closed, want, "{text}");
        let head = AppendHead::parse(&headers(&[("stream-closed", text)])).unwrap();
        assert_eq!(head.close, want, "{text}");
    }
}

#[test]
fn forks() {
    let source = ("stream-forked-from", "/v1/stream/a%2Fb");
    let offset = |text| ("stream-fork-offset", text);
    let sub_offset = |text| ("stream-fork-sub-offset", text);
    let at = ForkAnchor::At(Offset {
        generation: Generation(7),
        position: StreamPos(42),
    });
    let token = offset("0000000000007-0000000000000042");
    let zero = offset("0000000000000000_0000000000000000");
    for (list, anchor, sub) in [
        (vec![source], ForkAnchor::Tail, 0),
        (vec![source, sub_offset("0")], ForkAnchor::Tail, 0),
        (vec![source, offset("now")], ForkAnchor::Tail, 0),
        (vec![source, offset("-1")], ForkAnchor::Start, 0),
        (vec![source, zero, sub_offset("3")], ForkAnchor::Start, 3),
        (vec![source, token], at, 0),
        (vec![source, token, sub_offset("12")], at, 12),
        (
            vec![source, token, sub_offset("99999999999999999999")],
            at,
            u64::MAX,
        ),
    ] {
        let fork = create(&list).unwrap().fork.expect("a fork");
        assert_eq!(fork.source.as_str(), "a/b");
        assert_eq!((fork.anchor, fork.sub_offset), (anchor, sub), "{list:?}");
    }
    for (list, want) in [
        (
            vec![offset("-1")],
            BadRequest::ForkWithoutSource("Stream-Fork-Offset"),
        ),
        (
            vec![sub_offset("0")],
            BadRequest::ForkWithoutSource("Stream-Fork-Sub-Offset"),
        ),
        (
            vec![source, sub_offset("1")],
            BadRequest::SubOffsetWithoutOffset,
        ),
        (
            vec![source, offset("9999999999999999_9999999999999999")],
            BadRequest::ForkOffset,
        ),
        (vec![source, offset("")], BadRequest::ForkOffset),
        (
            vec![source, zero, sub_offset("-1")],
            BadRequest::ForkSubOffset,
        ),
        (
            vec![source, zero, sub_offset("abc")],
            BadRequest::ForkSubOffset,
        ),
        (
            vec![source, zero, sub_offset("1.5")],
            BadRequest::ForkSubOffset,
        ),
        (
            vec![source, zero, sub_offset("05")],
            BadRequest::ForkSubOffset,
        ),
        (
            vec![source, zero, sub_offset("+1")],
            BadRequest::ForkSubOffset,
        ),
        (
            vec![source, zero, sub_offset("")],
            BadRequest::ForkSubOffset,
        ),
        (
            vec![("stream-forked-from", "name")],
            BadRequest::ForkSourcePath,
        ),
        (vec![("stream-forked-from", "")], BadRequest::ForkSourcePath),
        (
            vec![("stream-forked-from", "/v1/stream/%2e%2e")],
            BadRequest::ForkSource(NameFault::Segment),
        ),
    ] {
        assert_eq!(create(&list), Err(want), "{list:?}");
    }
}

#[test]
fn a_fork_without_a_type_inherits_one() {
    let source = ("stream-forked-from", "/v1/stream/a");
    let inherits = |list: &[_]| {
        CreateHead::parse(&headers(list))
            .unwrap()
            .inherits_content_type()
    };
    assert!(inherits(&[source]));
    assert!(!inherits(&[source, TEXT]));
    assert!(!inherits(&[]));
}

#[test]
fn t67_t69_producer_headers_go_together_and_are_bounded() {
    let id = |text| ("producer-id", text);
    let epoch = |text| ("producer-epoch", text);
    let seq = |text| ("producer-seq", text);
    let producer = |list: &[_]| AppendHead::parse(&headers(list)).map(|head| head.producer);
    let long = "x".repeat(257);
    let fits = "x".repeat(256);
    for (list, want) in [
        (vec![], Ok(None)),
        (vec![id("p"), epoch("0"), seq("0")], Ok(Some(("p", 0, 0)))),
        (
            vec![id(&fits), epoch("9007199254740991"), seq("7")],
            Ok(Some((fits.as_str(), 9_007_199_254_740_991, 7))),
        ),
        (
            vec![id("p")],
            Err(BadRequest::ProducerIncomplete("Producer-Epoch")),
        ),
        (
            vec![epoch("0")],
            Err(BadRequest::ProducerIncomplete("Producer-Id")),
        ),
        (
            vec![id("p"), epoch("0")],
            Err(BadRequest::ProducerIncomplete("Producer-Seq")),
        ),
        (
            vec![epoch("0"), seq("0")],
            Err(BadRequest::ProducerIncomplete("Producer-Id")),
        ),
        (
            vec![id(""), epoch("0"), seq("0")],
            Err(BadRequest::ProducerId),
        ),
        (
            vec![id(&long), epoch("0"), seq("0")],
            Err(BadRequest::ProducerId),
        ),
        (
            vec![id("p"), epoch("9007199254740992"), seq("0")],
            Err(BadRequest::ProducerNumber("Producer-Epoch")),
        ),
        (
            vec![id("p"), epoch("1abc"), seq("0")],
            Err(BadRequest::ProducerNumber("Producer-Epoch")),
        ),
        (
            vec![id("p"), epoch("0"), seq("1e3")],
            Err(BadRequest::ProducerNumber("Producer-Seq")),
        ),
        (
            vec![id("p"), epoch("0"), seq("-1")],
            Err(BadRequest::ProducerNumber("Producer-Seq")),
        ),
        (
            vec![id("p"), epoch("00"), seq("0")],
            Err(BadRequest::ProducerNumber("Producer-Epoch")),
        ),
        (
            vec![id("p"), epoch("0"), seq("18446744073709551616")],
            Err(BadRequest::ProducerNumber("Producer-Seq")),
        ),
        (
            vec![id("p"), epoch("0"), seq("")],
            Err(BadRequest::ProducerNumber("Producer-Seq")),
        ),
    ] {
        let want = want.map(|claim| {
            claim.map(|(id, epoch, seq)| ProducerClaim {
                id: ProducerId::new(id).unwrap(),
                epoch,
                seq,
            })
        });
        assert_eq!(producer(&list), want, "{list:?}");
    }
}

#[test]
fn stream_seqs_are_opaque_but_bounded() {
    let seq = |text| AppendHead::parse(&headers(&[("stream-seq", text)])).map(|head| head.seq);
    let fits = "9".repeat(256);
    for text in ["09", "a b", "\u{e9}", fits.as_str()] {
        assert_eq!(seq(text), Ok(Some(text.into())), "{text}");
    }
    assert_eq!(seq(""), Err(BadRequest::StreamSeq));
    assert_eq!(seq(&"9".repeat(257)), Err(BadRequest::StreamSeq));
    let mut latin = HeaderMap::new();
    latin.insert(STREAM_SEQ, HeaderValue::from_bytes(b"\xe9").unwrap());
    assert_eq!(
        AppendHead::parse(&latin),
        Err(BadRequest::HeaderText("Stream-Seq"))
    );
}

#[test]
fn t36_an_expected_offset_is_a_tail_that_somebody_saw() {
    let expected = |text| {
        let head = AppendHead::parse(&headers(&[("stream-expected-offset", text)]));
        head.map(|head| head.expected)
    };
    let at = Offset {
        generation: Generation(7),
        position: StreamPos(42),
    };
    for (text, want) in [
        ("0000000000007-0000000000000042", ExpectedTail::At(at)),
        ("0000000000000000_0000000000000000", ExpectedTail::Start),
    ] {
        assert_eq!(expected(text), Ok(Some(want)), "{text}");
    }
    for text in [
        "",
        "-1",
        "now",
        "0",
        "7-42",
        "0000000000007-000000000000004",
    ] {
        assert_eq!(expected(text), Err(BadRequest::ExpectedOffset), "{text}");
    }
}

#[test]
fn t94_a_header_sent_twice_is_refused() {
    for (name, shown) in [
        ("content-type", "Content-Type"),
        ("stream-ttl", "Stream-TTL"),
        ("stream-expires-at", "Stream-Expires-At"),
        ("stream-closed", "Stream-Closed"),
        ("stream-forked-from", "Stream-Forked-From"),
        ("stream-fork-offset", "Stream-Fork-Offset"),
        ("stream-fork-sub-offset", "Stream-Fork-Sub-Offset"),
    ] {
        let twice = create(&[(name, "1"), (name, "1")]);
        assert_eq!(twice, Err(BadRequest::RepeatedHeader(shown)));
    }
    for (name, shown) in [
        ("content-type", "Content-Type"),
        ("stream-closed", "Stream-Closed"),
        ("stream-seq", "Stream-Seq"),
        ("stream-expected-offset", "Stream-Expected-Offset"),
        ("producer-id", "Producer-Id"),
        ("producer-epoch", "Producer-Epoch"),
        ("producer-seq", "Producer-Seq"),
    ] {
        let twice = append(&[(name, "1"), (name, "1")], "body").err();
        assert_eq!(twice, Some(BadRequest::RepeatedHeader(shown)));
    }
}

#[test]
fn an_append_needs_a_body_and_its_type() {
    assert_eq!(append(&[], "").err(), Some(BadRequest::EmptyBody));
    assert_eq!(append(&[TEXT], "").err(), Some(BadRequest::EmptyBody));
    assert_eq!(append(&[], "x").err(), Some(BadRequest::ContentTypeMissing));
    assert_eq!(
        append(&[("content-type", "nonsense")], "x").err(),
        Some(BadRequest::ContentType)
    );
    let made = append(&[TEXT, ("stream-seq", "1")], "x").unwrap();
    assert_eq!(
        made.body,
        Body::Framed(Payload::single(Bytes::from_static(b"x")))
    );
    assert_eq!(made.seq.as_deref(), Some("1"));
    assert!(!made.close);
}

#[test]
fn a_close_only_request_may_carry_any_content_type() {
    let close = ("stream-closed", "true");
    for list in [
        vec![close],
        vec![close, TEXT],
        vec![close, ("content-type", "nonsense")],
        vec![close, TEXT, TEXT],
    ] {
        let made = append(&list, "").unwrap();
        assert!(made.is_close_only(), "{list:?}");
    }
}

#[test]
fn a_json_fault_travels_with_the_command() {
    let json = ("content-type", "application/json");
    for (body, fault) in [
        ("[]", BodyFault::EmptyArray),
        ("{", BodyFault::Syntax(1)),
        ("\"\\ud800\"", BodyFault::Unicode(1)),
    ] {
        let made = append(&[json], body).unwrap();
        assert_eq!(made.body, Body::Invalid(fault), "{body}");
    }
}

proptest! {
    #[test]
    fn t36_no_header_makes_it_panic(
        list in proptest::collection::vec(
            (
                prop::sample::select(vec![
                    "content-type", "stream-ttl", "stream-expires-at", "stream-closed",
                    "stream-forked-from", "stream-fork-offset", "stream-fork-sub-offset",
                    "stream-seq", "producer-id", "producer-epoch", "producer-seq",
                ]),
                proptest::collection::vec(prop_oneof![0x20..0x7f_u8, 0x80..=0xff_u8], 0..30),
            ),
            0..6,
        )
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(name, HeaderValue::from_bytes(&value).unwrap());
        }
        let _ = CreateHead::parse(&headers);
        let _ = AppendHead::parse(&headers).map(|head| head.with_body(Bytes::from_static(b"[1]")));
    }
}
