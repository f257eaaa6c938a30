//! Key compaction, asked for and by itself.

use millrace_client::{ContentType, CreateOptions, NewLimit, Offset, SettingsPatch, Stream};
use serde_json::{Value, json};

use crate::support::{TestServer, append, name};

async fn row(stream: &Stream, key: &str, value: u64) {
    let headers = json!({"operation": "upsert"});
    let message = json!({"type": "row", "key": key, "value": value, "headers": headers});
    append(stream, &message.to_string()).await;
}

async fn values(stream: &Stream) -> Vec<Value> {
    let mut reader = stream.read_from(Offset::start());
    let page = reader.next().await.unwrap().unwrap();
    let messages = page.messages();
    let messages = messages.iter().map(|message| {
        let message: Value = serde_json::from_slice(message).unwrap();
        let control = &message["headers"]["control"];
        if control.is_null() {
            message["value"].clone()
        } else {
            control.clone()
        }
    });
    messages.collect()
}

#[tokio::test]
async fn the_latest_values_take_the_place_of_all_that_was() {
    let server = TestServer::start().await;
    let stream = server.json("a", &[]).await;
    for (key, value) in [("x", 1), ("y", 2), ("x", 3)] {
        row(&stream, key, value).await;
    }
    let before = stream.head().await.unwrap().next_offset;
    let compacted = stream.compact().await.unwrap();
    assert_eq!(compacted.keys, 2);
    assert_eq!(compacted.earliest_offset, before);
    assert!(compacted.bytes_before > 0 && compacted.bytes_after > 0);
    let head = stream.head().await.unwrap();
    assert_eq!(head.earliest_offset, Some(before));
    assert_eq!(head.next_offset, compacted.next_offset);
    let snapshot = [
        json!("snapshot-start"),
        3.into(),
        2.into(),
        json!("snapshot-end"),
    ];
    assert_eq!(values(&stream).await, snapshot);
}

#[tokio::test]
async fn what_has_no_keys_is_refused_by_name_and_stays() {
    let server = TestServer::start().await;
    let stream = server.json("a", &["1"]).await;
    let refused = stream.compact().await.unwrap_err();
    let refused = refused.refused().unwrap();
    assert_eq!(
        (refused.status.as_u16(), &refused.code[..]),
        (409, "not-state")
    );
    assert_eq!(
        values(&stream).await,
        [Value::Null],
        "a number has no value"
    );
    stream.close().await.unwrap();
    let refused = stream.compact().await.unwrap_err();
    assert_eq!(refused.refused().unwrap().code, "closed");
}

#[tokio::test]
async fn a_stream_that_is_to_compact_itself_does_so_until_a_patch() {
    let server = TestServer::start().await;
    let stream = server.client.stream(name("a"));
    let options = CreateOptions {
        content_type: ContentType::new("application/json"),
        compact_after_bytes: Some(100),
        ..CreateOptions::default()
    };
    stream.create(options).await.unwrap();
    assert_eq!(stream.head().await.unwrap().compact_after_bytes, Some(100));
    for value in 0..3 {
        row(&stream, "x", value).await;
    }
    assert_eq!(server.client.retain_now().await.unwrap().trimmed, 1);
    assert_eq!(values(&stream).await.len(), 3);
    let patch = SettingsPatch {
        compact_after_bytes: NewLimit::Unlimited,
        ..SettingsPatch::default()
    };
    let now = stream.patch(&patch).await.unwrap();
    assert_eq!(now.compact_after_bytes, None);
    for value in 0..30 {
        row(&stream, "x", value).await;
    }
    assert_eq!(server.client.retain_now().await.unwrap().trimmed, 0);
}
