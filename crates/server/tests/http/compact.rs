//! Key compaction (`docs/extensions.md`): the latest value of each key in the place of all that was.

use std::{collections::BTreeMap, time::Duration};

use millrace_env::sleep;
use serde_json::{Value, json};

use crate::support::{Answer, JSON, TEXT, TestServer, path};

async fn compact(server: &TestServer, name: &str) -> Answer {
    let target = format!("{}/_compact", path(name));
    server.ask("POST", &target, &[], "").await
}

fn change(operation: &str, key: &str, value: u64) -> String {
    let value = (operation != "delete").then_some(value);
    json!({"type": "row", "key": key, "value": value, "headers": {"operation": operation}})
        .to_string()
}

/// What a reader of these messages ends up with; and whether a snapshot is in it, whole.
fn materialised(page: &str) -> (BTreeMap<String, u64>, bool) {
    let messages: Vec<Value> = serde_json::from_str(page).unwrap();
    let mut rows = BTreeMap::new();
    let mut marks = Vec::new();
    for message in messages {
        if let Some(control) = message["headers"]["control"].as_str() {
            marks.push(control.to_owned());
            continue;
        }
        let key = message["key"].as_str().unwrap().to_owned();
        match message["value"].as_u64() {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }
    (rows, marks == ["snapshot-start", "snapshot-end"])
}

#[tokio::test]
async fn the_latest_value_of_each_key_takes_the_place_of_all_that_was() {
    let server = TestServer::with(|engine, _| {
        engine.flush_interval = Duration::from_millis(20);
    })
    .await;
    server.create("a", JSON, "").await;
    let mut middle = String::new();
    for round in 0..50 {
        for key in 0..20_u64 {
            let key = format!("k{key}");
            let operation = if round == 0 { "insert" } else { "update" };
            middle = server
                .append("a", JSON, change(operation, &key, round))
                .await;
        }
    }
    for key in ["k3", "k4"] {
        server.append("a", JSON, change("delete", key, 0)).await;
    }
    let before = server.get(&path("a")).await;
    let (rows, _) = materialised(&before.text());
    assert_eq!(rows.len(), 18);
    let tail = before.next_offset().to_owned();
    let done = compact(&server, "a").await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(done.header("stream-earliest-offset"), Some(tail.as_str()));
    let told: Value = serde_json::from_slice(&done.body).unwrap();
    assert_eq!(told["keys"], 18);
    assert_eq!(
        told["bytes_before"].as_u64().unwrap() + 1,
        before.body.len() as u64
    );
    for _ in 0..2 {
        let after = server.get(&path("a")).await;
        assert_eq!(materialised(&after.text()), (rows.clone(), true));
        assert_eq!(
            after.body.len() as u64,
            told["bytes_after"].as_u64().unwrap() + 1
        );
        assert_eq!(after.next_offset(), done.next_offset());
        // Who was at the tail reads on into the snapshot; who was before it is told.
        let on = server.get(&path(&format!("a?offset={tail}"))).await;
        assert_eq!(materialised(&on.text()), (rows.clone(), true));
        let gone = server.get(&path(&format!("a?offset={middle}"))).await;
        assert_eq!((gone.status, gone.code().as_str()), (410, "offset-gone"));
        assert_eq!(gone.header("stream-earliest-offset"), Some(tail.as_str()));
        sleep(Duration::from_millis(200)).await;
    }
    let server = TestServer::on(server.stop().await, |_, _| {}).await;
    assert_eq!(
        materialised(&server.get(&path("a")).await.text()),
        (rows.clone(), true)
    );
    // Again, after more: the snapshot before is folded too.
    server.append("a", JSON, change("upsert", "new", 7)).await;
    compact(&server, "a").await;
    let (again, whole) = materialised(&server.get(&path("a")).await.text());
    assert!(whole);
    assert_eq!((again.len(), again["new"]), (19, 7));
}

#[tokio::test]
async fn nothing_is_lost_that_is_appended_meanwhile() {
    let server = TestServer::with(|engine, _| engine.shards = 2).await;
    server.create("a", JSON, "").await;
    let write = async {
        let mut rows = BTreeMap::new();
        for n in 0..400 {
            let key = format!("k{}", n % 13);
            server.append("a", JSON, change("upsert", &key, n)).await;
            rows.insert(key, n);
        }
        rows
    };
    let fold = async {
        for _ in 0..12 {
            assert_eq!(compact(&server, "a").await.status, 200);
            sleep(Duration::from_millis(3)).await;
        }
    };
    let (rows, ()) = tokio::join!(write, fold);
    let (found, _) = materialised(&server.get(&path("a")).await.text());
    assert_eq!(found, rows);
}

#[tokio::test]
async fn what_cannot_be_compacted_is_left_as_it_is() {
    let server = TestServer::with(|engine, _| engine.append_bytes_max = 4096).await;
    server.create("text", TEXT, "x").await;
    server.create("other", JSON, "[1]").await;
    server.create("closed", JSON, "").await;
    server
        .ask("POST", &path("closed"), &[("Stream-Closed", "true")], "")
        .await;
    server.create("large", JSON, "").await;
    for key in 0..100 {
        server
            .append("large", JSON, change("insert", &format!("key-{key}"), key))
            .await;
    }
    let rows = [
        ("text", 409, "not-state"),
        ("other", 409, "not-state"),
        ("closed", 409, "closed"),
        ("large", 409, "snapshot-too-large"),
        ("none", 404, "not-found"),
    ];
    for (name, status, code) in rows {
        let before = server.get(&path(name)).await;
        let refused = compact(&server, name).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (status, code),
            "{name}"
        );
        assert_eq!(
            server.get(&path(name)).await.body.len(),
            before.body.len(),
            "{name}"
        );
    }
    let wrong = server
        .ask("GET", &format!("{}/_compact", path("other")), &[], "")
        .await;
    assert_eq!(wrong.status, 405);
}

