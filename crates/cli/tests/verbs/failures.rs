//! Every verb when it cannot do what it is asked: exit code, message, next command.

use serde_json::Value;

use crate::support::{NOWHERE, Server, command, ran};

/// Every verb that asks a server, about a stream `nope`.
const ASKING: [&[&str]; 13] = [
    &["create", "nope"],
    &["append", "nope", "x"],
    &["read", "nope"],
    &["tail", "nope"],
    &["follow", "nope"],
    &["head", "nope"],
    &["set", "nope", "--attributes", "none"],
    &["trim", "nope", "now"],
    &["compact", "nope"],
    &["close", "nope"],
    &["fork", "nope", "other"],
    &["rm", "nope"],
    &["ls"],
];

#[test]
fn without_a_server_it_is_5_and_says_how_to_start_one() {
    for args in ASKING {
        let ran = ran(command(args)
            .args(["--url", NOWHERE])
            .output()
            .expect("runs"));
        assert_eq!((ran.code, ran.out.as_str()), (Some(5), ""), "{args:?}");
        assert!(
            ran.err.contains("cannot connect to http://127.0.0.1:1"),
            "{}",
            ran.err
        );
        assert!(ran.err.contains("`millrace serve --port 1`"), "{}", ran.err);
    }
}

#[test]
fn a_missing_or_wrong_key_is_6_and_the_right_one_works() {
    let server = Server::with(&["--api-key", "correct-horse"]);
    for args in ASKING {
        let missing = server.run(args);
        assert_eq!(
            (missing.code, missing.out.as_str()),
            (Some(6), ""),
            "{args:?}"
        );
        assert!(missing.err.contains("MILLRACE_TOKEN"), "{}", missing.err);
        let wrong = server.run(&[args, &["--token", "battery-staple"]].concat());
        assert_eq!(wrong.code, Some(6), "{args:?}");
        assert!(!wrong.err.contains("battery"), "{}", wrong.err);
    }
    server.ok(&["create", "a", "--token", "correct-horse"]);
    let mut with_env = server.command(&["head", "a"]);
    with_env.env("MILLRACE_TOKEN", "correct-horse");
    assert_eq!(ran(with_env.output().expect("runs")).code, Some(0));
}

#[test]
fn a_missing_stream_is_4_and_says_what_to_type() {
    let server = Server::start();
    for args in ASKING {
        if matches!(args[0], "create" | "ls") {
            continue;
        }
        let ran = server.run(args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(4), ""), "{args:?}");
        assert!(ran.err.contains("not found: nope"), "{}", ran.err);
        assert!(ran.err.contains("millrace "), "{}", ran.err);
    }
    assert_eq!(server.run(&["rm", "nope", "--missing-ok"]).code, Some(0));
}

#[test]
fn errors_are_json_for_programs() {
    let server = Server::start();
    let ran = server.run(&["head", "nope", "--json"]);
    let told: Value = serde_json::from_str(&ran.err).expect("a document");
    assert_eq!(told["error"]["code"], "not-found");
    assert_eq!(told["error"]["exit_code"], 4);
    assert!(
        told["error"]["help"]
            .as_str()
            .expect("text")
            .contains("millrace create nope")
    );
}

#[test]
fn refusals_are_1_and_say_what_to_type() {
    let server = Server::start();
    server.ok(&["create", "a", "-t", "json"]);
    let refused = |args: &[&str], help: &str| {
        let ran = server.run(args);
        assert_eq!(ran.code, Some(1), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(help), "{args:?}: {}", ran.err);
    };
    refused(&["create", "a", "-t", "text"], "millrace head a");
    refused(&["append", "a", "{"], "--ndjson");
    refused(
        &["read", "a", "-o", "0000000000001-0000000000000001"],
        "millrace read a --offset ",
    );
    server.ok(&["append", "a", "1", "--producer", "p", "--epoch", "3"]);
    refused(
        &["append", "a", "2", "--producer", "p", "--epoch", "2"],
        "--epoch 4",
    );
    server.ok(&["close", "a"]);
    refused(&["append", "a", "1"], "millrace read a");
    let bad = server.with_input(&["append", "a", "--ndjson"], b"1\n1,2\n");
    assert_eq!(bad.code, Some(1));
    assert!(bad.err.contains("line 2"), "{}", bad.err);
}

#[test]
fn wrong_usage_is_2() {
    let server = Server::start();
    server.ok(&["create", "t", "-t", "text"]);
    for args in [
        &["read", "t", "--offset", "12"][..],
        &["create", "a//b"],
        &["create", "a", "-t", "nonsense"],
        &["create", "a", "--ttl", "500ms"],
        &["append", "t", "--ndjson"],
        &["append", "t", "x", "--batch-bytes", "0"],
        &["append", "t", "x", "--epoch", "1"],
        &["set", "t"],
        &["set", "t", "--retention-max-messages", "0"],
        &["set", "t", "--attributes", "[]"],
        &["trim", "t"],
        &["trim", "t", "12"],
        &["follow"],
        &["follow", "t", "t"],
        &["read", "t", "--last", "0"],
        &["read", "t", "--last", "1", "--offset", "-1"],
        &["read", "t", "--last", "1", "--since", "1"],
        &["read", "t", "--since", "noon"],
        &["read", "t", "--before", "12"],
        &["read", "t", "--limit", "0"],
        &["read", "t", "--messages", "--raw"],
        &["offset", "12"],
        &["man", "nonsense"],
        &["ls", "--url", "ftp://127.0.0.1"],
        &["nonsense"],
    ] {
        let ran = server.run(args);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (Some(2), ""),
            "{args:?}: {}",
            ran.err
        );
    }
}
