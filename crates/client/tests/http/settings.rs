//! Retention and attributes: of new streams, changed, shown, and carried out.

use std::time::Duration;

use millrace_client::{
    Attributes, ContentType, CreateOptions, NewAttributes, NewLimit, Offset, Retention,
    SettingsPatch,
};
use millrace_wire::Code;
use serde_json::json;

use crate::support::{TestServer, append, code, name};

fn attributes(value: serde_json::Value) -> Attributes {
    serde_json::from_value(value).unwrap()
}

fn options() -> CreateOptions {
    CreateOptions {
        content_type: ContentType::new("application/json"),
        retention: Retention {
            age_max: Some(Duration::from_millis(90_500)),
            bytes_max: Some(1 << 30),
            messages_max: Some(2),
        },
        attributes: attributes(json!({"tenant": "blau \u{2713}", "title": "Tides"})),
        ..CreateOptions::default()
    }
}

#[tokio::test]
async fn a_new_stream_has_what_was_asked_for_and_shows_it() {
    let server = TestServer::start().await;
    let stream = server.client.stream(name("a"));
    assert!(stream.create(options()).await.unwrap().is_new);
    assert!(!stream.create(options()).await.unwrap().is_new);
    let other = CreateOptions {
        retention: Retention::default(),
        ..options()
    };
    assert_eq!(code(stream.create(other).await), Some(Code::ConfigMismatch));
    let head = stream.head().await.unwrap();
    assert_eq!(head.retention, options().retention);
    assert_eq!(head.attributes, options().attributes);
    server.json("b", &[]).await;
    let rows = server.client.list("", None, 10).await.unwrap().rows;
    assert_eq!(rows[0].attributes, Some(options().attributes));
    assert_eq!(rows[1].attributes, None);
}

#[tokio::test]
async fn a_patch_changes_what_it_names() {
    let server = TestServer::start().await;
    let stream = server.client.stream(name("a"));
    stream.create(options()).await.unwrap();
    let patch = SettingsPatch {
        age_max: NewLimit::Unlimited,
        messages_max: NewLimit::At(9),
        attributes: Some(NewAttributes::Merged(attributes(
            json!({"title": null, "pinned": true}),
        ))),
        ..SettingsPatch::default()
    };
    let now = stream.patch(&patch).await.unwrap();
    let want = Retention {
        age_max: None,
        messages_max: Some(9),
        ..options().retention
    };
    assert_eq!(now.retention, want);
    let want = attributes(json!({"tenant": "blau \u{2713}", "pinned": true}));
    assert_eq!(now.attributes, want);
    let head = stream.head().await.unwrap();
    assert_eq!(
        (head.retention, head.attributes),
        (now.retention, now.attributes)
    );
    let without = SettingsPatch {
        bytes_max: NewLimit::Unlimited,
        messages_max: NewLimit::Unlimited,
        attributes: Some(NewAttributes::None),
        ..SettingsPatch::default()
    };
    let now = stream.patch(&without).await.unwrap();
    assert!(now.retention.is_unlimited() && now.attributes.is_empty());
}

#[tokio::test]
async fn what_no_stream_can_have_is_refused_and_changes_nothing() {
    let server = TestServer::start().await;
    let stream = server.client.stream(name("a"));
    stream.create(options()).await.unwrap();
    let none = SettingsPatch {
        messages_max: NewLimit::At(0),
        ..SettingsPatch::default()
    };
    let large = SettingsPatch {
        attributes: Some(NewAttributes::Merged(attributes(
            json!({"x": "x".repeat(5000)}),
        ))),
        ..SettingsPatch::default()
    };
    for patch in [none, large, SettingsPatch::default()] {
        let refused = stream.patch(&patch).await;
        assert_eq!(code(refused), Some(Code::InvalidSetting), "{patch:?}");
    }
    let head = stream.head().await.unwrap();
    assert_eq!(head.retention, options().retention);
    let nobody = server.client.stream(name("nobody"));
    let patch = SettingsPatch {
        messages_max: NewLimit::At(1),
        ..SettingsPatch::default()
    };
    assert_eq!(code(nobody.patch(&patch).await), Some(Code::NotFound));
}

#[tokio::test]
async fn a_pass_that_is_asked_for_trims_and_is_told_of() {
    let server = TestServer::start().await;
    let before = server.client.retention().await.unwrap();
    assert_eq!((before.streams, before.running), (0, false));
    assert!(before.interval > Duration::ZERO);
    let stream = server.client.stream(name("a"));
    stream.create(options()).await.unwrap();
    append(&stream, "[1,2,3,4,5]").await;
    let pass = server.client.retain_now().await.unwrap();
    assert_eq!((pass.streams, pass.trimmed, pass.failed), (1, 1, 0));
    assert_eq!(pass.bytes, 6, "three digits and their commas");
    let after = server.client.retention().await.unwrap();
    assert_eq!((after.streams, after.last), (1, Some(pass)));
    assert!(after.passes > before.passes);
    let mut reader = stream.read_from(Offset::start());
    let page = reader.next().await.unwrap().unwrap();
    assert_eq!(page.messages(), ["4", "5"]);
}
