//! What streams keep and carry: `create`, `set`, `head`, `ls` and `retention`.

use serde_json::json;

use crate::{matrix::documents, support::Server};

#[test]
fn settings_are_made_shown_changed_and_taken_away() {
    let server = Server::start();
    let create = [
        "create",
        "a",
        "-t",
        "json",
        "--retention-max-age",
        "7d",
        "--retention-max-bytes",
        "1GiB",
        "--retention-max-messages",
        "2",
        "--attributes",
        r#"{"tenant":"blau ✓","title":"Tides"}"#,
    ];
    server.ok(&create);
    assert_eq!(server.json(&create)["created"], false);
    let head = server.ok(&["head", "a"]);
    let keeps = "\nkeeps         168h, 1GiB, 2 messages at most\n";
    let attributes = "attributes    {\"tenant\":\"blau ✓\",\"title\":\"Tides\"}\n";
    assert!(head.ends_with(&format!("{keeps}{attributes}")), "{head}");
    let head = server.json(&["head", "a"]);
    let limits = |age, bytes, messages| json!({"max_age_ms": age, "max_bytes": bytes, "max_messages": messages});
    assert_eq!(
        head["retention"],
        limits(Some(604_800_000), Some(1 << 30), Some(2))
    );
    let now = server.json(&[
        "set",
        "a",
        "--retention-max-age",
        "none",
        "--retention-max-bytes",
        "none",
        "--attributes",
        r#"{"title":null,"pinned":true}"#,
    ]);
    let attributes = json!({"tenant": "blau ✓", "pinned": true});
    let want = json!({"name": "a", "retention": limits(None, None, Some(2)), "compact_after_bytes": null, "attributes": attributes});
    assert_eq!(now, want);
    server.ok(&["create", "b"]);
    let rows = documents("ls", &server.ok(&["ls", "--json"]));
    assert_eq!(rows[0]["attributes"], attributes);
    assert!(rows[1]["attributes"].is_null());
    let said = server.run(&[
        "set",
        "a",
        "--retention-max-messages",
        "none",
        "--attributes",
        "none",
    ]);
    assert_eq!(said.out, "name          a\n");
    assert!(said.err.contains("changed a"), "{}", said.err);
    let head = server.json(&["head", "a"]);
    assert_eq!(head["attributes"], json!({}));
    assert_eq!(head["earliest_offset"], json!(null));
}

#[test]
fn what_the_server_does_not_take_is_1_and_says_why() {
    let server = Server::start();
    server.ok(&["create", "a"]);
    let large = json!({"x": "x".repeat(5000)}).to_string();
    let said = server.run(&["set", "a", "--attributes", &large]);
    assert_eq!((said.code, &said.out[..]), (Some(1), ""));
    assert!(
        said.err.contains("4096") || said.err.contains("4,096"),
        "{}",
        said.err
    );
    let zero = server.run(&["set", "a", "--retention-max-bytes", "0"]);
    assert_eq!(zero.code, Some(2));
    assert!(
        zero.err.contains("millrace trim STREAM now"),
        "{}",
        zero.err
    );
    let mut other = vec!["create", "a", "--retention-max-messages", "1"];
    assert_eq!(server.run(&other).code, Some(1));
    other[1] = "b";
    server.ok(&other);
}

#[test]
fn a_fork_has_settings_of_its_own() {
    let server = Server::start();
    server.ok(&["create", "a", "--attributes", r#"{"n":1}"#]);
    server.ok(&["fork", "a", "plain"]);
    server.ok(&["fork", "a", "own", "--attributes", r#"{"n":2}"#]);
    assert_eq!(server.json(&["head", "plain"])["attributes"], json!({}));
    assert_eq!(server.json(&["head", "own"])["attributes"], json!({"n": 2}));
}

#[test]
fn a_pass_trims_when_it_is_asked_for() {
    let server = Server::with(&["--retention-interval", "1h"]);
    server.ok(&["create", "a", "-t", "json", "--retention-max-messages", "2"]);
    server.ok(&["append", "a", "[1,2,3,4,5]"]);
    let before = server.json(&["retention"]);
    assert_eq!(
        (&before["interval_ms"], &before["streams"]),
        (&json!(3_600_000), &json!(1))
    );
    assert_eq!(server.ok(&["read", "a"]).lines().count(), 5);
    let said = server.ok(&["retention", "--run"]);
    assert_eq!(said, "looked at 1, trimmed 1, 6 bytes, 0 failed\n");
    assert_eq!(server.ok(&["read", "a"]), "4\n5\n");
    let status = server.ok(&["retention"]);
    assert!(status.contains("\nrunning    no\n"), "{status}");
    assert!(
        status.contains(", looked at 1, trimmed 1, 6 bytes, 0 failed\n"),
        "{status}"
    );
    let pass = server.json(&["retention", "--run"]);
    assert_eq!((&pass["trimmed"], &pass["failed"]), (&json!(0), &json!(0)));
    let after = server.json(&["retention"]);
    assert_eq!(after["last"], pass);
}
