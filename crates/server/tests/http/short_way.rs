//! The short way against hyper: the same requests, sent byte for byte to two servers of which one
//! has no short way, come back the same.

use std::time::Duration;

use millrace_env::sleep;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Conn, TestServer, within};

/// What is sent on one connection, piece by piece; between pieces the server gets time to read.
type Case = (&'static str, Vec<String>);

fn request(line: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("{line} HTTP/1.1\r\nHost: x\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text
}

const TEXT: &str = "Content-Type: text/plain";
const JSON: &str = "Content-Type: application/json";

fn append(name: &str, headers: &[&str], body: &str) -> String {
    request(&format!("POST /v1/stream/{name}"), headers, body)
}

fn get(target: &str, headers: &[&str]) -> String {
    request(&format!("GET {target}"), headers, "")
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    let raw = |text: &str| vec![text.to_owned()];
    let mut cases: Vec<Case> = vec![
        (
            "create",
            vec![request("PUT /v1/stream/t", &[TEXT], "first")],
        ),
        (
            "create again",
            vec![request("PUT /v1/stream/t", &[TEXT], "")],
        ),
        (
            "create json",
            vec![request("PUT /v1/stream/j", &[JSON], "[1,2]")],
        ),
        (
            "create with a life",
            vec![request("PUT /v1/stream/l", &["Stream-TTL: 3600"], "")],
        ),
        (
            "create badly",
            vec![request("PUT /v1/stream/b", &["Stream-TTL: x"], "")],
        ),
        ("append", vec![append("t", &[TEXT], "x")]),
        ("append without type", vec![append("t", &[], "x")]),
        ("append nothing", vec![append("t", &[TEXT], "")]),
        ("append another type", vec![append("t", &[JSON], "1")]),
        ("append to nothing", vec![append("none", &[TEXT], "x")]),
        ("append bad json", vec![append("j", &[JSON], "[1,")]),
        ("append json", vec![append("j", &[JSON], "[3,{\"a\":1}]")]),
        (
            "a sequence",
            vec![append("t", &[TEXT, "Stream-Seq: 5"], "s")],
        ),
        (
            "an old sequence",
            vec![append("t", &[TEXT, "Stream-Seq: 4"], "s")],
        ),
        (
            "a header twice",
            vec![append("t", &[TEXT, "Stream-Seq: 6", "Stream-Seq: 7"], "s")],
        ),
        (
            "an escaped name",
            vec![
                append("%74", &[TEXT], "escaped"),
                append("%7", &[TEXT], "broken"),
            ],
        ),
        ("reserved", vec![append("__ds/x", &[TEXT], "x")]),
        (
            "no route",
            vec![get("/v1/nothing", &[]), append("", &[TEXT], "x")],
        ),
        (
            "an origin",
            vec![append("t", &[TEXT, "Origin: https://a.example"], "x")],
        ),
        (
            "an id of its own",
            vec![append("t", &[TEXT, "X-Request-Id: mine"], "x")],
        ),
        (
            "odd spaces",
            vec![append("t", &["content-TYPE:   text/plain  "], "x")],
        ),
        ("read", vec![get("/v1/stream/t", &[])]),
        ("read json", vec![get("/v1/stream/j?offset=-1", &[])]),
        ("read the tail", vec![get("/v1/stream/t?offset=now", &[])]),
        ("read what is not there", vec![get("/v1/stream/none", &[])]),
        ("a bad offset", vec![get("/v1/stream/t?offset=x", &[])]),
        ("a bad query", vec![get("/v1/stream/t?live=x", &[])]),
        (
            "queries of all kinds",
            [
                "offset=%2D1",
                "offset=-1&offset=-1",
                "offset=-1&a=%zz&%zz=1&&=&b",
                "offset=-1&live=false",
                "offset=%zz",
                "offset=-1?x",
                "off%73et=now",
                "offset=no+w",
                "offset=\"",
                "offset=<>",
                "",
            ]
            .map(|query| get(&format!("/v1/stream/t?{query}"), &[]))
            .into(),
        ),
        (
            "what is known already",
            vec![
                get("/v1/stream/t", &["If-None-Match: *"]),
                get("/v1/stream/t", &["If-None-Match: \"x\""]),
            ],
        ),
        (
            "a read with a body",
            vec![
                request("GET /v1/stream/t", &[TEXT], "body"),
                request("HEAD /v1/stream/t?offset=x", &[TEXT], "body"),
                append("t?a=b", &[TEXT], "x"),
                get("/v1/stream/t", &["Last-Event-ID: x"]),
            ],
        ),
        (
            "long-poll",
            vec![get("/v1/stream/t?offset=-1&live=long-poll", &[])],
        ),
        (
            "a long-poll that waits",
            vec![get("/v1/stream/t?offset=now&live=true&timeout=50ms", &[])],
        ),
        ("head", vec![request("HEAD /v1/stream/t", &[], "")]),
        (
            "head of nothing",
            vec![request("HEAD /v1/stream/none", &[], "")],
        ),
        (
            "head of the list",
            vec![request("HEAD /v1/streams?prefix=none", &[], "")],
        ),
        ("the list", vec![get("/v1/streams?prefix=none", &[])]),
        (
            "options",
            vec![request("OPTIONS /v1/stream/t", &["Origin: x"], "")],
        ),
        (
            "another method",
            vec![request("PATCH /v1/stream/t", &[], "")],
        ),
        (
            "a lower case method",
            vec![request("get /v1/stream/t", &[], "")],
        ),
        (
            "pipelined",
            vec![
                [
                    append("t", &[TEXT], "1"),
                    append("t", &[TEXT], "2"),
                    get("/v1/stream/t", &[]),
                    request("HEAD /v1/stream/t", &[], ""),
                    append("t", &[TEXT], "3"),
                ]
                .concat(),
            ],
        ),
        (
            "in pieces",
            vec![
                "POST /v1/stre".into(),
                "am/t HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nConte".into(),
                "nt-Length: 5\r\n\r\nab".into(),
                "cde".into(),
                get("/v1/stream/t", &[]),
            ],
        ),
        (
            "chunked",
            raw(
                "POST /v1/stream/t HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\
                 Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            ),
        ),
        (
            "length and chunked",
            raw(
                "POST /v1/stream/t HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\
                 Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            ),
        ),
        (
            "two lengths",
            raw(
                "POST /v1/stream/t HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\
                 Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            ),
        ),
        (
            "one length twice",
            raw(
                "POST /v1/stream/t HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\
                 Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            ),
        ),
        (
            "a signed length",
            raw(
                "POST /v1/stream/t HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\
                 Content-Length: +3\r\n\r\nabc",
            ),
        ),
        (
            "a list of lengths",
            raw(
                "POST /v1/stream/t HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\
                 Content-Length: 3, 3\r\n\r\nabc",
            ),
        ),
        (
            "a space before the colon",
            raw("POST /v1/stream/t HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\nabc"),
        ),
        (
            "a folded header",
            raw("GET /v1/stream/t HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n"),
        ),
        ("HTTP/1.0", raw("GET /v1/stream/t HTTP/1.0\r\n\r\n")),
        (
            "HTTP/1.0 kept alive",
            raw("GET /v1/stream/t HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        ),
        ("no version", raw("GET /v1/stream/t\r\n\r\n")),
        ("noise", raw("\x01\x02\x03\r\n\r\n")),
        (
            "line feeds alone",
            raw("GET /v1/stream/t HTTP/1.1\nHost: x\n\n"),
        ),
        (
            "closing",
            vec![
                [
                    request("HEAD /v1/stream/t", &["Connection: close"], ""),
                    request("HEAD /v1/stream/t", &[], ""),
                ]
                .concat(),
            ],
        ),
        ("the whole address", vec![get("http://x/v1/stream/t", &[])]),
        ("a fragment", vec![get("/v1/stream/t#x", &[])]),
        (
            "expecting",
            vec![append("t", &[TEXT, "Expect: 100-continue"], "expected")],
        ),
        ("many headers", {
            let many: Vec<String> = (0..60).map(|n| format!("X-{n}: {n}")).collect();
            let many: Vec<&str> = many.iter().map(String::as_str).collect();
            vec![get("/v1/stream/t", &many)]
        }),
        (
            "close and read",
            vec![
                append("l", &["Stream-Closed: true"], ""),
                append("l", &["Stream-Closed: true"], ""),
                append("l", &[TEXT], "late"),
                get("/v1/stream/l", &[]),
            ],
        ),
        (
            "events",
            vec![get(
                "/v1/stream/l?offset=-1&live=sse",
                &["Accept: text/event-stream"],
            )],
        ),
        (
            "events, and requests behind them",
            vec![
                [get("/v1/stream/l?live=sse", &[]), get("/v1/stream/t", &[])].concat(),
                get("/v1/stream/t", &[]),
            ],
        ),
        (
            "events of messages",
            vec![
                append("j", &[JSON, "Stream-Closed: true"], "[4,[5]]"),
                get("/v1/stream/j?offset=-1&live=sse", &[]),
                get("/v1/stream/j?offset=-1&live=sse", &[]),
            ],
        ),
        (
            "events of bytes",
            vec![
                request(
                    "PUT /v1/stream/binary",
                    &["Stream-Closed: true", "Content-Type: a/b"],
                    &"z".repeat(9_000),
                ),
                get("/v1/stream/binary?live=sse&offset=-1", &[]),
            ],
        ),
        (
            "a long text",
            vec![request(
                "PUT /v1/stream/long",
                &["Stream-Closed: true", TEXT],
                &"line\n".repeat(60_000),
            )],
        ),
        (
            "large events",
            vec![get("/v1/stream/long?live=sse&offset=-1", &[])],
        ),
        (
            "events of nothing",
            vec![get("/v1/stream/none?offset=-1&live=sse", &[])],
        ),
        (
            "events from a bad place",
            vec![get(
                "/v1/stream/t?offset=0000000000001-0000000099999999&live=sse",
                &[],
            )],
        ),
        (
            "events of a closed stream's end",
            vec![get("/v1/stream/binary?offset=now&live=sse", &[])],
        ),
        (
            "delete",
            vec![
                request("DELETE /v1/stream/l", &[], ""),
                request("DELETE /v1/stream/l", &[], ""),
            ],
        ),
    ];
    for seq in [0, 0, 1, 3] {
        let seq = format!("Producer-Seq: {seq}");
        let headers = [TEXT, "Producer-Id: p", "Producer-Epoch: 0", &seq];
        cases.push(("a producer", vec![append("t", &headers, "p")]));
    }
    let large = "y".repeat(70_000);
    cases.push(("large", vec![append("t", &[TEXT], &large)]));
    cases.push((
        "read large",
        vec![get("/v1/stream/t", &[]), get("/v1/stream/t", &[])],
    ));
    cases
}

/// All that comes back on a connection of its own.
async fn answers(server: &TestServer, pieces: &[String]) -> String {
    let mut conn = server.connect().await;
    for piece in pieces {
        conn.stream.write_all(piece.as_bytes()).await.unwrap();
        sleep(Duration::from_millis(2)).await;
    }
    conn.stream.shutdown().await.unwrap();
    let mut all = Vec::new();
    within(conn.stream.read_to_end(&mut all)).await.unwrap();
    same_for_all(&String::from_utf8_lossy(&all))
}

/// Without what differs from run to run; headers in one order.
fn same_for_all(text: &str) -> String {
    let mut out = Vec::new();
    let mut headers: Vec<&str> = Vec::new();
    for line in text.split("\r\n") {
        let varies = ["date: ", "x-request-id: ", "etag: ", "stream-cursor: "];
        match varies.iter().find(|name| line.starts_with(**name)) {
            Some(name) => headers.push(name),
            None if line.contains(": ") && !line.starts_with('{') => headers.push(line),
            None => {
                headers.sort_unstable();
                out.append(&mut headers);
                out.push(line);
            }
        }
    }
    out.append(&mut headers);
    out.join("\n")
}

#[tokio::test]
async fn the_short_way_answers_as_hyper_does() {
    let short = TestServer::start().await;
    let long = TestServer::with(|_, config| config.short_way = false).await;
    for (what, pieces) in cases() {
        let (short, long) = tokio::join!(answers(&short, &pieces), answers(&long, &pieces));
        assert_eq!(short, long, "{what}: {pieces:?}");
        assert!(!long.is_empty() || what == "noise", "{what}");
    }
}

/// Sends `requests` behind each other, and reads until `answers` have begun.
async fn pipelined(conn: &mut Conn, requests: &[String], answers: usize) -> String {
    let all = requests.concat();
    conn.stream.write_all(all.as_bytes()).await.unwrap();
    let mut all = String::new();
    while all.matches("HTTP/1.1 20").count() < answers {
        let mut some = [0; 4096];
        let count = within(conn.stream.read(&mut some)).await.unwrap();
        assert!(count > 0, "{all}");
        all.push_str(std::str::from_utf8(&some[..count]).unwrap());
    }
    all
}

const LONG_POLL: &str = "/v1/stream/t?offset=now&live=long-poll&timeout=60s";

/// Found when reads went the shortest way: a wait kept back the answers to what was asked before it.
#[tokio::test]
async fn a_long_poll_behind_an_append_does_not_keep_back_its_answer() {
    let server = TestServer::start().await;
    // With an origin it goes by the router.
    for headers in [&[][..], &["Origin: https://a.example"]] {
        let requests = [
            request("PUT /v1/stream/t", &[TEXT], "first"),
            append("t", &[TEXT], "x"),
            get(LONG_POLL, headers),
        ];
        pipelined(&mut server.connect().await, &requests, 2).await;
    }
}

/// Found in review: a connection that was handed to hyper because the server drains lost the answers that
/// waited for the end of its input.
#[tokio::test]
async fn a_drain_amid_pipelined_requests_loses_no_answer() {
    let server = TestServer::start().await;
    let mut conn = server.connect().await;
    let requests = [
        request("PUT /v1/stream/t", &[TEXT], "first"),
        get(LONG_POLL, &[]),
        get("/v1/stream/t", &[]),
    ];
    // Once the first is answered the second waits.
    let mut all = pipelined(&mut conn, &requests, 1).await;
    let read = within(conn.stream.read_to_string(&mut all));
    let (_, read) = tokio::join!(server.stop(), read);
    read.unwrap();
    assert_eq!(all.matches("HTTP/1.1 20").count(), 3, "{all}");
}
