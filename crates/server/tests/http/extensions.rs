//! What goes beyond the protocol (`docs/extensions.md`): an append at the tail that was seen, reads by
//! message.

use serde_json::{Value, json};

use crate::support::{Answer, JSON, TEXT, TestServer, path};

const EXPECTED: &str = "Stream-Expected-Offset";
const EMPTY: &str = "0000000000000000_0000000000000000";

async fn append_at(server: &TestServer, tail: &str, body: &str) -> Answer {
    let headers = [JSON, (EXPECTED, tail)];
    server.ask("POST", &path("a"), &headers, body).await
}

#[tokio::test]
async fn an_append_counts_only_at_the_tail_that_its_writer_saw() {
    let server = TestServer::start().await;
    server.create("a", JSON, "").await;
    let first = append_at(&server, EMPTY, "1").await;
    assert_eq!(first.status, 204);
    let tail = first.next_offset().to_owned();
    for stale in [
        EMPTY,
        "0000000000000-0000000000000000",
        "0000000000009-0000000000000002",
    ] {
        let refused = append_at(&server, stale, "2").await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (409, "expected-offset")
        );
        assert_eq!(refused.next_offset(), tail);
        assert_eq!(refused.header("stream-closed"), None);
        assert_eq!(refused.json()["title"], "Expected offset mismatch");
    }
    for malformed in ["-1", "now", "7"] {
        let refused = append_at(&server, malformed, "2").await;
        assert_eq!(
            (refused.status, refused.json()["title"].as_str()),
            (400, Some("Invalid expected offset"))
        );
    }
    assert_eq!(append_at(&server, &tail, "2").await.status, 204);
    assert_eq!(server.get(&path("a")).await.text(), "[1,2]");
}

#[tokio::test]
async fn of_many_appends_at_one_tail_one_is_carried_out() {
    let server = TestServer::with(|engine, _| engine.shards = 2).await;
    server.create("a", JSON, "").await;
    let mut tail = EMPTY.to_owned();
    for round in 0..10 {
        let tries = (0..8).map(|n| {
            let (server, tail) = (&server, &tail);
            async move { append_at(server, tail, &format!("{}", round * 8 + n)).await }
        });
        let answers = futures(tries).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 204);
        assert_eq!(won.len(), 1, "round {round}");
        assert!(lost.iter().all(|answer| answer.status == 409));
        won[0].next_offset().clone_into(&mut tail);
    }
    let content = server.get(&path("a")).await.json();
    assert_eq!(content.as_array().map(Vec::len), Some(10));
}

/// All at once, in order.
async fn futures<T>(work: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = work.map(|one| Some(Box::pin(one))).collect();
    let mut done: Vec<Option<T>> = pending.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (one, done) in pending.iter_mut().zip(&mut done) {
            if let Some(future) = one
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                (*one, *done) = (None, Some(value));
            }
        }
        if pending.iter().all(Option::is_none) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().map(|value| value.expect("done")).collect()
}

/// Ten numbers, each an append of its own; the offsets from the start to the tail.
async fn ten(server: &TestServer) -> Vec<String> {
    let made = server.create("a", JSON, "").await;
    let mut offsets = vec![made.next_offset().to_owned()];
    for n in 0..10 {
        offsets.push(server.append("a", JSON, n.to_string()).await);
    }
    offsets
}

fn place(answer: &Answer) -> (String, String) {
    let start = answer.header("stream-start-offset").expect("a start");
    (start.to_owned(), answer.next_offset().to_owned())
}

#[tokio::test]
async fn pages_by_message_say_where_they_start_and_end() {
    let server = TestServer::start().await;
    let offsets = ten(&server).await;
    let at = |from: usize, until: usize| (offsets[from].clone(), offsets[until].clone());
    let rows = [
        ("limit=3".to_owned(), "[0,1,2]", at(0, 3)),
        (format!("offset={}&limit=2", offsets[4]), "[4,5]", at(4, 6)),
        ("last=3".to_owned(), "[7,8,9]", at(7, 10)),
        ("last=3&limit=1".to_owned(), "[7]", at(7, 8)),
        ("last=99".to_owned(), "[0,1,2,3,4,5,6,7,8,9]", at(0, 10)),
        (format!("before={}&limit=2", offsets[4]), "[2,3]", at(2, 4)),
        (
            format!("before={}&limit=9", offsets[4]),
            "[0,1,2,3]",
            at(0, 4),
        ),
        (format!("before={}", offsets[0]), "[]", at(0, 0)),
        ("before=now&limit=1".to_owned(), "[9]", at(9, 10)),
        ("since=0&limit=1".to_owned(), "[0]", at(0, 1)),
        ("since=9999999999999".to_owned(), "[]", at(10, 10)),
        (
            "since=2000-01-01T00:00:00Z&limit=1".to_owned(),
            "[0]",
            at(0, 1),
        ),
        (
            format!("since=0&offset={}&limit=1", offsets[9]),
            "[9]",
            at(9, 10),
        ),
    ];
    for (query, want, between) in rows {
        let page = server.get(&path(&format!("a?{query}"))).await;
        assert_eq!((page.status, page.text().as_str()), (200, want), "{query}");
        assert_eq!(place(&page), between, "{query}");
    }
    let plain = server.get(&path("a")).await;
    assert_eq!(plain.header("stream-start-offset"), None);
}

