//! Server-sent events: what they look like, when they come, how they end.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use millrace_env::sleep;
use serde_json::json;

use crate::support::{CLOSE, JSON, TEXT, TestServer, path, within};

const BYTES: (&str, &str) = ("Content-Type", "application/octet-stream");

#[tokio::test]
async fn a_follower_gets_what_is_there_then_what_comes_then_the_end() {
    let server = TestServer::start().await;
    let first = server.create("a", JSON, "[1,2]").await;
    let mut follower = server.follow("a", "-1").await;
    assert_eq!(
        follower.head.header("content-type"),
        Some("text/event-stream")
    );
    assert_eq!(follower.head.header("cache-control"), Some("no-cache"));
    assert_eq!(follower.head.header("stream-sse-data-encoding"), None);
    let data = follower.event().await.unwrap();
    assert_eq!((data.kind.as_str(), data.data.as_str()), ("data", "[1,2]"));
    assert_eq!(data.id, first.next_offset());
    let control = follower.control().await;
    assert_eq!(control["streamNextOffset"], first.next_offset());
    assert_eq!(control["upToDate"], true);
    assert!(control["streamCursor"].is_string());
    let tail = server.append("a", JSON, "[3]").await;
    assert_eq!(follower.data().await, "[3]");
    assert_eq!(follower.control().await["streamNextOffset"], tail);
    server.close("a").await;
    let end = follower.control().await;
    assert_eq!(end["streamClosed"], true);
    assert_eq!(end["streamNextOffset"], tail);
    assert_eq!(end.get("streamCursor"), None);
    assert_eq!(follower.event().await, None);
}

/// Events are shared between followers, but never with who was told another cursor.
#[tokio::test]
async fn followers_at_one_place_are_each_told_their_own_cursor() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "").await;
    let cursor = |control: serde_json::Value| -> u64 {
        let text = control["streamCursor"].as_str().unwrap();
        text.parse().unwrap()
    };
    let mut first = server.follow("a", "now").await;
    let now = cursor(first.control().await);
    let ahead = format!("{}?offset=now&live=sse&cursor={}", path("a"), now + 1000);
    let mut second = server.follow_with(&ahead, &[]).await;
    let told = cursor(second.control().await);
    assert!(told > now + 1000);
    for text in ["x", "y"] {
        server.append("a", TEXT, text).await;
        assert_eq!(first.data().await, text);
        assert_eq!(second.data().await, text);
        assert!(cursor(first.control().await) < told);
        assert_eq!(cursor(second.control().await), told);
    }
}

#[tokio::test]
async fn at_the_tail_the_first_event_comes_at_once() {
    let server = TestServer::start().await;
    let tail = server.create("a", TEXT, "x").await;
    for offset in ["now", tail.next_offset()] {
        let mut follower = server.follow("a", offset).await;
        let control = follower.control().await;
        assert_eq!(control["streamNextOffset"], tail.next_offset());
        assert_eq!(control["upToDate"], true);
    }
}

#[tokio::test]
async fn t48_the_last_message_arrives_when_it_comes_with_the_close() {
    let server = TestServer::start().await;
    for round in 0..20 {
        let name = format!("a{round}");
        server.create(&name, JSON, "").await;
        let mut follower = server.follow(&name, "-1").await;
        follower.control().await;
        server
            .ask("POST", &path(&name), &[JSON, CLOSE], "[9]")
            .await;
        assert_eq!(follower.data().await, "[9]");
        assert_eq!(follower.control().await["streamClosed"], true);
        assert_eq!(follower.event().await, None);
    }
}

#[tokio::test]
async fn t49_the_answer_says_that_the_connection_ends_and_it_ends_well() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "x").await;
    server.close("a").await;
    for _ in 0..20 {
        let mut follower = server.follow("a", "-1").await;
        assert_eq!(follower.head.header("connection"), Some("close"));
        let events = follower.rest().await;
        assert_eq!(events.last().unwrap().control()["streamClosed"], true);
        assert!(follower.connection_is_ended().await);
    }
}

#[tokio::test]
async fn t51_everything_is_sent_before_the_end_is_told() {
    let server = TestServer::start().await;
    let messages: Vec<String> = (0..60)
        .map(|n| format!("\"{n}{}\"", "m".repeat(9000)))
        .collect();
    let sent = format!("[{}]", messages.join(","));
    server.ask("PUT", &path("a"), &[JSON, CLOSE], &sent).await;
    let mut follower = server.follow("a", "-1").await;
    let mut events = follower.rest().await;
    let end = events.pop().unwrap().control();
    assert_eq!(end["streamClosed"], true);
    let data = events.iter().filter(|event| event.kind == "data");
    let read: Vec<String> = data
        .map(|event| event.data[1..event.data.len() - 1].to_owned())
        .collect();
    assert!(read.len() > 5, "T64f: not all of it at once");
    assert_eq!(read.join(","), messages.join(","));
    let controls = events.iter().filter(|event| event.kind == "control");
    assert!(
        controls
            .into_iter()
            .all(|event| event.control().get("streamClosed").is_none())
    );
}

