//! Attributes and retention (`docs/extensions.md`): set by PUT, changed by PATCH, shown by HEAD and in
//! listings, and carried out.

use std::time::Duration;

use millrace_env::sleep;
use serde_json::Value;

use crate::support::{Answer, JSON, TEXT, TestServer, path};

type Headers<'a> = &'a [(&'a str, &'a str)];

const ATTRIBUTES: &str = "Stream-Attributes";
const AGE: &str = "Stream-Retention-Max-Age";
const BYTES: &str = "Stream-Retention-Max-Bytes";
const MESSAGES: &str = "Stream-Retention-Max-Messages";

async fn put(server: &TestServer, name: &str, headers: Headers<'_>) -> Answer {
    let headers = [&[JSON][..], headers].concat();
    server.ask("PUT", &path(name), &headers, "").await
}

async fn patch(server: &TestServer, name: &str, headers: Headers<'_>) -> Answer {
    server.ask("PATCH", &path(name), headers, "").await
}

/// What HEAD says of the four.
async fn shown(server: &TestServer, name: &str) -> [Option<String>; 4] {
    let head = server.ask("HEAD", &path(name), &[], "").await;
    [ATTRIBUTES, AGE, BYTES, MESSAGES]
        .map(|name| head.header(&name.to_lowercase()).map(str::to_owned))
}

async fn assert_shown(server: &TestServer, name: &str, want: [&str; 4]) {
    let shown = shown(server, name).await;
    let shown = shown.each_ref().map(|value| value.as_deref().unwrap_or(""));
    assert_eq!(shown, want, "{name}");
}

async fn run_now(server: &TestServer) -> Value {
    let pass = server.ask("POST", "/v1/server/_retention", &[], "").await;
    assert_eq!(pass.status, 200, "{}", pass.text());
    serde_json::from_slice(&pass.body).unwrap()
}

