//! `millrace bench` in every way that it can go, as `matrix.rs` has it for verbs with rows. A missing
//! stream there cannot be: it makes its own, under names of its own.

use std::{
    env,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    matrix::{documents, error, unread},
    stall::{Stall, full_pipe},
    support::{BINARY, NOWHERE, Ran, Server, command, eventually, ran, signal},
};

const SHORT: [&str; 4] = ["--duration", "200ms", "--warmup", "0ms"];
/// Nobody waits for their end. At a rate, so that what is there to be deleted stays little.
const ENDLESS: [&str; 6] = ["--duration", "1h", "--warmup", "0ms", "--rate", "200"];
/// Kinds that begin with one creation, with many, and with one on another connection.
const KINDS: [&str; 3] = ["append", "create", "sse"];

#[test]
fn nobody_listens() {
    for kind in KINDS {
        let ask = |more: &[&str]| {
            let args = [&["bench", kind, "--url", NOWHERE], more].concat();
            ran(command(&args).output().expect("runs"))
        };
        let told = ask(&[]);
        assert_eq!((told.code, &told.out[..]), (Some(5), ""), "{kind}");
        assert!(told.err.contains("\nhelp: start a server"), "{}", told.err);
        let told = ask(&["--json"]);
        assert_eq!((told.code, &told.out[..]), (Some(5), ""), "{kind}");
        assert!(error("bench", &told)["help"].is_string());
    }
}

#[test]
fn the_key_is_wrong() {
    let server = Server::with(&["--api-key", "correct-horse"]);
    for kind in KINDS {
        for key in [&[][..], &["--token", "battery-staple"]] {
            let args = [&["bench", kind], SHORT.as_slice(), key].concat();
            let told = server.run(&args);
            assert_eq!((told.code, &told.out[..]), (Some(6), ""), "{kind}");
            let help = "\nhelp: set MILLRACE_TOKEN";
            assert!(told.err.contains(help), "{}", told.err);
            assert!(!told.err.contains("battery"), "{}", told.err);
            assert!(!told.err.contains('{'), "words, no document: {}", told.err);
            let told = server.run(&[&args[..], &["--json"]].concat());
            assert_eq!(error("bench", &told)["code"], "unauthorized", "{kind}");
        }
    }
    let right = [&["bench", "--token", "correct-horse"], SHORT.as_slice()].concat();
    server.ok(&right);
}

#[test]
fn nobody_reads() {
    let server = Server::start();
    for more in [&[][..], &["--json"]] {
        let args = [&["bench"], SHORT.as_slice(), more].concat();
        let told = unread(server.command(&args));
        assert_eq!((told.code, &told.err[..]), (Some(0), ""), "{more:?}");
    }
}

fn start(command: &mut Command) -> Child {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("starts")
}

/// Interrupts it once the server has `streams` of it, with something in the first if `filled`.
fn in_the_middle(server: &Server, args: &[&str], streams: usize, filled: bool) -> Ran {
    let child = start(&mut server.command(&[args, &ENDLESS].concat()));
    eventually("it is under way", || {
        let listed = documents("ls", &server.ok(&["ls", "--json"]));
        let first = listed.first()?["next_offset"].as_str()?;
        let is_filled = !first.ends_with("-0000000000000000");
        (listed.len() >= streams && (is_filled || !filled)).then_some(())
    });
    signal(&child, Signal::INT);
    let told = ran(child.wait_with_output().expect("ends"));
    assert_eq!((told.code, &told.out[..]), (Some(130), ""), "{}", told.err);
    told
}

#[test]
fn an_interrupt_in_the_middle_says_how_much_was_done_and_leaves_no_stream() {
    let server = Server::start();
    for (kind, streams) in [
        (&["append", "--streams", "3"][..], 3),
        (&["append", "--subscriptions", "2"], 2),
        (&["json"], 1),
        (&["create"], 50),
        (&["sse", "--subscribers", "2"], 1),
        (&["live", "--streams", "5"], 5),
        (&["catch-up", "--prefill", "1TiB"], 1),
    ] {
        let args = [&["bench"], kind].concat();
        let told = in_the_middle(&server, &args, streams, kind[0] != "create");
        // Filling goes before what is measured.
        let how_much = match kind[0] {
            "catch-up" => "interrupted before anything was measured; ",
            _ => "interrupted after ",
        };
        assert!(told.err.starts_with(how_much), "{kind:?}: {}", told.err);
        assert!(
            !told.err.contains("after 0 requests"),
            "{kind:?}: {}",
            told.err
        );
        let rest = "; none of its streams is there\nhelp: run the same command again\n";
        assert!(told.err.ends_with(rest), "{kind:?}: {}", told.err);
        assert_eq!(server.ok(&["ls"]), "", "{kind:?}");
    }
}

