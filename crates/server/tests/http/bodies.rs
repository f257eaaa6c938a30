//! Bodies of requests: chunked, cut, slow, too large, too many.

use std::time::Duration;

use crate::support::{Conn, JSON, TEXT, TestServer, path, within};

const CHUNKED: (&str, &str) = ("Transfer-Encoding", "chunked");

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// A connection that has begun to append to `name`.
async fn begun(server: &TestServer, name: &str, framing: (&str, &str), part: &str) -> Conn {
    let mut conn = server.connect().await;
    conn.send("POST", &path(name), &[TEXT, framing], part.as_bytes())
        .await;
    conn
}

#[tokio::test]
async fn a_chunked_body_is_one_append_and_none_before_its_end() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "").await;
    let mut conn = begun(&server, "a", CHUNKED, &chunk("one ")).await;
    conn.write(chunk("two").as_bytes()).await;
    assert_eq!(server.get(&path("a")).await.text(), "");
    conn.write(b"0\r\n\r\n").await;
    assert_eq!(conn.answer().await.status, 204);
    assert_eq!(server.get(&path("a")).await.text(), "one two");
}

#[tokio::test]
async fn a_large_chunked_body_grows_its_memory_step_by_step() {
    let server = TestServer::start().await;
    server.create("a", JSON, "").await;
    let text = "y".repeat(100_000);
    let mut conn = server.connect().await;
    conn.send("POST", &path("a"), &[JSON, CHUNKED], b"").await;
    conn.write(chunk("[0").as_bytes()).await;
    for _ in 0..30 {
        conn.write(chunk(&format!(",\"{text}\"")).as_bytes()).await;
    }
    conn.write(chunk("]").as_bytes()).await;
    conn.write(b"0\r\n\r\n").await;
    assert_eq!(conn.answer().await.status, 204);
    let read = server.get(&path("a")).await.json();
    assert_eq!(read.as_array().unwrap().len(), 31);
}

#[tokio::test]
async fn t19_a_body_that_breaks_off_appends_nothing() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "before").await;
    for (framing, part) in [
        (("Content-Length", "100"), "half".to_owned()),
        (CHUNKED, chunk("half")),
        (CHUNKED, "64\r\nhalf".to_owned()),
    ] {
        let mut conn = begun(&server, "a", framing, &part).await;
        tokio::io::AsyncWriteExt::shutdown(&mut conn.stream)
            .await
            .unwrap();
        let answer = conn.answer().await;
        assert_eq!((answer.status, answer.code()), (400, "body-broken".into()));
        let conn = begun(&server, "a", framing, &part).await;
        drop(conn);
    }
    assert_eq!(server.get(&path("a")).await.text(), "before");
}

#[tokio::test]
async fn t94_a_sender_that_stops_is_told_so_and_let_go() {
    let server = TestServer::with(|_, config| {
        config.times.body_idle = Duration::from_millis(100);
    })
    .await;
    server.create("a", TEXT, "").await;
    let mut conn = begun(&server, "a", ("Content-Length", "100"), "half").await;
    let answer = conn.answer().await;
    assert_eq!((answer.status, answer.code()), (408, "body-timeout".into()));
    assert!(conn.is_ended().await);
    assert_eq!(server.get(&path("a")).await.text(), "");
}

