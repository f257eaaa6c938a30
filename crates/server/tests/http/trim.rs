//! Trims (`docs/extensions.md`): what lies before an offset can be read no longer, in any way of reading.

use std::{path::Path, time::Duration};

use millrace_env::{Env, sleep};
use serde_json::json;

use crate::support::{Answer, JSON, TestServer, path};

/// Ten numbers, each an append of its own; the offsets from the start to the tail.
async fn ten(server: &TestServer, name: &str) -> Vec<String> {
    let made = server.create(name, JSON, "").await;
    let mut offsets = vec![made.next_offset().to_owned()];
    for n in 0..10 {
        offsets.push(server.append(name, JSON, n.to_string()).await);
    }
    offsets
}

async fn trim(server: &TestServer, name: &str, to: &str) -> Answer {
    let body = json!({ "offset": to }).to_string();
    let target = format!("{}/_trim", path(name));
    server.ask("POST", &target, &[JSON], body).await
}

fn earliest(answer: &Answer) -> Option<&str> {
    answer.header("stream-earliest-offset")
}

/// All that anybody can see of a stream of ten that was trimmed to its seventh.
async fn assert_trimmed(server: &TestServer, name: &str, offsets: &[String]) {
    let of = |query: &str| path(&format!("{name}{query}"));
    let from_start = server.get(&of("?offset=-1")).await;
    assert_eq!(
        (from_start.status, from_start.text().as_str()),
        (200, "[7,8,9]")
    );
    assert_eq!(server.get(&of("")).await.text(), "[7,8,9]");
    let head = server.ask("HEAD", &of(""), &[], "").await;
    assert_eq!(earliest(&head), Some(offsets[7].as_str()));
    assert_eq!(head.next_offset(), offsets[10]);
    // Equality is fine, before it is gone.
    assert_eq!(
        server
            .get(&of(&format!("?offset={}", offsets[7])))
            .await
            .text(),
        "[7,8,9]"
    );
    for live in ["", "&live=long-poll", "&live=sse", "&format=messages"] {
        let gone = server
            .get(&of(&format!("?offset={}{live}", offsets[6])))
            .await;
        assert_eq!(
            (gone.status, gone.code().as_str()),
            (410, "offset-gone"),
            "{live}"
        );
        assert_eq!(earliest(&gone), Some(offsets[7].as_str()), "{live}");
    }
    let rows = [
        ("?last=99", "[7,8,9]"),
        ("?since=0", "[7,8,9]"),
        ("?before=now&limit=99", "[7,8,9]"),
        ("?last=2", "[8,9]"),
    ];
    for (query, want) in rows {
        assert_eq!(server.get(&of(query)).await.text(), want, "{query}");
    }
    let before = server
        .get(&of(&format!("?before={}&limit=5", offsets[7])))
        .await;
    assert_eq!(before.text(), "[]");
}

#[tokio::test]
async fn what_was_trimmed_is_gone_for_every_way_of_reading_and_over_restarts() {
    let server = TestServer::with(|engine, _| {
        engine.flush_interval = Duration::from_millis(20);
    })
    .await;
    let offsets = ten(&server, "a").await;
    let hot = ten(&server, "hot").await;
    let trimmed = trim(&server, "a", &offsets[7]).await;
    assert_eq!(trimmed.status, 204, "{}", trimmed.text());
    assert_eq!(earliest(&trimmed), Some(offsets[7].as_str()));
    assert_eq!(trimmed.next_offset(), offsets[10]);
    assert_trimmed(&server, "a", &offsets).await;
    sleep(Duration::from_millis(500)).await;
    assert_trimmed(&server, "a", &offsets).await;
    trim(&server, "hot", &hot[7]).await;
    let server = TestServer::on(server.stop().await, |_, _| {}).await;
    assert_trimmed(&server, "a", &offsets).await;
    assert_trimmed(&server, "hot", &hot).await;
    // Trims only go forward, and what is appended is as before.
    for to in [&offsets[2], &offsets[7], "-1"] {
        let again = trim(&server, "a", to).await;
        let told = (again.status, earliest(&again));
        match to {
            to if *to == offsets[2] => assert_eq!(told.0, 204),
            _ => assert_eq!(told, (204, Some(offsets[7].as_str()))),
        }
    }
    assert_trimmed(&server, "a", &offsets).await;
    let all = trim(&server, "a", "now").await;
    assert_eq!(earliest(&all), Some(offsets[10].as_str()));
    assert_eq!(server.get(&path("a")).await.text(), "[]");
    server.append("a", JSON, "10").await;
    assert_eq!(server.get(&path("a")).await.text(), "[10]");
}

