//! Connections: pipelined, half closed, HTTP/2, hostile.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use millrace_server::Refused;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{JSON, TEXT, TestServer, path, within};

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "").await;
    let mut conn = server.connect().await;
    for round in 0..50 {
        let body = format!("{round:02}");
        conn.send("POST", &path("a"), &[TEXT], body.as_bytes())
            .await;
    }
    conn.send("GET", &path("a"), &[], b"").await;
    let mut offsets = Vec::new();
    for _ in 0..50 {
        let answer = conn.answer().await;
        assert_eq!(answer.status, 204);
        offsets.push(answer.next_offset().to_owned());
    }
    assert!(offsets.is_sorted_by(|a, b| a < b), "T34: {offsets:?}");
    let sent: String = (0..50).map(|round| format!("{round:02}")).collect();
    assert_eq!(conn.answer().await.text(), sent);
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_rest_of_the_next_request() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "x").await;
    let mut conn = server.connect().await;
    let get = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\nGET /hea", path("a"));
    conn.write(get.as_bytes()).await;
    assert_eq!(conn.answer().await.text(), "x");
    conn.write(b"lth HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(conn.answer().await.status, 200);
}

#[tokio::test]
async fn a_client_that_closed_its_half_is_served() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "x").await;
    let mut conn = server.connect().await;
    conn.send("POST", &path("a"), &[TEXT], b"y").await;
    conn.stream.shutdown().await.unwrap();
    assert_eq!(conn.answer().await.status, 204);
    assert!(conn.is_ended().await);
    assert_eq!(server.get(&path("a")).await.text(), "xy");
    // Even when the answer takes a while.
    let mut conn = server.connect().await;
    let target = path("a?offset=now&live=long-poll&timeout=200ms");
    conn.send("GET", &target, &[], b"").await;
    conn.stream.shutdown().await.unwrap();
    assert_eq!(conn.answer().await.status, 204);
}

#[tokio::test]
async fn t94_a_request_is_never_read_as_two() {
    let server = TestServer::start().await;
    server.create("victim", TEXT, "").await;
    let hidden = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n!",
        path("victim")
    );
    for framing in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 1\r\nContent-Length: 200\r\n\r\nx",
        "Content-Length: +1\r\n\r\nx",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ] {
        let mut conn = server.connect().await;
        let head = format!("POST {} HTTP/1.1\r\nHost: x\r\n", path("other"));
        conn.write(format!("{head}{framing}{hidden}").as_bytes())
            .await;
        let first = conn.answer().await;
        assert!([400, 404].contains(&first.status), "{framing}: {first:?}");
        assert!(conn.is_ended().await, "{framing}");
        assert_eq!(server.get(&path("victim")).await.text(), "", "{framing}");
    }
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused_and_told_so() {
    let server = TestServer::start().await;
    let large = format!("X: {}\r\n", "x".repeat(200_000));
    let many = "X: x\r\n".repeat(5000);
    for headers in [large, many] {
        let mut conn = server.connect().await;
        let request = format!("GET /health HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        conn.write(request.as_bytes()).await;
        assert_eq!(conn.answer().await.status, 431);
    }
    let long = "%61".repeat(1024);
    assert_eq!(
        server.ask("PUT", &path(&long), &[TEXT], "x").await.status,
        201
    );
}

/// Speaks HTTP/2 from the first byte on.
async fn http2(server: &TestServer) -> http2::SendRequest<Full<Bytes>> {
    let conn = server.connect().await;
    let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(conn.stream))
        .await
        .unwrap();
    tokio::spawn(driver);
    sender
}

async fn exchange(
    sender: &mut http2::SendRequest<Full<Bytes>>,
    method: &str,
    path: &str,
    body: &str,
) -> Response<Incoming> {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://test.example{path}"))
        .header(JSON.0, JSON.1)
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    within(sender.send_request(request)).await.unwrap()
}