#[tokio::test]
async fn t94_a_sender_that_drips_is_let_go_too() {
    let server = TestServer::with(|_, config| {
        config.times.body = Duration::from_millis(300);
    })
    .await;
    server.create("a", TEXT, "").await;
    let mut conn = begun(&server, "a", ("Content-Length", "1000"), "").await;
    let (mut read, mut write) = conn.stream.split();
    let drip = async {
        while tokio::io::AsyncWriteExt::write_all(&mut write, b".")
            .await
            .is_ok()
        {
            millrace_env::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut first = [0; 12];
    tokio::select! {
        biased;
        read = tokio::io::AsyncReadExt::read_exact(&mut read, &mut first) => read.unwrap(),
        () = drip => panic!("it is answered first"),
    };
    assert_eq!(&first, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_body_too_large_is_refused_before_or_while_it_is_read() {
    let server = TestServer::with(|engine, _| engine.append_bytes_max = 100_000).await;
    server.create("a", TEXT, "").await;
    let announced = begun(&server, "a", ("Content-Length", "100001"), "")
        .await
        .answer()
        .await;
    assert_eq!(
        (announced.status, announced.code()),
        (413, "body-too-large".into())
    );
    let mut conn = begun(&server, "a", CHUNKED, "").await;
    for _ in 0..11 {
        conn.write(chunk(&"x".repeat(10_000)).as_bytes()).await;
    }
    assert_eq!(conn.answer().await.status, 413);
    assert!(conn.is_ended().await);
    let exact = "x".repeat(100_000);
    assert_eq!(
        server.ask("POST", &path("a"), &[TEXT], &exact).await.status,
        204
    );
    assert_eq!(server.get(&path("a")).await.body.len(), 100_000);
}

/// Uploads that sent much and then nothing held their memory for as long as they liked, and everybody
/// else was refused meanwhile.
#[tokio::test]
async fn uploads_that_stall_do_not_keep_others_from_appending() {
    let server = TestServer::with(|engine, _| engine.memory_max = 32 << 20).await;
    server.create("a", TEXT, "").await;
    let part = "x".repeat(512 << 10);
    let mut stalled = Vec::new();
    // Twice as much as all bodies may take together.
    for _ in 0..32 {
        stalled.push(begun(&server, "a", ("Content-Length", "1048576"), &part).await);
    }
    let body = "y".repeat(1 << 20);
    for _ in 0..20 {
        let answer = within(async {
            loop {
                let answer = server.ask("POST", &path("a"), &[TEXT], &body).await;
                if answer.status != 429 {
                    break answer;
                }
                assert_eq!(answer.header("retry-after"), Some("1"));
                millrace_env::sleep(Duration::from_millis(50)).await;
            }
        });
        assert_eq!(answer.await.status, 204);
    }
    let mut gave_way = 0;
    for mut conn in stalled {
        let told = millrace_env::timeout(Duration::from_millis(200), conn.answer()).await;
        let Some(told) = told else { continue };
        assert_eq!(told.status, 429);
        assert_eq!(told.header("retry-after"), Some("1"));
        gave_way += 1;
    }
    assert!(gave_way > 0, "those that stalled gave way");
    let read = server.get(&path("a")).await;
    assert!(read.body.iter().all(|byte| *byte == b'y'));
}

#[tokio::test]
async fn bodies_beyond_the_budget_are_refused_and_room_comes_back() {
    let server = TestServer::with(|engine, _| {
        engine.memory_max = 4 << 20;
        engine.flush_interval = Duration::from_millis(50);
    })
    .await;
    server.create("a", TEXT, "").await;
    // A quarter of the memory is for bodies; nearly all of it is taken, for as long as this lives.
    let hog = server.engine().admit(1_000_000).await.unwrap();
    let refused = loop {
        let answer = server
            .ask("POST", &path("a"), &[TEXT], "y".repeat(100_000))
            .await;
        if answer.status != 204 {
            break answer;
        }
    };
    assert_eq!((refused.status, refused.code()), (429, "overloaded".into()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(hog);
    let mut again = refused;
    while again.status == 429 {
        millrace_env::sleep(Duration::from_millis(20)).await;
        again = server
            .ask("POST", &path("a"), &[TEXT], "z".repeat(100_000))
            .await;
    }
    assert_eq!(again.status, 204);
}

/// Announcing costs nothing: a thousand megabytes are announced here, and appends go on.
#[tokio::test]
async fn who_announces_much_and_sends_little_holds_little() {
    let server = TestServer::with(|engine, _| engine.memory_max = 32 << 20).await;
    server.create("a", TEXT, "").await;
    let mut slow = Vec::new();
    for _ in 0..64 {
        let announced = ("Content-Length", "16777216");
        slow.push(begun(&server, "a", announced, "only this").await);
    }
    for _ in 0..10 {
        server.append("a", TEXT, "x".repeat(100_000)).await;
    }
    for conn in slow {
        let mut conn = conn;
        tokio::io::AsyncWriteExt::shutdown(&mut conn.stream)
            .await
            .unwrap();
        assert_eq!(conn.answer().await.code(), "body-broken");
    }
    assert_eq!(server.get(&path("a")).await.body.len(), 1_000_000);
}

/// The budget of a small server is less than one append may be.
#[tokio::test]
async fn one_large_body_alone_is_let_in() {
    let server = TestServer::with(|engine, _| engine.memory_max = 4 << 20).await;
    server.create("a", TEXT, "").await;
    server.append("a", TEXT, "x".repeat(3 << 20)).await;
    assert_eq!(server.get(&path("a")).await.body.len(), 3 << 20);
}

#[tokio::test]
async fn who_asks_first_is_told_to_go_on() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "").await;
    let expect = ("Expect", "100-continue");
    let mut conn = server.connect().await;
    let headers = [TEXT, ("Content-Length", "4"), expect];
    conn.send("POST", &path("a"), &headers, b"").await;
    assert_eq!(conn.answer().await.status, 100);
    conn.write(b"body").await;
    assert_eq!(conn.answer().await.status, 204);
    // Who is refused anyway is told before the body is sent.
    let headers = [TEXT, ("Content-Length", "4"), ("Stream-Seq", ""), expect];
    conn.send("POST", &path("a"), &headers, b"").await;
    assert_eq!(conn.answer().await.status, 400);
}
