//! Catch-up reads: pages, tags, caching.

use crate::support::{JSON, TEXT, TestServer, path};

/// Reads from the start to the tail, page by page, checking that every page says where it ended.
async fn read_all(server: &TestServer, name: &str) -> Vec<Vec<u8>> {
    let mut pages = Vec::new();
    let mut offset = "-1".to_owned();
    loop {
        let page = server.get(&path(&format!("{name}?offset={offset}"))).await;
        assert_eq!(page.status, 200, "{}", page.text());
        offset = page.next_offset().to_owned();
        pages.push(page.body.clone());
        if page.header("stream-up-to-date").is_some() {
            return pages;
        }
    }
}

#[tokio::test]
async fn bytes_come_in_pages_and_none_is_missing() {
    let server = TestServer::with(|engine, _| engine.read_bytes_max = 1000).await;
    let content: String = (0..1000).map(|n| format!("{n:04};")).collect();
    server.create("a", TEXT, &content).await;
    let pages = read_all(&server, "a").await;
    assert_eq!(pages.len(), 5);
    assert!(pages.iter().all(|page| page.len() == 1000));
    assert_eq!(pages.concat(), content.as_bytes());
}

#[tokio::test]
async fn a_page_of_messages_is_whole_whatever_their_size() {
    let server = TestServer::with(|engine, _| engine.read_bytes_max = 10).await;
    let large = format!("\"{}\"", "x".repeat(100));
    let sent = format!("[1,22,333,{large},4444]");
    server.create("a", JSON, &sent).await;
    let pages = read_all(&server, "a").await;
    let mut messages = Vec::new();
    for page in &pages {
        let page: Vec<serde_json::Value> = serde_json::from_slice(page).unwrap();
        assert!(!page.is_empty());
        messages.extend(page);
    }
    assert_eq!(serde_json::to_string(&messages).unwrap(), sent);
    assert!(pages.len() >= 3);
}

#[tokio::test]
async fn a_large_page_has_its_length_and_its_bytes() {
    let server = TestServer::start().await;
    server.create("a", JSON, "").await;
    let message = format!("\"{}\"", "y".repeat(70_000));
    for _ in 0..20 {
        server.append("a", JSON, &message).await;
    }
    let page = server.get(&path("a")).await;
    let messages: Vec<String> = serde_json::from_slice(&page.body).unwrap();
    assert_eq!(messages.len(), 20);
    assert!(messages.iter().all(|message| message.len() == 70_000));
}

#[tokio::test]
async fn a_tag_spares_the_bytes_until_something_changes() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "x").await;
    let read = server.get(&path("a")).await;
    let tag = read.header("etag").unwrap().to_owned();
    let same = [("If-None-Match", tag.as_str())];
    let again = server.ask("GET", &path("a"), &same, "").await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(again.header("etag"), Some(tag.as_str()));
    assert_eq!(again.next_offset(), read.next_offset());
    server.close("a").await;
    let closed = server.ask("GET", &path("a"), &same, "").await;
    assert_eq!(
        (closed.status, closed.header("stream-closed")),
        (200, Some("true"))
    );
}

#[tokio::test]
async fn t54_only_what_stops_short_of_the_tail_is_cached() {
    let server = TestServer::with(|engine, _| engine.read_bytes_max = 4).await;
    let created = server.create("a", TEXT, "12345678").await;
    let start = created
        .next_offset()
        .replace("0000000000000008", "0000000000000000");
    let of = async |offset: &str| {
        let page = server.get(&path(&format!("a?offset={offset}"))).await;
        let caching = page.header("cache-control").unwrap().to_owned();
        (page.text(), caching)
    };
    let stored = "public, max-age=60, stale-while-revalidate=300";
    assert_eq!(of(&start).await, ("1234".into(), stored.into()));
    assert_eq!(of("-1").await, ("1234".into(), "no-cache".into()));
    let half = start.replace("0000000000000000", "0000000000000004");
    assert_eq!(of(&half).await, ("5678".into(), "no-cache".into()));
    assert_eq!(of("now").await, (String::new(), "no-store".into()));
}

#[tokio::test]
async fn now_is_the_tail_and_carries_nothing() {
    let server = TestServer::start().await;
    server.create("t", TEXT, "x").await;
    server.create("j", JSON, "[1]").await;
    for (name, empty) in [("t", ""), ("j", "[]")] {
        let now = server.get(&path(&format!("{name}?offset=now"))).await;
        assert_eq!((now.status, now.text()), (200, empty.to_owned()));
        assert_eq!(now.next_offset(), server.tail(name).await);
        assert_eq!(now.header("stream-up-to-date"), Some("true"));
        assert_eq!(now.header("etag"), None);
        server.close(name).await;
        let now = server.get(&path(&format!("{name}?offset=now"))).await;
        assert_eq!(now.header("stream-closed"), Some("true"));
    }
}

#[tokio::test]
async fn an_offset_of_an_earlier_incarnation_is_gone() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "old").await;
    let old = server.tail("a").await;
    server.ask("DELETE", &path("a"), &[], "").await;
    let created = server.create("a", TEXT, "new").await;
    let gone = server.get(&path(&format!("a?offset={old}"))).await;
    assert_eq!((gone.status, gone.code()), (410, "offset-gone".into()));
    let earliest = gone.header("stream-earliest-offset").unwrap().to_owned();
    assert!(earliest.as_str() < created.next_offset() && earliest > old);
    let read = server.get(&path(&format!("a?offset={earliest}"))).await;
    assert_eq!(read.text(), "new");
}
