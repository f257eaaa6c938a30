//! Every verb when all goes well, for people and for programs.

use std::fs;

use serde_json::{Value, json};

use crate::support::Server;

#[test]
fn a_stream_from_its_creation_to_its_end() {
    let server = Server::start();
    let start = server.ok(&["create", "hello", "-t", "json"]);
    assert_eq!(
        server.ok(&["append", "hello", r#"{"n":1}"#]).trim().len(),
        30
    );
    let next = server.ok(&["append", "hello", r#"[{"n":2},{"n":3}]"#]);
    assert_eq!(
        server.ok(&["read", "hello"]),
        "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n"
    );
    assert_eq!(server.ok(&["read", "hello", "--offset", next.trim()]), "");
    assert_eq!(
        server
            .ok(&["read", "hello", "--offset", start.trim()])
            .lines()
            .count(),
        3
    );
    assert_eq!(
        server.ok(&["read", "hello", "--raw"]),
        "[{\"n\":1},{\"n\":2},{\"n\":3}]\n"
    );
    let head = server.ok(&["head", "hello"]);
    assert!(
        head.contains("application/json") && head.contains(next.trim()),
        "{head}"
    );
    assert_eq!(server.ok(&["close", "hello"]), next);
    assert!(server.ok(&["head", "hello"]).contains("closed        yes"));
    assert_eq!(server.ok(&["tail", "hello"]).lines().count(), 3);
    assert!(server.ok(&["ls"]).contains("  hello\n"));
    assert_eq!(server.ok(&["rm", "hello"]), "");
    assert_eq!(server.ok(&["ls"]), "");
}

#[test]
fn talk_goes_to_stderr_and_can_be_turned_off() {
    let server = Server::start();
    let ran = server.run(&["create", "a"]);
    assert!(ran.err.contains("created a"), "{}", ran.err);
    assert_eq!(server.run(&["append", "a", "x", "--quiet"]).err, "");
    assert_eq!(server.run(&["rm", "a", "--json"]).err, "");
}

#[test]
fn every_verb_speaks_json() {
    let server = Server::start();
    let created = server.json(&["create", "a", "-t", "json", "--ttl", "1h"]);
    assert_eq!(created["created"], true);
    assert_eq!(
        server.json(&["create", "a", "-t", "json", "--ttl", "1h"])["created"],
        false
    );
    let appended = server.json(&["append", "a", "[1,2.0]"]);
    assert_eq!(appended["messages"], 2);
    let page = server.ok(&["read", "a", "--json"]);
    assert!(page.contains(r#""messages":[1,2.0]}"#), "{page}");
    let head = server.json(&["head", "a"]);
    assert_eq!(
        (&head["ttl_seconds"], &head["closed"]),
        (&json!(3600), &json!(false))
    );
    assert_eq!(head["next_offset"], appended["next_offset"]);
    assert_eq!(server.json(&["fork", "a", "b"])["name"], "b");
    assert_eq!(server.json(&["close", "a"])["closed"], true);
    let tailed: Value = server.json(&["tail", "a"]);
    assert_eq!(
        (&tailed["closed"], &tailed["messages"][0]),
        (&json!(true), &json!(1))
    );
    let rows = server.ok(&["ls", "--json"]);
    let names: Vec<Value> = rows
        .lines()
        .map(|row| serde_json::from_str::<Value>(row).expect("a row")["name"].clone())
        .collect();
    assert_eq!(names, ["a", "b"]);
    let token = appended["next_offset"].as_str().expect("text");
    assert_eq!(server.json(&["offset", token])["position"], 6);
    assert_eq!(
        server.json(&["rm", "b"]),
        json!({"name": "b", "deleted": true})
    );
}

#[test]
fn forks_branch_where_they_are_told_to() {
    let server = Server::start();
    server.ok(&["create", "a", "-t", "json"]);
    let one = server.ok(&["append", "a", "1"]);
    server.ok(&["append", "a", "[2,3]"]);
    server.ok(&["fork", "a", "tail"]);
    server.ok(&["fork", "a", "at", "--at", one.trim()]);
    server.ok(&["fork", "a", "past", "--at", one.trim(), "--sub-offset", "1"]);
    assert_eq!(server.ok(&["read", "tail"]), "1\n2\n3\n");
    assert_eq!(server.ok(&["read", "at"]), "1\n");
    assert_eq!(server.ok(&["read", "past"]), "1\n2\n");
}

#[test]
fn bytes_come_back_as_they_went() {
    let server = Server::start();
    let bytes: Vec<u8> = (0..300_000_u32)
        .map(|n| n.wrapping_mul(31).to_le_bytes()[1])
        .collect();
    let (file, back) = (server.dir.path("in"), server.dir.path("out"));
    fs::write(&file, &bytes).expect("a file");
    let path = file.to_str().expect("text");
    for verb in ["read", "tail"] {
        server.ok(&["create", verb]);
        server.ok(&["append", verb, "--file", path, "--batch-bytes", "64KiB"]);
        server.ok(&["close", verb]);
        let out = fs::File::create(&back).expect("a file");
        let mut command = server.command(&[verb, verb]);
        assert!(command.stdout(out).status().expect("runs").success());
        assert_eq!(fs::read(&back).expect("a file"), bytes, "{verb}");
    }
}

#[test]
fn input_comes_from_an_argument_a_file_or_stdin() {
    let server = Server::start();
    server.ok(&["create", "t", "-t", "text"]);
    server.ok(&["append", "t", "--", "-dash "]);
    assert_eq!(
        server.with_input(&["append", "t"], b"piped\r\n").code,
        Some(0)
    );
    assert_eq!(
        server
            .with_input(&["append", "t", "-"], "ü".as_bytes())
            .code,
        Some(0)
    );
    assert_eq!(server.with_input(&["append", "t"], b"").code, Some(0));
    server.ok(&["close", "t"]);
    assert_eq!(server.ok(&["read", "t"]), "-dash piped\r\nü");
    assert_eq!(server.ok(&["tail", "t"]), "-dash piped\r\nü");
}

#[test]
fn lines_are_messages_byte_for_byte() {
    let server = Server::start();
    server.ok(&["create", "j", "-t", "json"]);
    let lines = "{\"a\": 1.0, \"a\":12345678901234567890}\n[1]\n[]\n\n  \"x\\u00e9\"  \nnull";
    let ran = server.with_input(&["append", "j", "--ndjson", "--json"], lines.as_bytes());
    let told: Value = serde_json::from_str(&ran.out).expect("a document");
    assert_eq!(
        (&told["messages"], &told["batches"]),
        (&json!(5), &json!(1))
    );
    let want = "{\"a\": 1.0, \"a\":12345678901234567890}\n[1]\n[]\n\"x\\u00e9\"\nnull\n";
    assert_eq!(server.ok(&["read", "j"]), want);
    // A document over many lines is printed on one.
    server.ok(&["create", "k", "-t", "json"]);
    server.with_input(&["append", "k"], b"{\n \"a\":\n1}");
    assert_eq!(server.ok(&["read", "k"]), "{  \"a\": 1}\n");
}

#[test]
fn listings_go_on_over_pages_and_stop_at_limits() {
    let server = Server::start();
    for name in ["a/1", "a/2", "b"] {
        server.ok(&["create", name]);
    }
    assert_eq!(server.ok(&["ls", "--prefix", "a/"]).lines().count(), 2);
    let ran = server.run(&["ls", "--limit", "2"]);
    assert_eq!(ran.out.lines().count(), 2);
    assert!(ran.err.contains("there are more"), "{}", ran.err);
    assert_eq!(server.run(&["ls", "--limit", "3"]).err, "");
    assert_eq!(server.run(&["ls", "--prefix", "é b&c"]).out, "");
}