#[tokio::test]
async fn a_policy_compacts_by_itself_and_not_more_often_than_it_pays() {
    let server = TestServer::start().await;
    let policy = ("Stream-Compact-After-Bytes", "2000");
    let made = server.ask("PUT", &path("a"), &[JSON, policy], "").await;
    assert_eq!(made.status, 201);
    let run = async || {
        let pass = server.ask("POST", "/v1/server/_retention", &[], "").await;
        let pass: Value = serde_json::from_slice(&pass.body).unwrap();
        pass["trimmed"].as_u64().unwrap()
    };
    for n in 0..10 {
        server.append("a", JSON, change("upsert", "k", n)).await;
    }
    assert_eq!(run().await, 0, "too little has gathered");
    for n in 10..60 {
        server
            .append("a", JSON, change("upsert", &format!("k{}", n % 30), n))
            .await;
    }
    let (rows, _) = materialised(&server.get(&path("a")).await.text());
    assert_eq!(run().await, 1);
    assert_eq!(
        materialised(&server.get(&path("a")).await.text()),
        (rows, true)
    );
    let snapshot = server.get(&path("a")).await.body.len();
    assert!(
        snapshot > 2000,
        "{snapshot}: larger than what the policy says"
    );
    let mut appended = 0;
    while appended < snapshot {
        assert_eq!(run().await, 0, "{appended} of {snapshot}");
        let message = change("upsert", "k1", 1);
        appended += message.len() + 1;
        server.append("a", JSON, message).await;
    }
    assert_eq!(run().await, 1);
    let head = server.ask("HEAD", &path("a"), &[], "").await;
    assert_eq!(head.header("stream-compact-after-bytes"), Some("2000"));
    let server = TestServer::on(server.stop().await, |_, _| {}).await;
    assert_eq!(
        server
            .ask("PUT", &path("a"), &[JSON, policy], "")
            .await
            .status,
        200
    );
    let gone = server
        .ask(
            "PATCH",
            &path("a"),
            &[("Stream-Compact-After-Bytes", "none")],
            "",
        )
        .await;
    assert_eq!(
        (gone.status, gone.header("stream-compact-after-bytes")),
        (204, None)
    );
}
