//! `follow`: several streams on one connection.

use std::{fs, process::Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    matrix::{documents, error},
    support::{Server, eventually, ran, signal},
};

fn stage() -> Server {
    let server = Server::start();
    server.ok(&["create", "a", "-t", "json"]);
    server.ok(&["append", "a", "[1,{\"n\":2.0}]"]);
    server.ok(&["create", "t", "-t", "text"]);
    server.ok(&["append", "t", "one\r\ntwo\nthree"]);
    server.ok(&["create", "b"]);
    server.ok(&["append", "b", "\u{1}x"]);
    server
}

#[test]
fn each_line_says_its_stream_across_a_restart() {
    let mut server = stage();
    let file = server.dir.path("out");
    let out = fs::File::create(&file).expect("a file");
    let mut command = server.command(&["follow", "a", "b", "t"]);
    let follow = command.stdout(out).stderr(Stdio::piped()).spawn();
    let follow = follow.expect("starts");
    let lines = |count: usize| {
        eventually("they are printed", || {
            let text = fs::read_to_string(&file).ok()?;
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort_by_key(|line| line.chars().next());
            (lines.len() == count).then_some(lines)
        })
    };
    let before = [
        "a: 1",
        "a: {\"n\":2.0}",
        "b: AXg=",
        "t: one",
        "t: two",
        "t: three",
    ];
    assert_eq!(lines(6), before);
    server.kill();
    server.start_again();
    eventually("it answers again", || {
        (server.run(&["append", "a", "3"]).code == Some(0)).then_some(())
    });
    assert_eq!(lines(7)[2], "a: 3");
    for name in ["a", "b", "t"] {
        server.ok(&["close", name]);
    }
    let ended = ran(follow.wait_with_output().expect("ends"));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains("; trying again"), "{}", ended.err);
    assert_eq!(lines(7).len(), 7);
}

#[test]
fn programs_get_an_object_an_event() {
    let server = stage();
    let begin = server.json(&["head", "a"])["next_offset"].clone();
    for name in ["a", "b", "t"] {
        server.ok(&["close", name]);
    }
    let out = server.ok(&["follow", "a", "b", "t", "--json"]);
    let events = documents("follow", &out);
    let of = |name: &str| {
        let all = events.iter().filter(|event| event["stream"] == name);
        all.cloned().collect::<Vec<Value>>()
    };
    assert!(out.contains(r#""messages":[1,{"n":2.0}]"#), "{out}");
    assert_eq!(of("t")[0]["text"], "one\r\ntwo\nthree");
    assert_eq!(of("b")[0]["base64"], "AXg=");
    for name in ["a", "b", "t"] {
        assert_eq!(of(name).last().expect("an event")["closed"], true);
    }
    // From its tail nothing comes but its end.
    let at = format!("a,{}", begin.as_str().expect("text"));
    let out = server.ok(&["follow", &at, "--json"]);
    let end = &documents("follow", &out)[0];
    assert_eq!(
        (&end["closed"], &end["next_offset"]),
        (&true.into(), &begin)
    );
    assert!(
        end["messages"].is_null() && end["base64"].is_null(),
        "{end}"
    );
}

#[test]
fn a_stream_that_is_not_there_is_told_and_the_others_go_on() {
    let server = stage();
    server.ok(&["close", "a"]);
    let said = server.run(&["follow", "nope", "a"]);
    assert_eq!(said.code, Some(4));
    assert_eq!(said.out, "a: 1\na: {\"n\":2.0}\n");
    assert!(said.err.contains("not found: nope"), "{}", said.err);
    assert!(said.err.contains("millrace create nope"), "{}", said.err);
    let said = server.run(&["follow", "nope", "a", "--json"]);
    assert_eq!(error("follow", &said)["code"], "not-found");
    assert_eq!(said.code, Some(4));
    server.ok(&["trim", "t", "now"]);
    let first = server.json(&["head", "b"])["next_offset"].clone();
    let first = first.as_str().expect("text");
    server.ok(&["append", "b", "more"]);
    server.ok(&["trim", "b", "now"]);
    let said = server.run(&["follow", &format!("b,{first}")]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(
        said.err.contains("millrace read b --offset "),
        "{}",
        said.err
    );
}

#[test]
fn an_interrupted_follow_says_where_each_goes_on() {
    let server = stage();
    server.ok(&["close", "t"]);
    let mut command = server.command(&["follow", "t", "a", "b", "--offset", "-1"]);
    let file = server.dir.path("out");
    let out = fs::File::create(&file).expect("a file");
    let follow = command.stdout(out).stderr(Stdio::piped()).spawn();
    let follow = follow.expect("starts");
    eventually("all is printed", || {
        let text = fs::read_to_string(&file).ok()?;
        (text.lines().count() == 6).then_some(())
    });
    signal(&follow, Signal::INT);
    let ended = ran(follow.wait_with_output().expect("ends"));
    assert_eq!(ended.code, Some(130));
    let offset = |name: &str| {
        let head = server.json(&["head", name]);
        head["next_offset"].as_str().expect("text").to_owned()
    };
    let resume = format!("`millrace follow a,{} b,{}`", offset("a"), offset("b"));
    assert!(ended.err.contains(&resume), "{}", ended.err);
    server.ok(&["append", "a", "3"]);
    server.ok(&["close", "a"]);
    let rest = server.ok(&["follow", &format!("a,{}", offset("a")), "t,now"]);
    assert_eq!(rest, "");
}