async fn whole(answer: Response<Incoming>) -> String {
    let bytes = within(answer.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn http2_without_tls_speaks_the_same() {
    let server = TestServer::start().await;
    let mut sender = http2(&server).await;
    let created = exchange(&mut sender, "PUT", &path("a"), "").await;
    assert_eq!(created.status(), 201);
    assert_eq!(
        created.headers()["location"],
        "http://test.example/v1/stream/a"
    );
    let events = exchange(&mut sender, "GET", &path("a?offset=-1&live=sse"), "").await;
    assert_eq!(events.status(), 200);
    assert!(!events.headers().contains_key("connection"));
    let poll = async {
        let mut sender = sender.clone();
        let target = path("a?offset=-1&live=long-poll");
        exchange(&mut sender, "GET", &target, "").await
    };
    let append = async {
        let mut sender = sender.clone();
        exchange(&mut sender, "POST", &path("a"), "[1,2]").await
    };
    let (polled, appended) = tokio::join!(poll, append);
    assert_eq!(
        (polled.status().as_u16(), appended.status().as_u16()),
        (200, 204)
    );
    assert_eq!(whole(polled).await, "[1,2]");
    server.close("a").await;
    let events = whole(events).await;
    assert!(events.contains("data:[1,2]\n") && events.contains("\"streamClosed\":true"));
    assert_eq!(
        whole(exchange(&mut sender, "GET", &path("a"), "").await).await,
        "[1,2]"
    );
}

#[tokio::test]
async fn an_address_has_its_number_of_connections_and_no_more() {
    let server = TestServer::with(|_, config| {
        config.connections_per_address_max = Some(3);
    })
    .await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut conn = server.connect().await;
        conn.send("GET", "/health", &[], b"").await;
        assert_eq!(conn.answer().await.status, 200);
        kept.push(conn);
    }
    let mut beyond = server.connect().await;
    assert!(beyond.is_ended().await);
    assert_eq!(server.refusals().count(Refused::AddressLimit), 1);
    // One goes, and there is room for another.
    kept.pop();
    within(async {
        let mut begin = [0; 12];
        loop {
            let mut stream = server.connect().await.stream;
            // One that comes too early is closed before or while it asks.
            let _ = stream
                .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                .await;
            if stream.read_exact(&mut begin).await.is_ok() {
                break;
            }
        }
        assert_eq!(&begin, b"HTTP/1.1 200");
    })
    .await;
}

/// Connections beyond the number are told so, whatever they send; the state of the server is told even
/// then.
#[tokio::test]
async fn beyond_all_connections_the_next_is_told_to_come_again_later() {
    let server = TestServer::with(|_, config| config.connections_max = 2).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut conn = server.connect().await;
        conn.send("GET", &path("any"), &[], b"").await;
        assert_eq!(conn.answer().await.status, 404);
        kept.push(conn);
    }
    let large = vec![b'x'; 1 << 20];
    for (method, body) in [("GET", &b""[..]), ("POST", &large)] {
        let mut beyond = server.connect().await;
        let text = [("Content-Type", "text/plain")];
        beyond.send(method, &path("any"), &text, body).await;
        let told = beyond.answer().await;
        assert_eq!(told.status, 429, "{method}");
        assert_eq!(told.code(), "overloaded");
        assert_eq!(told.header("retry-after"), Some("1"));
        assert_eq!(told.header("connection"), Some("close"));
        assert!(beyond.is_ended().await);
    }
    assert_eq!(server.refusals().count(Refused::ConnectionLimit), 2);
    let mut probe = server.connect().await;
    probe.send("GET", "/health", &[], b"").await;
    assert_eq!(probe.answer().await.status, 200);
    // One goes, and there is room for another.
    kept.pop();
    within(async {
        loop {
            let mut next = server.connect().await;
            next.send("GET", &path("any"), &[], b"").await;
            if next.answer().await.status == 404 {
                break;
            }
        }
    })
    .await;
}

/// Half of a beginning that the front waits for, and the rest later.
#[tokio::test]
async fn a_beginning_in_two_parts_is_understood() {
    let server = TestServer::start().await;
    let mut conn = server.connect().await;
    conn.write(b"GET /h").await;
    millrace_env::sleep(std::time::Duration::from_millis(100)).await;
    conn.write(b"ealth HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(conn.answer().await.status, 200);
}

/// A body of announced length that is never ended.
struct Unended;

impl http_body::Body for Unended {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

/// As Node's HTTP/2 client does with an empty body: it is answered at once, and not when it is late.
#[tokio::test]
async fn an_empty_body_that_http2_never_ends_is_empty() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "").await;
    let conn = server.connect().await;
    let (mut sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(conn.stream))
        .await
        .unwrap();
    tokio::spawn(driver);
    let request = Request::builder()
        .method("POST")
        .uri(format!("http://test.example{}", path("a")))
        .header(TEXT.0, TEXT.1)
        .header("content-length", "0")
        .body(Unended)
        .unwrap();
    let answer = within(sender.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(whole(answer).await.contains("empty-body"));
}