#[tokio::test]
async fn t52_every_event_of_bytes_decodes_on_its_own() {
    let server = TestServer::start().await;
    let content: Vec<u8> = (0..200_000_u32)
        .map(|n| n.to_le_bytes()[0] ^ 0x5a)
        .collect();
    server.create("a", BYTES, "").await;
    server.append("a", BYTES, &content).await;
    server.append("a", BYTES, b"\0").await;
    server.close("a").await;
    let mut follower = server.follow("a", "-1").await;
    let encoding = follower.head.header("stream-sse-data-encoding");
    assert_eq!(encoding, Some("base64"));
    let mut read = Vec::new();
    for event in follower.rest().await {
        if event.kind == "data" {
            read.extend(STANDARD.decode(event.data.replace('\n', "")).unwrap());
        }
    }
    assert_eq!(read, [&content[..], b"\0"].concat());
}

#[tokio::test]
async fn half_a_code_point_waits_for_its_other_half() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "").await;
    let rocket = "\u{1f680}".as_bytes();
    let before = server.append("a", TEXT, b"x").await;
    server.append("a", TEXT, &rocket[..3]).await;
    let mut follower = server.follow("a", "-1").await;
    assert_eq!(follower.data().await, "x");
    let control = follower.control().await;
    assert_eq!(
        control["streamNextOffset"], before,
        "not past what was sent"
    );
    assert_eq!(control["upToDate"], true);
    let after = server.append("a", TEXT, &rocket[3..]).await;
    assert_eq!(follower.data().await, "\u{1f680}");
    assert_eq!(follower.control().await["streamNextOffset"], after);
    // Nothing can complete this one: it is sent as it is.
    server.append("a", TEXT, &rocket[..2]).await;
    server.close("a").await;
    assert_eq!(follower.data().await, "\u{fffd}");
    assert_eq!(follower.control().await["streamClosed"], true);
}

#[tokio::test]
async fn line_breaks_become_line_breaks_of_the_event() {
    let server = TestServer::start().await;
    server
        .create("a", TEXT, "one\r\ntwo\nevent: control\rdata: {}\n\n")
        .await;
    server.close("a").await;
    let mut follower = server.follow("a", "-1").await;
    assert_eq!(
        follower.data().await,
        "one\ntwo\nevent: control\ndata: {}\n\n"
    );
    assert_eq!(follower.control().await["streamClosed"], true);
}

#[tokio::test]
async fn last_event_id_beats_the_offset() {
    let server = TestServer::start().await;
    let first = server.create("a", TEXT, "one").await;
    server.append("a", TEXT, "two").await;
    let target = path("a?offset=-1&live=sse");
    let id = [("Last-Event-ID", first.next_offset())];
    let mut follower = server.follow_with(&target, &id).await;
    assert_eq!(follower.data().await, "two");
    let malformed = [("Last-Event-ID", "7")];
    let refused = server.ask("GET", &target, &malformed, "").await;
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn an_event_source_that_comes_back_to_the_end_is_told_to_stay_away() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "one").await;
    server.close("a").await;
    let tail = server.tail("a").await;
    let target = path("a?offset=-1&live=sse");
    let id = [("Last-Event-ID", tail.as_str())];
    let answer = server.ask("GET", &target, &id, "").await;
    assert_eq!(
        (answer.status, answer.header("stream-closed")),
        (204, Some("true"))
    );
    // Who asks for that place by itself gets the event that says so.
    let mut follower = server.follow("a", &tail).await;
    let control = follower.control().await;
    assert_eq!(
        (&control["streamClosed"], &control["upToDate"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(follower.event().await, None);
}

#[tokio::test]
async fn an_idle_stream_shows_signs_of_life_and_ends_in_time() {
    let server = TestServer::with(|_, config| {
        config.times.keep_alive = Duration::from_millis(50);
        config.times.sse = Duration::from_millis(400);
        config.times.sse_jitter = Duration::from_millis(50);
    })
    .await;
    server.create("a", TEXT, "").await;
    let mut follower = server.follow("a", "now").await;
    let events = within(follower.rest()).await;
    let comments = events.iter().filter(|event| event.kind.is_empty()).count();
    assert!((3..=9).contains(&comments), "{events:?}");
    let control = events
        .iter()
        .rfind(|event| event.kind == "control")
        .unwrap();
    assert_eq!(
        control.control().get("streamClosed"),
        None,
        "T64e: not the end of the stream"
    );
}

#[tokio::test]
async fn a_follower_that_is_never_done_is_ended_in_time_too() {
    let server = TestServer::with(|_, config| {
        config.times.sse = Duration::ZERO;
        config.times.sse_jitter = Duration::ZERO;
    })
    .await;
    let content = "c".repeat(1 << 20);
    server.create("a", TEXT, &content).await;
    let mut offset = "-1".to_owned();
    let mut bytes = 0;
    let mut connections = 0;
    while bytes < content.len() {
        let mut follower = server.follow("a", &offset).await;
        bytes += follower.data().await.len();
        let control = follower.control().await;
        offset = control["streamNextOffset"].as_str().unwrap().to_owned();
        assert_eq!(
            follower.event().await,
            None,
            "one event each, and where to go on"
        );
        connections += 1;
    }
    assert!(connections > 5);
}

#[tokio::test]
async fn a_stream_that_is_deleted_ends_its_followers() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "x").await;
    let mut follower = server.follow("a", "-1").await;
    follower.data().await;
    follower.control().await;
    server.ask("DELETE", &path("a"), &[], "").await;
    assert_eq!(follower.event().await, None);
}

