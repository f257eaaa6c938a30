//! `read` and `tail` by message, and what `trim` leaves of a stream.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::Stdio,
};

use serde_json::Value;

use crate::{
    matrix::documents,
    support::{Server, ran},
};

fn stage() -> Server {
    let server = Server::with(&["--read-bytes-max", "1KiB"]);
    server.ok(&["create", "a", "-t", "json"]);
    server.ok(&["append", "a", "[1,2,3.0,4,5]"]);
    server
}

fn tail(server: &Server, name: &str) -> String {
    let head = server.json(&["head", name]);
    head["next_offset"].as_str().expect("text").to_owned()
}

#[test]
fn the_last_ones_and_so_many() {
    let server = stage();
    assert_eq!(server.ok(&["read", "a", "--last", "2"]), "4\n5\n");
    let said = server.run(&["read", "a", "--last", "4", "--limit", "3"]);
    assert_eq!(said.out, "2\n3.0\n4\n");
    let (_, more) = said.err.split_once("go on with `millrace ").expect("how");
    let more = more.trim_end().trim_end_matches('`');
    assert!(more.ends_with(" --limit 3"), "{more}");
    let more: Vec<&str> = more.split(' ').collect();
    let rest = server.run(&more);
    assert_eq!((&rest.out[..], &rest.err[..]), ("5\n", ""));
    // A limit counts over pages.
    let long = format!("[\"{0}\",\"{0}\",\"{0}\",\"{0}\"]", "x".repeat(900));
    server.ok(&["create", "long", "-t", "json"]);
    server.ok(&["append", "long", &long]);
    let out = server.ok(&["read", "long", "--limit", "3"]);
    assert_eq!(out.lines().count(), 3);
    let raw = server.ok(&["read", "a", "--last", "2", "--raw"]);
    assert_eq!(raw, "[4,5]\n");
}

#[test]
fn what_lies_before_an_offset_is_a_page() {
    let server = stage();
    let all = server.ok(&["read", "a", "--before", "now"]);
    assert_eq!(all, "1\n2\n3.0\n4\n5\n");
    let page = server.ok(&["read", "a", "--before", "now", "--limit", "2", "--json"]);
    let page = &documents("read", &page)[0];
    assert_eq!(page["messages"], serde_json::json!([4, 5]));
    let before = page["offset"].as_str().expect("text");
    let args = ["read", "a", "--before", before, "--limit", "2"];
    assert_eq!(server.ok(&args), "2\n3.0\n");
    assert_eq!(server.ok(&["read", "a", "--before", "-1"]), "");
}

#[test]
fn messages_have_offset_time_and_data() {
    let server = stage();
    let out = server.ok(&["read", "a", "--messages", "--last", "3", "--limit", "2"]);
    let lines = documents("read", &out);
    assert_eq!(lines.len(), 2);
    assert!(
        out.lines()
            .next()
            .expect("a line")
            .ends_with(r#","data":3.0}"#),
        "{out}"
    );
    let offset = lines[1]["offset"].as_str().expect("text");
    assert_eq!(server.ok(&["read", "a", "--offset", offset]), "5\n");
    let time = lines[0]["time"].as_str().expect("text");
    let since = server.ok(&["read", "a", "--since", time]);
    assert_eq!(since, "1\n2\n3.0\n4\n5\n");
    assert_eq!(
        server.ok(&["read", "a", "--since", "2100-01-01T00:00:00Z"]),
        ""
    );
    // As the server sends them, whatever the type.
    let server_says = |name: &str| {
        let url = format!("{}/v1/stream/{name}?format=messages", server.url);
        let mut curl = std::process::Command::new("curl");
        ran(curl.args(["-sS", &url]).output().expect("runs")).out
    };
    for (name, kind) in [("t", "text"), ("b", "binary")] {
        server.ok(&["create", name, "-t", kind]);
        server.ok(&["append", name, "\"ü\"\n"]);
        server.ok(&["append", name, "more"]);
        let out = server.ok(&["read", name, "--messages"]);
        assert_eq!(out, server_says(name));
        assert_eq!(out, server.ok(&["read", name, "--messages", "--json"]));
    }
    assert_eq!(server.ok(&["read", "a", "--messages"]), server_says("a"));
}

#[test]
fn bytes_are_limited_to_a_page_of_messages() {
    let server = stage();
    server.ok(&["create", "t", "-t", "text"]);
    for text in ["one\n", "two\n", "three\n"] {
        server.ok(&["append", "t", text]);
    }
    let said = server.run(&["read", "t", "--limit", "2"]);
    assert_eq!(said.out, "one\ntwo\n");
    assert!(
        said.err
            .contains("there is more; go on with `millrace read t --offset ")
    );
    assert_eq!(server.ok(&["read", "t", "--last", "1"]), "three\n");
}

#[test]
fn a_trim_moves_the_beginning() {
    let server = stage();
    let args = ["read", "a", "--messages", "--limit", "3"];
    let lines = documents("read", &server.ok(&args));
    let third = lines[2]["offset"].as_str().expect("text");
    let said = server.run(&["trim", "a", third]);
    assert_eq!((said.code, said.out.trim_end()), (Some(0), third));
    assert!(said.err.contains("trimmed a: it begins at"), "{}", said.err);
    assert_eq!(server.ok(&["read", "a"]), "4\n5\n");
    let head = server.ok(&["head", "a"]);
    assert!(
        head.contains(&format!("\nearliest      {third}\n")),
        "{head}"
    );
    let first = lines[0]["offset"].as_str().expect("text");
    let gone = server.run(&["read", "a", "--offset", first]);
    assert_eq!(gone.code, Some(1));
    let again = format!("`millrace read a --offset {third}`");
    assert!(gone.err.contains(&again), "{}", gone.err);
    let said = server.json(&["trim", "a", "now"]);
    let end = Value::from(tail(&server, "a"));
    assert_eq!(
        (&said["earliest_offset"], &said["next_offset"]),
        (&end, &end)
    );
    assert_eq!(server.ok(&["read", "a"]), "");
}

#[test]
fn a_tail_begins_with_the_last_ones_and_goes_on() {
    let server = stage();
    let mut command = server.command(&["tail", "a", "--last", "2"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut lines = String::new();
    for _ in 0..2 {
        out.read_line(&mut lines).expect("a line");
    }
    server.ok(&["append", "a", "6"]);
    server.ok(&["close", "a"]);
    out.read_to_string(&mut lines).expect("text");
    assert_eq!(lines, "4\n5\n6\n");
    let ended = ran(child.wait_with_output().expect("ends"));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(server.ok(&["tail", "a", "--last", "1"]), "6\n");
    let later = ["tail", "a", "--since", "2100-01-01T00:00:00Z"];
    assert_eq!(server.ok(&later), "");
    let both = server.run(&["tail", "a", "--last", "1", "--offset", "now"]);
    assert_eq!(both.code, Some(2));
}