#[tokio::test]
async fn a_chat_is_scrolled_up_to_its_start_and_followed_from_its_end() {
    let server = TestServer::start().await;
    let offsets = ten(&server).await;
    let page = server.get(&path("a?last=3")).await;
    let (mut start, next) = place(&page);
    let mut found = vec![page.json()];
    while start != offsets[0] {
        let page = server
            .get(&path(&format!("a?before={start}&limit=3")))
            .await;
        // What lies before an offset is the same for ever.
        let kept = page.header("cache-control").expect("a word on caching");
        assert!(kept.starts_with("public, max-age="), "{kept}");
        assert_eq!(page.header("stream-up-to-date"), None);
        assert_eq!(page.next_offset(), start);
        start = place(&page).0;
        found.insert(0, page.json());
    }
    let found: Vec<Value> = found
        .iter()
        .flat_map(|page| page.as_array().cloned().unwrap())
        .collect();
    assert_eq!(Value::from(found), json!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
    let waits = format!("a?offset={next}&live=long-poll&timeout=1ms");
    assert_eq!(server.get(&path(&waits)).await.status, 204);
    let mut events = server.follow_with(&path("a?last=2&live=sse"), &[]).await;
    assert_eq!(events.data().await, "[8,9]");
}

#[tokio::test]
async fn messages_come_as_lines_with_their_offsets_and_times() {
    let server = TestServer::start().await;
    let offsets = ten(&server).await;
    let lines = |page: &Answer| -> Vec<Value> {
        assert_eq!(page.header("content-type"), Some("application/x-ndjson"));
        let text = page.text();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let page = server.get(&path("a?format=messages&last=2")).await;
    let said = lines(&page);
    assert_eq!(said.len(), 2);
    for (n, line) in [8, 9].into_iter().zip(&said) {
        assert_eq!(line["data"], n);
        assert_eq!(line["offset"], offsets[n + 1]);
        let time = line["time"].as_str().unwrap();
        let since = format!("a?since={time}&format=messages");
        let first = &lines(&server.get(&path(&since)).await)[0];
        assert!(first["time"].as_str().unwrap() >= time);
    }
    // Another form is another answer.
    let tag = |page: &Answer| page.header("etag").unwrap().to_owned();
    assert_ne!(tag(&page), tag(&server.get(&path("a?last=2")).await));
    let same = server
        .ask(
            "GET",
            &path("a?format=messages&last=2"),
            &[("If-None-Match", &tag(&page))],
            "",
        )
        .await;
    assert_eq!(same.status, 304);
    let now = server.get(&path("a?offset=now&format=messages")).await;
    assert_eq!(lines(&now), Vec::<Value>::new());

    server.create("t", TEXT, "one\n\"two\"").await;
    server.append("t", TEXT, "three").await;
    let said = lines(&server.get(&path("t?format=messages")).await);
    let texts: Vec<_> = said.iter().map(|line| &line["data"]).collect();
    assert_eq!(texts, ["one\n\"two\"", "three"]);
    let inside = format!("{}-0000000000000002", &server.tail("t").await[..13]);
    let refused = server
        .get(&path(&format!("t?format=messages&offset={inside}")))
        .await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "offset-not-a-boundary")
    );

    server
        .create("b", ("Content-Type", "application/octet-stream"), "\0")
        .await;
    let line = &lines(&server.get(&path("b?format=messages")).await)[0];
    assert_eq!(
        (&line["encoding"], &line["data"]),
        (&json!("base64"), &json!("AA=="))
    );
}

#[tokio::test]
async fn what_cannot_be_read_by_message_is_refused_with_what_to_do() {
    let server = TestServer::start().await;
    ten(&server).await;
    for (query, word) in [
        ("limit=0", "from 1"),
        ("limit=-1", "from 1"),
        ("limit=x", "from 1"),
        ("limit=", "from 1"),
        ("last=0", "from 1"),
        ("last=1.5", "from 1"),
        ("since=yesterday", "RFC 3339"),
        ("since=-5", "RFC 3339"),
        ("before=7", "no offset"),
        ("last=1&offset=-1", "exclude"),
        ("last=1&since=0", "exclude"),
        ("before=now&offset=-1", "exclude"),
        ("before=now&live=sse", "leave out `live`"),
        ("last=1&limit=1&live=sse", "pages"),
        ("last=1&format=messages&live=sse", "pages"),
        ("format=lines", "`messages`"),
        ("limit=1&limit=2", "once"),
    ] {
        let refused = server.get(&path(&format!("a?{query}"))).await;
        assert_eq!(refused.status, 400, "{query}");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(word), "{query}: {detail}");
    }
}