#[tokio::test]
async fn followers_at_one_place_get_the_same_events() {
    let server = TestServer::start().await;
    server.create("a", JSON, "").await;
    let mut followers = Vec::new();
    for _ in 0..20 {
        let mut follower = server.follow("a", "now").await;
        follower.control().await;
        followers.push(follower);
    }
    for round in 0..10 {
        let tail = server
            .append("a", JSON, format!("{{\"round\":{round}}}"))
            .await;
        for follower in &mut followers {
            assert_eq!(follower.data().await, format!("[{{\"round\":{round}}}]"));
            assert_eq!(follower.control().await["streamNextOffset"], tail);
        }
    }
}

#[tokio::test]
async fn t23_whatever_was_accepted_arrives_as_it_was() {
    let server = TestServer::start().await;
    let odd = [
        "{\"a\":\"\\u2028\u{2028}\u{2029}\\n\",\"a\":12345678901234567890.10}".to_owned(),
        "\"data: x\\n\\nevent: y\"".to_owned(),
        format!("\"{}\"", "z".repeat(65_534)),
        format!("\"{}\"", "z".repeat(65_535)),
        "[[],{}]".to_owned(),
    ];
    server.create("a", JSON, "").await;
    for message in &odd {
        server.append("a", JSON, format!("[{message}]")).await;
    }
    server.close("a").await;
    let mut follower = server.follow("a", "-1").await;
    let mut read = Vec::new();
    for event in follower.rest().await {
        if event.kind == "data" {
            read.push(event.data[1..event.data.len() - 1].to_owned());
        }
    }
    assert_eq!(read.join(","), odd.join(","));
}

/// What followers hold has a bound of its own: while it is used up, no more of them are let in. Others read
/// on, and so does the next follower once the memory is there again.
#[tokio::test]
async fn followers_beyond_the_budget_are_told_to_come_again_later() {
    let server = TestServer::with(|engine, _| {
        engine.memory_max = 32 << 20;
        engine.flush_interval = Duration::from_millis(50);
    })
    .await;
    server.create("small", JSON, "[1]").await;
    server.create("large", JSON, "[0]").await;
    let message = format!("[\"{}\"]", "m".repeat(12 << 20));
    let appended = async {
        // It is taken when nothing waits for its flush.
        let target = path("large");
        while server.ask("POST", &target, &[JSON], &message).await.status != 204 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    within(appended).await;
    // One message is more than all may hold, and goes out because nobody else holds anything. It is not
    // taken: what is left of it in the server stays there.
    let mut slow = server.connect().await;
    let follow = format!("{}?offset=-1&live=sse", path("large"));
    slow.send("GET", &follow, &[], b"").await;
    assert_eq!(slow.head().await.status, 200);
    let follow = format!("{}?offset=-1&live=sse", path("small"));
    let status = async || {
        let mut other = server.connect().await;
        other.send("GET", &follow, &[], b"").await;
        other.head().await
    };
    let refused = within(async {
        loop {
            let answer = status().await;
            if answer.status != 200 {
                break answer;
            }
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(server.get(&path("small")).await.text(), "[1]");
    drop(slow);
    within(async {
        while status().await.status != 200 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// A follower that reads nothing neither delays the writer nor costs memory, and goes on where it
/// was when it reads again.
#[tokio::test]
async fn t57_t58_a_slow_follower_is_nobodys_burden() {
    const APPENDS: usize = 200;
    let server = TestServer::with(|engine, _| engine.memory_max = 64 << 20).await;
    server.create("a", TEXT, "").await;
    let mut slow = server.follow("a", "-1").await;
    slow.control().await;
    let mut quick = server.follow("a", "-1").await;
    quick.control().await;
    let block = "b".repeat(256 << 10);
    let write = async {
        for round in 0..APPENDS {
            // 50 MiB go through a budget that admits 16 MiB: what is refused is asked again.
            loop {
                let answer = server.ask("POST", &path("a"), &[TEXT], &block).await;
                if answer.status == 204 {
                    break;
                }
                assert_eq!(answer.status, 429, "round {round}: {}", answer.text());
                sleep(Duration::from_millis(20)).await;
            }
        }
    };
    let follow = async {
        let mut bytes = 0;
        while bytes < APPENDS * block.len() {
            let event = quick.event().await.unwrap();
            bytes += if event.kind == "data" {
                event.data.len()
            } else {
                0
            };
        }
    };
    within(async { tokio::join!(write, follow) }).await;
    server.close("a").await;
    let mut bytes = 0;
    for event in slow.rest().await {
        bytes += if event.kind == "data" {
            event.data.len()
        } else {
            0
        };
    }
    assert_eq!(bytes, APPENDS * block.len(), "nothing was skipped");
}