#[tokio::test]
async fn settings_are_set_by_put_changed_by_patch_and_kept_over_restarts() {
    let server = TestServer::start().await;
    let asked: Headers<'_> = &[
        (ATTRIBUTES, r#"{"team":"é","n":1}"#),
        (AGE, "7d"),
        (MESSAGES, "10"),
    ];
    assert_eq!(put(&server, "a", asked).await.status, 201);
    assert_eq!(put(&server, "plain", &[]).await.status, 201);
    assert_shown(&server, "plain", [""; 4]).await;
    let as_put = [r#"{"n":1,"team":"\u00e9"}"#, "604800", "", "10"];
    assert_shown(&server, "a", as_put).await;
    let patched = patch(
        &server,
        "a",
        &[
            (ATTRIBUTES, r#"{"n":null,"m":[2]}"#),
            (AGE, "none"),
            (BYTES, "99"),
        ],
    )
    .await;
    assert_eq!(patched.status, 204, "{}", patched.text());
    assert_eq!(patched.header("stream-retention-max-bytes"), Some("99"));
    let now = [r#"{"m":[2],"team":"\u00e9"}"#, "", "99", "10"];
    assert_shown(&server, "a", now).await;
    // The same PUT finds its stream whatever was changed since; another does not.
    assert_eq!(put(&server, "a", asked).await.status, 200);
    for other in [
        &[][..],
        &[(AGE, "7d")],
        &[(ATTRIBUTES, r#"{"m":[2],"team":"é"}"#), (BYTES, "99")],
    ] {
        let refused = put(&server, "a", other).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (409, "config-mismatch")
        );
    }
    assert_eq!(put(&server, "plain", asked).await.status, 409);
    for round in 0..2 {
        let listed = server.get("/v1/streams").await;
        let listed: Value = serde_json::from_slice(&listed.body).unwrap();
        assert_eq!(listed[0]["attributes"]["team"], "é", "{round}");
        assert_eq!(listed[1].get("attributes"), None, "{round}");
        assert_shown(&server, "a", now).await;
    }
    let server = TestServer::on(server.stop().await, |_, _| {}).await;
    assert_shown(&server, "a", now).await;
    assert_eq!(put(&server, "a", asked).await.status, 200);
    let gone = patch(
        &server,
        "a",
        &[(ATTRIBUTES, "null"), (BYTES, "none"), (MESSAGES, "none")],
    )
    .await;
    assert_eq!(gone.status, 204);
    assert_shown(&server, "a", [""; 4]).await;
    let server = TestServer::on(server.stop().await, |_, _| {}).await;
    assert_shown(&server, "a", [""; 4]).await;
    assert_eq!(put(&server, "a", asked).await.status, 200);
}

#[tokio::test]
async fn a_fork_has_settings_of_its_own() {
    let server = TestServer::start().await;
    assert_eq!(
        put(&server, "a", &[(ATTRIBUTES, r#"{"a":1}"#), (MESSAGES, "2")])
            .await
            .status,
        201
    );
    let from = ("Stream-Forked-From", "/v1/stream/a");
    assert_eq!(put(&server, "plain", &[from]).await.status, 201);
    assert_shown(&server, "plain", [""; 4]).await;
    let own: Headers<'_> = &[from, (ATTRIBUTES, r#"{"b":2}"#)];
    assert_eq!(put(&server, "own", own).await.status, 201);
    assert_shown(&server, "own", [r#"{"b":2}"#, "", "", ""]).await;
    assert_eq!(put(&server, "own", own).await.status, 200);
}

#[tokio::test]
async fn what_is_wrong_is_said_and_changes_nothing() {
    let server = TestServer::start().await;
    put(&server, "a", &[(MESSAGES, "5")]).await;
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(4100));
    let wrong: [(&str, &str); 13] = [
        (AGE, "0"),
        (AGE, "-1"),
        (AGE, "soon"),
        (AGE, ""),
        (BYTES, "0"),
        (BYTES, "1.5"),
        (BYTES, "10MB"),
        (MESSAGES, "0"),
        (MESSAGES, "all"),
        (ATTRIBUTES, "[]"),
        (ATTRIBUTES, "{"),
        (ATTRIBUTES, "text"),
        (ATTRIBUTES, &long),
    ];
    for (name, value) in wrong {
        for answer in [
            patch(&server, "a", &[(name, value)]).await,
            put(&server, "b", &[(name, value)]).await,
        ] {
            let told = (answer.status, answer.code());
            assert_eq!(told, (400, "invalid-setting".to_owned()), "{name}: {value}");
            assert!(answer.text().contains(name), "{}", answer.text());
        }
    }
    let nothing = patch(&server, "a", &[]).await;
    assert_eq!(
        (nothing.status, nothing.code().as_str()),
        (400, "invalid-setting")
    );
    let body = server.ask("PATCH", &path("a"), &[(BYTES, "3")], "{}").await;
    assert_eq!(body.status, 400);
    let twice = patch(&server, "a", &[(BYTES, "3"), (BYTES, "4")]).await;
    assert_eq!(
        (twice.status, twice.code().as_str()),
        (400, "invalid-header")
    );
    assert_eq!(patch(&server, "none", &[(BYTES, "3")]).await.status, 404);
    assert_shown(&server, "a", ["", "", "", "5"]).await;
    // Patch after patch, attributes stay within bounds.
    let some = format!("\"{}\"", "x".repeat(3000));
    let first = format!("{{\"a\":{some}}}");
    let second = format!("{{\"b\":{some}}}");
    assert_eq!(
        patch(&server, "a", &[(ATTRIBUTES, &first)]).await.status,
        204
    );
    let refused = patch(&server, "a", &[(ATTRIBUTES, &second)]).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "attributes-too-large")
    );
}

#[tokio::test]
async fn a_pass_trims_for_every_way_of_reading_and_status_and_metrics_tell() {
    let server = TestServer::start().await;
    put(&server, "few", &[(MESSAGES, "3")]).await;
    put(&server, "short", &[(BYTES, "5")]).await;
    put(&server, "young", &[(AGE, "200ms")]).await;
    server.create("text", TEXT, "").await;
    patch(&server, "text", &[(MESSAGES, "1")]).await;
    let mut offsets = Vec::new();
    for n in 0..6 {
        for name in ["few", "short", "young"] {
            let offset = server.append(name, JSON, n.to_string()).await;
            if name == "few" {
                offsets.push(offset);
            }
        }
        server.append("text", TEXT, format!("line {n}\n")).await;
    }
    sleep(Duration::from_millis(250)).await;
    let pass = run_now(&server).await;
    assert_eq!(
        (&pass["streams"], &pass["trimmed"], &pass["failed"]),
        (&4.into(), &4.into(), &0.into())
    );
    let rows = [
        ("few", "[3,4,5]"),
        ("short", "[4,5]"),
        ("young", "[]"),
        ("text", "line 5\n"),
    ];
    for (name, want) in rows {
        assert_eq!(server.get(&path(name)).await.text(), want, "{name}");
    }
    let head = server.ask("HEAD", &path("few"), &[], "").await;
    assert_eq!(
        head.header("stream-earliest-offset"),
        Some(offsets[2].as_str())
    );
    for live in ["", "&live=long-poll", "&live=sse"] {
        let gone = server
            .get(&path(&format!("few?offset={}{live}", offsets[1])))
            .await;
        assert_eq!(
            (gone.status, gone.header("stream-earliest-offset")),
            (410, Some(offsets[2].as_str())),
            "{live}"
        );
        if live.is_empty() {
            let kept = server
                .get(&path(&format!("few?offset={}", offsets[2])))
                .await;
            assert_eq!(kept.text(), "[3,4,5]", "equality is fine");
        }
    }
    assert_eq!(run_now(&server).await["streams"], 0);
    let status = server.get("/v1/server/_retention").await;
    let status: Value = serde_json::from_slice(&status.body).unwrap();
    assert_eq!(
        (&status["streams"], &status["running"], &status["passes"]),
        (&4.into(), &false.into(), &2.into())
    );
    assert_eq!(status["interval_ms"], 30_000);
    assert_eq!(status["last"]["streams"], 0);
    let metrics = server.get("/metrics").await.text();
    for line in [
        "millrace_retention_streams 4\n",
        "millrace_retention_trims_total 4\n",
        "millrace_retention_passes_total 2\n",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    // What stays is appended to as before.
    server.append("young", JSON, "7").await;
    assert_eq!(server.get(&path("young")).await.text(), "[7]");
}

#[tokio::test]
async fn passes_come_by_themselves_and_files_get_smaller() {
    let server = TestServer::with(|engine, _| {
        engine.flush_interval = Duration::from_millis(20);
        engine.compaction_interval = Duration::from_millis(20);
        engine.retention_interval = Duration::from_millis(50);
    })
    .await;
    put(&server, "a", &[(BYTES, "100000")]).await;
    let message = format!("\"{}\"", "x".repeat(50_000));
    for _ in 0..40 {
        server.append("a", JSON, message.clone()).await;
        sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..100 {
        let metrics = server.get("/metrics").await.text();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("millrace_bytes{place=\"segments\"} "));
        let bytes: f64 = line
            .and_then(|line| line.split(' ').nth(1))
            .unwrap()
            .parse()
            .unwrap();
        let read = server.get(&path("a")).await.body.len();
        if read <= 100_001 && bytes < 500_000.0 {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("two megabytes are kept on disk for a stream that keeps a tenth");
}
