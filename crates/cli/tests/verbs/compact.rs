//! `compact`, and what a stream that compacts itself says of that.

use serde_json::{Value, json};

use crate::support::Server;

fn row(server: &Server, key: &str, value: u64) {
    let headers = json!({"operation": "upsert"});
    let message = json!({"type": "row", "key": key, "value": value, "headers": headers});
    server.ok(&["append", "rows", &message.to_string()]);
}

#[test]
fn the_latest_values_take_the_place_of_all_that_was() {
    let server = Server::start();
    server.ok(&["create", "rows", "-t", "json"]);
    for (key, value) in [("x", 1), ("y", 2), ("x", 3)] {
        row(&server, key, value);
    }
    let before = server.json(&["head", "rows"])["next_offset"].clone();
    let told = server.json(&["compact", "rows"]);
    assert_eq!(
        (&told["keys"], &told["earliest_offset"]),
        (&json!(2), &before)
    );
    let head = server.json(&["head", "rows"]);
    assert_eq!(head["next_offset"], told["next_offset"]);
    assert_eq!(head["earliest_offset"], before);
    assert_eq!(server.ok(&["read", "rows"]).lines().count(), 4);
    let said = server.run(&["compact", "rows"]);
    let earliest = told["next_offset"].as_str().expect("text");
    assert_eq!(said.out.trim_end(), earliest);
    assert!(said.err.contains("compacted rows: "), "{}", said.err);
    assert!(
        said.err.contains(" of 2 keys in the place of "),
        "{}",
        said.err
    );
}

#[test]
fn what_cannot_be_compacted_says_why() {
    let server = Server::start();
    server.ok(&["create", "a", "-t", "json"]);
    server.ok(&["append", "a", "1"]);
    let said = server.run(&["compact", "a"]);
    assert_eq!((said.code, &said.out[..]), (Some(1), ""));
    assert!(said.err.contains("cannot be folded"), "{}", said.err);
    assert!(said.err.contains("\nhelp: "), "{}", said.err);
    let said = server.run(&["compact", "a", "--json"]);
    assert_eq!(crate::matrix::error("compact", &said)["code"], "not-state");
    server.ok(&["close", "a"]);
    let said = server.run(&["compact", "a"]);
    assert!(said.err.contains("`millrace read a`"), "{}", said.err);
}

#[test]
fn a_stream_is_told_when_to_compact_itself() {
    let server = Server::start();
    let create = [
        "create",
        "rows",
        "-t",
        "json",
        "--compact-after-bytes",
        "1KiB",
    ];
    server.ok(&create);
    let head = server.ok(&["head", "rows"]);
    assert!(head.ends_with("\ncompacts      after 1KiB\n"), "{head}");
    for value in 0..30 {
        row(&server, "x", value);
    }
    let pass = server.json(&["retention", "--run"]);
    assert_eq!(pass["trimmed"], 1);
    assert_eq!(server.ok(&["read", "rows"]).lines().count(), 3);
    let now = server.json(&["set", "rows", "--compact-after-bytes", "none"]);
    assert_eq!(now["compact_after_bytes"], Value::Null);
    let zero = server.run(&["set", "rows", "--compact-after-bytes", "0"]);
    assert_eq!(zero.code, Some(2));
    assert!(zero.err.contains("`none`"), "{}", zero.err);
}
