//! `append-all`: lines for many streams, from a file or stdin, each answered on its own.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    matrix::{documents, error},
    stall::Stall,
    support::{Ran, Server, command, ran, signal},
};

/// With what comes on stdin, which is less than a pipe holds.
pub(crate) fn fed(mut command: Command, input: &str) -> Command {
    assert!(input.len() < 4096, "it fits a pipe");
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(input.as_bytes()).expect("it fits");
    command.stdin(reader);
    command
}

fn stage() -> Server {
    let server = Server::start();
    for name in ["{x}/a", "{x}/b"] {
        server.ok(&["create", name, "-t", "json"]);
    }
    server.ok(&["create", "t", "-t", "text"]);
    server
}

fn all(server: &Server, more: &[&str], input: &str) -> Ran {
    server.with_input(&[&["append-all"], more].concat(), input.as_bytes())
}

#[test]
fn lines_are_answered_one_by_one_and_a_refused_one_is_1() {
    let server = stage();
    let input = "{\"stream\":\"{x}/a\",\"messages\":[1,2]}\n\n\
        {\"stream\":\"nope\",\"messages\":[1]}\n\
        {\"stream\":\"t\",\"text\":\"x\\n\",\"close\":true}\n\
        nonsense\n";
    let said = all(&server, &[], input);
    assert_eq!(said.code, Some(1), "{}", said.err);
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines.len(), 4, "{}", said.out);
    assert!(
        lines[0].ends_with("-0000000000000004  appended   {x}/a"),
        "{}",
        lines[0]
    );
    // The number is that of the line of the input, in which one is blank.
    assert!(lines[1].starts_with("3 ") && lines[1].contains("refused    nope  not-found: "));
    assert!(lines[3].starts_with("5 ") && lines[3].contains("refused    -  invalid-line: "));
    assert!(
        said.err.contains("2 of 4 lines were refused\nhelp: "),
        "{}",
        said.err
    );
    assert_eq!(server.ok(&["read", "{x}/a"]), "1\n2\n");
    assert_eq!(server.json(&["head", "t"])["closed"], true);
}

#[test]
fn a_file_is_read_and_programs_get_documents() {
    let server = stage();
    let file = server.dir.path("lines");
    let line = |seq: u64| {
        let producer = json!({"id": "p", "epoch": 0, "seq": seq});
        json!({"stream": "{x}/a", "messages": [seq], "producer": producer}).to_string()
    };
    fs::write(&file, line(0)).expect("a file");
    let args = ["append-all", file.to_str().expect("text"), "--json"];
    let told: Value = server.json(&args[..2]);
    let want = json!({
        "line": 1, "stream": "{x}/a", "outcome": "appended", "closed": false,
        "next_offset": told["next_offset"], "producer_seq": 0,
    });
    assert_eq!(told, want);
    let again = server.json(&args[..2]);
    assert_eq!(again["outcome"], "duplicate");
    assert_eq!(again["next_offset"], told["next_offset"]);
    let said = server.run(&args[..2]);
    assert!(
        said.err
            .contains("0 lines were carried out, 1 had been before")
    );
    fs::write(&file, line(7)).expect("a file");
    let gap = server.run(&args);
    assert_eq!(gap.code, Some(1));
    let told = &documents("append-all", &gap.out)[0];
    assert_eq!(told["error"]["code"], "producer-seq-gap");
    assert_eq!(told["error"]["expected_seq"], 1);
    assert_eq!(told["error"]["received_seq"], 7);
    let error = error("append-all", &gap);
    assert_eq!(error["message"], "1 of 1 lines were refused");
    assert_eq!(server.run(&["append-all", "/nowhere/lines"]).code, Some(1));
    let nothing = all(&server, &[], "\n");
    assert_eq!((nothing.code, &nothing.out[..]), (Some(0), ""));
    assert!(
        nothing.err.contains("the input is empty"),
        "{}",
        nothing.err
    );
}

#[test]
fn an_atomic_input_is_all_or_nothing() {
    let server = stage();
    let line = |stream: &str| format!("{{\"stream\":\"{stream}\",\"messages\":[1]}}\n");
    let input = line("{x}/a") + &line("{x}/nope");
    let said = all(&server, &["--atomic"], &input);
    assert_eq!(said.code, Some(1));
    assert!(
        said.out.contains("refused    {x}/a  batch-refused: "),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("refused    {x}/nope  not-found: "),
        "{}",
        said.out
    );
    assert_eq!(server.ok(&["read", "{x}/a"]), "");
    let apart = all(&server, &["--atomic"], &(line("{x}/a") + &line("t")));
    assert_eq!(apart.code, Some(1));
    assert_eq!(apart.out, "");
    assert!(apart.err.contains("same part in braces"), "{}", apart.err);
    let too_many = all(&server, &["--atomic"], &line("{x}/a").repeat(10_001));
    assert_eq!((too_many.code, &too_many.out[..]), (Some(1), ""));
    assert!(
        too_many.err.contains("10000 lines; nothing was sent"),
        "{}",
        too_many.err
    );
    let both = all(&server, &["--atomic"], &(line("{x}/a") + &line("{x}/b")));
    assert_eq!(both.code, Some(0), "{}", both.err);
    assert_eq!(server.ok(&["read", "{x}/b"]), "1\n");
}

#[test]
fn more_lines_than_a_request_may_have_are_several() {
    let server = stage();
    let line = "{\"stream\":\"{x}/a\",\"messages\":[1]}\n";
    let file = server.dir.path("lines");
    fs::write(&file, line.repeat(10_050)).expect("a file");
    let said = server.run(&["append-all", file.to_str().expect("text")]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(said.out.lines().count(), 10_050);
    let last = said.out.lines().last().expect("a line");
    assert!(last.starts_with("10050 "), "{last}");
    assert_eq!(server.ok(&["read", "{x}/a"]).lines().count(), 10_050);
}

#[test]
fn lines_that_come_slowly_are_answered_as_they_come_and_an_interrupt_says_how_far() {
    let server = stage();
    let stall = Stall::after(1, &server.url);
    let mut child = command(&["append-all", "--json"])
        .env("MILLRACE_URL", &stall.url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut input = child.stdin.take().expect("piped");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let line = "{\"stream\":\"{x}/a\",\"messages\":[1]}\n";
    input.write_all(line.as_bytes()).expect("taken");
    let mut answer = String::new();
    out.read_line(&mut answer).expect("a line");
    assert!(answer.contains("\"outcome\":\"appended\""), "{answer}");
    input.write_all(line.as_bytes()).expect("taken");
    stall.holds();
    signal(&child, Signal::INT);
    let ended = ran(child.wait_with_output().expect("ends"));
    assert_eq!(ended.code, Some(130));
    let told = &documents("append-all", &ended.err)[0];
    assert_eq!(
        (&told["lines"], &told["in_doubt"]),
        (&json!(1), &json!(true))
    );
    drop(input);
}
