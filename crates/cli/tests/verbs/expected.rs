//! `append` and `close` with `--expected-offset`: at the tail that was seen, or not at all.

use serde_json::json;

use crate::{
    matrix::error,
    support::{Server, command, ran},
};

const NOTHING_YET: &str = "0000000000000000_0000000000000000";

fn at(server: &Server, offset: &str, more: &[&str]) -> crate::support::Ran {
    server.run(&[&["append", "a", "--expected-offset", offset], more].concat())
}

#[test]
fn the_second_of_two_that_saw_the_same_is_refused_and_told_what_to_do() {
    let server = Server::start();
    server.ok(&["create", "a", "-t", "json"]);
    let first = at(&server, NOTHING_YET, &["1"]);
    assert_eq!(first.code, Some(0), "{}", first.err);
    let seen = first.out.trim_end();
    let now = at(&server, seen, &["2"]).out;
    let now = now.trim_end();
    let refused = at(&server, seen, &["3"]);
    assert_eq!((refused.code, &refused.out[..]), (Some(1), ""));
    let help = format!(
        "help: read what you do not know with `millrace read a --offset {seen}`, decide again, and append with --expected-offset {now}\n"
    );
    assert!(refused.err.ends_with(&help), "{}", refused.err);
    let refused = at(&server, seen, &["3", "--json"]);
    assert_eq!(error("append", &refused)["code"], "expected-offset");
    assert_eq!(server.ok(&["read", "a"]), "1\n2\n");
    assert_eq!(at(&server, now, &["3"]).code, Some(0));
}

#[test]
fn each_batch_is_expected_where_the_one_before_it_ended() {
    let server = Server::start();
    server.ok(&["create", "a", "-t", "json"]);
    let begin = server.ok(&["append", "a", "0"]);
    let args = [
        "append",
        "a",
        "--ndjson",
        "--batch-messages",
        "2",
        "--expected-offset",
        begin.trim_end(),
    ];
    let said = server.with_input(&args, b"1\n2\n3\n4\n5\n");
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("appended 5 messages"), "{}", said.err);
    assert_eq!(server.ok(&["read", "a"]), "0\n1\n2\n3\n4\n5\n");
    let tail = server.json(&["head", "a"])["next_offset"].clone();
    assert_eq!(json!(said.out.trim_end()), tail);
}

#[test]
fn a_stream_is_closed_where_it_was_seen_to_end() {
    let server = Server::start();
    server.ok(&["create", "a"]);
    let seen = server.ok(&["append", "a", "1"]);
    let now = server.ok(&["append", "a", "2"]);
    let close = |tail: &str| server.run(&["close", "a", "--expected-offset", tail.trim_end()]);
    let refused = close(&seen);
    assert_eq!((refused.code, &refused.out[..]), (Some(1), ""));
    let help = format!("and close it with --expected-offset {now}");
    assert!(refused.err.ends_with(&help), "{}", refused.err);
    assert_eq!(server.json(&["head", "a"])["closed"], false);
    assert_eq!(close(&now).out, now);
}

#[test]
fn what_no_stream_ends_at_is_wrong_usage() {
    for offset in ["-1", "now", "7", ""] {
        let flag = format!("--expected-offset={offset}");
        let said = ran(command(&["append", "a", "1", &flag])
            .output()
            .expect("runs"));
        assert_eq!(said.code, Some(2), "{offset}");
        assert!(said.err.contains("`millrace head`"), "{}", said.err);
    }
    let both = [
        "append",
        "a",
        "1",
        "--expected-offset",
        NOTHING_YET,
        "--producer",
        "p",
    ];
    assert_eq!(ran(command(&both).output().expect("runs")).code, Some(2));
}