#[tokio::test]
async fn a_fork_keeps_what_it_inherited_and_cannot_begin_before_the_trim() {
    let server = TestServer::with(|engine, _| {
        engine.shards = 2;
        engine.flush_interval = Duration::from_millis(20);
    })
    .await;
    let offsets = ten(&server, "a").await;
    let fork = async |name: &str, at: &str| {
        let headers = [
            ("Stream-Forked-From", "/v1/stream/a"),
            ("Stream-Fork-Offset", at),
        ];
        server.ask("PUT", &path(name), &headers, "").await
    };
    assert_eq!(fork("early", &offsets[5]).await.status, 201);
    trim(&server, "a", &offsets[7]).await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(server.get(&path("early")).await.text(), "[0,1,2,3,4]");
    let refused = fork("late", &offsets[6]).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "fork-position")
    );
    assert_eq!(fork("late", &offsets[9]).await.status, 201);
    // A fork begins where its source begins.
    assert_eq!(server.get(&path("late")).await.text(), "[7,8]");
    let gone = server
        .get(&path(&format!("late?offset={}", offsets[3])))
        .await;
    assert_eq!(
        (gone.status, earliest(&gone)),
        (410, Some(offsets[7].as_str()))
    );
    // A fork is trimmed like any stream, its inherited bytes too.
    trim(&server, "early", &offsets[2]).await;
    assert_eq!(server.get(&path("early")).await.text(), "[2,3,4]");
    let server = TestServer::on(server.stop().await, |engine, _| engine.shards = 2).await;
    assert_eq!(server.get(&path("early")).await.text(), "[2,3,4]");
    assert_eq!(server.get(&path("late")).await.text(), "[7,8]");
}

#[tokio::test]
async fn a_follower_that_is_overtaken_by_a_trim_is_told_so() {
    let server = TestServer::start().await;
    let offsets = ten(&server, "a").await;
    let target = format!("/v1/streams/_live?follow=a,{}", offsets[10]);
    let mut events = server.follow_with(&target, &[]).await;
    let first = events.event().await.expect("an event");
    assert!(first.data.contains("\"upToDate\":true"));
    // It has everything, so it goes on.
    trim(&server, "a", "now").await;
    server.append("a", JSON, "10").await;
    let next = events.event().await.expect("an event");
    assert!(next.data.contains("[10]"), "{}", next.data);
}

#[tokio::test]
async fn what_cannot_be_trimmed_is_refused() {
    let server = TestServer::start().await;
    let offsets = ten(&server, "a").await;
    let inside = format!("{}-0000000000000003", &offsets[1][..13]);
    let past = format!("{}-0000000000000099", &offsets[1][..13]);
    for (name, to, status, code) in [
        ("a", "7", 400, "invalid-offset"),
        ("a", inside.as_str(), 400, "offset-not-a-boundary"),
        ("a", past.as_str(), 410, "offset-gone"),
        ("a", "0000000000000-0000000000000002", 410, "offset-gone"),
        ("missing", "-1", 404, "not-found"),
    ] {
        let refused = trim(&server, name, to).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (status, code),
            "{name} {to}"
        );
    }
    let wrong = server.get(&format!("{}/_trim", path("a"))).await;
    assert_eq!(
        (wrong.status, wrong.header("allow")),
        (405, Some("POST, OPTIONS"))
    );
    assert_eq!(server.get(&path("a")).await.text(), "[0,1,2,3,4,5,6,7,8,9]");
    let closed = server
        .ask("POST", &path("a"), &[("Stream-Closed", "true")], "")
        .await;
    assert_eq!(closed.status, 204);
    assert_eq!(trim(&server, "a", &offsets[9]).await.status, 204);
    assert_eq!(server.get(&path("a")).await.text(), "[9]");
}

#[tokio::test]
async fn the_space_of_what_was_trimmed_is_given_back() {
    let server = TestServer::with(|engine, _| {
        engine.flush_interval = Duration::from_millis(20);
        engine.shards = 1;
    })
    .await;
    server.create("a", JSON, "").await;
    server.create("kept", JSON, "[1]").await;
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    for _ in 0..12 {
        server.append("a", JSON, &large).await;
        sleep(Duration::from_millis(40)).await;
    }
    let env = Env::real(&server.directory.0);
    let stored = || {
        let files = env.disk.list(Path::new("segments")).expect("a directory");
        files.iter().map(|file| file.len).sum::<u64>()
    };
    for _ in 0..200 {
        if stored() > 11 << 20 {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert!(stored() > 11 << 20, "it was flushed");
    trim(&server, "a", "now").await;
    for _ in 0..200 {
        if stored() < 2 << 20 {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert!(stored() < 2 << 20, "{} bytes are left", stored());
    assert_eq!(server.get(&path("a")).await.text(), "[]");
    assert_eq!(server.get(&path("kept")).await.text(), "[1]");
}
