use proptest::prelude::*;

use super::*;
use crate::config::ApiKey;

/// In one word, where `input` goes.
fn way(input: &str, access: &Access) -> &'static str {
    match look(input.as_bytes(), access, Some(&mut Memo::default())) {
        Look::Partial { in_body: false } => "head",
        Look::Partial { in_body: true } => "body",
        Look::Other => "hyper",
        Look::Append(_) => "append",
        Look::Create(_) => "create",
        Look::Read(_) => "read",
        Look::Head(_) => "properties",
        Look::Plain { .. } => "router",
    }
}

fn check(cases: &[(&str, &'static str)], access: &Access) {
    for (input, want) in cases {
        assert_eq!(way(input, access), *want, "{input:?}");
    }
}

#[test]
fn requests_go_the_shortest_way_that_leaves_no_choice() {
    check(
        &[
            ("", "head"),
            ("POST /v1/stream/a HTT", "head"),
            (
                "POST /v1/stream/a HTTP/1.1\r\nContent-Length: 2\r\n\r\n",
                "body",
            ),
            (
                "POST /v1/stream/a HTTP/1.1\r\nContent-Length: 2\r\n\r\nx",
                "body",
            ),
            (
                "POST /v1/stream/a HTTP/1.1\r\nContent-Length: 2\r\n\r\nxy",
                "append",
            ),
            (
                "POST /v1/stream/a/b HTTP/1.1\r\nConnection: Keep-Alive\r\n\r\n",
                "append",
            ),
            ("POST /v1/stream/%61 HTTP/1.1\r\n\r\n", "router"),
            ("POST /v1/stream/a?b HTTP/1.1\r\n\r\n", "router"),
            ("POST /v1/stream/__ds/b HTTP/1.1\r\n\r\n", "router"),
            ("POST /v1/stream/a HTTP/1.1\r\nOrigin: x\r\n\r\n", "router"),
            (
                "POST /v1/stream/a HTTP/1.1\r\nx-request-id: x\r\n\r\n",
                "router",
            ),
            ("GET /v1/stream/a?offset=-1 HTTP/1.1\r\n\r\n", "read"),
            ("GET /v1/stream/a?live=long-poll HTTP/1.1\r\n\r\n", "read"),
            ("HEAD /v1/stream/a?b=c HTTP/1.1\r\n\r\n", "properties"),
            (
                "GET /v1/stream/a HTTP/1.1\r\nIf-None-Match: *\r\n\r\n",
                "read",
            ),
            (
                "GET /v1/stream/a HTTP/1.1\r\nIf-None-Match: x\r\nIf-None-Match: y\r\n\r\n",
                "router",
            ),
            ("GET /v1/stream/a?b=\"c\" HTTP/1.1\r\n\r\n", "hyper"),
            ("PUT /v1/stream/a HTTP/1.1\r\n\r\n", "create"),
            (
                "PUT /v1/stream/a HTTP/1.1\r\nStream-Forked-From: /v1/stream/b\r\n\r\n",
                "router",
            ),
            ("DELETE /v1/stream/a HTTP/1.1\r\n\r\n", "router"),
        ],
        &Access::Open,
    );
}

#[test]
fn t94_what_can_be_read_in_two_ways_is_read_by_hyper_alone() {
    check(
        &[
            ("POST /v1/stream/a HTTP/1.0\r\n\r\n", "hyper"),
            (
                "POST /v1/stream/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "hyper",
            ),
            (
                "POST /v1/stream/a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
                "hyper",
            ),
            (
                "POST /v1/stream/a HTTP/1.1\r\nContent-Length: +1\r\n\r\nx",
                "hyper",
            ),
            (
                "POST /v1/stream/a HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\nx",
                "hyper",
            ),
            (
                "POST /v1/stream/a HTTP/1.1\r\nContent-Length:\r\n\r\n",
                "hyper",
            ),
            (
                "POST /v1/stream/a HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n",
                "hyper",
            ),
            (
                "POST /v1/stream/a HTTP/1.1\r\nContent-Length: 65537\r\n\r\n",
                "hyper",
            ),
            (
                "POST /v1/stream/a HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
                "hyper",
            ),
            (
                "POST /v1/stream/a HTTP/1.1\r\nUpgrade: h2c\r\n\r\n",
                "hyper",
            ),
            (
                "POST /v1/stream/a HTTP/1.1\r\nConnection: close\r\n\r\n",
                "hyper",
            ),
            (
                "POST /v1/stream/a HTTP/1.1\r\nConnection: keep-alive, te\r\n\r\n",
                "hyper",
            ),
            (
                "POST /v1/stream/a HTTP/1.1\r\nContent-Length : 1\r\n\r\nx",
                "hyper",
            ),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "hyper"),
            ("BREW /v1/stream/a HTTP/1.1\r\n\r\n", "hyper"),
            ("\u{1}", "hyper"),
        ],
        &Access::Open,
    );
}

#[test]
fn a_target_that_is_no_uri_is_refused_without_its_body() {
    check(
        &[
            (
                "POST v1/stream/a HTTP/1.1\r\nContent-Length: 2\r\n\r\nx",
                "hyper",
            ),
            (
                "POST v1/stream/a HTTP/1.1\r\nContent-Length: 2\r\n\r\nxy",
                "hyper",
            ),
        ],
        &Access::Open,
    );
}

#[test]
fn reads_of_events_go_the_short_way_too_however_they_are_written() {
    check(
        &[
            ("GET /v1/stream/a?live=sse HTTP/1.1\r\n\r\n", "read"),
            ("GET /v1/stream/a?live=%73se HTTP/1.1\r\n\r\n", "read"),
            ("GET /v1/stream/a?%6Cive=sse HTTP/1.1\r\n\r\n", "read"),
            ("HEAD /v1/streams HTTP/1.1\r\n\r\n", "hyper"),
        ],
        &Access::Open,
    );
}

#[test]
fn a_key_that_does_not_open_is_the_routers_to_refuse() {
    let access = Access::Key(ApiKey::new("0123456789").expect("long enough"));
    check(
        &[
            ("POST /v1/stream/a HTTP/1.1\r\n\r\n", "router"),
            (
                "POST /v1/stream/a HTTP/1.1\r\nAuthorization: Bearer 0123456788\r\n\r\n",
                "router",
            ),
            (
                "POST /v1/stream/a HTTP/1.1\r\nAuthorization: Bearer 0123456789\r\n\r\n",
                "append",
            ),
        ],
        &access,
    );
}

proptest! {
    /// What is remembered changes nothing: heads that begin alike, repeat, and are cut anywhere.
    #[test]
    fn a_head_means_the_same_whatever_came_before_it(
        picks in proptest::collection::vec((0..HEADS.len(), any::<prop::sample::Index>()), 1..20),
    ) {
        let mut memo = Memo::default();
        for (pick, cut) in picks {
            let whole = HEADS[pick].as_bytes();
            for input in [&whole[..cut.index(whole.len())], whole] {
                let with = look(input, &Access::Open, Some(&mut memo));
                let without = look(input, &Access::Open, Some(&mut Memo::default()));
                prop_assert_eq!(format!("{:?}", with), format!("{:?}", without));
            }
        }
    }
}

const HEADS: [&str; 9] = [
    "POST /v1/stream/a HTTP/1.1\r\nContent-Length: 2\r\n\r\nxy",
    "POST /v1/stream/a HTTP/1.1\r\nContent-Length: 2\r\n\r\nzzPOST /v1/stream/a",
    "POST /v1/stream/a HTTP/1.1\r\nContent-Length: 20\r\n\r\n01234567890123456789",
    "POST /v1/stream/a HTTP/1.1\r\nContent-Type: a\r\nContent-Length: 2\r\n\r\nxy",
    "POST /v1/stream/a HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nxy",
    "GET /v1/stream/a HTTP/1.1\r\n\r\n",
    "GET /v1/stream/a HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /v1/stream/a?offset=y HTTP/1.1\r\n\r\n",
    "HEAD /v1/stream/a HTTP/1.1\r\n\r\nHEAD",
];
