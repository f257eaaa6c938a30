//! Many at a time: whatever the order, nothing is lost, doubled or left without an answer.

use std::{collections::BTreeSet, time::Duration};

use millrace_env::sleep;
use tokio::task::JoinSet;

use crate::support::{Answer, JSON, TEXT, TestServer, path, within};

/// A server with two shards, so that connections and streams meet across threads.
async fn server() -> std::sync::Arc<TestServer> {
    std::sync::Arc::new(TestServer::with(|engine, _| engine.shards = 2).await)
}

/// All at once; the answers in no order.
async fn all<F>(requests: impl IntoIterator<Item = F>) -> Vec<Answer>
where
    F: Future<Output = Answer> + Send + 'static,
{
    let mut tasks: JoinSet<Answer> = requests.into_iter().collect();
    let mut answers = Vec::new();
    while let Some(answer) = within(tasks.join_next()).await {
        answers.push(answer.unwrap());
    }
    answers
}

#[tokio::test]
async fn t32_concurrent_appends_each_get_an_offset_of_their_own() {
    let server = server().await;
    server.create("a", TEXT, "").await;
    let answers = all((0..50).map(|round| {
        let server = server.clone();
        async move {
            let body = format!("{round:02};");
            server.ask("POST", &path("a"), &[TEXT], body).await
        }
    }))
    .await;
    assert!(answers.iter().all(|answer| answer.status == 204));
    let offsets: BTreeSet<_> = answers.iter().map(Answer::next_offset).collect();
    assert_eq!(offsets.len(), 50, "T34: no two are the same");
    assert_eq!(
        offsets.last().copied(),
        Some(server.tail("a").await.as_str())
    );
    let text = server.get(&path("a")).await.text();
    let found: BTreeSet<_> = text.split_terminator(';').collect();
    assert_eq!((text.len(), found.len()), (150, 50));
}

#[tokio::test]
async fn t39_of_many_creations_one_creates_and_the_others_find() {
    let server = server().await;
    for round in 0..10 {
        let name = format!("n{round}");
        let answers = all((0..8).map(|_| {
            let (server, name) = (server.clone(), name.clone());
            async move { server.ask("PUT", &path(&name), &[JSON], "[1]").await }
        }))
        .await;
        let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 201]);
        assert_eq!(
            server.get(&path(&name)).await.text(),
            "[1]",
            "its content is there once"
        );
    }
}

#[tokio::test]
async fn t40_an_append_that_meets_a_deletion_gets_a_definite_answer() {
    let server = server().await;
    for round in 0..20 {
        let name = format!("d{round}");
        server.create(&name, TEXT, "x").await;
        let target = path(&name);
        let answers = all((0..6).map(|number| {
            let (server, target) = (server.clone(), target.clone());
            async move {
                let method = if number == 3 { "DELETE" } else { "POST" };
                server.ask(method, &target, &[TEXT], "y").await
            }
        }))
        .await;
        assert!(
            answers
                .iter()
                .all(|answer| [204, 404].contains(&answer.status))
        );
        assert_eq!(server.get(&target).await.status, 404);
        let created = server.create(&name, TEXT, "new").await;
        assert_eq!(created.status, 201);
        assert_eq!(
            server.get(&target).await.text(),
            "new",
            "T41: nothing of the old one"
        );
    }
}

#[tokio::test]
async fn t56_no_wake_is_lost_in_a_storm_of_appends() {
    const WRITERS: usize = 4;
    const EACH: usize = 250;
    let server = server().await;
    server.create("a", JSON, "").await;
    let mut followers = Vec::new();
    for _ in 0..3 {
        followers.push(server.follow("a", "-1").await);
    }
    let mut writers: JoinSet<()> = (0..WRITERS)
        .map(|writer| {
            let server = server.clone();
            async move {
                let mut conn = server.connect().await;
                for round in 0..EACH {
                    let body = format!("{}", writer * EACH + round);
                    conn.send("POST", &path("a"), &[JSON], body.as_bytes())
                        .await;
                    assert_eq!(conn.answer().await.status, 204);
                }
            }
        })
        .collect();
    let mut sequences = Vec::new();
    for follower in &mut followers {
        let mut seen: Vec<u64> = Vec::new();
        while seen.len() < WRITERS * EACH {
            let event = follower.event().await.unwrap();
            if event.kind == "data" {
                let messages: Vec<u64> = serde_json::from_str(&event.data).unwrap();
                seen.extend(messages);
            }
        }
        sequences.push(seen);
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    let stored: Vec<u64> = serde_json::from_slice(&server.get(&path("a")).await.body).unwrap();
    assert!(
        sequences.iter().all(|seen| *seen == stored),
        "one order for all"
    );
    let different: BTreeSet<_> = stored.iter().collect();
    assert_eq!(different.len(), WRITERS * EACH);
}

#[tokio::test]
async fn t50_a_follower_of_a_dormant_stream_is_still_told() {
    let server = TestServer::with(|engine, config| {
        engine.idle_after = Duration::from_millis(50);
        engine.flush_interval = Duration::from_millis(20);
        config.times.keep_alive = Duration::from_millis(100);
    })
    .await;
    server.create("a", TEXT, "x").await;
    let mut follower = server.follow("a", "now").await;
    follower.control().await;
    // Long enough for the stream to be flushed and to leave memory, if a follower did not hold it.
    sleep(Duration::from_millis(1200)).await;
    server.append("a", TEXT, "more").await;
    let mut event = follower.event().await.unwrap();
    while event.kind.is_empty() {
        event = follower.event().await.unwrap();
    }
    assert_eq!((event.kind.as_str(), event.data.as_str()), ("data", "more"));
}
