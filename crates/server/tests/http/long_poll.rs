//! Long-poll: at once, when something comes, or not at all.

use std::time::Duration;

use millrace_env::sleep;

use crate::support::{CLOSE, JSON, TEXT, TestServer, path, within};

fn poll(name: &str, offset: &str) -> String {
    path(&format!("{name}?offset={offset}&live=long-poll"))
}

async fn server(wait: Duration) -> TestServer {
    TestServer::with(|_, config| config.long_poll_timeout = wait).await
}

#[tokio::test]
async fn what_is_there_is_sent_at_once() {
    let server = server(Duration::from_mins(1)).await;
    server.create("a", JSON, "[1]").await;
    let answer = server.get(&poll("a", "-1")).await;
    assert_eq!((answer.status, answer.text()), (200, "[1]".to_owned()));
    assert!(answer.header("stream-cursor").is_some());
}

#[tokio::test]
async fn an_append_wakes_all_who_wait() {
    let server = server(Duration::from_mins(1)).await;
    let tail = server.create("a", TEXT, "x").await.next_offset().to_owned();
    let mut waiting = Vec::new();
    for offset in [tail.as_str(), "now", &tail] {
        let mut conn = server.connect().await;
        conn.send("GET", &poll("a", offset), &[], b"").await;
        waiting.push(conn);
    }
    // Each is in its wait once the server has answered who came after it.
    sleep(Duration::from_millis(200)).await;
    let tail = server.append("a", TEXT, "more").await;
    for conn in &mut waiting {
        let answer = conn.answer().await;
        assert_eq!((answer.status, answer.text()), (200, "more".to_owned()));
        assert_eq!(answer.next_offset(), tail);
    }
}

#[tokio::test]
async fn t53_without_news_the_answer_is_204_at_the_readers_own_offset() {
    let server = server(Duration::from_millis(100)).await;
    let tail = server.create("a", TEXT, "x").await.next_offset().to_owned();
    let answer = server.get(&(poll("a", &tail) + "&cursor=99999999")).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert_eq!(answer.next_offset(), tail);
    assert_eq!(answer.header("stream-up-to-date"), Some("true"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let cursor: u64 = answer.header("stream-cursor").unwrap().parse().unwrap();
    assert!(cursor > 99_999_999, "T55: a cursor never goes back");
}

#[tokio::test]
async fn a_request_may_name_its_own_time() {
    let server = server(Duration::from_mins(1)).await;
    server.create("a", TEXT, "").await;
    let answer = within(server.get(&(poll("a", "now") + "&timeout=50ms"))).await;
    assert_eq!(answer.status, 204);
}

#[tokio::test]
async fn t48_close_wakes_who_waits_with_the_last_bytes() {
    let server = server(Duration::from_mins(1)).await;
    let tail = server.create("a", TEXT, "x").await.next_offset().to_owned();
    let mut conn = server.connect().await;
    conn.send("GET", &poll("a", &tail), &[], b"").await;
    sleep(Duration::from_millis(100)).await;
    server.ask("POST", &path("a"), &[TEXT, CLOSE], "end").await;
    let answer = conn.answer().await;
    assert_eq!((answer.status, answer.text()), (200, "end".to_owned()));
    assert_eq!(answer.header("stream-closed"), Some("true"));
}

#[tokio::test]
async fn t64e_at_the_end_of_a_closed_stream_nobody_waits() {
    let server = server(Duration::from_mins(1)).await;
    server.create("a", TEXT, "x").await;
    let tail = server.tail("a").await;
    let mut conn = server.connect().await;
    conn.send("GET", &poll("a", &tail), &[], b"").await;
    sleep(Duration::from_millis(100)).await;
    server.close("a").await;
    for answer in [
        conn.answer().await,
        server.get(&poll("a", &tail)).await,
        server.get(&poll("a", "now")).await,
    ] {
        assert_eq!(
            (answer.status, answer.header("stream-closed")),
            (204, Some("true"))
        );
        assert_eq!(answer.header("stream-up-to-date"), Some("true"));
        assert_eq!(answer.next_offset(), tail);
    }
}

#[tokio::test]
async fn who_waits_for_a_stream_that_is_deleted_is_told() {
    let server = server(Duration::from_mins(1)).await;
    server.create("a", TEXT, "x").await;
    let mut conn = server.connect().await;
    conn.send("GET", &poll("a", "now"), &[], b"").await;
    sleep(Duration::from_millis(100)).await;
    server.ask("DELETE", &path("a"), &[], "").await;
    assert_eq!(conn.answer().await.status, 404);
}

#[tokio::test]
async fn t45_a_stream_does_not_expire_under_who_waits_for_it() {
    let server = server(Duration::from_millis(2200)).await;
    for name in ["poll", "events"] {
        let headers = [TEXT, ("Stream-TTL", "1")];
        server.ask("PUT", &path(name), &headers, "x").await;
    }
    let mut follower = server.follow("events", "now").await;
    follower.control().await;
    let answer = server.get(&poll("poll", "now")).await;
    assert_eq!(answer.status, 204);
    server.append("poll", TEXT, "still there").await;
    server.append("events", TEXT, "still there").await;
    assert_eq!(follower.data().await, "still there");
}

/// The deadline races an append, again and again. Whatever the answer, its offset stands right after
/// the bytes it carried.
#[tokio::test]
async fn t47_no_answer_moves_past_the_bytes_it_carried() {
    const ROUNDS: u64 = 150;
    let wait = Duration::from_millis(8);
    let server = TestServer::with(|engine, config| {
        // Two readers on two cores: one of them crosses threads to its stream's shard.
        engine.shards = 2;
        config.long_poll_timeout = wait;
    })
    .await;
    server.create("a", TEXT, "").await;
    let read = async || {
        let mut conn = server.connect().await;
        let mut offset = server.tail("a").await;
        let mut seen = Vec::new();
        let mut timed_out = 0;
        while seen.len() < usize::try_from(ROUNDS).unwrap() * 3 {
            conn.send("GET", &poll("a", &offset), &[], b"").await;
            let answer = conn.answer().await;
            let position =
                |offset: &str| offset.rsplit_once('-').unwrap().1.parse::<u64>().unwrap();
            let moved = position(answer.next_offset()) - position(&offset);
            assert_eq!(moved, answer.body.len() as u64, "{answer:?}");
            assert_eq!(answer.status, if moved == 0 { 204 } else { 200 });
            timed_out += u64::from(moved == 0);
            seen.extend_from_slice(&answer.body);
            offset = answer.next_offset().to_owned();
        }
        (seen, timed_out)
    };
    let write = async {
        let mut conn = server.connect().await;
        for round in 0..ROUNDS {
            // Around the deadline, now before it, now after it.
            sleep(Duration::from_micros(7000 + 20 * round)).await;
            let body = format!("{round:03}");
            conn.send("POST", &path("a"), &[TEXT], body.as_bytes())
                .await;
            assert_eq!(conn.answer().await.status, 204);
        }
    };
    let (one, two, ()) = within(async { tokio::join!(read(), read(), write) }).await;
    let sent: String = (0..ROUNDS).map(|round| format!("{round:03}")).collect();
    for (seen, timed_out) in [one, two] {
        assert_eq!(String::from_utf8(seen).unwrap(), sent);
        assert!(timed_out > 0, "the deadline was met at least once");
    }
}
