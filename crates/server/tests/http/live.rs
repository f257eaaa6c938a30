//! Many streams on one connection (`docs/extensions.md`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{Follower, JSON, TEXT, TestServer, path};

/// The next event that says something, and its id.
async fn next(events: &mut Follower) -> (Value, String) {
    loop {
        let event = events.event().await.expect("an event");
        if !event.data.is_empty() {
            let value = serde_json::from_str(&event.data).expect("JSON");
            return (value, event.id);
        }
    }
}

/// What `count` events say, by stream.
async fn said(events: &mut Follower, count: usize) -> BTreeMap<String, Vec<Value>> {
    let mut said: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for _ in 0..count {
        let (event, _) = next(events).await;
        let stream = event["stream"].as_str().unwrap().to_owned();
        said.entry(stream).or_default().push(event);
    }
    said
}

async fn with_three() -> TestServer {
    let server = TestServer::with(|engine, _| engine.shards = 2).await;
    server.create("j", JSON, "[1,2]").await;
    server.create("t/x,y", TEXT, "one").await;
    server
        .create("b", ("Content-Type", "image/png"), "\0")
        .await;
    server
}

const THREE: &str = "/v1/streams/_live?follow=j,-1&follow=t%2Fx,y,-1&follow=b,now";

#[tokio::test]
async fn each_event_says_all_of_itself() {
    let server = with_three().await;
    let mut events = server.follow_with(THREE, &[]).await;
    assert_eq!(
        events.head.header("content-type"),
        Some("text/event-stream")
    );
    let first = said(&mut events, 3).await;
    assert_eq!(first["j"][0]["messages"], json!([1, 2]));
    assert_eq!(first["t/x,y"][0]["text"], "one");
    for name in ["messages", "text", "base64"] {
        assert_eq!(first["b"][0].get(name), None, "nothing came");
    }
    for (name, event) in &first {
        assert_eq!(
            (&event[0]["upToDate"], &event[0]["closed"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(
            event[0]["nextOffset"],
            server.tail(&name.replace('/', "%2F")).await
        );
    }
    server
        .append("b", ("Content-Type", "image/png"), [0, 0xff])
        .await;
    assert_eq!(next(&mut events).await.0["base64"], "AP8=");
    server.append("j", JSON, "{\"n\":\n3}").await;
    assert_eq!(next(&mut events).await.0["messages"], json!([{"n": 3}]));
    // A code point that comes in two halves arrives whole.
    server.append("t%2Fx,y", TEXT, [0xc3]).await;
    server.append("t%2Fx,y", TEXT, [0xa9]).await;
    let mut event = next(&mut events).await.0;
    if event.get("text").is_none() {
        event = next(&mut events).await.0;
    }
    assert_eq!(event["text"], "é");
    // A stream that is closed or deleted ends, and the others go on; with the last, the connection.
    server.close("j").await;
    assert_eq!(next(&mut events).await.0["closed"], true);
    server.ask("DELETE", &path("b"), &[], "").await;
    let (event, _) = next(&mut events).await;
    assert_eq!(
        (&event["stream"], &event["error"]["code"]),
        (&json!("b"), &json!("not-found"))
    );
    server.close("t%2Fx,y").await;
    assert_eq!(next(&mut events).await.0["closed"], true);
    assert!(events.event().await.is_none());
    assert!(events.connection_is_ended().await);
}

#[tokio::test]
async fn an_event_source_goes_on_with_every_stream_where_it_was() {
    let server = with_three().await;
    let mut events = server.follow_with(THREE, &[]).await;
    let mut id = String::new();
    for _ in 0..3 {
        id = next(&mut events).await.1;
    }
    drop(events);
    server.append("j", JSON, "3").await;
    server.append("t%2Fx,y", TEXT, "two").await;
    let mut events = server.follow_with(THREE, &[("Last-Event-ID", &id)]).await;
    let said = said(&mut events, 3).await;
    assert_eq!(said["j"][0]["messages"], json!([3]));
    assert_eq!(said["t/x,y"][0]["text"], "two");
    assert_eq!(said["b"][0]["upToDate"], true);
}

#[tokio::test]
async fn what_cannot_be_followed_is_told_of_and_the_rest_goes_on() {
    let server = with_three().await;
    let old = "0000000000001-0000000000000001";
    let target = format!("/v1/streams/_live?follow=missing,-1&follow=j,{old}&follow=b,-1");
    let mut events = server.follow_with(&target, &[]).await;
    let said = said(&mut events, 3).await;
    assert_eq!(said["missing"][0]["error"]["code"], "not-found");
    assert_eq!(said["j"][0]["error"]["code"], "offset-gone");
    let earliest = &said["j"][0]["error"]["earliestOffset"];
    assert!(
        earliest.as_str().unwrap().ends_with("-0000000000000000"),
        "{earliest}"
    );
    assert_eq!(said["b"][0]["base64"], "AA==");
    for (query, code) in [
        ("", "invalid-query"),
        ("?follow=j", "invalid-query"),
        ("?follow=j,-2", "invalid-offset"),
        ("?follow=j,-1&follow=j,-1", "invalid-query"),
        ("?follow=__ds/x,-1", "reserved-name"),
    ] {
        let refused = server.get(&format!("/v1/streams/_live{query}")).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, code),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_thousand_streams_share_a_connection_and_none_keeps_the_others_waiting() {
    const STREAMS: usize = 1000;
    let server = TestServer::with(|engine, _| engine.shards = 2).await;
    let lines = |from: usize| -> String {
        (from..from + 500)
            .map(|n| format!("{{\"stream\":\"s{n}\",\"messages\":[0]}}\n"))
            .collect()
    };
    for n in 0..STREAMS {
        server.create(&format!("s{n}"), JSON, "").await;
    }
    // One with a long past, read in many pieces.
    let long = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..40 {
        server.append("s0", JSON, &long).await;
    }
    let follow: Vec<Value> = (0..STREAMS)
        .map(|n| json!({"stream": format!("s{n}"), "offset": "-1"}))
        .collect();
    let body = json!({ "follow": follow }).to_string();
    let mut events = server.follow_posting("/v1/streams/_live", &body).await;
    let mut before_last_of_long = 0;
    let mut seen = BTreeSet::new();
    while seen.len() < STREAMS {
        let (event, id) = next(&mut events).await;
        assert_eq!(id, "", "a POST is no EventSource's");
        let stream = event["stream"].as_str().unwrap().to_owned();
        if event["upToDate"] == true {
            seen.insert(stream);
        } else {
            before_last_of_long = seen.len();
        }
    }
    assert!(
        before_last_of_long > STREAMS / 2,
        "others came between: {before_last_of_long}"
    );
    for from in [0, 500] {
        let headers = [("Content-Type", "application/x-ndjson")];
        let told = server
            .ask("POST", "/v1/streams/_append", &headers, lines(from))
            .await;
        assert_eq!(told.status, 200);
    }
    let mut news = BTreeSet::new();
    while news.len() < STREAMS {
        let (event, _) = next(&mut events).await;
        assert_eq!(event["messages"], json!([0]));
        assert!(news.insert(event["stream"].as_str().unwrap().to_owned()));
    }
}

#[tokio::test]
async fn a_connection_ends_in_its_time_with_all_that_was_there() {
    let server = TestServer::with(|_, config| {
        config.times.sse = Duration::from_millis(300);
        config.times.sse_jitter = Duration::ZERO;
        config.times.keep_alive = Duration::from_millis(50);
    })
    .await;
    server.create("a", JSON, "1").await;
    let mut events = server
        .follow_with("/v1/streams/_live?follow=a,-1", &[])
        .await;
    let all = events.rest().await;
    assert_eq!(
        all.iter()
            .filter(|event| event.data.contains("messages"))
            .count(),
        1
    );
    assert!(all.len() > 1, "signs of life");
    assert!(events.connection_is_ended().await);
}
