//! Every verb's happy path.

use serde_json::json;

use crate::support::{CLOSE, JSON, TEXT, TestServer, path};

#[tokio::test]
async fn a_stream_is_created_appended_to_read_and_deleted() {
    let server = TestServer::start().await;
    let created = server.create("a/b", TEXT, "one;").await;
    assert_eq!(
        created.header("location"),
        Some("http://test.example/v1/stream/a/b")
    );
    assert_eq!(created.header("content-type"), Some("text/plain"));
    let tail = server.append("a/b", TEXT, "two;").await;
    let read = server.get(&path("a%2Fb")).await;
    assert_eq!((read.status, read.text()), (200, "one;two;".to_owned()));
    assert_eq!(read.next_offset(), tail);
    assert_eq!(read.header("stream-up-to-date"), Some("true"));
    assert_eq!(read.header("stream-closed"), None);
    let deleted = server.ask("DELETE", &path("a/b"), &[], "").await;
    assert_eq!(deleted.status, 204);
    assert_eq!(server.get(&path("a/b")).await.status, 404);
    server.stop().await;
}

#[tokio::test]
async fn head_tells_what_get_would_without_a_body() {
    let server = TestServer::start().await;
    let headers = [JSON, ("Stream-TTL", "3600")];
    server.ask("PUT", &path("a"), &headers, "[1,2]").await;
    let mut conn = server.connect().await;
    conn.send("HEAD", &path("a"), &[], b"").await;
    let head = conn.answer_to("HEAD").await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("application/json"));
    assert_eq!(head.header("stream-ttl"), Some("3600"));
    assert_eq!(head.header("cache-control"), Some("no-store"));
    assert_ne!(head.header("content-length"), Some("0"), "GET has a body");
    conn.send("GET", &path("a"), &[], b"").await;
    let read = conn.answer().await;
    assert_eq!(read.next_offset(), head.next_offset());
    assert_eq!(read.json(), json!([1, 2]));
}

#[tokio::test]
async fn put_again_finds_the_stream_as_it_was_asked_for() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "").await;
    let again = server.ask("PUT", &path("a"), &[TEXT], "").await;
    assert_eq!((again.status, again.header("location")), (200, None));
    let other = server.ask("PUT", &path("a"), &[JSON], "").await;
    assert_eq!(
        (other.status, other.code()),
        (409, "config-mismatch".into())
    );
}

#[tokio::test]
async fn a_fork_without_a_type_frames_its_first_content_as_its_source_does() {
    let server = TestServer::start().await;
    server.create("source", JSON, "[1]").await;
    let from = ("Stream-Forked-From", "/v1/stream/source");
    let fork = server.ask("PUT", &path("fork"), &[from], "[2,3]").await;
    assert_eq!(fork.status, 201, "{}", fork.text());
    assert_eq!(fork.header("content-type"), Some("application/json"));
    assert_eq!(server.get(&path("fork")).await.json(), json!([1, 2, 3]));
    assert_eq!(server.get(&path("source")).await.json(), json!([1]));
}

#[tokio::test]
async fn a_producers_append_is_200_once_and_204_after() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "").await;
    let headers = [
        TEXT,
        ("Producer-Id", "p"),
        ("Producer-Epoch", "0"),
        ("Producer-Seq", "0"),
    ];
    let first = server.ask("POST", &path("a"), &headers, "x").await;
    assert_eq!(
        (first.status, first.header("producer-seq")),
        (200, Some("0"))
    );
    let again = server.ask("POST", &path("a"), &headers, "x").await;
    assert_eq!(
        (again.status, again.header("producer-seq")),
        (204, Some("0"))
    );
    assert_eq!(server.get(&path("a")).await.text(), "x");
}

#[tokio::test]
async fn closing_with_and_without_bytes() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "").await;
    let closed = server.ask("POST", &path("a"), &[TEXT, CLOSE], "end").await;
    assert_eq!(
        (closed.status, closed.header("stream-closed")),
        (204, Some("true"))
    );
    let again = server.ask("POST", &path("a"), &[CLOSE], "").await;
    assert_eq!(again.status, 204);
    let late = server.ask("POST", &path("a"), &[TEXT], "more").await;
    assert_eq!((late.status, late.code()), (409, "closed".into()));
    assert_eq!(late.header("stream-closed"), Some("true"));
    assert_eq!(late.next_offset(), closed.next_offset());
    let read = server.get(&path("a")).await;
    assert_eq!(read.header("stream-closed"), Some("true"));
}

#[tokio::test]
async fn streams_are_listed_page_by_page() {
    let server = TestServer::start().await;
    for name in ["x/b", "x/a", "x/c%20d", "y"] {
        server.create(name, TEXT, "").await;
    }
    let first = server.get("/v1/streams?prefix=x/&limit=2").await;
    assert_eq!(first.json()[0]["name"], "x/a");
    assert_eq!(first.json()[1]["name"], "x/b");
    let next = first.header("stream-list-next").expect("there is more");
    let target = format!("/v1/streams?prefix=x/&limit=2&after={next}");
    let second = server.get(&target).await;
    assert_eq!(second.json().as_array().unwrap().len(), 1);
    assert_eq!(second.json()[0]["name"], "x/c d");
    assert_eq!(second.header("stream-list-next"), None);
    let head = server.ask("HEAD", "/v1/streams", &[], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn options_answers_a_preflight_for_any_path() {
    let server = TestServer::start().await;
    let origin = [("Origin", "https://app.example")];
    for target in [path("a"), path(".."), "/nowhere".to_owned()] {
        let answer = server.ask("OPTIONS", &target, &origin, "").await;
        assert_eq!(answer.status, 204, "{target}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert!(answer.header("access-control-allow-methods").is_some());
    }
}

#[tokio::test]
async fn the_public_url_stands_in_location() {
    let url = "https://streams.example".to_owned();
    let server = TestServer::with(|_, config| config.public_url = Some(url)).await;
    let created = server.create("a%20b", TEXT, "").await;
    assert_eq!(
        created.header("location"),
        Some("https://streams.example/v1/stream/a%20b")
    );
}

#[tokio::test]
async fn health_and_readiness_answer_get_and_head() {
    let server = TestServer::start().await;
    for target in ["/health", "/ready"] {
        let answer = server.get(target).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(server.ask("HEAD", target, &[], "").await.status, 200);
    }
    // A connection that began with one of them is good for all else.
    let mut conn = server.connect().await;
    conn.send("GET", "/health", &[], b"").await;
    assert_eq!(conn.answer().await.status, 200);
    conn.send("PUT", &path("a"), &[TEXT], b"x").await;
    assert_eq!(conn.answer().await.status, 201);
    conn.send("GET", &path("a"), &[], b"").await;
    assert_eq!(conn.answer().await.text(), "x");
}

#[tokio::test]
async fn every_answer_carries_an_id() {
    let server = TestServer::start().await;
    let mine = [("X-Request-Id", "mine-1")];
    let echoed = server.ask("GET", "/health", &mine, "").await;
    assert_eq!(echoed.header("x-request-id"), Some("mine-1"));
    let odd = [("X-Request-Id", "a b")];
    let given = server.ask("GET", "/nowhere", &odd, "").await;
    let given = given.header("x-request-id").unwrap().to_owned();
    let other = server.get("/health").await;
    assert_eq!(given.len(), 16);
    assert_ne!(other.header("x-request-id"), Some(given.as_str()));
}