/// A command that was told, as a shell does it.
fn typed(server: &Server, help: &str) {
    let (_, rest) = help.split_once('`').expect("a command");
    let (typed, _) = rest.split_once('`').expect("its end");
    let dir = Path::new(BINARY).parent().expect("is in a directory");
    let path = format!(
        "{}:{}",
        dir.display(),
        env::var("PATH").expect("there is one")
    );
    let done = Command::new("sh")
        .args(["-c", typed])
        .env("PATH", path)
        .env("MILLRACE_URL", &server.url)
        .output();
    let done = ran(done.expect("runs"));
    assert_eq!(done.code, Some(0), "{typed}: {}", done.err);
}

#[test]
fn streams_that_an_interrupt_leaves_are_counted_and_the_command_removes_them() {
    let server = Server::start();
    server.ok(&["create", "mine"]);
    for streams in ["1", "7"] {
        let args = [
            "bench",
            "append",
            "--keep",
            "--json",
            "--streams",
            streams,
            "--connections",
            "7",
        ];
        let told = in_the_middle(&server, &args, 2, true);
        let told = &documents("bench", &told.err)[0];
        assert_eq!(told["interrupted"], true);
        assert_eq!(told["streams_left"].to_string(), streams);
        assert!(told["requests"].as_u64() > Some(0), "{told}");
        assert!(told["measured_s"].as_f64() > Some(0.0), "{told}");
        let message = told["message"].as_str().expect("text");
        assert!(
            message.ends_with(&format!("; up to {streams} streams are kept")),
            "{message}"
        );
        let prefix = told["stream_prefix"].as_str().expect("text");
        let left = server.ok(&["ls", "--prefix", prefix]);
        assert_eq!(left.lines().count().to_string(), streams);
        typed(&server, told["help"].as_str().expect("text"));
        let left = server.ok(&["ls"]);
        assert!(left.lines().count() == 1 && left.ends_with("  mine\n"));
    }
}

#[test]
fn an_interrupt_while_the_server_is_silent_says_what_may_be_there() {
    let server = Server::start();
    for (kind, json, sent, code) in [
        ("append", false, Signal::INT, 130),
        ("sse", true, Signal::TERM, 143),
    ] {
        let stall = Stall::after(0, &server.url);
        let more: &[&str] = if json { &["--json"] } else { &[] };
        let mut command = command(&[&["bench", kind], more].concat());
        let child = start(command.env("MILLRACE_URL", &stall.url));
        stall.holds();
        signal(&child, sent);
        let told = ran(child.wait_with_output().expect("ends"));
        assert_eq!((told.code, &told.out[..]), (Some(code), ""), "{kind}");
        let what = "before anything was measured; up to 1 of its streams may still be there";
        if json {
            let document: Value = documents("bench", &told.err)[0].clone();
            assert_eq!(document["interrupted"], true);
            assert_eq!(document["message"], what, "{kind}");
            assert_eq!(document["streams_left"], 1);
            typed(&server, document["help"].as_str().expect("text"));
        } else {
            let last = format!("interrupted {what}\nhelp: remove it with `millrace rm ");
            assert!(told.err.starts_with(&last), "{kind}: {}", told.err);
        }
    }
}

#[test]
fn an_interrupt_while_nobody_takes_the_figures() {
    let server = Server::start();
    let (reader, writer) = full_pipe();
    // Long enough to be seen, little to be read back.
    let long = [
        "bench",
        "--duration",
        "3s",
        "--warmup",
        "0ms",
        "--rate",
        "50",
    ];
    let mut command = server.command(&long);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn();
    let child = child.expect("starts");
    let list = || server.ok(&["ls"]);
    eventually("it makes streams", || (!list().is_empty()).then_some(()));
    eventually("it is done", || list().is_empty().then_some(()));
    signal(&child, Signal::INT);
    let told = ran(child.wait_with_output().expect("ends"));
    assert_eq!(told.code, Some(130), "{}", told.err);
    assert!(told.err.contains("\nhelp: "), "{}", told.err);
    drop(reader);
}
