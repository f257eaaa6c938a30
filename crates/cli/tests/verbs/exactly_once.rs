//! `append --producer`: whatever is killed in between, the input is there once and whole.

use std::{fs, process::Stdio};

use serde_json::Value;

use crate::support::{Server, eventually, ndjson};

const MESSAGES: u64 = 60_000;

fn position(server: &Server) -> u64 {
    let head = server.run(&["head", "a", "--json"]);
    let head: Value = serde_json::from_str(&head.out).unwrap_or_default();
    let next = head["next_offset"].as_str().unwrap_or("0-0");
    let (_, position) = next.split_once('-').expect("an offset");
    position.parse().expect("digits")
}

#[test]
fn a_killed_append_that_is_run_again_leaves_no_duplicate_and_no_gap() {
    let server = Server::start();
    server.ok(&["create", "a", "-t", "json"]);
    let input = ndjson(0, MESSAGES);
    let file = server.dir.path("in.ndjson");
    fs::write(&file, &input).expect("a file");
    let args = [
        "append",
        "a",
        "--ndjson",
        "--producer",
        "p",
        "--batch-bytes",
        "8KiB",
    ];
    let args = [&args[..], &["--file", file.to_str().expect("text")]].concat();
    let mut killed_inside = 0;
    for part in 1..=3 {
        let mut child = server
            .command(&args)
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let goal = input.len() as u64 * part / 5;
        eventually("it has come that far", || {
            (position(&server) >= goal).then_some(())
        });
        child.kill().expect("is there");
        child.wait().expect("ends");
        killed_inside += u32::from(position(&server) < input.len() as u64);
    }
    assert!(killed_inside > 0, "no kill fell into an append");
    let told = server.json(&args);
    let count = |name: &str| told[name].as_u64().expect("a number");
    assert!(count("messages_already_there") > 0);
    assert_eq!(
        count("messages") + count("messages_already_there"),
        MESSAGES
    );
    assert!(
        server.ok(&["read", "a"]) == input,
        "what is there is the input"
    );
    let again = server.json(&args);
    assert_eq!(again["messages"], 0);
    assert!(server.ok(&["read", "a"]) == input, "still");
}

#[test]
fn an_append_outlives_its_server() {
    let mut server = Server::start();
    server.ok(&["create", "a", "-t", "json"]);
    let input = ndjson(0, MESSAGES);
    let file = server.dir.path("in.ndjson");
    fs::write(&file, &input).expect("a file");
    let mut child = server
        .command(&[
            "append",
            "a",
            "--ndjson",
            "--producer",
            "p",
            "--batch-bytes",
            "8KiB",
        ])
        .arg("--file")
        .arg(&file)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    let goal = input.len() as u64 / 4;
    eventually("it has come that far", || {
        (position(&server) >= goal).then_some(())
    });
    server.kill();
    server.start_again();
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    assert!(
        server.ok(&["read", "a"]) == input,
        "what is there is the input"
    );
}

#[test]
fn other_input_under_the_same_name_is_told() {
    let server = Server::start();
    server.ok(&["create", "a", "-t", "json"]);
    let args = [
        "append",
        "a",
        "--ndjson",
        "--producer",
        "p",
        "--batch-messages",
        "1",
    ];
    assert_eq!(server.with_input(&args, b"1\n2\n3\n").code, Some(0));
    let shorter = server.with_input(&args, b"7\n");
    assert_eq!(shorter.code, Some(1));
    assert!(shorter.err.contains("--epoch 1"), "{}", shorter.err);
    let next_epoch = [&args[..], &["--epoch", "1"]].concat();
    assert_eq!(server.with_input(&next_epoch, b"7\n").code, Some(0));
    assert_eq!(server.ok(&["read", "a"]), "1\n2\n3\n7\n");
}
