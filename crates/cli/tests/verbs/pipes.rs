//! Readers that go away, and signals.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::Stdio,
};

use rustix::process::Signal;

use crate::support::{Server, eventually, ndjson, signal};

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let server = Server::start();
    server.ok(&["create", "a", "-t", "json"]);
    let input = ndjson(0, 40_000);
    server.with_input(&["append", "a", "--ndjson"], input.as_bytes());
    server.ok(&["create", "z"]);
    for args in [
        &["read", "a"][..],
        &["tail", "a"],
        &["read", "a", "--json"],
        &["man"],
    ] {
        let mut child = server
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut out = child.stdout.take().expect("piped");
        out.read_exact(&mut [0; 100]).expect("some");
        drop(out);
        let ended = child.wait_with_output().expect("ends");
        assert_eq!(ended.status.code(), Some(0), "{args:?}");
        assert_eq!(ended.stderr, b"", "{args:?}");
    }
    // Nothing is printed that somebody could miss: closed from the start.
    for args in [&["ls"][..], &["head", "a"], &["offset", "-1"]] {
        let (read, write) = std::io::pipe().expect("a pipe");
        drop(read);
        let mut command = server.command(args);
        let ended = command.stdout(write).output().expect("runs");
        assert_eq!(
            (ended.status.code(), &ended.stderr[..]),
            (Some(0), &b""[..]),
            "{args:?}"
        );
    }
}

#[test]
fn an_interrupted_tail_says_where_to_go_on() {
    let server = Server::start();
    server.ok(&["create", "a", "-t", "json"]);
    server.ok(&["append", "a", "[1,2]"]);
    for (sent, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut child = server
            .command(&["tail", "a"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        for _ in 0..2 {
            out.read_line(&mut line).expect("a line");
        }
        assert_eq!(line, "1\n2\n");
        signal(&child, sent);
        let ended = child.wait_with_output().expect("ends");
        assert_eq!(ended.status.code(), Some(code));
        let said = String::from_utf8(ended.stderr).expect("text");
        let next = server.json(&["head", "a"])["next_offset"]
            .as_str()
            .map(str::to_owned);
        let resume = format!("millrace tail a --offset {}", next.expect("an offset"));
        assert!(said.contains(&resume), "{said}");
    }
}

#[test]
fn an_interrupted_tail_counts_only_what_was_taken() {
    let server = Server::start();
    server.ok(&["create", "a", "-t", "json"]);
    let input = ndjson(0, 100_000);
    server.with_input(&["append", "a", "--ndjson"], input.as_bytes());
    // The reader stalls, so that the first page is stuck in the pipe.
    let mut child = server
        .command(&["tail", "a"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut out = child.stdout.take().expect("piped");
    out.read_exact(&mut [0; 10]).expect("some");
    signal(&child, Signal::INT);
    let status = child.wait().expect("ends");
    assert_eq!(status.code(), Some(130));
    let mut said = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut said)
        .expect("text");
    assert!(said.contains("millrace tail a --offset -1"), "{said}");
}

#[test]
fn an_interrupted_read_counts_only_what_was_taken() {
    let server = Server::start();
    server.ok(&["create", "a", "-t", "json"]);
    let input = ndjson(0, 40_000);
    server.with_input(&["append", "a", "--ndjson"], input.as_bytes());
    let mut child = server
        .command(&["read", "a"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut out = child.stdout.take().expect("piped");
    out.read_exact(&mut [0; 10]).expect("some");
    signal(&child, Signal::INT);
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    let mut said = String::new();
    let mut err = child.stderr.take().expect("piped");
    err.read_to_string(&mut said).expect("text");
    assert!(said.contains("millrace read a --offset -1"), "{said}");
}

#[test]
fn an_interrupted_append_says_what_was_appended() {
    let server = Server::start();
    server.ok(&["create", "a", "-t", "json"]);
    let mut child = server
        .command(&["append", "a", "--ndjson"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"1\n2\n").expect("taken");
    // Input that pauses is sent without waiting for a full batch.
    eventually("both are there", || {
        (server.ok(&["read", "a"]) == "1\n2\n").then_some(())
    });
    signal(&child, Signal::INT);
    let ended = child.wait_with_output().expect("ends");
    assert_eq!(ended.status.code(), Some(130));
    let said = String::from_utf8(ended.stderr).expect("text");
    assert!(said.contains("interrupted after 2 messages"), "{said}");
    drop(input);
}
